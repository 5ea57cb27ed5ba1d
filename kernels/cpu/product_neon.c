#define SIMD_NEON
#define SIMD_NAME(x) x##_neon
#include "product_body.h"
