/* product_body.h - the matrix product of a kernel set with many columns (linear.h has the order of the sums). Included
 * by product_avx2.c, product_avx512.c ... with SIMD_* and SIMD_NAME set as for simd.h. Few columns go another way: matvec_body.h.
 *
 * Integer forms. A panel is PANEL_ROWS rows, one in each lane of ROW_VECTORS vectors; a band is BAND_ROWS rows by BAND_VALUES values in
 * panels: small enough to stay in L1 while all columns, a group of eight after the other (x_group.h), multiply with it, and tall enough that
 * groups which come from L3 do not hold it up. A tile of PANEL_ROWS by MOST_COLUMNS has its integer sums in registers for one block, and
 * takes their scales after it (super-blocks) or after a whole chunk.
 * Bound by the ports that multiply: a block of 32 is 8 integer multiply-adds and 3 float steps for each vector of sums, so
 * 73 % of the int8 peak is what blocks of 32 can reach, and 65 % what sub-blocks of 16 can. */
#include "codebook.h"
#include "dequant.h"
#include "lanes.h"
#include "matrix.h"
#include "narrow.h"
#include "pack.h"
#include "product.h"
#include "joined_body.h"
#include "panel_body.h"
#include "x_group.h"
#include <float.h>

enum { MXFP4_WORDS = CHUNK / 32 * 17 / 4 };       /* of a packed chunk of a row */
enum { PANEL_ROWS = ROW_VECTORS * VN, BAND_ROWS = 32, PANELS = BAND_ROWS / TILE_ROWS, BAND_CHUNKS = 2, BAND_VALUES = BAND_CHUNKS * CHUNK };

/* Rows as they lie in the file on their way into the cache, a few lines at each call: one row after the other, from..from+n bytes. */
typedef struct { const uint8_t *row; size_t row_bytes, n, at; int left; size_t per_call; } line_fetch;

static line_fetch fetch_rows(const uint8_t *from, int rows, size_t row_bytes, size_t n, size_t n_call)
{
    return (line_fetch){ from, row_bytes, n, 0, rows, (size_t)rows * (n / 64 + 1) / n_call + 1 };
}

static void fetch_lines(line_fetch *f)
{
    for (size_t i = 0; i < f->per_call && f->left > 0; i++) {
        __builtin_prefetch(f->row + f->at, 0, 2);
        if ((f->at += 64) >= f->n + 63) f->at = 0, f->row += f->row_bytes, f->left--;
    }
}

/* n bytes in one stretch, all at once. */
static void fetch_stretch(const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(from + i, 0, 2);
}

/* acc [n_col][acc_rows] to y, with the bias. */
static void finish(const float *acc, int acc_rows, int n_col, const float *bias, int n_row, float *y, int64_t y_stride)
{
    for (int c = 0; c < n_col; c++, y += y_stride, acc += acc_rows)
        for (int h = 0; h < n_row; h += VN) {
            vf v = v_load(acc + h);
            if (bias) v = v_add(v, v_load(bias + h));
            if (n_row - h >= VN) v_store(y + h, v);
            else v_store_part(y + h, v, n_row - h);
        }
}

#include "product_float_body.h"
#include "quantize_act_body.h"
#include "x_group_body.h"

/* One class of types; everything is known when a tile is compiled. sub: 16 or 32; added, twice (runs), is_signed: see dot_tile. What sums of sub-blocks, times
 * their scales, add up to: floats; whole numbers, whose scales are such; or those by products of int16, whose scales are words (SIMD_MADDUBS): of
 * dot_tile_small, or of signed codes by pairs. */
typedef enum { FLOATS, WHOLE, WORDS, PAIRS } adding;
typedef struct { int sub; bool added, twice, is_signed, has_min; adding sums; } panel_kind;
#if defined(SIMD_MADDUBS)
#define START_OF(x) (x)->start
#else
#define START_OF(x) NULL
#endif

SIMD_INLINE const panel *panel_of(const panel *p, int r) { return p + r * VN / TILE_ROWS; }
SIMD_INLINE int lane_of(int r) { return r * VN % TILE_ROWS; }
SIMD_INLINE vf set_at(const float *p) { return v_set(*p); }

#if defined(SIMD_AVX512)
enum { PANEL_STEP = sizeof(panel) };        /* from a vector of codes to that of the next VN rows */
#else
enum { PANEL_STEP = 4 * VN };
#endif

/* The integer sums of sub-block b; start: of the chunk of x (SIMD_MADDUBS). */
SIMD_INLINE void block_sums(vi (*s)[MOST_COLUMNS], const panel *p, int b, const uint8_t (*x)[GROUP][4], const int16_t (*start)[GROUP][2], int col, int n_col, panel_kind kind)
{
    const int n_vec = kind.sub / 4, parts = kind.is_signed ? SIGNED_PARTS : 1;

    dot_tile(s, n_col, p->codes[parts * n_vec * b], p->start[b], PANEL_STEP, n_vec, x[n_vec * b][col],
             kind.added ? (const uint8_t *)start[b][col] : NULL, kind.twice ? 2 : 1, kind.is_signed);
}

/* acc [n_col][BAND_ROWS] += a chunk of up to 8 blocks of 32. Integers of the whole chunk first: float steps between them would take turns
 * at the ports with them, and float sums go through registers once in eight blocks (16 % on AVX2). */
SIMD_INLINE void tile32(const panel *p, int n_block, const x_chunk32 *x, int col, int n_col, float *acc, panel_kind kind)
{
    int32_t sums[MAX_BLOCK][MOST_COLUMNS][ROW_VECTORS][VN] __attribute__((aligned(64)));
    vf a[MOST_COLUMNS][ROW_VECTORS];

    for (int b = 0; b < n_block; b++) {
        vi s[ROW_VECTORS][MOST_COLUMNS];
        block_sums(s, p, b, x->q, START_OF(x), col, n_col, kind);
        UNROLL
        for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) i_store(sums[b][j][r], s[r][j]);
    }
    NOT_YET();
    UNROLL
    for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) a[j][r] = v_load(acc + j * BAND_ROWS + r * VN);
    for (int b = 0; b < n_block; b++) {
        vf d[ROW_VECTORS];
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) d[r] = v_load(panel_of(p, r)->d[b] + lane_of(r));
        UNROLL
        for (int j = 0; j < n_col; j++) {
            vf xd = set_at(x->d[b] + col + j);
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) {
                a[j][r] = v_fma(v_mul(d[r], xd), i_float(i_load(sums[b][j][r])), a[j][r]);
                if (kind.has_min) a[j][r] = v_fma(v_load(panel_of(p, r)->m[b] + lane_of(r)), set_at(x->s[b] + col + j), a[j][r]);
            }
        }
    }
    UNROLL
    for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) v_store(acc + j * BAND_ROWS + r * VN, a[j][r]);
}

/* acc [n_col][BAND_ROWS] -= what the minima of a super-block take off. */
SIMD_INLINE void take_minima(const panel *p, const x_chunk256 *x, int col, int n_col, float *acc, panel_kind kind)
{
    const int pairs = CHUNK / kind.sub / 2;         /* of sub-blocks */
    vi m[ROW_VECTORS][MOST_COLUMNS];

    UNROLL
    for (int r = 0; r < ROW_VECTORS; r++) UNROLL for (int j = 0; j < n_col; j++) m[r][j] = i_zero();
    UNROLL
    for (int i = 0; i < pairs; i++) {
        vi mn[ROW_VECTORS];
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) mn[r] = i_load(panel_of(p, r)->mn[i] + lane_of(r));
        UNROLL
        for (int j = 0; j < n_col; j++) {
            vi sum = i_dword((kind.sub == 16 ? x->sum16[i] : x->sum32[i]) + col + j);
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) {
                m[r][j] = i_dot16(m[r][j], mn[r], sum);
                NOW(m[r][j]);
            }
        }
    }
    NOT_YET();
    UNROLL
    for (int j = 0; j < n_col; j++) {
        vf xd = set_at(x->d[0] + col + j);
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) {
            float *to = acc + j * BAND_ROWS + r * VN;
            v_store(to, v_fnma(v_mul(v_load(panel_of(p, r)->m[0] + lane_of(r)), xd), i_float(m[r][j]), v_load(to)));
        }
    }
}

/* t + sc * s */
SIMD_INLINE vi plus_scaled(vi sc, vi s, vi t, adding sums)
{
    return sums == WORDS ? i_add(s, t) : sums == WHOLE ? i_add(i_mul(sc, s), t) : v_as_int(v_fma(i_as_float(sc), i_float(s), i_as_float(t)));
}

#if defined(SIMD_MADDUBS)
/* Sub-block b with its scales in the products. */
SIMD_INLINE void word_sums(vi (*s)[MOST_COLUMNS], const panel *p, int b, const x_chunk256 *x, int col, int n_col, panel_kind kind)
{
    dot_tile_small(s, n_col, p->codes[kind.sub / 4 * b], kind.sub / 4, x->q[kind.sub / 4 * b][col], kind.added ? (const uint8_t *)x->start[b][col] : NULL, 1, p->sc[b]);
}

/* All of a super-block. */
SIMD_INLINE void pair_sums(int32_t (*t)[ROW_VECTORS][VN], const panel *p, const x_chunk256 *x, int col, int n_col, panel_kind kind)
{
    vi s[ROW_VECTORS][MOST_COLUMNS];

    UNROLL
    for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) s[r][j] = i_load(p->start[0] + r * VN);
    for (int k = 0; k < CHUNK / 4; k += 2) dot_pair_scaled(s, n_col, p->codes[2 * k], p->sc[4 * k / kind.sub], x->q[k][col]);
    UNROLL
    for (int j = 0; j < n_col; j++) UNROLL for (int r = 0; r < ROW_VECTORS; r++) i_store(t[j][r], s[r][j]);
}
#else
#define word_sums(s, p, b, x, col, n_col, kind) (void)0
#define pair_sums(t, p, x, col, n_col, kind) (void)0
#endif

/* acc [n_col][BAND_ROWS] += a super-block. */
SIMD_INLINE void tile256(const panel *p, const x_chunk256 *x, int col, int n_col, float *acc, panel_kind kind)
{
    int32_t t[MOST_COLUMNS][ROW_VECTORS][VN] __attribute__((aligned(64)));

    if (kind.sums == PAIRS) pair_sums(t, p, x, col, n_col, kind);
    for (int b = 0; b < CHUNK / kind.sub && kind.sums != PAIRS; b++) {
        vi s[ROW_VECTORS][MOST_COLUMNS], sc[ROW_VECTORS];
        if (kind.sums == WORDS) word_sums(s, p, b, x, col, n_col, kind);
        else block_sums(s, p, b, x->q, START_OF(x), col, n_col, kind);
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) sc[r] = i_load(panel_of(p, r)->sc[b] + lane_of(r));
        UNROLL
        for (int j = 0; j < n_col; j++) {
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) i_store(t[j][r], plus_scaled(sc[r], s[r][j], b == 0 ? i_zero() : i_load(t[j][r]), kind.sums));
        }
    }
    NOT_YET();
    UNROLL
    for (int j = 0; j < n_col; j++) {
        vf xd = set_at(x->d[0] + col + j);
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) {
            float *to = acc + j * BAND_ROWS + r * VN;
            vf all = kind.sums == FLOATS ? i_as_float(i_load(t[j][r])) : i_float(i_load(t[j][r]));
            v_store(to, v_fma(v_mul(v_load(panel_of(p, r)->d[0] + lane_of(r)), xd), all, v_load(to)));
        }
    }
    NOT_YET();
    if (kind.has_min) take_minima(p, x, col, n_col, acc, kind);
}

/* Columns col .. col+n_col-1 of a group times n chunks of a panel. */
SIMD_INLINE void tile(const panel *p, int64_t n_block, const uint8_t *x, int col, int n_col, float *acc, panel_kind kind, bool is32)
{
    for (; n_block > 0; n_block -= MAX_BLOCK, p += PANELS) {
        if (is32) tile32(p, n_block < MAX_BLOCK ? (int)n_block : MAX_BLOCK, (const x_chunk32 *)(const void *)x, col, n_col, acc, kind);
        else tile256(p, (const x_chunk256 *)(const void *)x, col, n_col, acc, kind);
        x += is32 ? sizeof(x_chunk32) : sizeof(x_chunk256);
    }
}

/* acc [n_col][BAND_ROWS] += the first n_col columns of a group times n_row rows of a band of n_block blocks of 32. */
typedef void (*group_fn)(const panel *p, int n_row, int64_t n_block, const uint8_t *x, int n_col, float *acc);

#if defined(SIMD_AVX512)
#define PANEL_TILES(...) \
    if (n_col > 6) tile(p, n_block, x, 0, 8, acc, __VA_ARGS__); \
    else if (n_col > 4) tile(p, n_block, x, 0, 6, acc, __VA_ARGS__); \
    else if (n_col > 2) tile(p, n_block, x, 0, 4, acc, __VA_ARGS__); \
    else tile(p, n_block, x, 0, 2, acc, __VA_ARGS__);
#elif defined(SIMD_AVX2)
#define PANEL_TILES(...) \
    for (int c = 0; c < n_col; c += 4) { \
        if (n_col - c > 2) tile(p, n_block, x, c, 4, acc + c * BAND_ROWS, __VA_ARGS__); \
        else tile(p, n_block, x, c, 2, acc + c * BAND_ROWS, __VA_ARGS__); \
    }
#else
#define PANEL_TILES(...) for (int c = 0; c < n_col; c += 4) tile(p, n_block, x, c, 4, acc + c * BAND_ROWS, __VA_ARGS__);
#endif
#define GROUP_FN(name, is32, ...) \
    static __attribute__((noinline)) void name(const panel *p, int n_row, int64_t n_block, const uint8_t *x, int n_col, float *acc) \
    { \
        const panel_kind kind = { __VA_ARGS__ }; \
        for (int r = 0; r < n_row; r += PANEL_ROWS, p += PANEL_ROWS / TILE_ROWS, acc += PANEL_ROWS) { \
            PANEL_TILES(kind, is32) \
        } \
    }

/* Classes by sub-block, greatest code and whether something was added to it. Where bytes are multiplied in int32 only the sub-block and
 * the minima make a difference. */
GROUP_FN(group_byte, true, .sub = 32, .is_signed = true)
GROUP_FN(group_15_min, true, .sub = 32, .has_min = true)
GROUP_FN(group_byte_sub32, false, .sub = 32, .is_signed = true)
GROUP_FN(group_15_min_sub32, false, .sub = 32, .has_min = true)
GROUP_FN(group_byte_whole, false, .sub = 32, .is_signed = true, .sums = WHOLE)
#if defined(SIMD_MADDUBS)
GROUP_FN(group_31, true, .sub = 32, .added = true)
GROUP_FN(group_31_min, true, .sub = 32, .twice = true, .has_min = true)
GROUP_FN(group_31_min_sub32, false, .sub = 32, .twice = true, .has_min = true)
GROUP_FN(group_63_sub16, false, .sub = 16, .added = true)
GROUP_FN(group_63_whole, false, .sub = 16, .added = true, .sums = WORDS)
GROUP_FN(group_3_min_whole, false, .sub = 16, .has_min = true, .sums = WORDS)
GROUP_FN(group_62_whole, false, .sub = 32, .is_signed = true, .sums = PAIRS)
GROUP_FN(group_62_whole_sub16, false, .sub = 16, .is_signed = true, .sums = PAIRS)
#define CODES_MINUS(offset, most) ((offset) ? (offset) - (most) : 0)      /* added instead, up to what dot_tile wants */
#else
GROUP_FN(group_63_sub16, false, .sub = 16, .is_signed = true)
GROUP_FN(group_3_min_whole, false, .sub = 16, .has_min = true)           /* exact in floats too (linear.h, 3) */
GROUP_FN(group_62_whole_sub16, false, .sub = 16, .is_signed = true, .sums = WHOLE)
#define group_31 group_byte
#define group_31_min group_15_min
#define group_31_min_sub32 group_15_min_sub32
#define group_63_whole group_63_sub16
#define group_62_whole group_byte_whole
#define CODES_MINUS(offset, most) (offset)
#endif

/* A chunk of TILE_ROWS rows in panel form; b, step or w, and n_block are given. */
typedef void (*unpack_fn)(panel *p, const source *from);

/* What sums begin with (dot_tile), of n_sum sub-blocks of per_sum vectors. */
static void unpack_start(panel *p, int n_sum, int per_sum, bool is_signed)
{
    (void)p, (void)n_sum, (void)per_sum, (void)is_signed;
#if defined(SIMD_DPBUSD)
    for (int b = 0; b < n_sum; b++)
        for (int h = 0; h < TILE_ROWS; h += VN) {
            vi s = i_zero();
            for (int k = per_sum * b; k < per_sum * (b + 1); k++) s = i_dpbusd(s, i_bytes(-128), i_load(p->codes[k] + 4 * h));
            i_store(p->start[b] + h, i_sub(i_zero(), s));
        }
#elif defined(SIMD_MADDUBS)
    for (int b = 0; b < n_sum && is_signed; b++)
        for (int h = 0; h < TILE_ROWS; h += VN) {
            vi s = i_zero();
            for (int k = per_sum * b; k < per_sum * (b + 1); k++) s = add_negative_sizes(s, i_load(p->codes[2 * k] + 4 * h), i_load(p->codes[2 * k + 1] + 4 * h));
            i_store(p->start[b] + h, s);
        }
#endif
}

/* Each once for rows of the file and once for packed ones, so that the compiler knows. */
#define BOTH(type) \
    static void unpack_##type(panel *p, const source *from) { unpack_##type##_from(p, (source){ .b = from->b, .step = from->step, .n_block = from->n_block }); } \
    static void unpack_packed_##type(panel *p, const source *from) { unpack_##type##_from(p, (source){ .w = from->w, .n_block = from->n_block, .packed = true }); }
#define TYPE32(type, DTYPE, bytes, offset, signed_codes, scales) \
    SIMD_INLINE void unpack_##type##_from(panel *p, source s) \
    { \
        s.dtype = DTYPE, s.size = bytes; \
        scales; \
        for (int i = 0; i < s.n_block; i++) \
            for (int h = 0; h < TILE_ROWS; h += VN) codes_##type((sink){ .p = p, .first = 8 * i, .minus = CODES_MINUS(offset, 16), .is_signed = signed_codes }, h, &s, i); \
        unpack_start(p, s.n_block, 8, signed_codes); \
    } \
    BOTH(type)
#define TYPE256(type, DTYPE, sub, parts, offset, signed_codes, scales) \
    SIMD_INLINE void unpack_##type##_from(panel *p, source s) \
    { \
        s.dtype = DTYPE; \
        scales(p, &s); \
        for (int h = 0; h < TILE_ROWS; h += VN) { \
            UNROLL \
            for (int i = 0; i < parts; i++) \
                codes_##type((sink){ .p = p, .first = CHUNK / 4 / parts * i, .minus = CODES_MINUS(offset, 32), .is_signed = signed_codes }, i, h, &s); \
        } \
        unpack_start(p, CHUNK / sub, sub / 4, signed_codes); \
    } \
    BOTH(type)
#define SCALES32(has_min) panel_halves(p->d, &s, 0, s.n_block); if (has_min) panel_halves(p->m, &s, 2, s.n_block)

TYPE32(q4_0, DT_Q4_0, 18, 8, false, SCALES32(false))
TYPE32(q4_1, DT_Q4_1, 20, 0, false, SCALES32(true))
TYPE32(q5_0, DT_Q5_0, 22, 16, false, SCALES32(false))
TYPE32(q5_1, DT_Q5_1, 24, 0, false, SCALES32(true))
TYPE32(q8_0, DT_Q8_0, 34, 0, true, SCALES32(false))
TYPE32(iq4_nl, DT_IQ4_NL, 18, 0, true, SCALES32(false))
TYPE32(mxfp4, DT_MXFP4, 17, 16, false, scales_mxfp4(p, &s))
TYPE32(q4_g, DT_Q4_G, 20, 16, false, SCALES32(false))
TYPE256(q2_k, DT_Q2_K, 16, 2, 0, false, scales_q2_k)
TYPE256(q3_k, DT_Q3_K, 16, 2, 4, false, scales_q3_k)
TYPE256(q4_k, DT_Q4_K, 32, 2, 0, false, scales_q45_k)
TYPE256(q5_k, DT_Q5_K, 32, 1, 0, false, scales_q45_k)
TYPE256(q6_k, DT_Q6_K, 16, 2, 32, false, scales_q6_k)
TYPE256(iq4_xs, DT_IQ4_XS, 32, 2, 0, true, scales_iq4_xs)

/* Codebooks: rows as bytes first, then side by side. With SIMD_MADDUBS those of small codes go as Q3_K does, the others, but for Q8_K, by pairs. */
static bool is_small(llm_dtype dtype) { return dtype == DT_IQ3_S || dtype == DT_IQ1_S || dtype == DT_IQ1_M || dtype == DT_TQ1_0 || dtype == DT_TQ2_0; }

static group_fn codebook_group(llm_dtype dtype)
{
#if defined(SIMD_MADDUBS)
    if (is_small(dtype)) return group_63_whole;
#endif
    return dtype == DT_Q8_K ? group_byte_whole : codebook_sub(dtype) == 16 ? group_62_whole_sub16 : group_62_whole;
}

/* Byte i of sc's vectors, of VN rows, in the form that tile256 wants; behind unpack_start, whose values get the scales where pairs begin with them. */
static void codebook_scales(panel *p, llm_dtype dtype, int h, const vi *sc)
{
    const int sub = codebook_sub(dtype);
#if defined(SIMD_MADDUBS)
    const group_fn group = codebook_group(dtype);
    vi start = i_zero();
#endif

    for (int i = 0; i < CHUNK / sub; i++) {
        vi v = i_and(i_shr(sc[i / 4], 8 * (i % 4)), i_dwords(255));
#if defined(SIMD_MADDUBS)
        if (group == group_63_whole) for (int k = 0; k < sub / 16; k++) put_whole_scale(p, sub / 16 * i + k, h, v);
        else if (group != group_byte_whole) start = i_add(start, i_mul(v, i_load(p->start[i] + h))), put_whole_scale(p, i, h, v);
        else
#endif
        i_store(p->sc[i] + h, v);
    }
#if defined(SIMD_MADDUBS)
    if (group != group_63_whole && group != group_byte_whole) i_store(p->start[0] + h, start);
#endif
}

static void unpack_codebook(panel *p, const source *from)
{
    const int sub = codebook_sub(from->dtype);
    const bool small = SIGNED_PARTS == 2 && is_small(from->dtype);
    const steps across = steps_of(sizeof(codebook_block));
    codebook_block row[TILE_ROWS];

    CODEBOOK_UNPACK(from->dtype, from->b, from->step.s1, TILE_ROWS, row);
    for (int r = 0; r < TILE_ROWS; r++) p->d[0][r] = row[r].d;
    for (int h = 0; h < TILE_ROWS; h += VN)
        for (int i = 0; i < CHUNK / 4; i += 4) {
            vi v[4];
            field16((const uint8_t *)row[h].w + 4 * i, across, v);
            codes_order(v);
            UNROLL
            for (int k = 0; k < 4; k++) put((sink){ .p = p, .minus = small ? -32 : 0, .is_signed = !small }, i + k, h, v[k]);
        }
    unpack_start(p, CHUNK / sub, sub / 4, !small);
    for (int h = 0; h < TILE_ROWS; h += VN) {
        vi sc[4];
        field16(row[h].sc, across, sc);
        codebook_scales(p, from->dtype, h, sc);
    }
}

typedef struct { unpack_fn unpack, unpack_packed; group_fn group; } int_type;

static int_type int_type_of(llm_dtype dtype)
{
    switch (dtype) {
    case DT_Q4_0:   return (int_type){ unpack_q4_0, unpack_packed_q4_0, group_31 };
    case DT_Q4_1:   return (int_type){ unpack_q4_1, unpack_packed_q4_1, group_15_min };
    case DT_Q5_0:   return (int_type){ unpack_q5_0, unpack_packed_q5_0, group_31 };
    case DT_Q5_1:   return (int_type){ unpack_q5_1, unpack_packed_q5_1, group_31_min };
    case DT_Q8_0:   return (int_type){ unpack_q8_0, unpack_packed_q8_0, group_byte };
    case DT_IQ4_NL: return (int_type){ unpack_iq4_nl, unpack_packed_iq4_nl, group_byte };
    case DT_MXFP4:  return (int_type){ unpack_mxfp4, unpack_packed_mxfp4, group_31 };
    case DT_Q4_G:   return (int_type){ unpack_q4_g, unpack_packed_q4_g, group_31 };
    case DT_Q2_K:   return (int_type){ unpack_q2_k, unpack_packed_q2_k, group_3_min_whole };
    case DT_Q3_K:   return (int_type){ unpack_q3_k, unpack_packed_q3_k, group_63_whole };
    case DT_Q4_K:   return (int_type){ unpack_q4_k, unpack_packed_q4_k, group_15_min_sub32 };
    case DT_Q5_K:   return (int_type){ unpack_q5_k, unpack_packed_q5_k, group_31_min_sub32 };
    case DT_Q6_K:   return (int_type){ unpack_q6_k, unpack_packed_q6_k, group_63_sub16 };
    case DT_IQ4_XS: return (int_type){ unpack_iq4_xs, unpack_packed_iq4_xs, group_byte_sub32 };
    default:        return (int_type){ unpack_codebook, NULL, codebook_group(dtype) };
    }
}

/* One band of rows; acc [n_col rounded up to a group][BAND_ROWS]. */
typedef struct { panel *p; uint8_t *tail; float *acc; } int_room;

static void band_times(const matrix *w, int64_t row0, int n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, const int_room *room)
{
    const llm_dtype_info *info = dtype_info(w->dtype);
    const size_t chunk_bytes = (size_t)(CHUNK / info->block * info->block_bytes), x_chunk_bytes = x->form == X_Q32 ? sizeof(x_chunk32) : sizeof(x_chunk256);
    const size_t packed_chunk_bytes = TILE_ROWS * pack_chunk_bytes(w->dtype), packed_tile_bytes = TILE_ROWS * w->packed_row_bytes;
    const steps step = steps_of(w->row_bytes);
    const int_type type = int_type_of(pack_dtype(w->dtype));
    const uint8_t *b = w->data + (size_t)row0 * w->row_bytes, *tile = row0 < w->packed_rows ? w->packed + (size_t)row0 * w->packed_row_bytes : b;
    float bias[BAND_ROWS] = { 0 }, one[GROUP * BAND_ROWS] __attribute__((aligned(64)));
    bool once = w->cols <= BAND_VALUES, all_packed = row0 + n_row <= w->packed_rows;

    for (int r = 0; r < n_row && w->bias; r++) bias[r] = matrix_bias(w, row0 + r);
    if (n_row < BAND_ROWS && !all_packed && w->dtype != DT_F4_E2M1) {     /* rows that are not there read as zeros */
        memcpy(room->tail, b, (size_t)n_row * w->row_bytes);
        memset(room->tail + (size_t)n_row * w->row_bytes, 0, (size_t)(BAND_ROWS - n_row) * w->row_bytes);
        b = room->tail;
    }
    for (int64_t k = 0; k < w->cols; k += BAND_VALUES, b += BAND_CHUNKS * chunk_bytes, tile += BAND_CHUNKS * packed_chunk_bytes) {
        int64_t n_block = (w->cols - k < BAND_VALUES ? w->cols - k : BAND_VALUES) / 32;
        bool more = k + BAND_VALUES < w->cols;
        line_fetch next;
        if (all_packed)
            next = fetch_rows(more ? tile + BAND_CHUNKS * packed_chunk_bytes : w->packed + (size_t)(row0 + BAND_ROWS) * w->packed_row_bytes,
                              PANELS, packed_tile_bytes, BAND_CHUNKS * packed_chunk_bytes, (size_t)x_groups_of(n_col));
        else
            next = fetch_rows(more ? b + BAND_CHUNKS * chunk_bytes : w->data + (size_t)(row0 + BAND_ROWS) * w->row_bytes,
                              BAND_ROWS, w->row_bytes, BAND_CHUNKS * chunk_bytes, (size_t)x_groups_of(n_col));
        for (int64_t i = 0; i < n_block; i += MAX_BLOCK)
            for (int t = 0; t * TILE_ROWS < n_row; t++) {
                source from = { .dtype = w->dtype, .b = b + (size_t)(i / MAX_BLOCK) * chunk_bytes + (size_t)(t * TILE_ROWS) * w->row_bytes, .step = step,
                                .w = (const uint32_t (*)[TILE_ROWS])(const void *)(tile + (size_t)(i / MAX_BLOCK) * packed_chunk_bytes + (size_t)t * packed_tile_bytes),
                                .n_block = n_block - i < MAX_BLOCK ? (int)(n_block - i) : MAX_BLOCK };
                bool packed = row0 + (t + 1) * TILE_ROWS <= w->packed_rows;
                uint32_t joined[MXFP4_WORDS][TILE_ROWS];
                if (!packed && w->dtype == DT_F4_E2M1) {
                    join_chunk(joined, w, row0 + t * TILE_ROWS, k + 32 * i, from.n_block);
                    from.w = (const uint32_t (*)[TILE_ROWS])joined, packed = true;
                }
                (packed ? type.unpack_packed : type.unpack)(room->p + i / MAX_BLOCK * PANELS + t, &from);
            }
        for (int64_t c = 0; c < n_col; c += GROUP) {
            const uint8_t *xg = x->data + (size_t)(c / GROUP) * x->stride + (size_t)(k / CHUNK) * x_chunk_bytes;
            int n = n_col - c < GROUP ? (int)(n_col - c) : GROUP;
            float *acc = once ? one : room->acc + c * BAND_ROWS;
            if (k == 0) memset(acc, 0, GROUP * BAND_ROWS * sizeof *acc);
            fetch_lines(&next);
            if (c + GROUP < n_col) fetch_stretch(xg + x->stride, (size_t)(n_block + MAX_BLOCK - 1) / MAX_BLOCK * x_chunk_bytes);
            type.group(room->p, n_row, n_block, xg, n, acc);
            if (k + BAND_VALUES >= w->cols) finish(acc, BAND_ROWS, n, w->bias ? bias : NULL, n_row, y + c * y_stride, y_stride);
        }
    }
}

static void product_int(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    int_room room = { .p = (panel *)(void *)scratch };

    room.tail = scratch + BAND_CHUNKS * PANELS * sizeof(panel);
    room.acc = (float *)(void *)(room.tail + ((BAND_ROWS * w->row_bytes + 63) & ~(size_t)63));
    for (int64_t r = 0; r < n_row; r += BAND_ROWS, y += BAND_ROWS)
        band_times(w, row0 + r, n_row - r < BAND_ROWS ? (int)(n_row - r) : BAND_ROWS, x, n_col, y, y_stride, &room);
}

static void SIMD_NAME(product)(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch)
{
    if (x->form == X_F32) product_float(w, row0, n_row, x, n_col, y, y_stride, scratch);
    else product_int(w, row0, n_row, x, n_col, y, y_stride, scratch);
}

static void matvec(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next)
{
    if (x->form == X_F32) float_matvec(w, row0, n_row, x, n_col, y, y_stride, scratch);
    else SIMD_NAME(matvec)(w, row0, n_row, x, n_col, y, y_stride, scratch, next);
}

const linear_set SIMD_NAME(linear_set) = { SIMD_NAME(quantize_act), group_rows, SIMD_NAME(product), matvec };
