#define SIMD_NEON
#define SIMD_NAME(x) x##_neon
#include "softmax_sum_body.h"
