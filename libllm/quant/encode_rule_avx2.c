#define SIMD_AVX2
#define SIMD_NAME(x) x##_avx2
#include "encode_rule_body.h"
