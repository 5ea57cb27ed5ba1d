/* random_blocks.h - random weights of the types that can be read, but not written: codebooks and trits. */
#ifndef BENCH_RANDOM_BLOCKS_H
#define BENCH_RANDOM_BLOCKS_H
#include "dtype.h"
#include <stdbool.h>

bool random_blocks_known(llm_dtype dtype);
/* n values, a multiple of 256: any codes and any scales within a block, whose factor makes the root of the mean square about deviation. The same for the
 * same seed. */
void random_blocks(llm_dtype dtype, float deviation, uint64_t seed, int64_t n, uint8_t *to);
#endif
