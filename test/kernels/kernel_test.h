/* kernel_test.h - what the kernel tests share: seeded data, the instruction sets this machine has. */
#ifndef LLM_KERNEL_TEST_H
#define LLM_KERNEL_TEST_H
#include "../llm_test.h"
#include "half.h"
#include "ops.h"
#include <math.h>
#include <string.h>

static inline uint32_t rnd(uint64_t *state)            /* PCG32's multiplier, upper half */
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}
static inline float rnd_float(uint64_t *state, float range) { return ((float)rnd(state) * 0x1p-31f - 1.0f) * range; }

static inline float *rnd_floats(uint64_t seed, size_t n, float range)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++) x[i] = rnd_float(&seed, range);
    return x;
}

/* Distance of got from want in units of the last place of want as a float (of the smallest normal's below it). */
static inline double ulps(float got, double want)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
    if ((double)got == want || got == (float)want) return 0;
    if (isinf(got)) return INFINITY;
    int e;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static const llm_isa all_isas[N_ISA] = { ISA_SCALAR, ISA_AVX2, ISA_AVXVNNI, ISA_AVX512, ISA_NEON, ISA_I8MM };

static inline void open_cpu(llm_backend *be, llm_isa isa, int n_thread, int width)
{
    llm_limits l = { .n_batch = 512, .max_cols = width, .max_rows = width, .d_model = width, .n_head = 128, .max_d_head = 576,
                     .n_ctx = 8192, .n_expert = 256, .n_expert_used = 8, .d_ff_expert = 64 };
    llm_error err;

    ck_assert_msg(cpu_open(be, isa, n_thread, &l, &err) == LLM_OK, "%s", err.text);
}

static inline llm_rows rows_of(float *data, int n, int width) { return (llm_rows){ data, n, width, width }; }
static inline llm_tensor f32_vector(const float *x, int64_t n)
{
    return (llm_tensor){ .data = x, .dtype = DT_F32, .dim = { n, 1, 1 }, .row_bytes = sizeof(float) };
}
#endif
