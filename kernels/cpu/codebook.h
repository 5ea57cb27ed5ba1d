/* codebook.h - super-blocks of 256 values whose codes are whole numbers, but lie in the file as entries of a codebook, signs apart (IQ1, IQ2, IQ3), or
 * packed by threes (TQ1_0, TQ2_0); and Q8_K. The only place with these formulas. */
#ifndef LLM_CPU_CODEBOOK_H
#define LLM_CPU_CODEBOOK_H
#include "dtype.h"
#include <stdbool.h>

/* Value k is d * sc[k / sub] * w[k], exactly but for the last rounding; sub is codebook_sub. |w| <= 62 (Q8_K: 128), sc in 1..31. */
typedef struct { int8_t w[256]; uint8_t sc[16]; float d; } codebook_block;

/* Values that share a scale: 16 or 32; 0: not such a type. */
int codebook_sub(llm_dtype dtype);
void codebook_unpack(llm_dtype dtype, const uint8_t *b, codebook_block *out);
void codebook_unpack_avx2(llm_dtype dtype, const uint8_t *b, codebook_block *out);

/* The codebooks of iq_grids.h, spread: a magnitude in each byte (IQ1: eight times the code), the first value in the lowest. */
typedef struct { uint64_t iq2_xxs[256], iq2_xs[512], iq2_s[1024], iq1[2048]; uint32_t iq3_xxs[256], iq3_s[512]; } codebook_tables;
const codebook_tables *codebook_spread(void);
/* Of the f16 that IQ1_M spreads over its scales. */
float iq1_m_scale(const uint8_t *b);
#endif
