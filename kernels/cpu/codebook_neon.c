/* codebook_neon.c - blocks from codebook.c, 16 values at a time. */
#include "codebook.h"
#include <arm_neon.h>

static int32_t dot(const codebook_block *w, int sub, const uint8_t *q)
{
    int32x4_t sum = vdupq_n_s32(0);

    for (int k = 0; k < 256; k += 16) {
        int32x4_t s = vdotq_s32(vdupq_n_s32(0), vld1q_s8(w->w + k), vreinterpretq_s8_u8(vld1q_u8(q + k)));
        sum = vmlaq_n_s32(sum, s, w->sc[k / sub]);
    }
    return vaddvq_s32(sum);
}

void codebook_times_neon(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, const uint8_t *const *q, int n_col, codebook_sums *out)
{
    const int sub = codebook_sub(dtype);

    for (int r = 0; r < TILE_ROWS; r++, b += row_bytes) {
        codebook_block w;
        if (r < n_row) codebook_unpack(dtype, b, &w);
        out->d[r] = r < n_row ? w.d : 0.0f;
        for (int c = 0; c < n_col; c++) out->sum[c][r] = r < n_row ? dot(&w, sub, q[c]) : 0;
    }
}
