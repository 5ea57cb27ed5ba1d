/* encode.h - float rows to the block formats of dtype.h: the inverse of dequant.h.
 *
 * Q8_0, and Q4_0, Q4_1, Q5_0, Q5_1 without weights, follow the formats' own rounding rule and give the bytes that the usual
 * tools give. Every other case is a search for the scales with the least sum of w * (x - y)^2, y being what dequant_row makes of
 * the result: it is written out in encode_fit.h. The bytes depend on x and w alone, not on the instruction set. */
#ifndef LLM_ENCODE_H
#define LLM_ENCODE_H
#include "cpu.h"
#include "dtype.h"

/* There is an encoder for this type. */
bool encode_known(llm_dtype dtype);
/* It heeds the importance of columns. */
bool encode_weighted(llm_dtype dtype);

/* F16 or BF16 values at from, at any address, to x [n]. */
void encode_widen(llm_isa isa, llm_dtype dtype, const void *from, int64_t n, float *x);

/* n values (a multiple of the type's block) of one row. w [n]: how much the error of each column counts, none negative; NULL:
 * all alike. x and w are finite; see encode_check. False: no encoder. */
bool encode_row(llm_isa isa, llm_dtype dtype, const float *x, const float *w, int64_t n, void *out);

/* True when x [n] can be written as dtype: every value is finite and, for blocks with an F16 scale, within +-65504, and so is
 * every scale of the n values at out. *bad (may be NULL): the first value that is not; for a scale, the first of its block. */
bool encode_check(llm_isa isa, llm_dtype dtype, const float *x, const void *out, int64_t n, int64_t *bad);
#endif
