/* product.c - the reference matrix product, in the order that linear.h states. */
#include "narrow.h"
#include "matrix.h"
#include "pack.h"
#include "product.h"
#include "x_group.h"
#include <math.h>
#include <string.h>

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
    uint8_t joined[17];
    float acc = 0.0f;
    block32 u;

    for (int64_t i = 0; i < w->cols / 32; i++, b += size) {
        int isum = 0;
        if (w->dtype == DT_F4_E2M1) mxfp4_join(joined, w->scale[(size_t)r * w->scale_row_bytes + (size_t)i], b);
        unpack32(pack_dtype(w->dtype), w->dtype == DT_F4_E2M1 ? joined : b, &u);
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

/* The most of: a panel of floats, its stack and a row; a panel of codes, its rows as they lie in the file and the sums of
 * n_col columns; eight records or rows of x on their way into a group, and one more; codes and start values of FEW_COLUMNS records, and a tile. */
size_t product_scratch(int64_t max_cols, int64_t n_col)
{
    return 128 * 1024 + ((size_t)max_cols + 256) * (ITEM_ROWS + 2) * sizeof(float) + ((size_t)n_col + GROUP) * ITEM_ROWS * sizeof(float);
}

static void group_ref(x_form form, const uint8_t *const row[GROUP], int64_t cols, uint8_t *group)
{
    size_t slot = x_group_bytes(form, cols) / GROUP, bytes = x_layout_of(form, cols).bytes;

    for (size_t c = 0; c < GROUP; c++) memcpy(group + c * slot, row[c], bytes < slot ? bytes : slot);
}

/* y[r] of one column, whose row of x is at x. */
static void rows_ref(const matrix *w, int64_t row0, int64_t n_row, x_form form, const uint8_t *x, float *y, float *row)
{
    for (int64_t r = row0; r < row0 + n_row; r++) {
        float v;
        if (form == X_F32) matrix_row(w, r, row);
        v = form == X_F32 ? dot_f32(row, (const float *)(const void *)x, w->cols) : form == X_Q32 ? dot_q32(w, r, x) : dot_q256(w, r, x);
        y[r - row0] = w->bias ? v + matrix_bias(w, r) : v;
    }
}

static void product_ref(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    size_t slot = x_group_bytes(x->form, w->cols) / GROUP;

    for (int64_t c = 0; c < n_col; c++)
        rows_ref(w, row0, n_row, x->form, x->data + (size_t)(c / GROUP) * x->stride + (size_t)(c % GROUP) * slot, y + c * y_stride, (float *)(void *)scratch);
}

static void matvec_ref(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next)
{
    (void)next;
    for (int c = 0; c < n_col; c++) rows_ref(w, row0, n_row, x->form, x_record(x, c), y + c * y_stride, (float *)(void *)scratch);
}

const linear_set linear_set_ref = { quantize_act_ref, group_ref, product_ref, matvec_ref };
