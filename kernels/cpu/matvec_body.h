/* matvec_body.h - one column, or few: the product of a token being generated, or of a few sequences' tokens. Included by matvec_avx2.c, matvec_avx512.c and
 * matvec_neon.c with SIMD_* and SIMD_NAME set as for simd.h. linear.h has the order of the sums, dequant.c the blocks.
 *
 * A tile is 16 rows whose sums end in a lane each. Rows that were put in order (pack.h) go through matvec_packed_body.h; those that still lie in the
 * file, VN of them at a time, through matvec_words_body.h or matvec_pairs_body.h, two ways from such rows to lanes.
 * Bound by memory. Of a file's rows, the tile after this one, which lies in one stretch, is prefetched into L2 in its order while this one is
 * computed, a little at a time: a core has some 16 places for lines on their way, and a burst would wait for them. */
#include "codebook.h"
#include "dequant.h"
#include "lanes.h"
#include "matrix.h"
#include "narrow.h"
#include "pack.h"
#include "product.h"

enum { CHUNK = 256, MAX_BLOCK = CHUNK / 32, SLACK = 32 };    /* a row is read up to SLACK bytes past its end */

/* Where 256 values of VN rows are (b: the first of them), the part of x that meets them: codes, start values of the sums, scales, sums
 * of codes. w: the same rows as words (matvec_words_body.h). ahead: what is to be prefetched with them, share bytes for each 32 values. */
typedef struct {
    const uint8_t *b;
    steps step;
    const uint32_t (*w)[VN];
    const uint8_t *q, *zero, *d, *s, *sums, *ahead;
    int share;
} piece;

SIMD_INLINE void fetch(const uint8_t *p) { __builtin_prefetch(p, 0, 2); }
/* The shares of n blocks from k on. */
SIMD_INLINE void fetch_share(const piece *p, int k, int n)
{
    for (int i = k * p->share; i < (k + n) * p->share; i += 64) fetch(p->ahead + i);
}

SIMD_INLINE vf set_at(const uint8_t *p) { float f; memcpy(&f, p, sizeof f); return v_set(f); }
SIMD_INLINE vi low_nibbles(vi v) { return i_and(v, i_bytes(15)); }
SIMD_INLINE vi high_nibbles(vi v) { return i_and(i_shr(v, 4), i_bytes(15)); }
SIMD_INLINE vi byte_of(vi v, int i) { return i == 3 ? i_shr(v, 24) : i_and(i_shr(v, 8 * i), i_dwords(255)); }
SIMD_INLINE vi signed_byte_of(vi v, int i) { return i_sar(i == 3 ? v : i_shl(v, 24 - 8 * i), 24); }

/* The record of x as the chunks want it. */
typedef struct { const uint8_t *q, *zero, *d, *s, *sums; int d_step, zero_step, sum_step; } x_view;

/* One tile's rows from b on; ahead: where the tile after it lies, read while this one is. */
typedef struct { const uint8_t *b, *ahead; steps step; size_t row_bytes; int64_t cols; const x_view *x; } tile_args;

#if defined(SIMD_DPBUSD)         /* 128 added: SIGNED_FLIP */
static const int8_t iq4_codes[16] = { 1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15 };
enum { SIGNED_SHIFT = 0 };
#else
static const int8_t iq4_codes[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
enum { SIGNED_SHIFT = -1 };
#endif
static const int8_t mxfp4_plus16[16] = { 16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4 };

SIMD_INLINE vf scaled(const piece *p, int k, vf d, vi isum, vf acc)
{
    return v_fma(v_mul(d, set_at(p->d + 4 * k)), i_float(isum), acc);
}
SIMD_INLINE vf plus_min(const piece *p, int k, vf m, vf acc) { return v_fma(m, set_at(p->s + 4 * k), acc); }

#define ZERO(k) i_dword(p->zero + 4 * (k))

/* E8M0 e, byte i of v, as 2^(e-128): (e-1) << 23, or the two subnormals 1 << 21 and 1 << 22, which (e+1) << 21 is for 0 and 1
 * and stays below for the others. */
SIMD_INLINE vf exponent_scale(vi v, int i)
{
    vi e = i_and(i == 3 ? i_shr(v, 1) : i_shl(v, 23 - 8 * i), i_dwords(0x7f800000));
    return i_as_float(i_max(i_sub(e, i_dwords(1 << 23)), i_add(i_shr(e, 2), i_dwords(1 << 21))));
}

SIMD_INLINE vf super_scaled(const piece *p, vf d, vf t, vf acc) { return v_fma(v_mul(d, set_at(p->d)), t, acc); }

/* acc - dmin * d_x * (minima times sums); mn holds two sub-blocks in each lane (0|2, 1|3, 4|6, ... : sum_place). */
SIMD_INLINE vf less_min(const uint8_t *sums, const uint8_t *d_x, vf dmin, const vi *mn, int n, vf acc)
{
    vi s = i_zero();

    UNROLL
    for (int i = 0; i < n; i++) s = i_dot16(s, mn[i], i_dword(sums + 4 * i));
    return v_fnma(v_mul(dmin, set_at(d_x)), i_float(s), acc);
}
SIMD_INLINE void minima(vi v, vi mn[2]) { mn[0] = i_and(v, i_dwords(0x00ff00ff)), mn[1] = i_and(i_shr(v, 8), i_dwords(0x00ff00ff)); }

/* The f16 in the low and in the high half of each lane. */
SIMD_INLINE void halves(vi v, vf *low, vf *high)
{
#if defined(SIMD_AVX512)
    static const uint16_t even_odd[32] = { 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31 };
    v = _mm512_permutexvar_epi16(i_load(even_odd), v);
    *low = _mm512_cvtph_ps(_mm512_castsi512_si256(v)), *high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v, 1));
#else
    *low = i_half(i_and(v, i_dwords(0xffff))), *high = i_half(i_shr(v, 16));
#endif
}

/* rows, packed: a tile as it lies in the file, and in order. shift: codes are 128 >> shift too high; -1: they are exact. codes: the byte of a block
 * of 32 at which codes begin. unit: bytes of codes that activations are rotated within (matvec_words_body.h). */
typedef struct {
    void (*rows)(const tile_args *a, float *y);
    void (*packed)(const uint8_t *tile, int64_t cols, const x_view *x, int n_col, float *y);
    int shift, codes, unit;
    bool sub16;
} way;

#if defined(SIMD_AVX2) && !defined(SIMD_DPBUSD)
#include "matvec_pairs_body.h"
#else
#include "matvec_words_body.h"
#endif
#include "matvec_packed_body.h"
#include "joined_body.h"

/* Type, bytes and values of a block. */
#define BOTH(type, size, values) ROWS(type, size, values) PACKED_ROWS(type, size, values)
BOTH(q4_0, 18, 32)
BOTH(q4_1, 20, 32)
BOTH(q5_0, 22, 32)
BOTH(q5_1, 24, 32)
BOTH(q8_0, 34, 32)
BOTH(iq4_nl, 18, 32)
BOTH(mxfp4, 17, 32)
BOTH(q4_g, 20, 32)
BOTH(q2_k, 84, 256)
BOTH(q3_k, 110, 256)
BOTH(q4_k, 144, 256)
BOTH(q5_k, 176, 256)
BOTH(q6_k, 210, 256)
BOTH(iq4_xs, 136, 256)

static way way_of(llm_dtype dtype)
{
    switch (dtype) {
    case DT_Q4_0:   return (way){ rows_q4_0, packed_rows_q4_0, 4, 2, 16, false };
    case DT_Q4_1:   return (way){ rows_q4_1, packed_rows_q4_1, -1, 4, 16, false };
    case DT_Q5_0:   return (way){ rows_q5_0, packed_rows_q5_0, 3, 6, 16, false };
    case DT_Q5_1:   return (way){ rows_q5_1, packed_rows_q5_1, -1, 8, 16, false };
    case DT_Q8_0:   return (way){ rows_q8_0, packed_rows_q8_0, SIGNED_SHIFT, 2, 32, false };
    case DT_IQ4_NL: return (way){ rows_iq4_nl, packed_rows_iq4_nl, SIGNED_SHIFT, 2, 16, false };
    case DT_MXFP4:  return (way){ rows_mxfp4, packed_rows_mxfp4, 3, 1, 16, false };
    case DT_Q4_G:   return (way){ rows_q4_g, packed_rows_q4_g, 3, 4, 16, false };
    case DT_Q2_K:   return (way){ rows_q2_k, packed_rows_q2_k, -1, 0, 0, true };
    case DT_Q3_K:   return (way){ rows_q3_k, packed_rows_q3_k, 5, 0, 0, true };
    case DT_Q4_K:   return (way){ rows_q4_k, packed_rows_q4_k, -1, 0, 0, false };
    case DT_Q5_K:   return (way){ rows_q5_k, packed_rows_q5_k, -1, 0, 0, false };
    case DT_Q6_K:   return (way){ rows_q6_k, packed_rows_q6_k, 2, 0, 0, true };
    default:        return (way){ rows_iq4_xs, packed_rows_iq4_xs, SIGNED_SHIFT, 0, 0, false };
    }
}

/* Views of n_col columns; returns the scratch behind what they take. */
static uint8_t *views_of(x_view *v, const x_rows *x, int n_col, const matrix *w, const way *how, bool packed, uint8_t *scratch)
{
    x_layout l = x_layout_of(x->form, w->cols);
    bool q32 = x->form == X_Q32;
    int64_t n_zero = w->cols / (how->sub16 ? 16 : 32);

    for (int c = 0; c < n_col; c++, v++) {
        const uint8_t *r = x_record(x, c);
        int32_t *zero = (int32_t *)(void *)(scratch + w->cols);
        *v = (x_view){ r, r + (how->sub16 ? l.zero16 : l.zero32), r + l.d, r + l.s, r + (how->sub16 ? l.sum16 : l.sum32), q32 ? 32 : 4,
                       how->sub16 ? 64 : 32, how->sub16 ? 32 : 16 };
        if (how->shift != 0) {          /* start values of the sums */
            const int32_t *from = (const int32_t *)(const void *)v->zero;
            if (how->shift < 0) memset(zero, 0, 4 * (size_t)n_zero);
            else for (int64_t i = 0; i < n_zero; i++) zero[i] = from[i] >> how->shift;
            v->zero = (const uint8_t *)zero;
        }
        if (!packed) v->q = x_turn(r, w->cols, how, dtype_info(w->dtype)->block_bytes, scratch);
        scratch += ((size_t)w->cols + 4 * (size_t)n_zero + 63) & ~(size_t)63;
    }
    return scratch;
}

/* acc [n] of rows row .. to y, with the bias. */
static void put_rows(const matrix *w, int64_t row, int n, float *acc, float *y)
{
    float bias[TILE_ROWS];

    if (w->bias) {
        dequant_row(w->bias_dtype, w->bias + row * (w->bias_dtype == DT_F32 ? 4 : 2), bias, n);
        for (int r = 0; r < n; r++) acc[r] += bias[r];
    }
    memcpy(y, acc, (size_t)n * sizeof *y);
}

/* A packed tile for all columns, several at a time while it is in the cache. */
static void packed_tile(const way *how, const matrix *w, int64_t row, const uint8_t *tile, const x_view *v, int n_col, float *y, int64_t y_stride)
{
    float acc[FEW * TILE_ROWS];

    for (int c = 0, n; c < n_col; c += n) {
        n = n_col - c >= FEW ? FEW : n_col - c >= 2 ? 2 : 1;
        how->packed(tile, w->cols, v + c, n, acc);
        for (int i = 0; i < n; i++) put_rows(w, row, TILE_ROWS, acc + i * TILE_ROWS, y + (c + i) * y_stride);
    }
}

static void packed_tiles(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    way how = way_of(pack_dtype(w->dtype));
    x_view v[FEW_COLUMNS];
    const uint8_t *tile = w->packed + (size_t)row0 * w->packed_row_bytes;

    views_of(v, x, n_col, w, &how, true, scratch);
    for (int64_t row = row0; row < row0 + n_row; row += TILE_ROWS, tile += TILE_ROWS * w->packed_row_bytes)
        packed_tile(&how, w, row, tile, v, n_col, y + (row - row0), y_stride);
}

/* A row is read past its end, so a matrix's last tile is read from a copy; rows that are not there read as zeros. */
static void file_tiles(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next)
{
    way how = way_of(w->dtype);
    size_t tile_bytes = TILE_ROWS * w->row_bytes;
    x_view v[FEW_COLUMNS];
    tile_args a = { NULL, NULL, steps_of(w->row_bytes), w->row_bytes, w->cols, NULL };
    const uint8_t *b = w->data + (size_t)row0 * w->row_bytes;
    uint8_t *copy = views_of(v, x, n_col, w, &how, false, scratch);

    for (int64_t row = row0, end = row0 + n_row; row < end; row += TILE_ROWS, b += tile_bytes) {
        int n = (int)(end - row < TILE_ROWS ? end - row : TILE_ROWS);
        a.b = b, a.ahead = row + TILE_ROWS < end ? b + tile_bytes : next ? next : b;
        if (row + TILE_ROWS >= w->rows) {
            memcpy(copy, b, (size_t)n * w->row_bytes);
            memset(copy + (size_t)n * w->row_bytes, 0, (size_t)(TILE_ROWS - n) * w->row_bytes + SLACK);
            a.b = copy;
        }
        for (int c = 0; c < n_col; c++) {
            float acc[TILE_ROWS];
            a.x = &v[c];
            how.rows(&a, acc);
            put_rows(w, row, n, acc, y + (row - row0) + c * y_stride);
        }
    }
}

/* Tiles of F4_E2M1, each brought into order before it is read. */
static void joined_tiles(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    way how = way_of(pack_dtype(w->dtype));
    x_view v[FEW_COLUMNS];
    uint32_t (*tile)[TILE_ROWS] = (uint32_t (*)[TILE_ROWS])(void *)views_of(v, x, n_col, w, &how, true, scratch);

    for (int64_t row = row0; row < row0 + n_row; row += TILE_ROWS) {
        for (int64_t k = 0; k < w->cols; k += CHUNK)
            join_chunk(tile + (size_t)(k / CHUNK) * (pack_chunk_bytes(w->dtype) / 4), w, row, k, w->cols - k < CHUNK ? (int)(w->cols - k) / 32 : MAX_BLOCK);
        packed_tile(&how, w, row, (const uint8_t *)tile, v, n_col, y + (row - row0), y_stride);
    }
}

/* Bound by the decoding of the blocks (codebook.c), which all columns share. */
static void codebook_tiles(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, const uint8_t *next)
{
    const llm_dtype_info *info = dtype_info(w->dtype);
    const x_layout l = x_layout_of(x->form, w->cols);
    const size_t share = TILE_ROWS * (size_t)info->block_bytes;

    for (int64_t row = row0; row < row0 + n_row; row += TILE_ROWS) {
        const uint8_t *b = w->data + (size_t)row * w->row_bytes, *q[FEW_COLUMNS];
        int n = (int)(row0 + n_row - row < TILE_ROWS ? row0 + n_row - row : TILE_ROWS);
        const uint8_t *ahead = row + TILE_ROWS < row0 + n_row ? b + TILE_ROWS * w->row_bytes : next;
        float acc[FEW_COLUMNS][TILE_ROWS] = { 0 };
        for (int64_t k = 0; k < w->cols; k += CHUNK, b += info->block_bytes) {
            codebook_sums t;
            for (size_t i = 0; ahead != NULL && i < share; i += 64) fetch(ahead + (size_t)(k / CHUNK) * share + i);
            for (int c = 0; c < n_col; c++) q[c] = x_record(x, c) + k;
            CODEBOOK_TIMES(w->dtype, b, w->row_bytes, n, q, n_col, &t);
            for (int c = 0; c < n_col; c++)
                for (int h = 0; h < TILE_ROWS; h += VN) {
                    vf d = v_mul(v_load(t.d + h), set_at(x_record(x, c) + l.d + k / 64));
                    v_store(acc[c] + h, v_fma(d, i_float(i_load(t.sum[c] + h)), v_load(acc[c] + h)));
                }
        }
        for (int c = 0; c < n_col; c++) put_rows(w, row, n, acc[c], y + (row - row0) + c * y_stride);
    }
}

void SIMD_NAME(matvec)(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next)
{
    int64_t packed = w->packed_rows - row0 < n_row ? w->packed_rows - row0 : n_row;

    if (codebook_sub(w->dtype) > 0) { codebook_tiles(w, row0, n_row, x, n_col, y, y_stride, next); return; }
    if (packed > 0) packed_tiles(w, row0, packed, x, n_col, y, y_stride, scratch);
    else packed = 0;
    if (packed == n_row) return;
    if (w->dtype == DT_F4_E2M1) joined_tiles(w, row0 + packed, n_row - packed, x, n_col, y + packed, y_stride, scratch);
    else file_tiles(w, row0 + packed, n_row - packed, x, n_col, y + packed, y_stride, scratch, next);
}
