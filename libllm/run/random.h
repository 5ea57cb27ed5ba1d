/* random.h - numbers from a counter: the same (seed, pos) always gives the same draw. */
#ifndef LLM_RANDOM_H
#define LLM_RANDOM_H
#include <stdint.h>

/* Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3.
 * x holds the counter and is overwritten with four random words; k0, k1 are the key. */
static inline void philox4x32(uint32_t x[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53 * x[0], p1 = (uint64_t)0xcd9e8d57 * x[2];
        uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ k0, y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
        x[0] = y0, x[1] = (uint32_t)p1, x[2] = y2, x[3] = (uint32_t)p0;
        k0 += 0x9e3779b9, k1 += 0xbb67ae85;         /* the golden ratio and sqrt(3) - 1, as the paper has them */
    }
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double random_at(uint64_t seed, uint64_t pos)
{
    uint32_t x[4] = { (uint32_t)pos, (uint32_t)(pos >> 32), 0, 0 };

    philox4x32(x, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (double)(((uint64_t)x[0] << 32 | x[1]) >> 11) * 0x1p-53;
}
#endif
