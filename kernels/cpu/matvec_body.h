/* matvec_body.h - one column: the product of a token being generated. Included by matvec_avx2.c, matvec_avx512.c and
 * matvec_neon.c with SIMD_* and SIMD_NAME set as for simd.h. linear.h has the order of the sums.
 *
 * A tile is 16 rows, one in each lane; codes go straight from the file's form into the sums, only scales are put down
 * first. Bound by memory: the next tile, which lies in one stretch, is prefetched in its order. */
#include "lanes.h"
#include "matrix.h"
#include "narrow.h"
#include "product.h"
#include "panel_body.h"

/* Places of a chunk within the record of x. */
typedef struct { const uint8_t *q, *d, *s, *sums, *zero; } x_chunk;

SIMD_INLINE vf set_at(const uint8_t *p) { float f; memcpy(&f, p, sizeof f); return v_set(f); }
/* shift: codes are 128 >> shift too high; -1: they are exact. */
SIMD_INLINE vi zero_at(const uint8_t *p, int shift) { return shift < 0 ? i_zero() : i_sar(i_dword(p), shift); }

typedef void (*codes32_fn)(sink to, int h, const uint8_t *b, steps step);
typedef void (*codes256_fn)(sink to, int part, int h, const uint8_t *b, steps step);

SIMD_INLINE void one32(const panel *p, const uint8_t *b, steps step, int n_block, int size, codes32_fn codes, float *acc, const x_chunk *x, int shift,
                       bool is_signed, bool has_min)
{
    vf a[TILE_ROWS / VN];

    UNROLL
    for (int i = 0; i < TILE_ROWS / VN; i++) a[i] = v_load(acc + i * VN);
    for (int k = 0; k < n_block; k++, b += size) {
        UNROLL
        for (int i = 0; i < TILE_ROWS / VN; i++) {
            vi s[2] = { zero_at(x->zero + 4 * k, shift), i_zero() };
            codes((sink){ true, NULL, 0, x->q + 32 * k, s, 4, is_signed }, i * VN, b + (size_t)(i * VN) * step.s1, step);
            a[i] = v_fma(v_mul(v_load(p->d[k] + i * VN), set_at(x->d + 4 * k)), i_float(i_add(s[0], s[1])), a[i]);
            if (has_min) a[i] = v_fma(v_load(p->m[k] + i * VN), set_at(x->s + 4 * k), a[i]);
        }
    }
    UNROLL
    for (int i = 0; i < TILE_ROWS / VN; i++) v_store(acc + i * VN, a[i]);
}

SIMD_INLINE void one256(const panel *p, const uint8_t *b, steps step, int parts, codes256_fn codes, float *acc, const x_chunk *x, int sub, int shift,
                        bool is_signed, bool has_min)
{
    const int n = CHUNK / parts / sub;          /* sums of a part */

    for (int h = 0; h < TILE_ROWS; h += VN, b += (size_t)VN * step.s1) {
        vf t = v_set(0.0f), d = v_set(0.0f), xd = set_at(x->d);
        UNROLL
        for (int part = 0; part < parts; part++) {
            vi s[8];
            UNROLL
            for (int i = 0; i < n; i++) s[i] = zero_at(x->zero + 4 * (part * n + i), shift);
            codes((sink){ true, NULL, 0, x->q + CHUNK / parts * part, s, sub / 4, is_signed }, part, h, b, step);
            UNROLL
            for (int i = 0; i < n; i++) t = v_fma(v_load(p->sc[part * n + i] + h), i_float(s[i]), t);
        }
        d = v_fma(v_mul(v_load(p->d[0] + h), xd), t, v_load(acc + h));
        if (has_min) {
            vi s = i_zero();
            for (int i = 0; i < CHUNK / sub / 2; i++) s = i_dot16(s, i_load(p->mn[i] + h), i_dword(x->sums + 4 * i));
            d = v_fnma(v_mul(v_load(p->m[0] + h), xd), i_float(s), d);
        }
        v_store(acc + h, d);
    }
}

/* A chunk of a tile; acc [TILE_ROWS]. */
typedef void (*chunk_fn)(panel *p, const uint8_t *b, steps step, int n_block, float *acc, const x_chunk *x);

#if defined(SIMD_AVX512)
enum { SIGNED_SHIFT = 0 };
#else
enum { SIGNED_SHIFT = -1 };
#endif

#define TYPE32(type, size, scales, shift, is_signed, has_min) \
    static void chunk_##type(panel *p, const uint8_t *b, steps step, int n_block, float *acc, const x_chunk *x) \
    { \
        scales; \
        one32(p, b, step, n_block, size, codes_##type, acc, x, shift, is_signed, has_min); \
    }
#define TYPE256(type, parts, scales, sub, shift, is_signed, has_min) \
    static void chunk_##type(panel *p, const uint8_t *b, steps step, int n_block, float *acc, const x_chunk *x) \
    { \
        (void)n_block; \
        scales(p, b, step); \
        one256(p, b, step, parts, codes_##type, acc, x, sub, shift, is_signed, has_min); \
    }
#define SCALES32(size, has_min) panel_halves(p->d, b, step, n_block, size); if (has_min) panel_halves(p->m, b + 2, step, n_block, size)

TYPE32(q4_0, 18, SCALES32(18, false), 4, false, false)
TYPE32(q4_1, 20, SCALES32(20, true), -1, false, true)
TYPE32(q5_0, 22, SCALES32(22, false), 3, false, false)
TYPE32(q5_1, 24, SCALES32(24, true), -1, false, true)
TYPE32(q8_0, 34, SCALES32(34, false), SIGNED_SHIFT, true, false)
TYPE32(iq4_nl, 18, SCALES32(18, false), SIGNED_SHIFT, true, false)
TYPE32(mxfp4, 17, scales_mxfp4(p, b, step, n_block), 3, false, false)
TYPE32(q4_g, 20, SCALES32(20, false), 3, false, false)
TYPE256(q2_k, 2, scales_q2_k, 16, -1, false, true)
TYPE256(q3_k, 2, scales_q3_k, 16, 5, false, false)
TYPE256(q4_k, 2, scales_q45_k, 32, -1, false, true)
TYPE256(q5_k, 1, scales_q45_k, 32, -1, false, true)
TYPE256(q6_k, 2, scales_q6_k, 16, 2, false, false)
TYPE256(iq4_xs, 2, scales_iq4_xs, 32, SIGNED_SHIFT, true, false)

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

/* Chunk c of x: 256 values, 8 blocks or one super-block. */
static x_chunk x_chunk_at(const x_rows *x, const x_layout *l, llm_dtype dtype, int64_t c)
{
    const uint8_t *r = x->data;
    size_t i = (size_t)c;
    bool sub16 = dtype == DT_Q2_K || dtype == DT_Q3_K || dtype == DT_Q6_K;

    if (x->form == X_Q32) return (x_chunk){ r + CHUNK * i, r + l->d + 32 * i, r + l->s + 32 * i, r, r + l->zero32 + 32 * i };
    return (x_chunk){ r + CHUNK * i, r + l->d + 4 * i, r, sub16 ? r + l->sum16 + 32 * i : r + l->sum32 + 16 * i,
                      sub16 ? r + l->zero16 + 64 * i : r + l->zero32 + 32 * i };
}

void SIMD_NAME(matvec)(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, float *y, uint8_t *scratch)
{
    chunk_fn chunk = chunk_of(w->dtype);
    x_layout l = x_layout_of(x->form, w->cols);
    panel *p = (panel *)(void *)scratch;
    uint8_t *tail = scratch + sizeof *p;
    const uint8_t *b = w->data + (size_t)row0 * w->row_bytes;
    const llm_dtype_info *info = dtype_info(w->dtype);
    size_t chunk_bytes = (size_t)(CHUNK / info->block * info->block_bytes), tile_bytes = TILE_ROWS * w->row_bytes;
    const steps step = steps_of(w->row_bytes);

    for (int64_t row = row0, end = row0 + n_row; row < end; row += TILE_ROWS, b += tile_bytes) {
        int n = (int)(end - row < TILE_ROWS ? end - row : TILE_ROWS);
        float acc[TILE_ROWS] = { 0 };
        const uint8_t *ahead = b + tile_bytes, *from = b;
        if (n < TILE_ROWS) {                    /* rows that are not there read as zeros */
            memcpy(tail, b, (size_t)n * w->row_bytes);
            memset(tail + (size_t)n * w->row_bytes, 0, (size_t)(TILE_ROWS - n) * w->row_bytes);
            from = tail;
        }
        for (int64_t c = 0; c * CHUNK < w->cols; c++) {
            int n_block = (int)(w->cols - c * CHUNK < CHUNK ? (w->cols - c * CHUNK) / 32 : MAX_BLOCK);
            x_chunk at = x_chunk_at(x, &l, w->dtype, c);
            for (size_t i = 0; i < TILE_ROWS * chunk_bytes; i += 64) __builtin_prefetch(ahead + (size_t)c * TILE_ROWS * chunk_bytes + i);
            chunk(p, from + (size_t)c * chunk_bytes, step, n_block, acc, &at);
        }
        for (int r = 0; r < n; r++) y[row - row0 + r] = w->bias ? acc[r] + matrix_bias(w, row + r) : acc[r];
    }
}
