#include "machine_neon.h"
#include <arm_neon.h>

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

uint64_t int8_i8mm(int loops)
{
    int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(5);
    int32x4_t s = vdupq_n_s32(0);
#define X(i) int32x4_t a##i = vdupq_n_s32(i);
    CHAINS(X)
#undef X
    for (int k = 0; k < loops; k++) {
#define X(i) a##i = vmmlaq_s32(a##i, x, y); __asm__("" : "+w"(a##i));
        CHAINS(X)
#undef X
    }
#define X(i) s = veorq_s32(s, a##i);
    CHAINS(X)
#undef X
    return (uint64_t)vgetq_lane_s32(s, 0) ^ (uint64_t)vgetq_lane_s32(s, 3);
}
