/* dequant.h - stored weights to float, exactly as the formats define it. With codebook.h the only place with these formulas. */
#ifndef LLM_CPU_DEQUANT_H
#define LLM_CPU_DEQUANT_H
#include "dtype.h"
#include <stdbool.h>

/* n consecutive values (a multiple of the type's block) from src to dst. All arithmetic is f32 in the order
 * of the format's definition, so results equal the format owners' own dequantizers bit for bit. FP8 and FP4
 * codes are converted without their scale. False for a type that is not in dtype.h. */
bool dequant_row(llm_dtype dtype, const void *src, float *dst, int64_t n);

/* True when n values at data hold no scale (and, for float types, no value) that is NaN or infinite, and no
 * E8M0 scale 255. Otherwise *bad (may be NULL) is the index of the first such block. */
bool dtype_check(llm_dtype dtype, const void *data, int64_t n, int64_t *bad);

/* Signed values of the 4-bit codes of IQ4_NL and IQ4_XS, and of MXFP4 (doubled, scale 2^(e-128)). */
extern const int8_t iq4_value[16], mxfp4_value[16];

/* 6-bit scales sc[8] and minima mn[8] of Q4_K and Q5_K from their 12 bytes; the 16 signed scales of Q3_K. */
void q4_k_scales(const uint8_t s[12], uint8_t sc[8], uint8_t mn[8]);
void q3_k_scales(const uint8_t s[12], int8_t sc[16]);
#endif
