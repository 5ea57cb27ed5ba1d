#include "machine_neon.h"
#include "machine_loops.h"
#include <arm_neon.h>

#define MATRIX(i) a##i = vmmlaq_s32(a##i, x, y); __asm__("" : "+w"(a##i));
PRODUCT_LOOP(int8_i8mm, int32x4_t, int8x16_t, vdupq_n_s8(3), vdupq_n_s8(5), MATRIX)
