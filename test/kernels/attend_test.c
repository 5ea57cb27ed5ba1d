/* Attention: the reference against a double-precision model; every set, thread count, cut of the batch and mix of
 * sequences against the reference, bit for bit. */
#include "kernel_test.h"
#include "kv.h"

typedef struct {
    const char *name;
    int n_head, n_kv_head, d_k, d_v, window, length;
    float softcap;
    bool sinks, latent;
    llm_dtype dtype;
} shape;

static const shape shapes[] = {
    { "one key, one value",         1, 1,   1,   1,   0,    3, 0,  false, false, DT_F32 },
    { "qwen3-like",                 4, 2, 128, 128,   0,   90, 0,  false, false, DT_F16 },
    { "gpt-oss-like, window",       8, 1,  64,  64, 128,  200, 0,  true,  false, DT_F16 },
    { "gpt-oss-like, global",       8, 1,   8,  16,   0,  600, 0,  true,  false, DT_F16 },
    { "gemma2-like",                2, 1, 256, 256, 100,  130, 50, false, false, DT_F16 },
    { "every head its own keys",    7, 7,  80,  80,   0,   70, 0,  false, false, DT_F32 },
    { "odd widths, window 1",       6, 2,  19,  37,   1,  150, 0,  true,  false, DT_F16 },
    { "odd widths, window 65",      5, 1,  33,  23,  65,  200, 20, false, false, DT_F32 },
    { "latent, 16 heads",          16, 1,  24,  16,   0,  530, 0,  false, true,  DT_F16 },
    { "latent, odd",                5, 1,  41,  29,  70,  150, 0,  true,  true,  DT_F32 },
    { "more heads than a tile",   100, 1,  24,  16,   0,   70, 0,  false, true,  DT_F16 },
    { "eight bits",                 6, 2,  64,  32,   0,  150, 0,  false, false, DT_Q8_0 },
    { "eight bits, window",        16, 1,  32,  96,  70,  200, 0,  true,  false, DT_Q8_0 },
    { "E4M3",                       6, 2,  64,  32,   0,  150, 0,  false, false, DT_F8_E4M3 },
    { "E4M3, odd widths, window",   9, 3,  19,  37,  70,  200, 20, true,  false, DT_F8_E4M3 },
    { "window wider than a chunk",  3, 1,   8,   8, 900, 1100, 0,  false, false, DT_F16 },
};
enum { N_SHAPE = sizeof shapes / sizeof shapes[0] };

/* One sequence's inputs. */
typedef struct { float *q, *k, *v, *sink; int wq, wk, wv, wo; } inputs;

static inputs make_inputs(const shape *s, uint64_t seed)
{
    inputs in = { .wq = s->n_head * s->d_k, .wk = s->n_kv_head * s->d_k, .wv = s->n_kv_head * s->d_v, .wo = s->n_head * s->d_v };
    size_t n = (size_t)s->length;

    in.q = rnd_floats(seed, n * (size_t)in.wq, 3), in.k = rnd_floats(seed + 1, n * (size_t)in.wk, 2);
    in.v = rnd_floats(seed + 2, n * (size_t)in.wv, 2), in.sink = rnd_floats(seed + 3, (size_t)s->n_head, 3);
    return in;
}

static void free_inputs(inputs *in) { free(in->q), free(in->k), free(in->v), free(in->sink); }

enum { MAX_BATCH = 96 };

/* A cache for n_seq sequences of the shape, just large enough for batches of n_batch. */
static llm_kv_layer make_kv(llm_backend *be, const shape *s, int n_seq, int n_batch)
{
    int cells = s->window ? s->window + n_batch - 1 : s->length;
    llm_kv_layer kv = { .dtype = s->dtype, .n_kv_head = s->n_kv_head, .d_k = s->d_k, .d_v = s->d_v, .latent = s->latent, .n_seq = n_seq,
                        .n_cell = (cells + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK };

    ck_assert(be->op.kv_size(&kv));
    ck_assert(kv.k_seq_bytes % 64 == 0 && kv.v_seq_bytes % 64 == 0);
    kv.k = aligned_alloc(64, kv.k_seq_bytes * (size_t)n_seq);
    kv.v = kv.v_seq_bytes ? aligned_alloc(64, kv.v_seq_bytes * (size_t)n_seq) : NULL;
    memset(kv.k, 0xff, kv.k_seq_bytes * (size_t)n_seq);         /* NaN: what was never stored must not matter */
    if (kv.v) memset(kv.v, 0xff, kv.v_seq_bytes * (size_t)n_seq);
    return kv;
}

/* Runs n positions of each of n_seq sequences from the positions at[] on, in one batch; o[s] [length, wo]. */
static void step(llm_backend *be, const shape *s, llm_kv_layer *kv, const inputs *in, float **o, int n_seq, int *at, const int *n)
{
    int32_t pos[MAX_BATCH], seq[MAX_BATCH];
    llm_span span[8];
    llm_batch b = { .pos = pos, .seq = seq, .span = span };
    llm_tensor sinks = f32_vector(in[0].sink, s->n_head);
    llm_attn_args a = { s->n_head, s->window, 0.3f, s->softcap, s->sinks ? &sinks : NULL };
    int wq = in->wq + 3, wk = in->wk, wv = in->wv, wo = in->wo + 1;    /* rows further apart than wide */

    for (int i = 0; i < n_seq; i++) {
        if (n[i] == 0) continue;
        span[b.n_span++] = (llm_span){ i, b.n, n[i], at[i] };
        for (int r = 0; r < n[i]; r++) pos[b.n] = at[i] + r, seq[b.n++] = i;
    }
    float *q = calloc((size_t)(b.n * wq), 4), *k = calloc((size_t)(b.n * wk), 4), *v = calloc((size_t)(b.n * wv), 4), *out = calloc((size_t)(b.n * wo), 4);
    for (int r = 0; r < b.n; r++) {
        const inputs *x = &in[seq[r]];
        memcpy(q + r * wq, x->q + (size_t)pos[r] * (size_t)x->wq, (size_t)x->wq * 4);
        memcpy(k + r * wk, x->k + (size_t)pos[r] * (size_t)wk, (size_t)wk * 4);
        memcpy(v + r * wv, x->v + (size_t)pos[r] * (size_t)wv, (size_t)wv * 4);
    }
    be->op.store(be, kv, rows_of(k, b.n, wk), rows_of(v, b.n, wv), &b);
    be->op.attend(be, (llm_rows){ out, b.n, in->wo, wo }, (llm_rows){ q, b.n, in->wq, wq }, kv, &b, &a);
    ck_assert_msg(be->err.status == LLM_OK, "%s", be->err.text);
    for (int r = 0; r < b.n; r++) memcpy(o[seq[r]] + (size_t)pos[r] * (size_t)in->wo, out + r * wo, (size_t)in->wo * 4);
    for (int i = 0; i < n_seq; i++) at[i] += n[i];
    free(q), free(k), free(v), free(out);
}

/* Positions 0..length-1 of sequence 0 in batches of at most `most` (random when cuts is not 0) into o. */
static void run_one(const shape *s, const inputs *in, float *o, llm_isa isa, int threads, int most, uint64_t cuts)
{
    llm_backend be;
    llm_kv_layer kv;
    int at = 0, n;

    open_cpu(&be, isa, threads, 128);
    kv = make_kv(&be, s, 1, most);
    while (at < s->length) {
        n = cuts ? (int)(rnd(&cuts) % (unsigned)most) + 1 : most;
        if (n > s->length - at) n = s->length - at;
        step(&be, s, &kv, in, &o, 1, &at, &n);
    }
    free(kv.k), free(kv.v);
    backend_cpu_close(&be);
}

static float *outputs(const shape *s) { return calloc((size_t)s->length * (size_t)(s->n_head * s->d_v), sizeof(float)); }

/* What the cache makes of n values: kv.h says how each type rounds. */
static void round_as_stored(const shape *s, float *x, int n)
{
    for (int i = 0; i < n && s->dtype == DT_F16; i++) x[i] = f16_to_float(float_to_f16(x[i]));
    for (int i = 0; i < n && s->dtype == DT_F8_E4M3; i++) x[i] = e4m3_to_f32(f32_to_e4m3(x[i]));
    for (int g = 0; g < n && s->dtype == DT_Q8_0; g += 32) {
        float top = 0, d;
        for (int i = g; i < g + 32; i++) top = fmaxf(top, fabsf(x[i]));
        d = f16_to_float(float_to_f16(top / 127));
        for (int i = g; i < g + 32; i++) x[i] = d * fminf(fmaxf(nearbyintf(x[i] * (1 / d)), -127), 127);
    }
}

START_TEST(reference_is_near_a_double_model)
{
    for (int i = 0; i < N_SHAPE; i++) {
        if (TEST_IS_SLOW && i % 2 == 0) continue;
        const shape *s = &shapes[i];
        inputs in = make_inputs(s, 40);
        float *o = outputs(s);
        double *w = malloc((size_t)s->length * sizeof *w), worst = 0;
        run_one(s, &in, o, ISA_SCALAR, 4, 64, 0);
        for (int r = 0; r < s->length * in.wq; r++) in.q[r] *= 0.3f;
        if (s->dtype == DT_Q8_0) round_as_stored(s, in.q, s->length * in.wq);       /* and so are queries, times scale */
        round_as_stored(s, in.k, s->length * in.wk), round_as_stored(s, in.v, s->length * in.wv);
        for (int p = 0; p < s->length; p += p < 70 ? 1 : 37)
            for (int h = 0; h < s->n_head; h++) {
                int g = h / (s->n_head / s->n_kv_head), from = s->window && p >= s->window ? p - s->window + 1 : 0;
                double max = s->sinks ? (double)in.sink[h] : -1e30, sum;
                for (int j = from; j <= p; j++) {
                    double x = 0;
                    for (int d = 0; d < s->d_k; d++)
                        x += (double)in.q[p * in.wq + h * s->d_k + d] * (double)in.k[j * in.wk + g * s->d_k + d];
                    if (s->softcap > 0) x = (double)s->softcap * tanh(x / (double)s->softcap);
                    w[j] = x, max = x > max ? x : max;
                }
                sum = s->sinks ? exp((double)in.sink[h] - max) : 0;
                for (int j = from; j <= p; j++) w[j] = exp(w[j] - max), sum += w[j];
                for (int d = 0; d < s->d_v; d++) {
                    double want = 0, e;
                    for (int j = from; j <= p; j++)
                        want += w[j] * (double)(s->latent ? in.k[j * in.wk + d] : in.v[j * in.wv + g * s->d_v + d]);
                    e = fabs(want / sum - (double)o[(size_t)p * (size_t)in.wo + (size_t)(h * s->d_v + d)]);
                    worst = e > worst ? e : worst;
                }
            }
        ck_assert_msg(worst < 5e-5, "%s: off by %g of 2", s->name, worst);
        free(w), free(o), free_inputs(&in);
    }
}
END_TEST

static void same(const shape *s, const float *want, const float *got, const char *how, llm_isa isa, int threads)
{
    int width = s->n_head * s->d_v;

    for (int i = 0; i < s->length * width; i++)
        if (float_bits(want[i]) != float_bits(got[i]))
            ck_abort_msg("%s, %s, %d threads, %s: position %d, element %d: got %a, want %a", s->name, isa_name(isa), threads, how, i / width,
                         i % width, (double)got[i], (double)want[i]);
}

typedef struct { const char *name; int threads, most; bool random; } way;
static const way ways[] = {
    { "batches of 96", 1, MAX_BATCH, false }, { "batches of 96", 3, MAX_BATCH, false },
    { "random cuts",   1, 50, true }, { "random cuts", 2, 50, true }, { "random cuts", 4, 50, true },
    { "one by one",    1, 1, false }, { "one by one",  4, 1, false },
};
enum { N_WAY = sizeof ways / sizeof ways[0] };

START_TEST(cuts_threads_and_sets_do_not_matter)
{
    for (int i = 0; i < N_SHAPE; i++) {
        const shape *s = &shapes[i];
        inputs in = make_inputs(s, 50);
        float *want = outputs(s), *got = outputs(s);
        run_one(s, &in, want, ISA_SCALAR, 4, 1, 0);
        for (int isa = 0; isa < N_ISA; isa++) {
            if (!cpu_has_isa(all_isas[isa])) continue;
            for (int k = 0; k < (all_isas[isa] == ISA_SCALAR ? 1 : N_WAY); k++) {
                const way *w = &ways[k];
                if (TEST_IS_SLOW && (i + isa + k) % N_WAY != 0) continue;
                run_one(s, &in, got, all_isas[isa], w->threads, w->most, w->random ? (uint64_t)w->threads : 0);
                same(s, want, got, w->name, all_isas[isa], w->threads);
            }
        }
        free(want), free(got), free_inputs(&in);
    }
}
END_TEST

START_TEST(other_sequences_do_not_matter)
{
    enum { N_SEQ = TEST_IS_SLOW ? 3 : 5 };

    for (int i = 0; i < N_SHAPE; i++)
        for (int isa = 1; isa < N_ISA; isa++) {
            if (!cpu_has_isa(all_isas[isa]) || (TEST_IS_SLOW && (i + isa) % 2)) continue;
            const shape *s = &shapes[i];
            inputs in[N_SEQ];
            float *want[N_SEQ], *got[N_SEQ], *sink;
            uint64_t seed = (uint64_t)i;
            int at[N_SEQ] = { 0 }, n[N_SEQ], left = N_SEQ * s->length;
            llm_backend be;
            open_cpu(&be, all_isas[isa], 3, 128);
            llm_kv_layer kv = make_kv(&be, s, N_SEQ, MAX_BATCH);
            for (int q = 0; q < N_SEQ; q++) {
                in[q] = make_inputs(s, 100 * (uint64_t)q), want[q] = outputs(s), got[q] = outputs(s);
                sink = in[q].sink, memcpy(sink, in[0].sink, (size_t)s->n_head * sizeof *sink);
                run_one(s, &in[q], want[q], all_isas[isa], 1, 64, 0);
            }
            while (left > 0) {
                for (int q = 0; q < N_SEQ; q++) {
                    n[q] = rnd(&seed) % 3 == 0 ? 0 : (int)(rnd(&seed) % (rnd(&seed) % 2 ? 2 : MAX_BATCH / N_SEQ));
                    if (n[q] > s->length - at[q]) n[q] = s->length - at[q];
                    left -= n[q];
                }
                step(&be, s, &kv, in, got, N_SEQ, at, n);
            }
            for (int q = 0; q < N_SEQ; q++) same(s, want[q], got[q], "mixed", all_isas[isa], 3), free(want[q]), free(got[q]), free_inputs(&in[q]);
            free(kv.k), free(kv.v);
            backend_cpu_close(&be);
        }
}
END_TEST

/* A later position's infinite value (F16 overflows) stays out of earlier rows even when one tile holds both. */
START_TEST(later_values_do_not_leak)
{
    shape s = { "overflow", 2, 1, 16, 16, 0, 40, 0, false, false, DT_F16 };
    inputs in = make_inputs(&s, 60);
    float *want = outputs(&s), *got = outputs(&s);

    in.v[20 * in.wv] = 1e9f, in.k[30 * in.wk] = NAN;
    run_one(&s, &in, want, ISA_SCALAR, 1, 1, 0);
    run_one(&s, &in, got, cpu_best_isa(), 1, 40, 0);
    for (int p = 0; p < 40; p++)
        for (int d = 0; d < in.wo; d++) {
            float a = want[p * in.wo + d], b = got[p * in.wo + d];
            ck_assert_msg(isnan(a) ? isnan(b) : a == b, "position %d: got %g, want %g", p, (double)b, (double)a);
            ck_assert(p >= 20 || isfinite(b));
        }
    free(want), free(got), free_inputs(&in);
}
END_TEST

START_TEST(refuses_what_has_no_scratch)
{
    shape s = { "too wide", 1, 1, 2000, 16, 0, 1, 0, false, false, DT_F32 };
    inputs in = make_inputs(&s, 1);
    llm_backend be;
    int32_t zero = 0;
    llm_span span = { 0, 0, 1, 0 };
    llm_batch b = { 1, 1, &zero, &zero, &zero, &span };
    llm_attn_args a = { .n_head = 1, .scale = 1 };
    float o[16];

    open_cpu(&be, cpu_best_isa(), 1, 16);
    llm_kv_layer kv = make_kv(&be, &s, 1, 1);
    be.op.attend(&be, rows_of(o, 1, 16), rows_of(in.q, 1, 2000), &kv, &b, &a);
    ck_assert(be.err.status == LLM_ERR_UNSUPPORTED);
    free(kv.k), free(kv.v), free_inputs(&in);
    backend_cpu_close(&be);
}
END_TEST

LLM_TEST_MAIN("kernels/attend", reference_is_near_a_double_model, cuts_threads_and_sets_do_not_matter, other_sequences_do_not_matter,
              later_values_do_not_leak, refuses_what_has_no_scratch)
