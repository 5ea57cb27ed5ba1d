/* product.c - the reference matrix product, in the order that linear.h states. */
#include "narrow.h"
#include "matrix.h"
#include "product.h"
#include <math.h>

static float dot_f32(const float *w, const float *x, int64_t n)
{
    float sum[16] = { 0 };

    for (int64_t k = 0; k < n; k++) sum[k % 16] = fmaf(w[k], x[k], sum[k % 16]);
    for (int64_t k = n; k % 16 != 0; k++) sum[k % 16] = fmaf(0.0f, 0.0f, sum[k % 16]);
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++) sum[j] += sum[j + half];
    return sum[0];
}

static float dot_q32(const matrix *w, int64_t r, const uint8_t *x)
{
    x_layout l = x_layout_of(X_Q32, w->cols);
    const float *d = (const float *)(const void *)(x + l.d), *s = (const float *)(const void *)(x + l.s);
    const uint8_t *b = w->data + (size_t)r * w->row_bytes;
    int size = dtype_info(w->dtype)->block_bytes;
    float acc = 0.0f;
    block32 u;

    for (int64_t i = 0; i < w->cols / 32; i++, b += size) {
        int isum = 0;
        unpack32(w->dtype, b, &u);
        for (int k = 0; k < 32; k++) isum += u.w[k] * (int8_t)x[32 * i + k];
        acc = fmaf(u.d * d[i], (float)isum, acc);
        if (type_has_min(w->dtype)) acc = fmaf(u.m, s[i], acc);
    }
    return acc;
}

/* t of a super-block: the sub-blocks' sums times their scales. */
static float scaled_sum(const block256 *u, const int8_t *q, bool exact)
{
    int all = 0;
    float t = 0.0f;

    for (int i = 0; i < 256 / u->sub; i++) {
        int isum = 0;
        for (int k = 0; k < u->sub; k++) isum += u->w[u->sub * i + k] * q[u->sub * i + k];
        if (exact) all += u->sc[i] * isum;
        else t = fmaf((float)u->sc[i], (float)isum, t);
    }
    return exact ? (float)all : t;
}

static float dot_q256(const matrix *w, int64_t r, const uint8_t *x)
{
    x_layout l = x_layout_of(X_Q256, w->cols);
    const float *d = (const float *)(const void *)(x + l.d);
    const int16_t *sum16 = (const int16_t *)(const void *)(x + l.sum16);
    const uint8_t *b = w->data + (size_t)r * w->row_bytes;
    int size = dtype_info(w->dtype)->block_bytes;
    float acc = 0.0f;
    block256 u;

    for (int64_t i = 0; i < w->cols / 256; i++, b += size) {
        int least = 0;
        unpack256(w->dtype, b, &u);
        acc = fmaf(u.d * d[i], scaled_sum(&u, (const int8_t *)x + 256 * i, type_sums_exactly(w->dtype)), acc);
        if (!type_has_min(w->dtype)) continue;
        for (int j = 0; j < 16; j++) least += u.mn[j * 16 / u.sub] * sum16[sum_place(16 * i + j)];
        acc = fmaf(-(u.dmin * d[i]), (float)least, acc);
    }
    return acc;
}

/* Of the vector sets: a panel, accumulators, and either 16 rows as they lie in the file or 16 rows as float. */
size_t product_scratch(int64_t max_cols) { return 64 * 1024 + (size_t)max_cols * (TILE_ROWS * sizeof(float) + 16); }

static void product_ref(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    float *row = (float *)(void *)scratch;

    for (int64_t r = row0; r < row0 + n_row; r++) {
        if (x->form == X_F32) matrix_row(w, r, row);
        for (int64_t c = 0; c < n_col; c++) {
            const uint8_t *xc = x->data + (size_t)c * x->stride;
            float v = x->form == X_F32 ? dot_f32(row, (const float *)(const void *)xc, w->cols)
                    : x->form == X_Q32 ? dot_q32(w, r, xc) : dot_q256(w, r, xc);
            y[c * y_stride + r - row0] = w->bias ? v + matrix_bias(w, r) : v;
        }
    }
}

static void matvec_ref(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, float *y, uint8_t *scratch, const uint8_t *next)
{
    (void)next;
    product_ref(w, row0, n_row, x, 1, y, 0, scratch);
}

const linear_set linear_set_ref = { quantize_act_ref, product_ref, matvec_ref };
