#include "random_blocks.h"
#include "codebook.h"
#include "half.h"
#include <math.h>

/* Where a block has its factor, an f16; -1: in the top bits of the last four words (IQ1_M). */
static const struct { llm_dtype dtype; int at; } factor[] = {
    { DT_IQ1_S, 0 }, { DT_IQ2_XXS, 0 }, { DT_IQ2_XS, 0 }, { DT_IQ2_S, 0 }, { DT_IQ3_XXS, 0 }, { DT_IQ3_S, 0 }, { DT_TQ1_0, 52 }, { DT_TQ2_0, 64 }, { DT_IQ1_M, -1 },
};

static int find(llm_dtype dtype)
{
    for (int i = 0; i < (int)(sizeof factor / sizeof factor[0]); i++)
        if (factor[i].dtype == dtype) return i;
    return -1;
}

bool random_blocks_known(llm_dtype dtype) { return find(dtype) >= 0; }

static void put_factor(uint8_t *b, int at, float d)
{
    uint16_t h = float_to_f16(d);

    if (at >= 0) memcpy(b + at, &h, sizeof h);
    else for (int i = 0; i < 4; i++) b[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | (h >> 4 * i & 15) << 4);
}

/* Of a block whose factor is 1. */
static double mean_square(llm_dtype dtype, const uint8_t *b)
{
    codebook_block w;
    double sum = 0;

    codebook_unpack(dtype, b, &w);
    for (int k = 0; k < 256; k++) {
        double v = (double)w.d * w.sc[k / codebook_sub(dtype)] * w.w[k];
        sum += v * v;
    }
    return sum / 256;
}

void random_blocks(llm_dtype dtype, float deviation, uint64_t seed, int64_t n, uint8_t *to)
{
    const int bytes = dtype_info(dtype)->block_bytes, at = factor[find(dtype)].at;

    for (int64_t i = 0; i < n / 256; i++, to += bytes) {
        for (int k = 0; k < bytes; k++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            to[k] = (uint8_t)(seed >> 56);
            if (dtype == DT_TQ2_0) to[k] &= (uint8_t)~(to[k] >> 1 & 0x55);     /* 3 is no code */
        }
        put_factor(to, at, 1.0f);
        put_factor(to, at, deviation / (float)sqrt(mean_square(dtype, to)));
    }
}
