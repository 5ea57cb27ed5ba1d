#define SIMD_AVX512
#define SIMD_NAME(x) x##_avx512
#include "encode_fit_body.h"
