/* The cache and attention on the device (or its shim) against the scalar reference: every type of cache, shapes of heads, windows, sinks,
 * caps, latents; prefill, decoding of several sequences, long contexts in parts. */
#include "cuda_case.h"
#include "narrow.h"

typedef struct { const char *name; int n_head, n_kv_head, d_k, d_v, window; bool latent, sinks; float softcap; } shape;
static const shape shapes[] = {
    { "one head",          1, 1,  16,  16,   0, false, false, 0 },
    { "odd width",         6, 2,  20,  20,   0, false, false, 0 },
    { "grouped 64",        8, 2,  64,  64,   0, false, false, 0 },
    { "gpt-oss",          16, 2,  64,  64, 100, false, true,  0 },
    { "128",               4, 4, 128, 128,   0, false, false, 0 },
    { "capped 256",        4, 2, 256, 256,  70, false, false, 30 },
    { "wide keys",         2, 2,  96,  64,   0, false, false, 0 },
    { "latent",           20, 1, 144, 128,   0, true,  false, 0 },
    { "latent 576",       16, 1, 576, 512,   0, true,  false, 0 },
};
#define COUNT(a) (int)(sizeof (a) / sizeof (a)[0])
enum { N_SEQ = 3, CELLS = 1024 };
static const llm_limits limits = { .n_batch = 200, .max_cols = 8192, .max_rows = 4096, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1, .d_model = 64, .n_head = 20, .max_d_head = 576, .n_ctx = CELLS };

typedef struct { llm_kv_layer ref, dev; int length[N_SEQ]; } caches;

/* Where the weights of the device meet x as codes, queries and softmax weights are two halves each. */
static void make_fine(pair *p)
{
    llm_tensor t = case_tensor(DT_Q8_0, 0, 32, 32), *all[1] = { &t };
    llm_error err;

    ck_assert_msg(device_import(p->d, all, 1, NULL, NULL, &err) == LLM_OK, "%s", err.text);
    p->fine = true;
    free((void *)(uintptr_t)t.data);
}

static llm_kv_layer layer_of(const shape *s, llm_dtype type)
{
    int cells = s->window ? (s->window + limits.n_batch + 2 * KV_BLOCK) / KV_BLOCK * KV_BLOCK : CELLS;
    return (llm_kv_layer){ .dtype = type, .n_kv_head = s->n_kv_head, .d_k = s->d_k, .d_v = s->d_v, .n_cell = cells, .n_seq = N_SEQ, .latent = s->latent };
}

static void caches_open(pair *p, caches *c, const shape *s, llm_dtype type)
{
    memset(c, 0, sizeof *c);
    c->ref = c->dev = layer_of(s, type);
    ck_assert(p->ref.op.kv_size(&c->ref) && p->be.op.kv_size(&c->dev));
    c->ref.k = calloc(N_SEQ, c->ref.k_seq_bytes), c->ref.v = s->latent ? NULL : calloc(N_SEQ, c->ref.v_seq_bytes);
    c->dev.k = p->be.remote->alloc(&p->be, N_SEQ * c->dev.k_seq_bytes), c->dev.v = s->latent ? NULL : p->be.remote->alloc(&p->be, N_SEQ * c->dev.v_seq_bytes);
}

static void caches_close(pair *p, caches *c)
{
    free(c->ref.k), free(c->ref.v);
    p->be.remote->release(&p->be, c->dev.k);
    if (c->dev.v) p->be.remote->release(&p->be, c->dev.v);
}

/* One step of rows[s] rows of each sequence through store and, if asked to, attend on both sides. */
static void step(pair *p, caches *c, const shape *s, llm_dtype type, const llm_tensor *sinks, const int rows[N_SEQ], bool attend)
{
    llm_span span[N_SEQ];
    int32_t token[256] = { 0 }, pos[256], seq[256];
    llm_batch b = { 0, 0, token, pos, seq, span };
    llm_attn_args a = { s->n_head, s->window, 1 / sqrtf((float)s->d_k), s->softcap, s->sinks ? sinks : NULL };

    for (int i = 0; i < N_SEQ; i++) {
        if (rows[i] == 0) continue;
        span[b.n_span++] = (llm_span){ i, b.n, rows[i], c->length[i] };
        for (int k = 0; k < rows[i]; k++) pos[b.n] = c->length[i]++, seq[b.n++] = i;
    }
    llm_rows q = case_rows(b.n, s->n_head * s->d_k), k = case_rows(b.n, s->n_kv_head * s->d_k), v = case_rows(b.n, s->n_kv_head * s->d_v);
    llm_rows want = blank_rows(b.n, s->n_head * s->d_v, s->n_head * s->d_v), dq = put_rows(&p->be, q), dk = put_rows(&p->be, k), dv = put_rows(&p->be, v), got = put_rows(&p->be, want);
    p->ref.op.store(&p->ref, &c->ref, k, v, &b);
    p->be.remote->begin(&p->be, &b, NULL);
    p->be.op.store(&p->be, &c->dev, dk, dv, &b);
    if (attend) p->ref.op.attend(&p->ref, want, q, &c->ref, &b, &a), p->be.op.attend(&p->be, got, dq, &c->dev, &b, &a);
    p->be.remote->end(&p->be);
    /* with Q8_0 the reference rounds its queries to eight bits, too; queries of two halves lose nothing of a cache of halves; a cache of floats meets floats */
    double tolerance = type == DT_Q8_0 ? 1e-2 : type == DT_F32 || p->fine ? 2e-6 : 1e-3;
    if (attend) check_rows(p, got, want, tolerance, "%s, %s, %d rows, %d tokens", s->name, dtype_name(type), b.n, c->length[0]);
    else p->be.remote->release(&p->be, got.data);
    p->be.remote->release(&p->be, dq.data), p->be.remote->release(&p->be, dk.data), p->be.remote->release(&p->be, dv.data);
    free(q.data), free(k.data), free(v.data), free(want.data);
}

/* What kv_get gives is what the reference's gives, and kv_put of it into another sequence reads the same. */
static void check_cells(pair *p, caches *c, const shape *s, llm_dtype type)
{
    size_t kb = 0, vb = 0, n = (size_t)(c->length[0] < 90 ? c->length[0] : 90);
    int from = c->length[0] - (int)n;

    dtype_bytes((int)type, s->n_kv_head * s->d_k, &kb), dtype_bytes((int)type, s->n_kv_head * s->d_v, &vb);
    uint8_t *k = malloc(3 * n * kb), *v = malloc(3 * n * vb);
    p->ref.op.kv_get(&c->ref, 0, from, (int)n, k, s->latent ? NULL : v), p->be.op.kv_get(&c->dev, 0, from, (int)n, k + n * kb, s->latent ? NULL : v + n * vb);
    ck_assert_msg(memcmp(k, k + n * kb, n * kb) == 0 && (s->latent || memcmp(v, v + n * vb, n * vb) == 0), "%s %s: cells differ", s->name, dtype_name(type));
    p->be.op.kv_put(&c->dev, 2, from, (int)n, k, s->latent ? NULL : v), p->be.op.kv_get(&c->dev, 2, from, (int)n, k + 2 * n * kb, s->latent ? NULL : v + 2 * n * vb);
    ck_assert_msg(memcmp(k, k + 2 * n * kb, n * kb) == 0 && (s->latent || memcmp(v, v + 2 * n * vb, n * vb) == 0), "%s %s: cells put back differ", s->name, dtype_name(type));
    free(k), free(v);
}

static void prefill_and_decode(bool fine)
{
    static const int plan[][N_SEQ] = { { 70, 5, 0 }, { 1, 1, 0 }, { 1, 1, 1 }, { 40, 0, 3 }, { 1, 2, 1 } };
    static const llm_dtype types[] = { DT_F16, DT_F32, DT_Q8_0, DT_F8_E4M3 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/attend")) return;
    if (fine) make_fine(&p);
    for (int is = 0; is < COUNT(shapes); is++) for (int t = 0; t < COUNT(types); t++) {
        const shape *s = &shapes[is];
        llm_device *d;
        caches c;
        if (types[t] == DT_Q8_0 && (s->latent || s->d_k % 32 || s->d_v % 32)) continue;
        if (types[t] == DT_F8_E4M3 && s->latent) continue;
        llm_tensor sinks = case_tensor(DT_F32, 0, s->n_head, 1), *all[1] = { &sinks };
        d = put_weights(all, 1), caches_open(&p, &c, s, types[t]);
        for (int i = 0; i < COUNT(plan); i++) step(&p, &c, s, types[t], &sinks, plan[i], true);
        check_cells(&p, &c, s, types[t]);
        caches_close(&p, &c), device_close(d), free((void *)(uintptr_t)sinks.data);
    }
    pair_close(&p);
}

START_TEST(prefill_and_decoding)
{
    prefill_and_decode(false);
    if (test_skipped == 0) prefill_and_decode(true);
}
END_TEST

/* Random rows that lie close together, as those of the forward pass do. */
static llm_rows close_rows(int n, int width)
{
    llm_rows r = blank_rows(n, width, width);
    for (int i = 0; i < n * width; i++) r.data[i] = case_float();
    return r;
}

/* Norm of heads, rotation and storing in one: rows and cells as the ops one by one have them. */
static void one_rope_store(pair *p, const shape *s, llm_dtype type, bool norms, llm_rope_style style, int n_rot)
{
    static const int32_t pos[] = { 3, 4, 5, 0 }, seq[] = { 0, 0, 0, 2 }, token[4] = { 0 };
    llm_span span[2] = { { 0, 0, 3, 3 }, { 2, 3, 1, 0 } };
    llm_batch b = { 4, 2, token, pos, seq, span };
    llm_tensor qn = case_tensor(DT_F32, 0, s->d_k, 1), kn = case_tensor(DT_BF16, 0, s->d_k, 1), *all[2] = { &qn, &kn };
    llm_rope_store_args a = { s->d_k, style, norms ? &qn : NULL, &kn, 1e-6f, 0 };
    llm_device *d = put_weights(all, 2);
    llm_rows q = close_rows(4, s->n_head * s->d_k), k = close_rows(4, s->n_kv_head * s->d_k), v = close_rows(4, s->n_kv_head * s->d_k), cs = close_rows(4, n_rot);
    llm_rows dq = put_rows(&p->be, q), dk = put_rows(&p->be, k), dv = put_rows(&p->be, v), dcs = put_rows(&p->be, cs);
    caches c;

    caches_open(p, &c, s, type);
    if (norms) {
        llm_rows qh = { q.data, 4 * s->n_head, s->d_k, s->d_k }, kh = { k.data, 4 * s->n_kv_head, s->d_k, s->d_k };
        p->ref.op.norm(&p->ref, qh, qh, &qn, a.eps, 0), p->ref.op.norm(&p->ref, kh, kh, &kn, a.eps, 0);
    }
    p->ref.op.rope(&p->ref, q, cs, s->d_k, 0, style), p->ref.op.rope(&p->ref, k, cs, s->d_k, 0, style);
    p->ref.op.store(&p->ref, &c.ref, k, v, &b);
    p->be.remote->begin(&p->be, &b, NULL);
    p->be.block.rope_store(&p->be, dq, dk, dv, dcs, &a, &c.dev, &b);
    p->be.remote->end(&p->be);
    check_rows(p, dq, q, 2e-6, "%s: q", s->name), check_rows(p, dk, k, 2e-6, "%s: k", s->name);
    for (int is = 0; is < 3; is += 2) {
        int n = is ? 1 : 3, first = is ? 0 : 3, width = s->n_kv_head * s->d_k;
        size_t bytes = 0;
        dtype_bytes((int)type, width, &bytes);
        uint8_t *cell = malloc(4 * (size_t)n * bytes);
        p->ref.op.kv_get(&c.ref, is, first, n, cell, cell + (size_t)n * bytes), p->be.op.kv_get(&c.dev, is, first, n, cell + 2 * (size_t)n * bytes, cell + 3 * (size_t)n * bytes);
        ck_assert_msg(memcmp(cell + (size_t)n * bytes, cell + 3 * (size_t)n * bytes, (size_t)n * bytes) == 0, "%s, %s: values differ", s->name, dtype_name(type));
        /* a key's last bit may differ, and round to the neighbour */
        for (size_t i = 0; i < (size_t)n * bytes / 4 && type == DT_F32; i++) {
            float w, g;
            memcpy(&w, cell + 4 * i, 4), memcpy(&g, cell + 2 * (size_t)n * bytes + 4 * i, 4);
            ck_assert_msg(fabsf(w - g) <= 1e-5f, "%s: key %zu is %g, want %g", s->name, i, g, w);
        }
        for (size_t i = 0; i < (size_t)n * bytes / 2 && type == DT_F16; i++) {
            uint16_t w, g;
            memcpy(&w, cell + 2 * i, 2), memcpy(&g, cell + 2 * (size_t)n * bytes + 2 * i, 2);
            ck_assert_msg(fabsf(f16_to_float(w) - f16_to_float(g)) <= 2e-3f, "%s: key %zu", s->name, i);
        }
        for (size_t i = 0; i < (size_t)n * bytes && type == DT_F8_E4M3; i++) {
            float w = e4m3_to_f32(cell[i]), g = e4m3_to_f32(cell[2 * (size_t)n * bytes + i]);
            ck_assert_msg(fabsf(w - g) <= fmaxf(0x1p-9f, fabsf(w) / 8), "%s: key %zu is %g, want %g", s->name, i, g, w);
        }
        for (size_t i = 0; i < (size_t)n * bytes && type == DT_Q8_0; i++) {
            int off = (int8_t)cell[i] - (int8_t)cell[2 * (size_t)n * bytes + i];
            ck_assert_msg((i % 34 < 2) || (off >= -1 && off <= 1), "%s: key code %zu", s->name, i);
        }
        free(cell);
    }
    p->be.remote->release(&p->be, dv.data), p->be.remote->release(&p->be, dcs.data), caches_close(p, &c), device_close(d);
    free(q.data), free(k.data), free(v.data), free(cs.data), free((void *)(uintptr_t)qn.data), free((void *)(uintptr_t)kn.data);
}

START_TEST(rotated_and_stored_in_one)
{
    pair p;

    if (!pair_open(&p, &limits, "cuda/rope_store")) return;
    for (int is = 0; is < 6; is++) for (int t = 0; t < 4; t++) {
        static const llm_dtype types[] = { DT_F16, DT_F32, DT_Q8_0, DT_F8_E4M3 };
        if (types[t] == DT_Q8_0 && shapes[is].d_k % 32) continue;
        one_rope_store(&p, &shapes[is], types[t], is % 2 == 0, t ? ROPE_HALF : ROPE_PAIRS, is == 4 ? 64 : shapes[is].d_k & ~1);
    }
    pair_close(&p);
}
END_TEST

/* The products of queries, keys and values with their heads finished in the same launch: the bits of one after the other. */
static void one_qkv(pair *p, const shape *s, const llm_dtype weight[3], llm_dtype type, int n, bool norms)
{
    enum { COLS = 256 };
    int32_t pos[9], seq[9], token[9] = { 0 };
    llm_span span[9];
    llm_batch b = { n, n, token, pos, seq, span };
    int rows[3] = { s->n_head * s->d_k, s->n_kv_head * s->d_k, s->n_kv_head * s->d_k };
    llm_tensor w[3], bias = case_tensor(DT_F32, 0, rows[1], 1), qn = case_tensor(DT_F32, 0, s->d_k, 1), kn = case_tensor(DT_F32, 0, s->d_k, 1), *all[6] = { &w[0], &w[1], &w[2], &bias, &qn, &kn };
    llm_rope_store_args a = { s->d_k, ROPE_HALF, norms ? &qn : NULL, &kn, 1e-6f, 0 };
    llm_rows x = close_rows(n, COLS), cs = close_rows(n, s->d_k & ~1), dx = put_rows(&p->be, x), dcs = put_rows(&p->be, cs), y[2][3];
    llm_linear l[2][3];
    caches c[2];

    for (int i = 0; i < n; i++) pos[i] = 5 * i + 2, seq[i] = i % N_SEQ, span[i] = (llm_span){ i % N_SEQ, i, 1, pos[i] };
    for (int i = 0; i < 3; i++) w[i] = case_tensor(weight[i], 0, rows[i], COLS);
    llm_device *d = put_weights(all, 6);
    for (int k = 0; k < 2; k++) {
        caches_open(p, &c[k], s, type);
        for (int i = 0; i < 3; i++) y[k][i] = blank_rows(n, rows[i], rows[i]), l[k][i] = (llm_linear){ put_rows(&p->be, y[k][i]), &w[i], i == 1 ? &bias : NULL };
    }
    for (int again = 0; again < 2; again++) {           /* the counts of heads are as they were */
        p->be.remote->begin(&p->be, &b, NULL);
        p->be.op.linear(&p->be, l[0], 3, dx), p->be.block.rope_store(&p->be, l[0][0].y, l[0][1].y, l[0][2].y, dcs, &a, &c[0].dev, &b);
        p->be.block.qkv_store(&p->be, l[1], dx, dcs, &a, &c[1].dev, &b);
        p->be.remote->end(&p->be);
    }
    ck_assert_msg(p->be.err.status == LLM_OK, "%s", p->be.err.text);
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 2; k++) p->be.remote->download(&p->be, y[k][i].data, l[k][i].y.data, rows_bytes(y[k][i])), p->be.remote->release(&p->be, l[k][i].y.data);
        ck_assert_msg(memcmp(y[0][i].data, y[1][i].data, rows_bytes(y[0][i])) == 0, "%s, %s, %d rows: output %d", s->name, dtype_name(weight[0]), n, i);
    }
    for (int value = 0; value < 2; value++) {
        size_t bytes = N_SEQ * (value ? c[0].dev.v_seq_bytes : c[0].dev.k_seq_bytes);
        uint8_t *cell = malloc(2 * bytes);
        for (int k = 0; k < 2; k++) p->be.remote->download(&p->be, cell + (size_t)k * bytes, value ? c[k].dev.v : c[k].dev.k, bytes);
        ck_assert_msg(memcmp(cell, cell + bytes, bytes) == 0, "%s, %s in %s, %d rows: %s", s->name, dtype_name(weight[0]), dtype_name(type), n, value ? "values" : "keys");
        free(cell);
    }
    for (int k = 0; k < 2; k++) { caches_close(p, &c[k]); for (int i = 0; i < 3; i++) free(y[k][i].data); }
    p->be.remote->release(&p->be, dx.data), p->be.remote->release(&p->be, dcs.data), device_close(d), free(x.data), free(cs.data);
    for (int i = 0; i < 6; i++) free((void *)(uintptr_t)all[i]->data);
}

START_TEST(products_and_heads_in_one)
{
    static const llm_dtype same[] = { DT_Q8_0, DT_Q4_K, DT_F16, DT_MXFP4, DT_F32 }, mixed[3] = { DT_Q4_K, DT_Q4_K, DT_Q6_K }, kinds[] = { DT_F16, DT_Q8_0, DT_F8_E4M3, DT_F32 };
    static const int n[] = { 1, 2, 5, 8, 9 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/qkv_store")) return;
    for (int is = 0; is < 6; is++) for (int in = 0; in < COUNT(n); in++) {
        llm_dtype t = same[(is + in) % COUNT(same)], cache = kinds[in % COUNT(kinds)], all[3] = { t, t, t };
        if (cache == DT_Q8_0 && shapes[is].d_k % 32) cache = DT_F16;
        one_qkv(&p, &shapes[is], all, cache, n[in], in % 2 == 0);
    }
    one_qkv(&p, &shapes[2], mixed, DT_F16, 1, true);
    pair_close(&p);
}
END_TEST

START_TEST(long_contexts_in_parts)
{
    static const int fill[N_SEQ] = { 190, 0, 0 }, one[N_SEQ] = { 1, 1, 0 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/attend parts")) return;
    for (int is = 2; is < COUNT(shapes); is++) {
        if (is == 5) make_fine(&p);
        const shape *s = &shapes[is];
        llm_tensor sinks = case_tensor(DT_F32, 0, s->n_head, 1), *all[1] = { &sinks };
        llm_device *d = put_weights(all, 1);
        caches c;
        for (int k = 0; k < 1 + is % 2; k++) {
            llm_dtype type = k ? DT_F32 : DT_F16;
            caches_open(&p, &c, s, type);
            for (int i = 0; i < 5; i++) step(&p, &c, s, type, &sinks, fill, false);
            for (int i = 0; i < 2; i++) step(&p, &c, s, type, &sinks, one, true);
            caches_close(&p, &c);
        }
        device_close(d), free((void *)(uintptr_t)sinks.data);
    }
    pair_close(&p);
}
END_TEST

/* Rows at0 .. at0 + n - 1 of q, which are the last ones of sequence 0, in one step; with other sequences beside them. The bits go to out. */
static void attend_piece(pair *p, const caches *c, const shape *s, llm_rows q, int at0, int n, bool beside, const llm_tensor *sinks, float *out)
{
    llm_span span[N_SEQ] = { { 0, 0, n, c->length[0] - q.n + at0 } };
    int32_t token[256] = { 0 }, pos[256], seq[256];
    llm_batch b = { n, 1, token, pos, seq, span };
    llm_attn_args a = { s->n_head, s->window, 1 / sqrtf((float)s->d_k), s->softcap, s->sinks ? sinks : NULL };
    size_t width = (size_t)s->n_head * (size_t)s->d_v;

    for (int i = 0; i < n; i++) pos[i] = span[0].pos0 + i, seq[i] = 0;
    if (beside) span[1] = (llm_span){ 1, n, 1, c->length[1] - 1 }, pos[n] = span[1].pos0, seq[n] = 1, b.n++, b.n_span++;
    llm_rows in = { row_at(q, at0), n, q.width, q.stride }, x = blank_rows(b.n, q.width, q.width), y = blank_rows(b.n, (int)width, (int64_t)width);
    memset(x.data, 0, rows_bytes(x)), memcpy(x.data, in.data, (size_t)n * (size_t)q.width * sizeof(float));
    llm_rows dx = put_rows(&p->be, x), dy = put_rows(&p->be, y);
    p->be.remote->begin(&p->be, &b, NULL);
    p->be.op.attend(&p->be, dy, dx, &c->dev, &b, &a);
    p->be.remote->end(&p->be);
    ck_assert_msg(p->be.err.status == LLM_OK, "%s", p->be.err.text);
    p->be.remote->download(&p->be, out, dy.data, (size_t)n * width * sizeof *out);
    p->be.remote->release(&p->be, dx.data), p->be.remote->release(&p->be, dy.data), free(x.data), free(y.data);
}

/* One row at a time, in tiles of any size, alone or not: the same bits, over three parts of the keys; and what the reference has. */
START_TEST(deterministic_rows_depend_on_their_own_keys_alone)
{
    static const int fill[N_SEQ] = { 60, 130, 0 }, more[N_SEQ] = { 190, 0, 0 }, last[N_SEQ] = { 24, 0, 0 };
    enum { LAST = 24 };
    llm_limits l = limits;
    pair p;

    l.deterministic = true;
    if (!pair_open(&p, &l, "cuda/attend deterministic")) return;
    for (int turn = 1; turn < 2 * COUNT(shapes); turn += turn < COUNT(shapes) ? 1 : 3) {
        int is = turn % COUNT(shapes);
        if (turn == COUNT(shapes)) make_fine(&p);
        const shape *s = &shapes[is];
        llm_tensor sinks = case_tensor(DT_F32, 0, s->n_head, 1), *all[1] = { &sinks };
        llm_device *d = put_weights(all, 1);
        llm_dtype type = turn % 2 ? DT_F32 : DT_F16;
        size_t width = (size_t)s->n_head * (size_t)s->d_v;
        float *want = malloc(LAST * width * sizeof *want), *got = malloc(LAST * width * sizeof *got);
        static const int cut[] = { LAST, 0, 17, 7, 0, 1, 23, 0 };
        caches c;
        caches_open(&p, &c, s, type);
        step(&p, &c, s, type, &sinks, fill, false);
        for (int i = 0; i < 3; i++) step(&p, &c, s, type, &sinks, more, false);
        step(&p, &c, s, type, &sinks, last, true);
        llm_rows q = close_rows(LAST, s->n_head * s->d_k);
        for (int i = 0; i < LAST; i += i == 0 ? LAST - 3 : 1) attend_piece(&p, &c, s, q, i, 1, false, &sinks, want + (size_t)i * width);
        for (int k = 0, at = 0; k < COUNT(cut); k++) {
            if (cut[k] > 0) { attend_piece(&p, &c, s, q, at, cut[k], k % 2 == 0, &sinks, got + (size_t)at * width), at += cut[k]; continue; }
            for (int i = 0; i < LAST; i += i == 0 ? LAST - 3 : 1)
                ck_assert_msg(memcmp(got + (size_t)i * width, want + (size_t)i * width, width * sizeof *got) == 0, "%s: row %d differs, cut %d", s->name, i, k);
            at = 0;
        }
        caches_close(&p, &c), device_close(d), free(q.data), free(want), free(got), free((void *)(uintptr_t)sinks.data);
    }
    pair_close(&p);
}
END_TEST

/* Another session may record a step while a file or a copy comes into the cells of this one. */
START_TEST(cells_are_put_while_a_step_is_recorded)
{
    enum { WIDTH = 2 * 64 };
    int32_t token = 0, pos = 0, seq = 0;
    llm_span span = { 0, 0, 1, 0 };
    llm_batch b = { 1, 1, &token, &pos, &seq, &span };
    uint16_t in[2][WIDTH], out[2][WIDTH];
    uint8_t want = 1;
    caches c;
    pair p;

    if (!pair_open(&p, &limits, "cuda/cells")) return;
    caches_open(&p, &c, &shapes[2], DT_F16);
    for (int turn = 0; turn < 3; turn++) {      /* as it comes, recorded, replayed */
        for (int i = 0; i < WIDTH; i++) in[0][i] = (uint16_t)(100 * turn + i), in[1][i] = (uint16_t)(200 * turn + i);
        p.be.remote->begin(&p.be, &b, &want);
        p.be.op.kv_put(&c.dev, 1, turn, 1, in[0], in[1]);
        p.be.remote->end(&p.be);
        ck_assert_msg(p.be.err.status == LLM_OK, "%s", p.be.err.text);
        p.be.op.kv_get(&c.dev, 1, turn, 1, out[0], out[1]);
        ck_assert(memcmp(in, out, sizeof in) == 0);
    }
    caches_close(&p, &c), pair_close(&p);
}
END_TEST

LLM_TEST_MAIN("cuda/attend", prefill_and_decoding, rotated_and_stored_in_one, products_and_heads_in_one, long_contexts_in_parts, deterministic_rows_depend_on_their_own_keys_alone, cells_are_put_while_a_step_is_recorded)
