#define SIMD_NEON
#define SIMD_NAME(x) x##_neon
#include "attend_body.h"
