/* matrix.c - views of weight matrices, and their blocks as integers. */
#include "matrix.h"
#include "codebook.h"
#include "dequant.h"
#include "narrow.h"
#include "pack.h"
#include "packed.h"

static const uint8_t *part_of(const void *data, const void *const *part, int64_t e, size_t bytes)
{
    if (part != NULL) return part[e < 0 ? 0 : e];
    return data == NULL ? NULL : (const uint8_t *)data + (e < 0 ? 0 : (size_t)e * bytes);
}

static int64_t tiles(int64_t n, int64_t tile) { return tile > 0 ? (n + tile - 1) / tile : 1; }

static void set_packed(matrix *m, llm_packed *p, int64_t e)
{
    int64_t ready = atomic_load_explicit(&p->ready, memory_order_acquire) - e * p->rows;

    m->packed_row_bytes = p->row_bytes;
    if (ready <= 0) return;
    m->packed = p->data + (size_t)(e * p->rows) * p->row_bytes;
    m->packed_rows = ready < p->rows ? ready : p->rows;
}

matrix matrix_of(const llm_tensor *w, const llm_tensor *bias, int64_t e)
{
    matrix m = { .dtype = w->dtype, .row_bytes = w->row_bytes };

    m.rows = w->dim[e < 0 ? 0 : 1], m.cols = w->dim[e < 0 ? 1 : 2];
    m.data = part_of(w->data, w->part, e, (size_t)m.rows * w->row_bytes);
    if (w->repacked != NULL) set_packed(&m, w->repacked, e < 0 ? 0 : e);
    if (w->scale.data != NULL || w->scale.part != NULL) {
        m.scale_dtype = w->scale.dtype, m.tile_rows = w->scale.tile_rows, m.tile_cols = w->scale.tile_cols;
        m.scale_cols = tiles(m.cols, m.tile_cols);
        m.scale_row_bytes = scale_row_bytes(&w->scale, m.cols);
        m.scale = part_of(w->scale.data, w->scale.part, e, (size_t)tiles(m.rows, m.tile_rows) * m.scale_row_bytes);
    }
    if (bias != NULL && tensor_bound(bias)) {
        m.bias_dtype = bias->dtype;
        m.bias = e >= 0 && bias->part == NULL ? (const uint8_t *)bias->data + (size_t)e * bias->row_bytes
                                              : part_of(bias->data, bias->part, e, 0);
    }
    return m;
}

static float float_at(llm_dtype dtype, const uint8_t *p, int64_t i)
{
    float f = 0.0f;

    dequant_row(dtype, p + i * dtype_info(dtype)->block_bytes, &f, 1);
    return f;
}

float matrix_bias(const matrix *w, int64_t r) { return w->bias ? float_at(w->bias_dtype, w->bias, r) : 0.0f; }

matrix matrix_part(const matrix *w, int64_t row0, int64_t *n_row)
{
    matrix m = *w;

    m.packed_rows = 0;
    if (row0 >= w->packed_rows) return m;
    m.data = w->packed, m.row_bytes = w->packed_row_bytes;
    if (*n_row > w->packed_rows - row0) *n_row = w->packed_rows - row0;
    return m;
}

void matrix_row(const matrix *w, int64_t r, float *y)
{
    bool is_packed = r < w->packed_rows && matrix_form(w->dtype) != X_F32;
    matrix m = matrix_part(w, r, &(int64_t){ 1 });

    if (is_packed) packed_row(w, r, y);
    else dequant_row(m.dtype, m.data + (size_t)r * m.row_bytes, y, m.cols);
    if (w->scale == NULL || is_packed) return;                  /* packed blocks have their scales */
    for (int64_t t = 0, k = 0; t < w->scale_cols; t++) {
        float s = float_at(w->scale_dtype, w->scale + (w->tile_rows > 0 ? (size_t)(r / w->tile_rows) : 0) * w->scale_row_bytes, t);
        int64_t end = w->tile_cols > 0 && (t + 1) * w->tile_cols < w->cols ? (t + 1) * w->tile_cols : w->cols;
        for (; k < end; k++) y[k] *= s;
    }
}

x_form matrix_form(llm_dtype dtype)
{
    switch (dtype) {
    case DT_Q4_0: case DT_Q4_1: case DT_Q5_0: case DT_Q5_1: case DT_Q8_0: case DT_IQ4_NL: case DT_MXFP4: case DT_Q4_G: case DT_F4_E2M1:
        return X_Q32;
    case DT_Q2_K: case DT_Q3_K: case DT_Q4_K: case DT_Q5_K: case DT_Q6_K: case DT_IQ4_XS:
        return X_Q256;
    default:
        return codebook_sub(dtype) > 0 ? X_Q256 : X_F32;
    }
}

bool matrix_is_float(llm_dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16 || t == DT_F8_E4M3 || t == DT_F8_E5M2; }

/* A product makes a panel first, which costs as much as several columns, fewer where a code takes more work to make (measured: kernel-bench -n).
 * Rows that still lie in the file are turned anew for each column. */
bool matrix_takes_few(const matrix *w, int64_t n)
{
    if (codebook_sub(w->dtype) > 0) return n <= FEW_COLUMNS;
    if (matrix_form(w->dtype) != X_F32 && w->packed_rows < w->rows - w->rows % TILE_ROWS) return n <= 3;
    switch (w->dtype) {
    case DT_Q2_K: case DT_Q3_K: case DT_Q5_0: case DT_Q5_1: case DT_Q4_G: return n <= FEW_COLUMNS / 2;
    default:                                                              return n <= FEW_COLUMNS;
    }
}

bool type_has_min(llm_dtype t) { return t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q2_K || t == DT_Q4_K || t == DT_Q5_K; }
bool type_sums_exactly(llm_dtype t) { return t == DT_Q2_K || t == DT_Q3_K || codebook_sub(t) > 0; }

static int nibble(const uint8_t *qs, int k) { return k < 16 ? qs[k] & 15 : qs[k - 16] >> 4; }

void unpack32(llm_dtype dtype, const uint8_t *b, block32 *out)
{
    out->d = dtype == DT_MXFP4 ? e8m0_half_to_f32(b[0]) : f16_to_float(load_u16(b));
    out->m = type_has_min(dtype) ? f16_to_float(load_u16(b + 2)) : 0.0f;
    for (int k = 0; k < 32; k++) {
        int w = 0;
        switch (dtype) {
        case DT_Q4_0:   w = nibble(b + 2, k) - 8; break;
        case DT_Q4_1:   w = nibble(b + 4, k); break;
        case DT_Q5_0:   w = (nibble(b + 6, k) | (int)(load_u32(b + 2) >> k & 1) << 4) - 16; break;
        case DT_Q5_1:   w = nibble(b + 8, k) | (int)(load_u32(b + 4) >> k & 1) << 4; break;
        case DT_Q8_0:   w = (int8_t)b[2 + k]; break;
        case DT_Q4_G:   w = nibble(b + 4, k) - b[2]; break;
        case DT_IQ4_NL: w = iq4_value[nibble(b + 2, k)]; break;
        default:        w = mxfp4_value[nibble(b + 1, k)]; break;
        }
        out->w[k] = (int16_t)w;
    }
}

static void unpack_q2_q3(llm_dtype dtype, const uint8_t *b, block256 *out)
{
    int8_t sc[16];

    if (dtype == DT_Q3_K) q3_k_scales(b + 96, sc);
    for (int i = 0; i < 16; i++) {
        out->sc[i] = dtype == DT_Q3_K ? sc[i] : b[i] & 15;
        out->mn[i] = dtype == DT_Q3_K ? 0 : b[i] >> 4;
    }
    for (int k = 0; k < 256; k++) {
        int at = 32 * (k / 128) + k % 32, shift = 2 * (k % 128 / 32);
        if (dtype == DT_Q2_K) out->w[k] = b[16 + at] >> shift & 3;
        else out->w[k] = (int16_t)((b[32 + at] >> shift & 3) - (b[k % 32] >> k / 32 & 1 ? 0 : 4));
    }
}

static void unpack_q4_q5(llm_dtype dtype, const uint8_t *b, block256 *out)
{
    const uint8_t *qs = b + (dtype == DT_Q4_K ? 16 : 48);
    uint8_t sc[8], mn[8];

    q4_k_scales(b + 4, sc, mn);
    for (int i = 0; i < 8; i++) out->sc[i] = sc[i], out->mn[i] = mn[i];
    for (int k = 0; k < 256; k++) {
        int high = dtype == DT_Q4_K ? 0 : b[16 + k % 32] >> k / 32 & 1;
        out->w[k] = (int16_t)((qs[32 * (k / 64) + k % 32] >> 4 * (k / 32 % 2) & 15) | high << 4);
    }
}

static void unpack_q6(const uint8_t *b, block256 *out)
{
    for (int i = 0; i < 16; i++) out->sc[i] = (int8_t)b[192 + i], out->mn[i] = 0;
    for (int k = 0; k < 256; k++) {
        int part = k % 128 / 32;
        int low = b[64 * (k / 128) + 32 * (part % 2) + k % 32] >> 4 * (part / 2) & 15;
        out->w[k] = (int16_t)((low | (b[128 + 32 * (k / 128) + k % 32] >> 2 * part & 3) << 4) - 32);
    }
}

static void unpack_iq4_xs(const uint8_t *b, block256 *out)
{
    for (int i = 0; i < 8; i++) {
        int ls = (b[4 + i / 2] >> 4 * (i % 2) & 15) | (load_u16(b + 2) >> 2 * i & 3) << 4;
        out->sc[i] = (int16_t)(ls - 32), out->mn[i] = 0;
    }
    for (int k = 0; k < 256; k++) out->w[k] = iq4_value[nibble(b + 8 + 16 * (k / 32), k % 32)];
}

static void unpack_codebook(llm_dtype dtype, const uint8_t *b, block256 *out)
{
    codebook_block o;

    codebook_unpack(dtype, b, &o);
    out->d = o.d, out->dmin = 0, out->sub = codebook_sub(dtype);
    for (int i = 0; i < 256 / out->sub; i++) out->sc[i] = o.sc[i], out->mn[i] = 0;
    for (int k = 0; k < 256; k++) out->w[k] = o.w[k];
}

void unpack256(llm_dtype dtype, const uint8_t *b, block256 *out)
{
    if (codebook_sub(dtype) > 0) { unpack_codebook(dtype, b, out); return; }

    bool first = dtype == DT_Q4_K || dtype == DT_Q5_K || dtype == DT_IQ4_XS;
    int at = first ? 0 : dtype == DT_Q2_K ? 80 : dtype == DT_Q3_K ? 108 : 208;

    out->d = f16_to_float(load_u16(b + at));
    out->dmin = type_has_min(dtype) ? f16_to_float(load_u16(b + at + 2)) : 0.0f;
    out->sub = first ? 32 : 16;
    if (dtype == DT_Q2_K || dtype == DT_Q3_K) unpack_q2_q3(dtype, b, out);
    else if (dtype == DT_Q6_K) unpack_q6(b, out);
    else if (dtype == DT_IQ4_XS) unpack_iq4_xs(b, out);
    else unpack_q4_q5(dtype, b, out);
}
