#define SIMD_AVX2
#define SIMD_NAME(x) x##_avx2
#include "softmax_sum_body.h"
