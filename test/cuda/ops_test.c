/* The other ops on the device (or its shim) against the scalar reference: norm, rotation, elements, embedding, routing. */
#include "cuda_case.h"

static const llm_limits limits = { .n_batch = 40, .max_cols = 4096, .max_rows = 4096, .n_expert = 256, .n_expert_used = 8, .d_ff_expert = 64, .d_model = 4096, .n_head = 8, .max_d_head = 64, .n_ctx = 256 };
#define COUNT(a) (int)(sizeof (a) / sizeof (a)[0])

START_TEST(norm_add_and_activations)
{
    static const int width[] = { 1, 31, 64, 129, 2880 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/elements")) return;
    for (int iw = 0; iw < COUNT(width); iw++) for (int n = 1; n < 8; n += 5) {
        int w = width[iw];
        llm_tensor t = case_tensor(iw % 2 ? DT_F32 : DT_BF16, 0, w, 1), *all[1] = { &t };
        llm_device *d = put_weights(all, 1);
        llm_rows x = case_rows(n, w), y = case_rows(n, w), gate = case_rows(n, 1), want, got, dx = put_rows(&p.be, x), dy = put_rows(&p.be, y), dg = put_rows(&p.be, gate);
        float *s = malloc((size_t)n * sizeof *s), *ds;
        for (int i = 0; i < n; i++) s[i] = case_float();
        ds = put_bytes(&p.be, s, (size_t)n * sizeof *s);
        want = blank_rows(n, w, w + 2), got = put_rows(&p.be, want);
        p.ref.op.norm(&p.ref, want, x, &t, 1e-6f, 1.0f), p.be.op.norm(&p.be, got, dx, &t, 1e-6f, 1.0f);
        check_rows(&p, got, want, 2e-6, "norm %d", w);
        for (int act = ACT_SILU; act <= ACT_SWIGLU_OAI; act++) {
            got = put_rows(&p.be, want);
            p.ref.op.glu(&p.ref, want, x, y, (llm_act)act, 0.7f), p.be.op.glu(&p.be, got, dx, dy, (llm_act)act, 0.7f);
            check_rows(&p, got, want, 2e-6, "glu %d width %d", act, w);
        }
        got = put_rows(&p.be, want), p.ref.op.add(&p.ref, want, x), p.be.op.add(&p.be, got, dx);
        check_rows(&p, got, want, 1e-7, "add %d", w);
        got = put_rows(&p.be, want), p.ref.op.add_gated(&p.ref, want, y, gate), p.be.op.add_gated(&p.be, got, dy, dg);
        check_rows(&p, got, want, 2e-6, "add_gated %d", w);
        got = put_rows(&p.be, want), p.ref.op.softcap(&p.ref, want, 3), p.be.op.softcap(&p.be, got, 3);
        check_rows(&p, got, want, 2e-6, "softcap %d", w);
        got = put_rows(&p.be, want), p.ref.op.scale_rows(&p.ref, want, s), p.be.op.scale_rows(&p.be, got, ds);
        check_rows(&p, got, want, 1e-7, "scale_rows %d", w);
        p.be.remote->release(&p.be, dx.data), p.be.remote->release(&p.be, dy.data), p.be.remote->release(&p.be, dg.data), p.be.remote->release(&p.be, ds);
        free(x.data), free(y.data), free(gate.data), free(want.data), free(s), free((void *)(uintptr_t)t.data), device_close(d);
    }
    pair_close(&p);
}
END_TEST

START_TEST(rotation_and_moves_of_heads)
{
    enum { N = 5, HEADS = 3, D = 40, ROT = 24 };
    static const int32_t pos[N] = { 0, 1, 77, 4095, 131071 };
    float freq[ROT / 2];
    llm_rope rope = { freq, ROT, 1.25f };
    pair p;

    if (!pair_open(&p, &limits, "cuda/rope")) return;
    for (int i = 0; i < ROT / 2; i++) freq[i] = powf(10000.0f, -2.0f * (float)i / ROT);
    llm_rows cs = blank_rows(N, ROT, ROT), dcs = put_rows(&p.be, cs), copy;
    p.ref.op.rope_table(&p.ref, cs, &rope, pos), p.be.op.rope_table(&p.be, dcs, &rope, pos);
    copy = put_rows(&p.be, cs);
    check_rows(&p, dcs, cs, 1e-7, "rope table");
    for (int style = ROPE_HALF; style <= ROPE_PAIRS; style++) for (int offset = 0; offset <= 16; offset += 16) {
        llm_rows x = case_rows(N, HEADS * D), dx = put_rows(&p.be, x);
        p.ref.op.rope(&p.ref, x, cs, D, offset, (llm_rope_style)style), p.be.op.rope(&p.be, dx, copy, D, offset, (llm_rope_style)style);
        check_rows(&p, dx, x, 1e-6, "rope style %d offset %d", style, offset);
        free(x.data);
    }
    llm_rows x = case_rows(N, HEADS * D), dx = put_rows(&p.be, x), y = case_rows(N, HEADS * 20), dy = put_rows(&p.be, y);
    p.ref.op.copy_heads(&p.ref, y, 20, x, D, HEADS, 17), p.be.op.copy_heads(&p.be, dy, 20, dx, D, HEADS, 17);
    check_rows(&p, dy, y, 0, "copy_heads");
    p.be.remote->release(&p.be, dx.data), p.be.remote->release(&p.be, copy.data);
    free(x.data), free(y.data), free(cs.data);
    pair_close(&p);
}
END_TEST

START_TEST(embedding_of_every_type)
{
    static const llm_dtype types[] = { DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_IQ4_NL, DT_MXFP4, DT_Q4_G,
                                       DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_XS,
                                       DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ1_S, DT_IQ1_M, DT_TQ1_0, DT_TQ2_0 };
    static const int32_t token[] = { 6, 0, 3, 6 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/embed")) return;
    for (int t = 0; t < COUNT(types); t++) {
        int cols = dtype_info(types[t])->block > 1 ? 512 : 50;
        case_state = (uint64_t)t;
        llm_tensor w = case_tensor(types[t], 0, 7, cols), *all[1] = { &w };
        llm_rows want = blank_rows(4, cols, cols + 1), got = put_rows(&p.be, want);
        llm_device *d = put_weights(all, 1);
        p.ref.op.embed(&p.ref, want, &w, token, 1.5f), p.be.op.embed(&p.be, got, &w, token, 1.5f);
        check_rows(&p, got, want, 1e-6, "embed %s", dtype_name(types[t]));
        device_close(d), free(want.data), free((void *)(uintptr_t)w.data);
    }
    static const int32_t beyond[] = { 1, 50 };
    llm_tensor w = case_tensor(DT_F32, 0, 50, 16), *all[1] = { &w };
    llm_rows y = blank_rows(2, 16, 16), dy = put_rows(&p.be, y);
    llm_device *d = put_weights(all, 1);
    p.be.op.embed(&p.be, dy, &w, beyond, 1);
    ck_assert_int_eq(p.be.err.status, LLM_ERR_ARG);
    p.be.err.status = LLM_OK;
    p.be.remote->release(&p.be, dy.data), device_close(d), free(y.data), free((void *)(uintptr_t)w.data);
    pair_close(&p);
}
END_TEST

static void routing(pair *p, const llm_route_args *a, int n, bool with_bias)
{
    llm_tensor bias = case_tensor(DT_F32, 0, a->n_expert, 1), *all[1] = { &bias };
    llm_rows score = case_rows(n, a->n_expert), want = blank_rows(n, a->n_used, a->n_used), ds = put_rows(&p->be, score), got = put_rows(&p->be, want);
    size_t bytes = (size_t)(n * a->n_used) * sizeof(int32_t);
    int32_t *we = malloc(bytes), *ge = malloc(bytes), *de;
    llm_device *d = put_weights(all, 1);

    memset(we, 0, bytes), de = put_bytes(&p->be, we, bytes);
    p->ref.op.route(&p->ref, want, we, score, with_bias ? &bias : NULL, a), p->be.op.route(&p->be, got, de, ds, with_bias ? &bias : NULL, a);
    p->be.remote->download(&p->be, ge, de, bytes);
    check_rows(p, got, want, 2e-6, "route gate %d of %d", (int)a->gate, a->n_expert);
    for (int i = 0; i < n * a->n_used; i++) ck_assert_msg(we[i] == ge[i], "gate %d: place %d has expert %d, want %d", (int)a->gate, i, ge[i], we[i]);
    p->be.remote->release(&p->be, ds.data), p->be.remote->release(&p->be, de), device_close(d);
    free(score.data), free(want.data), free(we), free(ge), free((void *)(uintptr_t)bias.data);
}

START_TEST(routing_of_every_kind)
{
    static const llm_route_args kind[] = {
        { GATE_SOFTMAX, 60, 4, 0, 0, false, false, 1 }, { GATE_SOFTMAX, 128, 8, 0, 0, true, false, 1 }, { GATE_TOPK_SOFTMAX, 32, 4, 0, 0, false, false, 1 },
        { GATE_SIGMOID, 256, 8, 8, 4, true, true, 2.5f }, { GATE_SOFTMAX, 160, 6, 8, 3, false, false, 16 }, { GATE_TOPK_SOFTMAX, 1, 1, 0, 0, true, false, 1 },
    };
    pair p;

    if (!pair_open(&p, &limits, "cuda/route")) return;
    for (int i = 0; i < COUNT(kind); i++) routing(&p, &kind[i], 37, kind[i].gate == GATE_SIGMOID);
    pair_close(&p);
}
END_TEST

START_TEST(sum_and_norm_in_one)
{
    static const int width[] = { 1, 64, 129, 2880 };
    pair p;

    if (!pair_open(&p, &limits, "cuda/add_norm")) return;
    for (int iw = 0; iw < COUNT(width); iw++) {
        int w = width[iw];
        llm_tensor t = case_tensor(DT_F32, 0, w, 1), *all[1] = { &t };
        llm_device *d = put_weights(all, 1);
        llm_rows x = case_rows(3, w), o = case_rows(3, w), h = blank_rows(3, w, w + 1), dx = put_rows(&p.be, x), dof = put_rows(&p.be, o), dh = put_rows(&p.be, h);
        p.ref.op.add(&p.ref, x, o), p.ref.op.norm(&p.ref, h, x, &t, 1e-6f, 1);
        p.be.block.add_norm(&p.be, dx, dof, dh, &t, 1e-6f, 1);
        check_rows(&p, dx, x, 1e-7, "sum %d", w), check_rows(&p, dh, h, 2e-6, "norm of the sum %d", w);
        p.be.remote->release(&p.be, dof.data), device_close(d), free(x.data), free(o.data), free(h.data), free((void *)(uintptr_t)t.data);
    }
    pair_close(&p);
}
END_TEST

/* The best candidates of a row by counting, in their order. */
static void check_top(pair *p, const float *x, const float *dx, int n, int k)
{
    static llm_top t;
    double sum = 0;

    t.x = dx, t.n = n, t.k = k, t.n_asked = n < 3 ? 0 : 3;
    for (int i = 0; i < t.n_asked; i++) t.asked[i] = (i * 7 + 1) % n;
    p->be.remote->top(&p->be, &t, 1);
    ck_assert_msg(p->be.err.status == LLM_OK, "%s", p->be.err.text);
    for (int i = 0; i < t.n_asked; i++) ck_assert(float_bits(t.value[i]) == float_bits(x[t.asked[i]]));
    for (int i = 0; i < k; i++) {
        int id = t.best[i].id, before = 0;
        ck_assert(id >= 0 && id < n && float_bits(t.best[i].value) == float_bits(x[id]));
        bool odd = !(x[id] < INFINITY);
        for (int j = 0; j < n; j++) {
            bool odd_j = !(x[j] < INFINITY), equal = odd && odd_j ? true : !odd && !odd_j && x[j] == x[id];
            before += (odd_j && !odd) || (!odd && !odd_j && x[j] > x[id]) || (equal && j < id);
        }
        ck_assert_msg(before == i, "place %d of %d values has the one that %d come before", i, n, before);
    }
    for (int i = 0; i < n; i++) sum += exp((double)x[i] - t.best[0].value);
    if (k > 1 && t.best[0].value < INFINITY && t.best[0].value > -INFINITY) ck_assert_msg(fabs(t.sum - sum) <= 1e-5 * sum, "sum %g, want %g", t.sum, sum);
}

START_TEST(greatest_logits)
{
    static const int width[] = { 1, 2, 300, 2048, 2049, 30000 };
    static const llm_limits wide = { .n_batch = 1, .max_cols = 64, .max_rows = 30000, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1, .d_model = 64, .n_head = 1, .max_d_head = 64, .n_ctx = 256 };
    pair p;

    if (!pair_open(&p, &wide, "cuda/top")) return;
    for (int iw = 0; iw < COUNT(width); iw++) for (int style = 0; style < 4; style++) {
        int n = width[iw];
        llm_rows x = case_rows(1, n);
        for (int i = 0; i < n; i++) {
            x.data[i] *= 10;
            if (style == 1) x.data[i] = floorf(x.data[i] / 4) * (i % 2 ? 1.0f : -1.0f);     /* ties, zeros of both signs */
            if (style == 2 && i % 3) x.data[i] = -INFINITY;
            if (style == 3 && i % 1000 == 299) x.data[i] = i % 2000 == 299 ? NAN : INFINITY;
        }
        llm_rows dx = put_rows(&p.be, x);
        for (int k = 1; k <= n && k <= TOP_MOST; k *= 16) check_top(&p, x.data, dx.data, n, k);
        if (n >= 300) check_top(&p, x.data, dx.data, n, 40);
        p.be.remote->release(&p.be, dx.data), free(x.data);
    }
    pair_close(&p);
}
END_TEST

/* Rows at once give each row's bits when it is alone, whatever the others ask for; more than have room beside each other, too. */
START_TEST(greatest_logits_of_many_rows)
{
    enum { LONG = 1 << 21 };
    static const llm_limits wide = { .n_batch = 1, .max_cols = 64, .max_rows = LONG, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1, .d_model = 64, .n_head = 1, .max_d_head = 64, .n_ctx = 256 };
    static const struct { int n, width, k; } set[] = { { TOP_ROWS, 5000, 0 }, { 7, 1, 1 }, { 4, LONG, TOP_MOST } };
    llm_top *all = calloc(TOP_ROWS, sizeof *all), *one = calloc(1, sizeof *one);
    pair p;

    if (!pair_open(&p, &wide, "cuda/top of rows")) { free(all), free(one); return; }
    for (int is = 0; is < COUNT(set); is++) {
        int n = set[is].n, width = set[is].width;
        llm_rows x = case_rows(n, width), dx = put_rows(&p.be, x);
        for (int i = 0; i < n; i++) {
            int k = set[is].k ? set[is].k : i % 3 == 0 ? 1 : 1 + i * 37 % TOP_MOST;
            all[i].x = row_at(dx, n - 1 - i), all[i].n = width - (i % 2 && width > 1), all[i].k = k, all[i].n_asked = i % 5 < width ? i % 5 : 0;
            for (int a = 0; a < all[i].n_asked; a++) all[i].asked[a] = (i * 11 + a * 3) % all[i].n;
        }
#ifdef LLM_CUDA_SHIM
        extern size_t shim_copies[2], shim_waits;
        size_t down = shim_copies[0], up = shim_copies[1], waits = shim_waits;
#endif
        p.be.remote->top(&p.be, all, n);
        ck_assert_msg(p.be.err.status == LLM_OK, "%s", p.be.err.text);
#ifdef LLM_CUDA_SHIM
        ck_assert(shim_copies[0] - down == 1 && shim_copies[1] - up == 1 && shim_waits - waits == 1);
#endif
        for (int i = 0; i < n; i += set[is].k == TOP_MOST ? n - 1 : 1) {    /* of the long rows the first and the last */
            *one = all[i], memset(one->best, 0, sizeof one->best), memset(one->value, 0, sizeof one->value), one->sum = -1;
            p.be.remote->top(&p.be, one, 1);
            ck_assert(memcmp(one->best, all[i].best, (size_t)one->k * sizeof *one->best) == 0 && memcmp(&one->sum, &all[i].sum, sizeof one->sum) == 0);
            ck_assert(memcmp(one->value, all[i].value, (size_t)one->n_asked * sizeof *one->value) == 0);
        }
        p.be.remote->release(&p.be, dx.data), free(x.data);
    }
    p.be.remote->top(&p.be, all, TOP_ROWS + 1);
    ck_assert(p.be.err.status == LLM_ERR_INTERNAL);
    pair_close(&p), free(all), free(one);
}
END_TEST

LLM_TEST_MAIN("cuda/ops", norm_add_and_activations, rotation_and_moves_of_heads, embedding_of_every_type, routing_of_every_kind, sum_and_norm_in_one, greatest_logits, greatest_logits_of_many_rows)
