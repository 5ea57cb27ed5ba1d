/* Elementwise rows: every instruction set gives the reference's bits; the reference is near a double-precision model. */
#include "kernel_test.h"
#include "softmax_sum.h"
#include <float.h>

enum { MAX_N = 300 };
static const int sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 100, 127, 129, 299 };
enum { N_SIZE = sizeof sizes / sizeof sizes[0] };

static const cpu_rows *rows(llm_isa isa)
{
    static llm_backend be;

    open_cpu(&be, isa, 1, 16);
    const cpu_rows *r = cpu_of(&be)->row;
    backend_cpu_close(&be);
    return r;
}

/* Every row function on n values of x, w, z, one result after the other. */
static size_t all_rows(const cpu_rows *r, float *out, const float *x, const float *w, const float *z, int n)
{
    static const llm_act acts[] = { ACT_SILU, ACT_GELU_TANH, ACT_SWIGLU_OAI };
    float *o = out;
    int even = n / 2 * 2;

    r->norm(o, x, w, n, 1e-6f, 1.0f), o += n;
    for (int i = 0; i < 3; i++) r->glu(o, x, z, n, acts[i], 7.0f), o += n;
    memcpy(o, x, (size_t)n * sizeof *o), r->add(o, z, n), o += n;
    memcpy(o, x, (size_t)n * sizeof *o), r->add_scaled(o, z, 0.3f, n), o += n;
    memcpy(o, x, (size_t)n * sizeof *o), r->softcap(o, 3.0f, n), o += n;
    memcpy(o, x, (size_t)n * sizeof *o), r->rope(o, z, even, ROPE_HALF), o += n;
    memcpy(o, x, (size_t)n * sizeof *o), r->rope(o, z, even, ROPE_PAIRS), o += n;
    r->exp(o, x, 1.5f, n), o += n;
    r->sigmoid(o, x, n), o += n;
    memset(o, 0, (size_t)n * sizeof *o), r->to_f16((uint16_t *)(void *)o, x, n), o += n;
    return (size_t)(o - out);
}

START_TEST(every_set_gives_the_same_bits)
{
    static float want[16 * MAX_N], got[16 * MAX_N];
    const cpu_rows *ref = rows(ISA_SCALAR);

    for (int s = 1; s < N_ISA; s++) {
        if (!cpu_has_isa(all_isas[s])) continue;
        const cpu_rows *r = rows(all_isas[s]);
        ck_assert(r != ref);
        for (int i = 0; i < N_SIZE; i++)
            for (int range = 0; range < 3; range++) {
                static const float ranges[] = { 1e-30f, 8.0f, 200.0f };
                int n = sizes[i];
                float *x = rnd_floats((uint64_t)(n + range), (size_t)n, ranges[range]), *w = rnd_floats(7, (size_t)n, 2), *z = rnd_floats(9, (size_t)n, 9);
                if (n > 6) x[0] = INFINITY, x[1] = -INFINITY, x[2] = 0, x[3] = -0.0f, x[4] = 0x1p-140f, x[5] = 1e38f;
                size_t k = all_rows(ref, want, x, w, z, n);
                all_rows(r, got, x, w, z, n);
                for (size_t e = 0; e < k; e++)
                    if (float_bits(want[e]) != float_bits(got[e]) && !(isnan(want[e]) && isnan(got[e])))
                        ck_abort_msg("%s, n %d, range %d, function %d, element %d: got %a, want %a", isa_name(all_isas[s]), n, range,
                                  (int)e / n, (int)e % n, (double)got[e], (double)want[e]);
                free(x), free(w), free(z);
            }
    }
}
END_TEST

static double sigmoid_d(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

/* Largest error in ulp of f over every step-th float of +-[lo, hi]. */
static double sweep(void (*f)(float *y, const float *x, int n), double (*want)(double), float lo, float hi, uint32_t step)
{
    enum { N = 256 };
    float x[2 * N], y[2 * N];
    double worst = 0;

    for (uint32_t u = float_bits(lo); u <= float_bits(hi);) {
        int n = 0;
        for (; n < 2 * N && u <= float_bits(hi); u += step) x[n++] = bits_float(u), x[n++] = -bits_float(u);
        f(y, x, n);
        for (int i = 0; i < n; i++) { double e = ulps(y[i], want((double)x[i])); if (e > worst) worst = e; }
    }
    return worst;
}

static const cpu_rows *best_rows;
static void exp0(float *y, const float *x, int n) { best_rows->exp(y, x, 0, n); }
static void sigmoid0(float *y, const float *x, int n) { best_rows->sigmoid(y, x, n); }
static void tanh0(float *y, const float *x, int n) { memcpy(y, x, (size_t)n * sizeof *y), best_rows->softcap(y, 1.0f, n); }

START_TEST(functions_are_accurate)
{
    best_rows = rows(cpu_best_isa());
    double e = sweep(exp0, exp, 0, 110, 997), s = sweep(sigmoid0, sigmoid_d, 0, 110, 997), t = sweep(tanh0, tanh, 0, 20, 997);
    printf("largest error in ulp: exp %.3f, sigmoid %.3f, tanh %.3f\n", e, s, t);
    ck_assert_msg(e < 1.0 && s < 2.6 && t < 1.6, "exp %.3f, sigmoid %.3f, tanh %.3f ulp", e, s, t);
    float x[4] = { -INFINITY, INFINITY, NAN, -120 }, y[4];
    best_rows->exp(y, x, 0, 4);
    ck_assert(y[0] == 0 && y[1] == INFINITY && isnan(y[2]) && y[3] == 0);
}
END_TEST

START_TEST(gated_units_follow_their_formulas)
{
    enum { N = 4001 };
    static float g[N], u[N], y[N];
    const cpu_rows *r = rows(ISA_SCALAR);

    for (int i = 0; i < N; i++) g[i] = (float)(i - N / 2) * 0.01f, u[i] = (float)((i * 37) % 1901 - 950) * 0.01f;
    for (int act = 0; act < 3; act++) {
        r->glu(y, g, u, N, (llm_act)act, 7.0f);
        for (int i = 0; i < N; i++) {
            double a = (double)g[i], b = (double)u[i], z = a;
            if (act == ACT_GELU_TANH) z = 2 * sqrt(2 / 3.14159265358979324) * (a + 0.044715 * a * a * a);
            if (act == ACT_SWIGLU_OAI) a = a < 7 ? a : 7, z = 1.702 * a, b = (b < -7 ? -7 : b > 7 ? 7 : b) + 1;
            double want = a * sigmoid_d(z) * b;
            ck_assert_msg(fabs((double)y[i] - want) <= (1e-6 + 3e-7 * fabs(z)) * fabs(want) + 1e-40, "act %d at %g, %g: got %g, want %g", act, (double)g[i],
                          (double)u[i], (double)y[i], want);
        }
    }
}
END_TEST

START_TEST(norm_follows_its_formula)
{
    for (int i = 0; i < N_SIZE; i++) {
        int n = sizes[i];
        float *x = rnd_floats((uint64_t)n, (size_t)n, 3), *w = rnd_floats(5, (size_t)n, 2), y[MAX_N];
        double sum = 0;
        rows(ISA_SCALAR)->norm(y, x, w, n, 1e-5f, 1.0f);
        for (int k = 0; k < n; k++) sum += (double)x[k] * (double)x[k];
        for (int k = 0; k < n; k++) {
            double want = (double)x[k] / sqrt(sum / n + 1e-5) * ((double)w[k] + 1);
            ck_assert_msg(fabs((double)y[k] - want) <= 1e-6 * fabs(want) + 1e-7 * fabs((double)x[k]), "n %d, element %d", n, k);
        }
        free(x), free(w);
    }
}
END_TEST

/* Ops over strided rows: every set and 1 to 4 threads against one scalar thread; 16-bit weights equal their floats. */
START_TEST(ops_do_not_depend_on_threads)
{
    enum { N = 37, W = 96, STRIDE = 100, WIDE = 20000 };
    float *x = rnd_floats(1, N * STRIDE, 3), *w = rnd_floats(2, W, 1), *wide = rnd_floats(3, 3 * WIDE, 9), *freq = rnd_floats(4, 8, 1);
    float *want = NULL, *got = calloc(N * STRIDE * 3 + 3 * WIDE, sizeof *got);
    uint16_t w16[2][W];
    int32_t pos[N];

    for (int i = 0; i < N; i++) pos[i] = i * 3571;
    for (int i = 0; i < W; i++) w16[0][i] = float_to_bf16(w[i]), w[i] = bf16_to_float(w16[0][i]), w16[1][i] = float_to_f16(w[i]);
    for (int s = 0; s < N_ISA; s++)
        for (int threads = 1; threads <= 4 && cpu_has_isa(all_isas[s]); threads++) {
            llm_tensor tw = f32_vector(w, W);
            llm_backend be;
            open_cpu(&be, all_isas[s], threads, W);
            float *g = got, *cs = g + N * STRIDE, *o = cs + N * STRIDE, *big = o + N * STRIDE;
            llm_rows rx = { x, N, W, STRIDE }, rg = { g, N, W, STRIDE }, rcs = { cs, N, 16, 16 }, ro = { o, N, W, STRIDE };
            llm_rope rope = { freq, 16, 1.25f };
            if (threads == 2) tw.data = w16[0], tw.dtype = DT_BF16;
            be.op.norm(&be, rg, rx, &tw, 1e-6f, 0.5f);
            be.op.rope_table(&be, rcs, &rope, pos);
            be.op.rope(&be, rg, rcs, 24, 4, ROPE_HALF);
            be.op.rope(&be, rg, rcs, 24, 8, ROPE_PAIRS);
            be.op.glu(&be, ro, rg, rx, ACT_SILU, 0);
            be.op.add(&be, ro, rx);
            be.op.add_gated(&be, ro, rg, (llm_rows){ x + 1, N, 1, STRIDE });
            memcpy(big, wide, 3 * WIDE * sizeof *big);
            be.op.softcap(&be, rows_of(big, 3, WIDE), 5.0f);
            ck_assert(be.err.status == LLM_OK);
            backend_cpu_close(&be);
            size_t bytes = (N * STRIDE * 3 + 3 * WIDE) * sizeof *got;
            if (want == NULL) want = malloc(bytes), memcpy(want, got, bytes);
            else ck_assert_msg(memcmp(want, got, bytes) == 0, "%s, %d threads", isa_name(all_isas[s]), threads);
        }
    free(x), free(w), free(wide), free(freq), free(want), free(got);
}
END_TEST

START_TEST(angles_are_accurate)
{
    enum { N = 2000 };
    float cs[N * 2], freq[1], worst = 0;
    int32_t pos[N];
    llm_backend be;
    llm_rope rope = { freq, 2, 1.0f };

    open_cpu(&be, ISA_SCALAR, 1, 16);
    for (int round = 0; round < 100; round++) {
        uint64_t seed = (uint64_t)round;
        freq[0] = round == 0 ? 1.0f : fabsf(rnd_float(&seed, 1));
        for (int i = 0; i < N; i++) pos[i] = (int32_t)(rnd(&seed) % 1000000);
        be.op.rope_table(&be, rows_of(cs, N, 2), &rope, pos);
        for (int i = 0; i < N; i++) {
            double a = (double)((float)pos[i] * freq[0]);
            worst = fmaxf(worst, (float)fmax(ulps(cs[2 * i], cos(a)), ulps(cs[2 * i + 1], sin(a))));
        }
    }
    backend_cpu_close(&be);
    ck_assert_msg(worst <= 0.501f, "largest error %.4f ulp", (double)worst);
}
END_TEST

START_TEST(half_conversions_round_to_even)
{
    const cpu_rows *r = rows(cpu_best_isa());

    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = f16_to_float((uint16_t)h);
        if (isnan(f) ? (float_to_f16(f) & 0x7fff) <= 0x7c00 : float_to_f16(f) != h) ck_abort_msg("%x", h);
    }
    for (uint64_t u = 0; u < 0xffffff00; u += 4999) {
        float x[16];
        uint16_t y[16];
        for (uint32_t i = 0; i < 16; i++) x[i] = bits_float((uint32_t)u + i);
        r->to_f16(y, x, 16);
        for (int i = 0; i < 16; i++)
            if (y[i] != float_to_f16(x[i]) && !(isnan(x[i]) && (y[i] & 0x7fff) > 0x7c00))
                ck_abort_msg("%a: got %x, want %x", (double)x[i], y[i], float_to_f16(x[i]));
    }
    ck_assert(float_to_bf16(bits_float(0x3f808000)) == 0x3f80 && float_to_bf16(bits_float(0x3f818000)) == 0x3f82);
}
END_TEST

/* Weights of a block of logits: the reference's bits from every set, each within the error that softmax_sum.h states, and nothing for what is absent. */
START_TEST(softmax_weights_are_the_same_everywhere)
{
    for (int round = 0; round < 200; round++) {
        const float inverse = round % 4 == 3 ? FLT_MAX : (float)(round % 4) * 0.7f + 0.1f;
        float *x = rnd_floats((uint64_t)round, SOFTMAX_BLOCK, round % 3 ? 20.0f : 300.0f), best = x[0], want[SOFTMAX_BLOCK], got[SOFTMAX_BLOCK], sum, other;
        double exact = 0, bound = 0;
        for (int i = round % 8; i < SOFTMAX_BLOCK; i += 7) x[i] = i % 2 ? -INFINITY : -3e38f;
        for (int i = 0; i < SOFTMAX_BLOCK; i++) best = x[i] > best ? x[i] : best;
        sum = softmax_sum_ref(x, best, inverse, want), other = softmax_sum_best()(x, best, inverse, got);
        ck_assert_int_eq(float_bits(sum), float_bits(other));
        for (int i = 0; i < SOFTMAX_BLOCK; i++) {
            double z = ((double)x[i] - best) * inverse, w = exp(z);
            ck_assert_int_eq(float_bits(want[i]), float_bits(got[i]));
            ck_assert_msg(fabs(want[i] - w) <= 0x1p-23 * w * (fabs(fmax(z, -104)) + 1) + 1e-45, "e^%g: %a, want %a", z, (double)want[i], w);
            ck_assert(x[i] > -1e38f || want[i] == 0);
            exact += w, bound += 0x1p-23 * w * (fabs(fmax(z, -104)) + 1);
        }
        ck_assert(fabs(sum - exact) <= bound + 8 * 0x1p-24 * exact);
        free(x);
    }
}
END_TEST

LLM_TEST_MAIN("kernels/elementwise", every_set_gives_the_same_bits, functions_are_accurate, gated_units_follow_their_formulas,
              norm_follows_its_formula, ops_do_not_depend_on_threads, angles_are_accurate, half_conversions_round_to_even, softmax_weights_are_the_same_everywhere)
