#define SIMD_NEON
#define SIMD_NAME(x) x##_neon
#include "encode_rule_body.h"
