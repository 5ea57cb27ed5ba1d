#define SIMD_AVX2
#define SIMD_DPBUSD
#define SIMD_NAME(x) x##_avxvnni
#include "product_body.h"
