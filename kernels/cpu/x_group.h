/* x_group.h - rows of x as the products with many columns read them: eight side by side, in one stream.
 *
 * A group of X_Q32 or X_Q256 is a run of the chunks below, 256 values each (the last one of X_Q32 may be part empty); the
 * scales and sums are those of quantize_act.h. SIMD_DPBUSD (lanes.h) keeps q with 128 added.
 * A group of X_F32 is float [16][n][GROUP], n = cols / 16 rounded up: the values that share a partial sum (linear.h, 1), in
 * order, padded with zeros. The reference keeps its rows one after the other instead. */
#ifndef LLM_CPU_X_GROUP_H
#define LLM_CPU_X_GROUP_H
#include "quantize_act.h"

enum { GROUP = 8 };

typedef struct {
    uint8_t q[64][GROUP][4];
    float d[8][GROUP], s[8][GROUP];
#if defined(SIMD_MADDUBS)
    int16_t start[8][GROUP][2];         /* by block: -16 times the sums of the q 4k and 4k+1, and 4k+2 and 4k+3 */
#endif
} x_chunk32;
typedef struct {
    uint8_t q[64][GROUP][4];
    uint32_t sum32[4][GROUP], sum16[8][GROUP];
    float d[2][GROUP];                  /* d[1]: unused */
#if defined(SIMD_MADDUBS)
    int16_t start[16][GROUP][2];        /* the same by 16 values, -32 times */
#endif
} x_chunk256;

/* Bytes of a group, in any set. */
static inline size_t x_group_bytes(x_form form, int64_t cols)
{
    if (form == X_F32) return (((size_t)cols + 15) & ~(size_t)15) * GROUP * sizeof(float);
    return GROUP * x_layout_of(form, (cols + 255) & ~(int64_t)255).bytes;       /* a chunk is less than its part of the records */
}
static inline int64_t x_groups_of(int64_t n) { return (n + GROUP - 1) / GROUP; }
#endif
