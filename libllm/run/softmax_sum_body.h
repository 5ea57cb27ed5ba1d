/* softmax_sum_body.h - one body for every width of vector: the file that includes it has SIMD_WIDTH doubles in one, and a SIMD_NAME.
 *
 * e^x = 2^n e^r, |r| <= ln(2)/2, with e^r by Taylor to r^9 (the next term is below 7e-12) in Estrin's order, whose steps do not wait for each other.
 * About 30 operations for SIMD_WIDTH weights; it is bound by these. Sums may differ between machines: no result depends on that. */
#include "softmax_sum.h"
#include <stdint.h>
#include <string.h>

#ifdef SIMD_AVX2
#include <immintrin.h>
#define mul_add(a, b, c) _mm256_fmadd_pd(a, b, c)
#define at_least(a, b)   _mm256_max_pd(a, b)
#else
#define mul_add(a, b, c) ((a) * (b) + (c))
#define at_least(a, b)   (vec)(((vec_bits)(a) & (vec_bits)((a) > (b))) | ((vec_bits)(b) & ~(vec_bits)((a) > (b))))
#endif

typedef double vec __attribute__((vector_size(8 * SIMD_WIDTH)));
typedef int64_t vec_bits __attribute__((vector_size(8 * SIMD_WIDTH)));
typedef float vec_float __attribute__((vector_size(4 * SIMD_WIDTH)));

#define ALL(x) ((vec){ 0 } + (x))

static inline vec weights(const float *x, double best, double inverse)
{
    const double whole = 0x1.8p52;                          /* added and taken off again, it rounds; its low bits are the number then */
    vec_float from;
    vec z, n, r, r2, r4, low, high;

    memcpy(&from, x, sizeof from);
    z = at_least((__builtin_convertvector(from, vec) - best) * inverse, ALL(-700.));
    n = mul_add(z, ALL(0x1.71547652b82fep+0), ALL(whole));
    r = mul_add(n - whole, ALL(-0x1.62e42fefa39efp-1), z);
    r2 = r * r, r4 = r2 * r2;
    low = mul_add(r2, mul_add(r, ALL(1. / 6), ALL(1. / 2)), 1 + r);
    high = mul_add(r2, mul_add(r, ALL(1. / 5040), ALL(1. / 720)), mul_add(r, ALL(1. / 120), ALL(1. / 24)));
    high = mul_add(r4, mul_add(r, ALL(1. / 362880), ALL(1. / 40320)), high);
    return (vec)((vec_bits)mul_add(r4, high, low) + ((vec_bits)n << 52));
}

double SIMD_NAME(softmax_sum)(const float *x, double best, double inverse)
{
    vec sum = { 0 };
    double all = 0;

    for (int i = 0; i < SOFTMAX_BLOCK; i += SIMD_WIDTH) sum += weights(x + i, best, inverse);
    for (int k = 0; k < SIMD_WIDTH; k++) all += sum[k];
    return all;
}
