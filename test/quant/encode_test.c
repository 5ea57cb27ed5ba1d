/* Encoders against ggml's (tools/reference/make_encode_cases.py): the same bytes where the format's rule leaves no choice, and
 * nowhere a larger error; the same bits from every instruction set; odd rows. */
#include "../llm_test.h"
#include "dequant.h"
#include "encode.h"
#include <math.h>
#include <string.h>

static const llm_dtype searched[] = { DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS, DT_MXFP4 };
enum { N_TYPE = sizeof searched / sizeof searched[0] };
static const llm_isa isas[] = { ISA_AVX2, ISA_AVX512, ISA_NEON, ISA_I8MM };

typedef struct { int32_t n_row, n_col; float *x, *w; uint8_t *rest; size_t n_rest; void *all; } cases;

static cases read_cases(void)
{
    cases c;
    FILE *f = fopen("test/data/quant/encode_cases.bin", "rb");
    uint8_t *p;
    long n;

    ck_assert_msg(f != NULL, "test/data/quant/encode_cases.bin is missing");
    fseek(f, 0, SEEK_END), n = ftell(f), rewind(f);
    c.all = p = malloc((size_t)n);
    ck_assert_uint_eq(fread(p, 1, (size_t)n, f), (size_t)n);
    fclose(f);
    memcpy(&c.n_row, p, 4), memcpy(&c.n_col, p + 4, 4);
    c.x = (float *)(void *)(p + 8), c.w = c.x + (size_t)c.n_row * (size_t)c.n_col;
    c.rest = (uint8_t *)(c.w + c.n_col), c.n_rest = (size_t)n - (size_t)(c.rest - p);
    return c;
}

static size_t bytes_of(llm_dtype t, int64_t n)
{
    size_t b = 0;
    ck_assert(dtype_bytes(t, n, &b));
    return b;
}

/* Encodes every row; the sum of w * (x - y)^2. */
static double error_of(const cases *c, llm_dtype t, const float *w, uint8_t *out)
{
    size_t row = bytes_of(t, c->n_col);
    float *y = malloc((size_t)c->n_col * sizeof *y);
    double e = 0;

    for (int r = 0; r < c->n_row; r++) {
        const float *x = c->x + (size_t)r * (size_t)c->n_col;
        ck_assert(encode_row(cpu_best_isa(), t, x, w, c->n_col, out + (size_t)r * row));
        ck_assert(encode_check(cpu_best_isa(), t, x, out + (size_t)r * row, c->n_col, NULL));
        dequant_row(t, out + (size_t)r * row, y, c->n_col);
        for (int k = 0; k < c->n_col; k++) e += ((double)x[k] - (double)y[k]) * ((double)x[k] - (double)y[k]) * (w ? (double)w[k] : 1);
    }
    free(y);
    return e;
}

START_TEST(no_worse_than_the_reference)
{
    cases c = read_cases();
    uint8_t *p = c.rest, *end = c.rest + c.n_rest, *out = malloc((size_t)c.n_row * (size_t)c.n_col * 4);
    int seen = 0;

    while (p < end) {
        int32_t id, n;
        double want[2], got[2];
        memcpy(&id, p, 4), memcpy(want, p + 4, 16), memcpy(&n, p + 20, 4), p += 24;
        got[1] = error_of(&c, (llm_dtype)id, c.w, out), got[0] = error_of(&c, (llm_dtype)id, NULL, out);
        for (int i = 0; i < 2; i++)
            ck_assert_msg(got[i] <= want[i], "%s, %s: error %g, the reference has %g", dtype_name(id), i ? "weighted" : "plain", got[i], want[i]);
        printf("  %-6s error / reference: %.4f plain, %.4f weighted\n", dtype_name(id), got[0] / want[0], got[1] / want[1]);
        if (n > 0) {
            ck_assert_uint_eq((size_t)n, (size_t)c.n_row * bytes_of((llm_dtype)id, c.n_col));
            ck_assert_msg(memcmp(out, p, (size_t)n) == 0, "%s: other bytes than the reference", dtype_name(id));
        }
        p += n, seen++;
    }
    ck_assert_int_eq(seen, N_TYPE);
    free(out), free(c.all);
}
END_TEST

START_TEST(every_instruction_set_gives_the_same_bytes)
{
    static const int blocks[] = { 1, 2, 3 };
    cases c = read_cases();
    uint8_t *want = malloc(4096), *got = malloc(4096);

    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        if (!cpu_has_isa(isas[i])) continue;
        for (int t = 0; t < N_TYPE; t++)
            for (int k = 0; k < 3 * c.n_row; k++) {
                int64_t n = blocks[k % 3] * (int64_t)dtype_info(searched[t])->block;
                const float *x = c.x + (size_t)(k / 3) * (size_t)c.n_col;
                for (int w = 0; w < 2; w++) {
                    encode_row(ISA_SCALAR, searched[t], x, w ? c.w : NULL, n, want);
                    encode_row(isas[i], searched[t], x, w ? c.w : NULL, n, got);
                    ck_assert_msg(memcmp(want, got, bytes_of(searched[t], n)) == 0, "%s, row %d of %d, %s", dtype_name(searched[t]), k / 3, (int)n, isa_name(isas[i]));
                }
            }
    }
    free(want), free(got), free(c.all);
}
END_TEST

/* Blocks of the rules at which lanes could part from a plain loop: zeros of both signs, the greatest magnitude with both signs and in
 * every place, ties, values too small for a quotient; and 16-bit floats of every length at odd addresses. */
START_TEST(rules_agree)
{
    static const llm_dtype type[] = { DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_MXFP4 };
    static const float value[] = { 0, -0.0f, 1, -1, 0.5f, -2.5f, 127, -127, 1e-39f, -1e-42f, 3e-36f, 63.5f };
    float x[64], y[64];
    uint8_t want[64], got[64], half[140];
    uint32_t seed = 1;

    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        if (!cpu_has_isa(isas[i])) continue;
        for (int round = 0; round < 5000; round++) {
            for (int k = 0; k < 32; k++) seed = seed * 1664525 + 1013904223, x[k] = value[(seed >> 16) % (round % 2 ? 2 + (uint32_t)round / 2 % 11 : 12)];
            for (size_t t = 0; t < sizeof type / sizeof type[0]; t++) {
                encode_row(ISA_SCALAR, type[t], x, NULL, 32, want), encode_row(isas[i], type[t], x, NULL, 32, got);
                ck_assert_msg(memcmp(want, got, bytes_of(type[t], 32)) == 0, "%s, %s, round %d", dtype_name(type[t]), isa_name(isas[i]), round);
            }
        }
        for (size_t k = 0; k < sizeof half; k++) half[k] = (uint8_t)(k * 37 + (k >> 4));
        for (int n = 0; n <= 64; n++)
            for (int t = 0; t < 2; t++) {
                memset(x, 0, sizeof x), memset(y, 0, sizeof y);
                encode_widen(isas[i], t ? DT_F16 : DT_BF16, half + n % 3, n, x);
                for (int k = 0; k < n; k++) dequant_row(t ? DT_F16 : DT_BF16, half + n % 3 + 2 * k, y + k, 1);
                ck_assert_msg(memcmp(x, y, sizeof x) == 0, "%d values, %s", n, isa_name(isas[i]));
            }
    }
}
END_TEST

/* Rows that a search can trip over: the result is finite and its error no larger than that of zeros. */
START_TEST(odd_rows)
{
    static const float value[] = { 0, 1e-38f, 1e-30f, 1e-9f, 1e-6f, 1, 100, 3e4f };
    float x[512], w[512], y[512];
    uint8_t out[2048];

    for (int t = 0; t < N_TYPE; t++)
        for (size_t v = 0; v < sizeof value / sizeof value[0]; v++)
            for (int shape = 0; shape < 6; shape++) {
                double e = 0, zero = 0;
                for (int k = 0; k < 512; k++) {
                    x[k] = shape == 0 ? value[v] : shape == 1 ? -value[v] : shape == 2 ? (k == 77 ? value[v] : 0) : shape == 3 ? (k % 2 ? value[v] : -value[v])
                         : shape == 4 ? value[v] * (1 + 1e-6f * (float)k) : value[v] * (float)(k % 37 - 18) / 18;
                    w[k] = shape == 3 ? 0 : k % 5 == 0 ? 1e-20f : 1e4f;
                }
                for (int weighted = 0; weighted < 2; weighted++) {
                    ck_assert(encode_row(cpu_best_isa(), searched[t], x, weighted ? w : NULL, 512, out));
                    ck_assert_msg(encode_check(cpu_best_isa(), searched[t], x, out, 512, NULL),
                                  "%s value %g shape %d", dtype_name(searched[t]), (double)value[v], shape);
                    dequant_row(searched[t], out, y, 512);
                    e = zero = 0;
                    for (int k = 0; k < 512; k++) {
                        double f = weighted ? (double)w[k] : 1, d = (double)x[k] - (double)y[k];
                        e += f * d * d, zero += f * (double)x[k] * (double)x[k];
                    }
                    ck_assert_msg(value[v] < 1e-5f || e <= zero * 1.0001,
                                  "%s value %g shape %d weighted %d: %g, zeros have %g", dtype_name(searched[t]), (double)value[v], shape, weighted, e, zero);
                }
            }
}
END_TEST

START_TEST(what_no_block_can_hold_is_named)
{
    float x[256] = { 0 };
    uint8_t out[1024];
    int64_t bad = -1;

    for (int t = 0; t < N_TYPE; t++) {
        x[200] = NAN;
        encode_row(cpu_best_isa(), searched[t], x, NULL, 256, out);
        ck_assert(!encode_check(cpu_best_isa(), searched[t], x, out, 256, &bad));
        ck_assert_int_eq(bad, 200);
        x[200] = INFINITY;
        encode_row(cpu_best_isa(), searched[t], x, NULL, 256, out);
        ck_assert(!encode_check(cpu_best_isa(), searched[t], x, out, 256, &bad));
        ck_assert_int_eq(bad, 200);
        x[200] = 3e38f;
        encode_row(cpu_best_isa(), searched[t], x, NULL, 256, out);
        ck_assert_msg(searched[t] == DT_MXFP4 || !encode_check(cpu_best_isa(), searched[t], x, out, 256, &bad), "%s", dtype_name(searched[t]));
        ck_assert(bad / dtype_info(searched[t])->block == 200 / dtype_info(searched[t])->block);
    }
    x[200] = 7e4f;
    encode_row(cpu_best_isa(), DT_F16, x, NULL, 256, out);
    ck_assert(!encode_check(cpu_best_isa(), DT_F16, x, out, 256, &bad));
    ck_assert_int_eq(bad, 200);
    ck_assert(!encode_row(cpu_best_isa(), DT_IQ1_S, x, NULL, 256, out));
    ck_assert(!encode_row(cpu_best_isa(), DT_Q4_K, x, NULL, 128, out));
}
END_TEST

/* What is on the grid of the format already stays what it is. */
START_TEST(values_of_the_format_come_back)
{
    static const llm_dtype exact[] = { DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_MXFP4, DT_Q4_0 };
    cases c = read_cases();
    float y[256], z[256];
    uint8_t out[1024];

    for (size_t t = 0; t < sizeof exact / sizeof exact[0]; t++)
        for (int r = 0; r < c.n_row; r++) {
            encode_row(cpu_best_isa(), exact[t], c.x + r * c.n_col, NULL, 256, out);
            dequant_row(exact[t], out, y, 256);
            encode_row(cpu_best_isa(), exact[t], y, NULL, 256, out);
            dequant_row(exact[t], out, z, 256);
            for (int k = 0; k < 256; k++)
                ck_assert_msg(fabsf(y[k] - z[k]) <= 1e-3f * fabsf(y[k]), "%s row %d value %d: %g, then %g", dtype_name(exact[t]), r, k, (double)y[k], (double)z[k]);
        }
    free(c.all);
}
END_TEST

LLM_TEST_MAIN("quant/encode", no_worse_than_the_reference, every_instruction_set_gives_the_same_bytes, rules_agree, odd_rows,
              what_no_block_can_hold_is_named,
              values_of_the_format_come_back)
