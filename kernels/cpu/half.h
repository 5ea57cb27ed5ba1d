/* half.h - the narrow float formats, one value at a time, exactly.
 * Formats: IEEE 754 binary16; bfloat16; OCP FP8 E4M3 ("fn": no infinity) and E5M2; OCP MX E8M0. */
#ifndef LLM_CPU_HALF_H
#define LLM_CPU_HALF_H
#include <stdint.h>
#include <string.h>

static inline float f32_from_bits(uint32_t u) { float f; memcpy(&f, &u, sizeof f); return f; }
static inline uint32_t f32_bits(float f) { uint32_t u; memcpy(&u, &f, sizeof u); return u; }

/* Little-endian loads from any address. */
static inline uint16_t load_u16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t load_u32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }

/* Subnormals become normal by the subtraction; NaN payloads are kept and made quiet as vcvtph2ps does. */
static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;

    if (rest >= 0x7c00) return f32_from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000 : 0));
    if (rest >= 0x0400) return f32_from_bits(sign | ((rest << 13) + 0x38000000));
    return f32_from_bits(sign | f32_bits(f32_from_bits(0x38800000 + (rest << 13)) - f32_from_bits(0x38800000)));
}

/* Round to nearest even; overflow gives infinity, NaN stays NaN. */
static inline uint16_t f32_to_f16(float f)
{
    uint32_t u = f32_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;

    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000)                  /* subnormal: the addition rounds at 2^-24 */
        return (uint16_t)(sign | (f32_bits(f32_from_bits(a) + 0.5f) - f32_bits(0.5f)));
    return (uint16_t)(sign | ((a + 0xfff + (a >> 13 & 1) - 0x38000000) >> 13));
}

static inline float bf16_to_f32(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }

static inline float e4m3_to_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, rest = b & 0x7f;

    if (rest == 0x7f) return f32_from_bits(sign | 0x7fc00000);
    if (rest >= 8) return f32_from_bits(sign | ((rest << 20) + (120u << 23)));
    return f32_from_bits(sign | f32_bits((float)rest * 0x1p-9f));
}

static inline float e5m2_to_f32(uint8_t b) { return f16_to_f32((uint16_t)(b << 8)); }

/* 2^(e-128): half of E8M0's value, for codes that are stored doubled. e = 255 (NaN in the standard)
 * gives 2^127; dtype_check finds it at load time. */
static inline float e8m0_half_to_f32(uint8_t e) { return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23); }
#endif
