/* softmax_sum.c - the reference, and the choice among the instruction sets. */
#define SIMD_SCALAR
#define SIMD_NAME(x) x##_ref
#include "softmax_sum_body.h"
#include "cpu.h"

softmax_sum_fn softmax_sum_best(void)
{
#if defined(__x86_64__)
    if (cpu_has_isa(ISA_AVX2)) return softmax_sum_avx2;
#elif defined(__aarch64__)
    if (cpu_has_isa(ISA_NEON)) return softmax_sum_neon;
#endif
    return softmax_sum_ref;
}
