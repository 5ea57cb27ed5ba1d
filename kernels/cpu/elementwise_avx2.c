#define SIMD_AVX2
#define SIMD_NAME(x) x##_avx2
#include "ops.h"
#include "elementwise_body.h"
