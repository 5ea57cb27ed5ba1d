/* pack.h - weights as few columns stream through them. Of integer types a tile of TILE_ROWS rows is a run of chunks of PACK_VALUES values (the last one
 * may be shorter), a chunk a run of words, a word the same 4 bytes of every row of the tile: a kernel reads one stretch from the beginning to the
 * end, and finds a row in each lane. Nothing is computed, but bytes are put into the order in which they are needed. Blocks of 32 go in groups,
 * of as many as have scales that fill a word (4 of MXFP4, 2 of types with one f16, 1 of those with two): first the scales of the group, then
 * fifth bits, then codes. A super-block begins with its scales where it did not (Q3_K, Q6_K), and each 16 values of Q6_K have their high and low
 * bits beside each other. The last word of such a part is filled up with zeros.
 * Rows of F32, F16, BF16 and FP8 are copied as they are, one behind the other: large pages are what they gain. FP8's scales stay where they are. */
#ifndef LLM_CPU_PACK_H
#define LLM_CPU_PACK_H
#include "matrix.h"

enum { PACK_VALUES = 256 };

/* What a type is once it is packed: F4_E2M1 joins its scales and becomes MXFP4. */
static inline llm_dtype pack_dtype(llm_dtype dtype) { return dtype == DT_F4_E2M1 ? DT_MXFP4 : dtype; }
/* Bytes of a row's whole chunk. */
static inline size_t pack_chunk_bytes(llm_dtype dtype)
{
    const llm_dtype_info *i = dtype_info(pack_dtype(dtype));
    return (size_t)(PACK_VALUES / i->block * i->block_bytes + 3) & ~(size_t)3;
}
/* Bytes of one packed row of cols values; 0 for types that stay where they are: codebooks, and what becomes floats a row
 * at a time. */
size_t pack_row_bytes(llm_dtype dtype, int64_t cols);
/* Rows row .. row + TILE_ROWS - 1 to a tile: TILE_ROWS * pack_row_bytes. */
void pack_tile(uint8_t *tile, const matrix *w, int64_t row);
/* Row r < packed_rows of an integer type in f32. */
void packed_row(const matrix *w, int64_t r, float *y);
#endif
