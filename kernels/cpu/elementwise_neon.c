#define SIMD_NEON
#define SIMD_NAME(x) x##_neon
#include "ops.h"
#include "elementwise_body.h"
