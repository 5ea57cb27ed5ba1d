#include "machine_neon.h"
#include <arm_neon.h>

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

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

uint64_t int8_neon(int loops)
{
    int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(5);
    int32x4_t s = vdupq_n_s32(0);
#define X(i) int32x4_t a##i = vdupq_n_s32(i);
    CHAINS(X)
#undef X
    for (int k = 0; k < loops; k++) {
#define X(i) a##i = vdotq_s32(a##i, x, y); __asm__("" : "+w"(a##i));
        CHAINS(X)
#undef X
    }
#define X(i) s = veorq_s32(s, a##i);
    CHAINS(X)
#undef X
    return (uint64_t)vgetq_lane_s32(s, 0) ^ (uint64_t)vgetq_lane_s32(s, 3);
}

uint64_t f32_neon(int loops)
{
    float32x4_t x = vdupq_n_f32(0.5f), y = vdupq_n_f32(0.25f);
#define X(i) float32x4_t a##i = vdupq_n_f32(i);
    CHAINS(X)
#undef X
    for (int k = 0; k < loops; k++) {
#define X(i) a##i = vfmaq_f32(x, a##i, y); __asm__("" : "+w"(a##i));
        CHAINS(X)
#undef X
    }
#define X(i) x = vaddq_f32(x, a##i);
    CHAINS(X)
#undef X
    return (uint64_t)vgetq_lane_f32(x, 0);
}
