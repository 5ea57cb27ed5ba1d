/* Products of int8 matrices (SMMLA), two rows by two columns by eight values each: for NEON's panels and groups in another order
 * (lanes.h). One column would leave half of each idle, and goes with NEON's. */
#define SIMD_NEON
#define SIMD_I8MM
#define SIMD_NAME(x) x##_i8mm
#define matvec_i8mm matvec_neon
#include "product_body.h"
