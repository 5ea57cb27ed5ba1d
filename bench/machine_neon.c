#include "machine_neon.h"
#include "machine_loops.h"
#include <arm_neon.h>

uint64_t read_neon(const uint64_t *p, size_t n)
{
    uint64x2_t a = vdupq_n_u64(0), b = a, c = a, d = a;

    for (size_t i = 0; i + 8 <= n; i += 8) {
        a = veorq_u64(a, vld1q_u64(p + i)), b = veorq_u64(b, vld1q_u64(p + i + 2));
        c = veorq_u64(c, vld1q_u64(p + i + 4)), d = veorq_u64(d, vld1q_u64(p + i + 6));
    }
    a = veorq_u64(veorq_u64(a, b), veorq_u64(c, d));
    return vgetq_lane_u64(a, 0) ^ vgetq_lane_u64(a, 1);
}

#define DOT(i) a##i = vdotq_s32(a##i, x, y); __asm__("" : "+w"(a##i));
PRODUCT_LOOP(int8_neon, int32x4_t, int8x16_t, vdupq_n_s8(3), vdupq_n_s8(5), DOT)

#define ADD_TO_X(i) a##i = vfmaq_f32(x, a##i, y); __asm__("" : "+w"(a##i));
PRODUCT_LOOP(f32_neon, float32x4_t, float32x4_t, vdupq_n_f32(0.5f), vdupq_n_f32(0.25f), ADD_TO_X)
