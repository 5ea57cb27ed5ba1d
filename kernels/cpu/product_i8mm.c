/* Products of int8 matrices (SMMLA), two rows by two columns by eight values each: for NEON's panels and groups in another order
 * (lanes.h). Few columns go with NEON's (matvec_body.h): one would leave half of each idle. */
#define SIMD_NEON
#define SIMD_I8MM
#define SIMD_NAME(x) x##_i8mm
#define matvec_i8mm matvec_neon
#include "product_body.h"
