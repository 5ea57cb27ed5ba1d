#define SIMD_AVX512
#define SIMD_NAME(x) x##_avx512
#include "encode_rule_body.h"
