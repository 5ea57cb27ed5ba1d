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

static inline float e5m2_to_f32(uint8_t b) { return f16_to_float((uint16_t)(b << 8)); }

/* 2^(e-128): half of E8M0's value, for codes that are stored doubled. e = 255 (NaN in the standard)
 * gives 2^127; dtype_check finds it at load time. */
static inline float e8m0_half_to_f32(uint8_t e) { return bits_float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23); }
#endif
