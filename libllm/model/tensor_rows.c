#include "tensor_rows.h"
#include "dequant.h"

tensor_shape tensor_shape_of(const llm_tensor *t)
{
    if (t->dim[2] > 1) return (tensor_shape){ t->dim[0], t->dim[1], t->dim[2] };
    if (t->dim[1] > 1) return (tensor_shape){ 1, t->dim[0], t->dim[1] };
    return (tensor_shape){ 1, 1, t->dim[0] };
}

const char *tensor_row(const llm_tensor *t, int64_t matrix, int64_t row)
{
    if (t->part) return (const char *)t->part[matrix] + (size_t)row * t->row_bytes;
    return (const char *)t->data + (size_t)(matrix * tensor_shape_of(t).rows + row) * t->row_bytes;
}

/* Multiplies row `row` by its tiles' scales. */
static bool scale_row(const llm_scale *s, tensor_shape d, int64_t matrix, int64_t row, float *x)
{
    int64_t cols = d.cols, n_tile = (cols + s->tile_cols - 1) / s->tile_cols;
    size_t size = (size_t)dtype_info(s->dtype)->block_bytes, row_bytes = scale_row_bytes(s, cols);
    size_t before = (size_t)(matrix * ((d.rows + s->tile_rows - 1) / s->tile_rows)) * row_bytes;
    const char *data = s->part ? s->part[matrix] : (const char *)s->data + before;

    for (int64_t i = 0; i < n_tile; i++) {
        int64_t end = (i + 1) * s->tile_cols < cols ? (i + 1) * s->tile_cols : cols;
        float f;
        if (!dequant_row(s->dtype, data + (size_t)(row / s->tile_rows) * row_bytes + (size_t)i * size, &f, 1)) return false;
        for (int64_t c = i * s->tile_cols; c < end; c++) x[c] *= f;
    }
    return true;
}

bool tensor_rows(const llm_tensor *t, int64_t matrix, int64_t first, int64_t n, float *to)
{
    tensor_shape d = tensor_shape_of(t);

    for (int64_t r = first; r < first + n; r++, to += d.cols) {
        if (!t->perm && !dequant_row(t->dtype, tensor_row(t, matrix, r), to, d.cols)) return false;
        for (int64_t k = 0; t->perm && k < d.cols; k += 32) {           /* DT_Q4_G, the only type with an order of its own */
            float block[32];
            if (!dequant_row(t->dtype, tensor_row(t, matrix, r) + (size_t)(k / 32) * 20, block, 32)) return false;
            for (int i = 0; i < 32 && k + i < d.cols; i++) to[t->perm[k + i]] = block[i];
        }
        if ((t->scale.data || t->scale.part) && !scale_row(&t->scale, d, matrix, r, to)) return false;
    }
    return true;
}
