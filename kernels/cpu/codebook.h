/* codebook.h - super-blocks of 256 values whose codes are whole numbers, but lie in the file as entries of a codebook, signs apart (IQ1, IQ2, IQ3), or
 * packed by threes (TQ1_0, TQ2_0); and Q8_K. codebook_avx2.c does what codebook.c does, 32 values at a
 * time (test/kernels/linear_test.c compares them); there are no others with these formulas. */
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
/* Of the f16 that IQ1_M spreads over its scales. */
float iq1_m_scale(const uint8_t *b);
#endif
