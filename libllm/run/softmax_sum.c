/* softmax_sum.c - vectors of two, which every processor has, and the choice among the widths. */
#define SIMD_WIDTH 2
#define SIMD_NAME(x) x##_any
#include "softmax_sum_body.h"
#include "cpu.h"

softmax_sum_fn softmax_sum_best(void)
{
#if defined(__x86_64__)
    if (cpu_has_isa(ISA_AVX2)) return softmax_sum_avx2;
#endif
    return softmax_sum_any;
}
