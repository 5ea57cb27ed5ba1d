/* peak.h - the greatest of a row's values, block by block: what comes early in a row's order is then found without a look at most of it. */
#ifndef LLM_BASE_PEAK_H
#define LLM_BASE_PEAK_H
#include <math.h>
#include <stddef.h>

enum { PEAK_OF = 64 };                  /* values of a block */

static inline size_t peaks_of(size_t n) { return (n + PEAK_OF - 1) / PEAK_OF; }

static inline float greater(float a, float b) { return a > b ? a : b; }

/* The greatest of x [PEAK_OF]; NaN where one is NaN or +infinity. Loops of constant length, which become vector code. */
static inline float peak_of(const float *x)
{
    float most[16];
    int fine[16];

    for (int k = 0; k < 16; k++) {
        most[k] = greater(greater(x[k], x[k + 16]), greater(x[k + 32], x[k + 48]));
        fine[k] = (x[k] < INFINITY) & (x[k + 16] < INFINITY) & (x[k + 32] < INFINITY) & (x[k + 48] < INFINITY);
    }
    for (int k = 0; k < 8; k++) most[k] = greater(most[k], most[k + 8]), fine[k] &= fine[k + 8];
    for (int k = 0; k < 4; k++) most[k] = greater(most[k], most[k + 4]), fine[k] &= fine[k + 4];
    return fine[0] & fine[1] & fine[2] & fine[3] ? greater(greater(most[0], most[1]), greater(most[2], most[3])) : NAN;
}

/* The same of the first n of them, 1 <= n <= PEAK_OF. */
static inline float peak_of_part(const float *x, int n)
{
    float all[PEAK_OF];

    for (int k = 0; k < PEAK_OF; k++) all[k] = k < n ? x[k] : -INFINITY;
    return peak_of(all);
}
#endif
