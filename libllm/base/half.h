/* half.h - 16-bit floats to and from float. Exact one way, round-to-nearest-even the other. */
#ifndef LLM_BASE_HALF_H
#define LLM_BASE_HALF_H
#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float bits_float(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

static inline float bf16_to_float(uint16_t h) { return bits_float((uint32_t)h << 16); }

static inline uint16_t float_to_bf16(float x)
{
    uint32_t u = float_bits(x);

    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);      /* NaN stays one, made quiet */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* The half's exponent and mantissa are put in place, which is off by 2^112 for every class but infinity. */
static inline float f16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;

    if (rest >= 0x7c00)                                                         /* a NaN is made quiet, as F16C does */
        return bits_float(sign | 0x7f800000 | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000 : 0));
    return bits_float(sign | float_bits(bits_float(rest << 13) * 0x1p112f));
}

/* What does not fit becomes infinity; halves below the normal range are rounded like the others (IEEE 754). */
static inline uint16_t float_to_f16(float x)
{
    uint32_t u = float_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;

    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                      /* 65520 and up */
    if (a < 0x38800000)                                                         /* below 2^-14: let the adder round at 2^-24 */
        return (uint16_t)(sign | (float_bits(bits_float(a) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | ((a + 0xfff + (a >> 13 & 1) - 0x38000000) >> 13));
}
#endif
