/* codebook.h - super-blocks of 256 values whose codes are whole numbers, but lie in the file as entries of a codebook, signs apart (IQ1, IQ2, IQ3), or
 * packed by threes (TQ1_0, TQ2_0); and Q8_K. codebook_avx2.c does what codebook.c does, 32 values at a
 * time (test/kernels/linear_test.c compares them); there are no others with these formulas. */
#ifndef LLM_CPU_CODEBOOK_H
#define LLM_CPU_CODEBOOK_H
#include "matrix.h"

/* TYPE(dtype, name, values that share a scale) */
#define CODEBOOK_TYPES(TYPE) \
    TYPE(IQ2_XXS, iq2_xxs, 32) TYPE(IQ2_XS, iq2_xs, 16) TYPE(IQ2_S, iq2_s, 16) TYPE(IQ3_XXS, iq3_xxs, 32) TYPE(IQ3_S, iq3_s, 32) \
    TYPE(IQ1_S, iq1_s, 32) TYPE(IQ1_M, iq1_m, 16) TYPE(TQ1_0, tq1_0, 32) TYPE(TQ2_0, tq2_0, 32) TYPE(Q8_K, q8_k, 32)

/* Value k is d * sc[k / sub] * w[k], exactly but for the last rounding; sub is codebook_sub. |w| <= 62 (Q8_K: 128), sc in 1..31. */
typedef struct { int8_t w[256]; uint8_t sc[16]; float d; } codebook_block;

/* Values that share a scale: 16 or 32; 0: not such a type. */
int codebook_sub(llm_dtype dtype);
void codebook_unpack(llm_dtype dtype, const uint8_t *b, codebook_block *out);
/* The same of n_row rows, up to TILE_ROWS, the first at b and row_bytes apart. */
void codebook_unpack_rows(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, codebook_block *out);
void codebook_unpack_avx2(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, codebook_block *out);

/* A super-block of n_row rows, the first at b and row_bytes apart, times the codes of n_col columns: sums of sc * w * q (linear.h, 3), and factors d. Rows
 * that are not there have zeros. */
typedef struct { int32_t sum[FEW_COLUMNS][TILE_ROWS]; float d[TILE_ROWS]; } codebook_sums;
void codebook_times_avx2(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, const uint8_t *const *q, int n_col, codebook_sums *out);
void codebook_times_neon(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, const uint8_t *const *q, int n_col, codebook_sums *out);

/* Of the f16 that IQ1_M spreads over its scales. */
float iq1_m_scale(const uint8_t *b);
#endif
