/* product_body.h - the matrix product of a kernel set (linear.h has the order of the sums). Included by product_avx2.c,
 * product_avx512.c and product_neon.c with SIMD_* and SIMD_NAME set as for simd.h.
 *
 * Integer forms: a tile is 16 rows, one in each lane. Its weights are unpacked 256 values at a time (panel_body.h) and
 * multiply all columns while they are in L1; the accumulators wait in memory between chunks. Bound by integer
 * multiply-adds with many columns, by memory with few: the next tile is then prefetched in the order it lies in.
 * A single column goes another way: matvec_body.h. */
#include "dequant.h"
#include "lanes.h"
#include "matrix.h"
#include "narrow.h"
#include "product.h"
#include "panel_body.h"
#include "product_float_body.h"
#include "quantize_act_body.h"

enum { COLUMNS = 256 };                     /* per pass: their accumulators are 16 KiB */

/* Places of a chunk within the records of x. */
typedef struct { const uint8_t *q, *d, *s, *sums, *zero; size_t stride; } x_chunk;

SIMD_INLINE vf set_at(const uint8_t *p) { float f; memcpy(&f, p, sizeof f); return v_set(f); }
SIMD_INLINE vi zero_at(const uint8_t *p, int shift) { return shift < 0 ? i_zero() : i_sar(i_dword(p), shift); }

/* n_col columns by VN rows from h: blocks of 32. shift: codes are 128 >> shift too high; -1: they are exact. */
SIMD_INLINE void tile32(const panel *p, int n_block, int h, float (*acc)[TILE_ROWS], const x_chunk *x, int n_col, int group, int shift, bool is_signed, bool has_min)
{
    vf a[8];
    vi s[8];

    UNROLL
    for (int j = 0; j < n_col; j++) a[j] = v_load(acc[j] + h);
    for (int b = 0; b < n_block; b++) {
        vf d = v_load(p->d[b] + h);
        UNROLL
        for (int j = 0; j < n_col; j++) s[j] = zero_at(x->zero + (size_t)j * x->stride + 4 * b, shift);
        dot_block(s, n_col, p->codes[8 * b] + 4 * h, 8, x->q + 32 * b, x->stride, group, is_signed);
        UNROLL
        for (int j = 0; j < n_col; j++)
            a[j] = v_fma(v_mul(d, set_at(x->d + (size_t)j * x->stride + 4 * b)), i_float(s[j]), a[j]);
        if (!has_min) continue;
        d = v_load(p->m[b] + h);
        UNROLL
        for (int j = 0; j < n_col; j++) a[j] = v_fma(d, set_at(x->s + (size_t)j * x->stride + 4 * b), a[j]);
    }
    UNROLL
    for (int j = 0; j < n_col; j++) v_store(acc[j] + h, a[j]);
}

/* The same for one super-block with sub-blocks of sub values. */
SIMD_INLINE void tile256(const panel *p, int h, float (*acc)[TILE_ROWS], const x_chunk *x, int n_col, int sub, int group, int shift, bool is_signed, bool has_min)
{
    vf t[8], d = v_load(p->d[0] + h);
    vi s[8];

    UNROLL
    for (int j = 0; j < n_col; j++) t[j] = v_set(0.0f);
    for (int b = 0; b < CHUNK / sub; b++) {
        vf sc = v_load(p->sc[b] + h);
        UNROLL
        for (int j = 0; j < n_col; j++) s[j] = zero_at(x->zero + (size_t)j * x->stride + 4 * b, shift);
        dot_block(s, n_col, p->codes[sub / 4 * b] + 4 * h, sub / 4, x->q + sub * b, x->stride, group, is_signed);
        UNROLL
        for (int j = 0; j < n_col; j++) t[j] = v_fma(sc, i_float(s[j]), t[j]);
    }
    UNROLL
    for (int j = 0; j < n_col; j++) t[j] = v_fma(v_mul(d, set_at(x->d + (size_t)j * x->stride)), t[j], v_load(acc[j] + h));
    if (has_min) {
        d = v_load(p->m[0] + h);
        UNROLL
        for (int j = 0; j < n_col; j++) s[j] = i_zero();
        for (int i = 0; i < CHUNK / sub / 2; i++) {
            vi mn = i_load(p->mn[i] + h);
            UNROLL
            for (int j = 0; j < n_col; j++) s[j] = i_dot16(s[j], mn, i_dword(x->sums + (size_t)j * x->stride + 4 * i));
        }
        UNROLL
        for (int j = 0; j < n_col; j++) t[j] = v_fnma(v_mul(d, set_at(x->d + (size_t)j * x->stride)), i_float(s[j]), t[j]);
    }
    UNROLL
    for (int j = 0; j < n_col; j++) v_store(acc[j] + h, t[j]);
}

/* n columns of a panel, for the classes of types below. */
#define PANEL_TILE(name, kind, ...) \
    static void name(const panel *p, int n_block, float (*acc)[TILE_ROWS], x_chunk x, int n_col) \
    { \
        (void)n_block; \
        for (int c = 0; c < n_col;) { \
            int n = MOST_COLUMNS; \
            while (n > n_col - c) n /= 2; \
            for (int h = 0; h < TILE_ROWS; h += VN) { \
                if (n == MOST_COLUMNS) kind(MOST_COLUMNS, __VA_ARGS__); \
                else if (n == 4) kind(4, __VA_ARGS__); \
                else if (n == 2) kind(2, __VA_ARGS__); \
                else kind(1, __VA_ARGS__); \
            } \
            c += n, acc += n, x = (x_chunk){ x.q + (size_t)n * x.stride, x.d + (size_t)n * x.stride, x.s + (size_t)n * x.stride, \
                                             x.sums + (size_t)n * x.stride, x.zero + (size_t)n * x.stride, x.stride }; \
        } \
    }
#define TILE32(n, ...) tile32(p, n_block, h, acc, &x, n, __VA_ARGS__)
#define TILE256(n, ...) tile256(p, h, acc, &x, n, __VA_ARGS__)

#if defined(SIMD_AVX512)
enum { MOST_COLUMNS = 8, SIGNED_SHIFT = 0 };
#else
enum { MOST_COLUMNS = 4, SIGNED_SHIFT = -1 };
#endif

/* Classes by greatest code (15, 31, 63, a signed byte) and what was added to it; 256: by sub-block too. */
PANEL_TILE(tile_15_8, TILE32, 8, 4, false, false)
PANEL_TILE(tile_15_min, TILE32, 8, -1, false, true)
PANEL_TILE(tile_31_16, TILE32, 4, 3, false, false)
PANEL_TILE(tile_31_min, TILE32, 4, -1, false, true)
PANEL_TILE(tile_byte, TILE32, 1, SIGNED_SHIFT, true, false)
PANEL_TILE(tile_3_min_sub16, TILE256, 16, 8, -1, false, true)
PANEL_TILE(tile_7_4_sub16, TILE256, 16, 8, 5, false, false)
PANEL_TILE(tile_15_min_sub32, TILE256, 32, 8, -1, false, true)
PANEL_TILE(tile_31_min_sub32, TILE256, 32, 4, -1, false, true)
PANEL_TILE(tile_63_32_sub16, TILE256, 16, 2, 2, false, false)
PANEL_TILE(tile_byte_sub32, TILE256, 32, 1, SIGNED_SHIFT, true, false)

/* A chunk of a tile times n_col columns, by way of a panel. */
typedef void (*chunk_fn)(panel *p, const uint8_t *b, steps step, int n_block, float (*acc)[TILE_ROWS], x_chunk x, int n_col);

#define TYPE32(type, size, scales, tile) \
    static void chunk_##type(panel *p, const uint8_t *b, steps step, int n_block, float (*acc)[TILE_ROWS], x_chunk x, int n_col) \
    { \
        scales; \
        for (int i = 0; i < n_block; i++, b += size) \
            for (int h = 0; h < TILE_ROWS; h += VN) codes_##type((sink){ .p = p, .first = 8 * i }, h, b + (size_t)h * step.s1, step); \
        tile(p, n_block, acc, x, n_col); \
    }
#define TYPE256(type, parts, scales, tile) \
    static void chunk_##type(panel *p, const uint8_t *b, steps step, int n_block, float (*acc)[TILE_ROWS], x_chunk x, int n_col) \
    { \
        scales(p, b, step); \
        for (int h = 0; h < TILE_ROWS; h += VN) { \
            UNROLL \
            for (int i = 0; i < parts; i++) codes_##type((sink){ .p = p, .first = CHUNK / 4 / parts * i }, i, h, b + (size_t)h * step.s1, step); \
        } \
        tile(p, n_block, acc, x, n_col); \
    }
#define SCALES32(size, has_min) panel_halves(p->d, b, step, n_block, size); if (has_min) panel_halves(p->m, b + 2, step, n_block, size)

TYPE32(q4_0, 18, SCALES32(18, false), tile_15_8)
TYPE32(q4_1, 20, SCALES32(20, true), tile_15_min)
TYPE32(q5_0, 22, SCALES32(22, false), tile_31_16)
TYPE32(q5_1, 24, SCALES32(24, true), tile_31_min)
TYPE32(q8_0, 34, SCALES32(34, false), tile_byte)
TYPE32(iq4_nl, 18, SCALES32(18, false), tile_byte)
TYPE32(mxfp4, 17, scales_mxfp4(p, b, step, n_block), tile_31_16)
TYPE32(q4_g, 20, SCALES32(20, false), tile_31_16)
TYPE256(q2_k, 2, scales_q2_k, tile_3_min_sub16)
TYPE256(q3_k, 2, scales_q3_k, tile_7_4_sub16)
TYPE256(q4_k, 2, scales_q45_k, tile_15_min_sub32)
TYPE256(q5_k, 1, scales_q45_k, tile_31_min_sub32)
TYPE256(q6_k, 2, scales_q6_k, tile_63_32_sub16)
TYPE256(iq4_xs, 2, scales_iq4_xs, tile_byte_sub32)

static chunk_fn chunk_of(llm_dtype dtype)
{
    switch (dtype) {
    case DT_Q4_0:   return chunk_q4_0;
    case DT_Q4_1:   return chunk_q4_1;
    case DT_Q5_0:   return chunk_q5_0;
    case DT_Q5_1:   return chunk_q5_1;
    case DT_Q8_0:   return chunk_q8_0;
    case DT_IQ4_NL: return chunk_iq4_nl;
    case DT_MXFP4:  return chunk_mxfp4;
    case DT_Q4_G:   return chunk_q4_g;
    case DT_Q2_K:   return chunk_q2_k;
    case DT_Q3_K:   return chunk_q3_k;
    case DT_Q4_K:   return chunk_q4_k;
    case DT_Q5_K:   return chunk_q5_k;
    case DT_Q6_K:   return chunk_q6_k;
    default:        return chunk_iq4_xs;
    }
}

/* Chunk c of column col: 256 values, 8 blocks or one super-block. */
static x_chunk x_chunk_at(const x_rows *x, const x_layout *l, const matrix *w, int64_t col, int64_t c)
{
    const uint8_t *r = x->data + (size_t)col * x->stride;
    size_t i = (size_t)c;
    bool sub16 = w->dtype == DT_Q2_K || w->dtype == DT_Q3_K || w->dtype == DT_Q6_K;

    if (x->form == X_Q32) return (x_chunk){ r + CHUNK * i, r + l->d + 32 * i, r + l->s + 32 * i, r, r + l->zero32 + 32 * i, x->stride };
    return (x_chunk){ r + CHUNK * i, r + l->d + 4 * i, r, sub16 ? r + l->sum16 + 32 * i : r + l->sum32 + 16 * i,
                      sub16 ? r + l->zero16 + 64 * i : r + l->zero32 + 32 * i, x->stride };
}

static void finish(const matrix *w, int64_t row0, int n_row, float (*acc)[TILE_ROWS], int n_col, float *y, int64_t y_stride)
{
    float bias[TILE_ROWS] = { 0 };

    for (int r = 0; r < n_row && w->bias; r++) bias[r] = matrix_bias(w, row0 + r);
    for (int c = 0; c < n_col; c++, y += y_stride)
        for (int h = 0; h < n_row; h += VN) {
            vf v = v_load(acc[c] + h);
            if (w->bias) v = v_add(v, v_load(bias + h));
            if (n_row - h >= VN) v_store(y + h, v);
            else v_store_part(y + h, v, n_row - h);
        }
}

static void product_int(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    chunk_fn chunk = chunk_of(w->dtype);
    x_layout l = x_layout_of(x->form, w->cols);
    panel *p = (panel *)(void *)scratch;
    float (*acc)[TILE_ROWS] = (float (*)[TILE_ROWS])(void *)(scratch + sizeof *p);
    uint8_t *tail = (uint8_t *)(acc + COLUMNS);
    const uint8_t *b = w->data + (size_t)row0 * w->row_bytes;
    const llm_dtype_info *info = dtype_info(w->dtype);
    size_t chunk_bytes = (size_t)(CHUNK / info->block * info->block_bytes), ahead = (size_t)TILE_ROWS * w->row_bytes;

    const steps step = steps_of(w->row_bytes);

    if (n_row < TILE_ROWS) {                    /* rows that are not there read as zeros */
        memcpy(tail, b, (size_t)n_row * w->row_bytes);
        memset(tail + (size_t)n_row * w->row_bytes, 0, (size_t)(TILE_ROWS - n_row) * w->row_bytes);
        b = tail;
    }
    for (int64_t col = 0; col < n_col; col += COLUMNS) {
        int n = (int)(n_col - col < COLUMNS ? n_col - col : COLUMNS);
        memset(acc, 0, (size_t)n * sizeof *acc);
        for (int64_t c = 0; c * CHUNK < w->cols; c++) {
            int n_block = (int)(w->cols - c * CHUNK < CHUNK ? (w->cols - c * CHUNK) / 32 : MAX_BLOCK);
            if (col == 0)
                for (size_t i = 0; i < TILE_ROWS * chunk_bytes; i += 64) __builtin_prefetch(b + ahead + (size_t)c * TILE_ROWS * chunk_bytes + i);
            chunk(p, b + (size_t)c * chunk_bytes, step, n_block, acc, x_chunk_at(x, &l, w, col, c), n);
        }
        finish(w, row0, (int)n_row, acc, n, y + col * y_stride, y_stride);
    }
}

static void SIMD_NAME(product)(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    if (x->form == X_F32) product_float(w, row0, n_row, x, n_col, y, y_stride, scratch);
    else if (n_col == 1) SIMD_NAME(matvec)(w, row0, n_row, x, y, scratch, NULL);
    else product_int(w, row0, n_row, x, n_col, y, y_stride, scratch);
}

static void matvec(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, float *y, uint8_t *scratch, const uint8_t *next)
{
    if (x->form != X_F32) { SIMD_NAME(matvec)(w, row0, n_row, x, y, scratch, next); return; }
    for (int64_t r = 0; r < n_row; r += TILE_ROWS)
        product_float(w, row0 + r, n_row - r < TILE_ROWS ? n_row - r : TILE_ROWS, x, 1, y + r, 0, scratch);
}

const linear_set SIMD_NAME(linear_set) = { SIMD_NAME(quantize_act), SIMD_NAME(product), matvec };
