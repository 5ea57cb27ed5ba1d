/* narrow.h - the 8-bit float formats, one value at a time, exactly (16-bit ones: base/half.h).
 * OCP FP8 E4M3 ("fn": no infinity) and E5M2; OCP MX E8M0. */
#ifndef LLM_CPU_NARROW_H
#define LLM_CPU_NARROW_H
#include "half.h"

/* Little-endian loads from any address. */
static inline uint16_t load_u16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint64_t load_u64(const void *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t load_u32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }

static inline float e4m3_to_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, rest = b & 0x7f;

    if (rest == 0x7f) return bits_float(sign | 0x7fc00000);
    if (rest >= 8) return bits_float(sign | ((rest << 20) + (120u << 23)));
    return bits_float(sign | float_bits((float)rest * 0x1p-9f));
}

/* To nearest even, at most 448 (no infinity: what is larger becomes 448), NaN 0x7f. kernels/cuda/device.h has the same. */
static inline uint8_t f32_to_e4m3(float x)
{
    uint32_t u = float_bits(x), sign = u >> 24 & 0x80, a = u & 0x7fffffff;

    if (a > 0x7f800000) return 0x7f;
    if (a >= float_bits(448)) return (uint8_t)(sign | 0x7e);
    if (a < float_bits(0x1p-6f)) return (uint8_t)(sign | (float_bits(bits_float(a) * 512 + 0x1p23f) & 15));     /* steps of 2^-9; 8 of them are 2^-6 */
    a -= 120u << 23;
    return (uint8_t)(sign | (a + 0x7ffff + (a >> 20 & 1)) >> 20);
}

static inline float e5m2_to_f32(uint8_t b) { return f16_to_float((uint16_t)(b << 8)); }

/* 2^(e-128): half of E8M0's value, for codes that are stored doubled. e = 255 (NaN in the standard)
 * gives 2^127; dtype_check finds it at load time. */
static inline float e8m0_half_to_f32(uint8_t e) { return bits_float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23); }
/* 2^(e-127), NaN where e is 255. */
static inline float e8m0_to_f32(uint8_t e) { return e == 255 ? bits_float(0x7fc00000) : 2 * e8m0_half_to_f32(e); }

/* A block of MXFP4 from its scale and its 16 bytes of F4_E2M1: they hold values 2j and 2j+1, a block's j and j+16. */
static inline void mxfp4_join(uint8_t out[17], uint8_t scale, const uint8_t *s)
{
    out[0] = scale;
    for (int i = 0; i < 8; i++) {
        out[1 + 2 * i] = (uint8_t)((s[i] & 15) | s[i + 8] << 4);
        out[2 + 2 * i] = (uint8_t)(s[i] >> 4 | (s[i + 8] & 0xf0));
    }
}
#endif
