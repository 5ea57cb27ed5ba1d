#define SIMD_NEON
#define SIMD_NAME(x) x##_neon
#include "matvec_body.h"
