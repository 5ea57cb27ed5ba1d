/* lanes.h - what product_body.h needs beyond simd.h: integers, one output row in each 32-bit lane.
 *
 * vi holds VN dwords of 4 codes each, for VN rows of a tile of TILE_ROWS. Operations on integers are exact, so each
 * instance may sum in its own order. An instance is chosen as in simd.h. */
#ifndef LLM_CPU_LANES_H
#define LLM_CPU_LANES_H
#include "simd.h"
#include <stdbool.h>

/* Multiples of the distance between rows, so that any of 16 rows is base + index * 1, 2 or 4. The compiler must not
 * see that they are related: it would keep 16 of them. */
typedef struct { size_t s1, s3, s5, s7; } steps;

SIMD_INLINE steps steps_of(size_t stride)
{
    steps s = { stride, 3 * stride, 5 * stride, 7 * stride };
    __asm__("" : "+r"(s.s1), "+r"(s.s3), "+r"(s.s5), "+r"(s.s7));
    return s;
}

SIMD_INLINE const uint8_t *row_of(const uint8_t *p, steps s, int r)
{
    if (r & 8) p += 8 * s.s1;
    switch (r & 7) {
    case 0:  return p;
    case 1:  return p + s.s1;
    case 2:  return p + 2 * s.s1;
    case 3:  return p + s.s3;
    case 4:  return p + 4 * s.s1;
    case 5:  return p + s.s5;
    case 6:  return p + 2 * s.s3;
    default: return p + s.s7;
    }
}

/* A tile of a product with many columns is ROW_VECTORS vectors of rows by up to MOST_COLUMNS columns: as many sums as leave
 * registers for a vector of codes of each row and one of activations. x is in groups of eight columns, X_STEP bytes for 4 values.
 * SIMD_DPBUSD: the products of bytes are those of an unsigned with a signed one, in int32 (AVX-512 VNNI, AVX-VNNI). SIMD_MADDUBS: the
 * same in int16 (AVX2 without them). SIMD_I8MM, beside SIMD_NEON: those of eight bytes of two rows with two columns. */
enum { X_STEP = 32 };
#if defined(SIMD_AVX512)
#define SIMD_DPBUSD
enum { ROW_VECTORS = 2, MOST_COLUMNS = 8 };
#elif defined(SIMD_AVX2)
#if !defined(SIMD_DPBUSD)
#define SIMD_MADDUBS
#endif
enum { ROW_VECTORS = 2, MOST_COLUMNS = 4 };
#else
enum { ROW_VECTORS = 4, MOST_COLUMNS = 4 };
#endif

/* dot_tile(s, n_col, w, start, step, n_vec, x, xstart, runs, is_signed), for each set: s[r][j] = the products of n_vec (8 or 4) vectors of
 * codes of vector r of the rows, at w + r * step and TILE_ROWS * 4 bytes apart, with the 4 * n_vec activations of column j, at x + 4 * j
 * and X_STEP bytes apart. Codes are signed bytes. SIMD_DPBUSD: activations have 128 added, which start, at start + r * step, takes back:
 * -128 times the sum of the codes. SIMD_MADDUBS has other forms of both, and alone looks at the rest: dot_tile_small, dot_tile_signed. */

/* What the compiler would order otherwise: it makes all products first and keeps them in memory, puts off last steps, loads twice what it
 * could keep, and early what comes much later. NOW: v is made here, and stays in a register. NOT_YET: what comes behind is not begun. */
#if defined(SIMD_NEON)
#define NOW(v) __asm__("" : "+w"(v))
#else
#define NOW(v) __asm__("" : "+v"(v))
#endif
#define NOT_YET() __asm__ volatile("" ::: "memory")

/* What the 8-bit signed types have added to their codes where few columns multiply with them. */
#if defined(SIMD_DPBUSD)
enum { SIGNED_FLIP = 0x80 };
#else
enum { SIGNED_FLIP = 0 };
#endif

#if defined(SIMD_NEON)
#define CODEBOOK_UNPACK codebook_unpack_rows
#define CODEBOOK_TIMES codebook_times_neon
#else
#define CODEBOOK_UNPACK codebook_unpack_avx2
#define CODEBOOK_TIMES codebook_times_avx2
#endif

#if defined(SIMD_AVX2)
typedef __m256i vi;
SIMD_INLINE vi i_zero(void) { return _mm256_setzero_si256(); }
SIMD_INLINE vi i_load(const void *p) { return _mm256_loadu_si256(p); }
SIMD_INLINE void i_store(void *p, vi a) { _mm256_storeu_si256(p, a); }
SIMD_INLINE vi i_dword(const void *p) { uint32_t u; memcpy(&u, p, 4); return _mm256_set1_epi32((int)u); }
SIMD_INLINE vi i_bytes(int b) { return _mm256_set1_epi8((char)b); }
SIMD_INLINE vi i_dwords(uint32_t d) { return _mm256_set1_epi32((int)d); }
SIMD_INLINE vi i_and(vi a, vi b) { return _mm256_and_si256(a, b); }
SIMD_INLINE vi i_andnot(vi a, vi b) { return _mm256_andnot_si256(a, b); }      /* ~a & b */
SIMD_INLINE vi i_or(vi a, vi b) { return _mm256_or_si256(a, b); }
SIMD_INLINE vi i_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
SIMD_INLINE vi i_add8(vi a, vi b) { return _mm256_add_epi8(a, b); }
SIMD_INLINE vi i_sub8(vi a, vi b) { return _mm256_sub_epi8(a, b); }
SIMD_INLINE vi i_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
SIMD_INLINE vi i_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
SIMD_INLINE vi i_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
SIMD_INLINE vi i_max(vi a, vi b) { return _mm256_max_epi32(a, b); }
#define i_shr(a, n) _mm256_srli_epi32(a, n)
#define i_shl(a, n) _mm256_slli_epi32(a, n)
#define i_sar(a, n) _mm256_srai_epi32(a, n)
SIMD_INLINE vf i_float(vi a) { return _mm256_cvtepi32_ps(a); }
SIMD_INLINE vf i_as_float(vi a) { return _mm256_castsi256_ps(a); }
SIMD_INLINE vi v_as_int(vf a) { return _mm256_castps_si256(a); }
/* table[code] for each byte; codes are 0..15 */
SIMD_INLINE vi i_look(const int8_t table[16], vi code) { return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table)), code); }
/* s + sum of the two int16 products in each lane */
SIMD_INLINE vi i_dot16(vi s, vi a, vi b) { return _mm256_add_epi32(s, _mm256_madd_epi16(a, b)); }
SIMD_INLINE vi i_load_bytes(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)); }

SIMD_INLINE vf v_load_bf16(const uint16_t *p)
{
    return i_as_float(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}
/* The tree of linear.h, 1, over the 16 sums in a[0], a[1]. */
SIMD_INLINE float v_tree(const vf *a)
{
    vf v = _mm256_add_ps(a[0], a[1]);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* The f16 in the low half of each lane, whose high half is 0. */
SIMD_INLINE vf i_half(vi a)
{
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)));
}

SIMD_INLINE int32_t i_most(vi a)        /* the greatest lane */
{
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}
/* 16 values times inverse, to the nearest even integer, as bytes; returns their sum. They are within +-127. */
SIMD_INLINE int32_t i_round16(int8_t *q, const float *x, float inverse)
{
    vi a = _mm256_cvtps_epi32(_mm256_mul_ps(v_load(x), v_set(inverse))), b = _mm256_cvtps_epi32(_mm256_mul_ps(v_load(x + 8), v_set(inverse)));
    vi w = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8), s = _mm256_add_epi32(a, b);
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    _mm_storeu_si128((void *)q, _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

/* 16 in byte j of a lane where bit 4 * i + j of the lane is set, else 0; i is 0..7 */
SIMD_INLINE vi i_bit16(vi bits, int i)
{
    vi pick = _mm256_add_epi8(_mm256_set1_epi8((char)(i / 2)), _mm256_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0, 0x0c0c0c0c, 0x08080808, 0x04040404, 0));
    vi mask = _mm256_set1_epi32(i % 2 ? (int)0x80402010 : 0x08040201);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, pick), mask), mask), _mm256_set1_epi8(16));
}

/* s + the four products of each lane; codes up to 127, or signed ones */
SIMD_INLINE vi i_dot8(vi s, vi w, vi x, bool is_signed)
{
#if defined(SIMD_DPBUSD)
    (void)is_signed;
    return _mm256_dpbusd_avx_epi32(s, w, x);
#else
    vi p = is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(s, _mm256_madd_epi16(p, _mm256_set1_epi16(1)));
#endif
}

/* The 16 bytes at p of VN rows, one step apart: out[i] has dword i of each row. */
SIMD_INLINE void field16(const uint8_t *p, steps step, vi out[4])
{
    __m256i a[4], t0, t1, t2, t3;
    UNROLL
    for (int i = 0; i < 4; i++) {
        __m128i low = _mm_loadu_si128((const void *)row_of(p, step, i));
        a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_loadu_si128((const void *)row_of(p, step, i + 4)), 1);
    }
    t0 = _mm256_unpacklo_epi32(a[0], a[1]), t1 = _mm256_unpacklo_epi32(a[2], a[3]);
    t2 = _mm256_unpackhi_epi32(a[0], a[1]), t3 = _mm256_unpackhi_epi32(a[2], a[3]);
    out[0] = _mm256_unpacklo_epi64(t0, t1), out[1] = _mm256_unpackhi_epi64(t0, t1);
    out[2] = _mm256_unpacklo_epi64(t2, t3), out[3] = _mm256_unpackhi_epi64(t2, t3);
}

#if defined(SIMD_DPBUSD)
SIMD_INLINE vi i_dpbusd(vi s, vi u, vi w) { return _mm256_dpbusd_avx_epi32(s, u, w); }
#else
/* Codes from 0 to 31, or with 16 added to -16..15 (n_vec 8; n_vec 4: 0..63, 32 and -32..31): xstart, a dword a column, holds -16 (-32) times
 * the sums of the activations that meet each half of a lane (x_group.h), or is NULL where nothing was added. Sums stay in int16 for a
 * run: what they end with is below 2^15 (16 products of 16 and 127, 8 of 32 and 127), and what does not fit on the way there wraps. So
 * codes up to 31 to which nothing was added take two runs of n_vec 8. scale: a factor in each word, or NULL. */
SIMD_INLINE void dot_tile_small(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, int n_vec, const uint8_t *x, const uint8_t *xstart, int runs, const void *scale)
{
    const vi ones = _mm256_set1_epi16(1);

    UNROLL
    for (int run = 0; run < runs; run++) {
        const int first = run * n_vec / runs, end = (run + 1) * n_vec / runs;
        vi p[ROW_VECTORS][MOST_COLUMNS];
        UNROLL
        for (int k = first; k < end; k++) {
            vi v[ROW_VECTORS];
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) {
                v[r] = i_load(w + 4 * VN * r + 64 * k);
                NOW(v[r]);
            }
            UNROLL
            for (int j = 0; j < n_col; j++) {
                vi xj = i_dword(x + X_STEP * k + 4 * j);
                UNROLL
                for (int r = 0; r < ROW_VECTORS; r++) {
                    vi q = _mm256_maddubs_epi16(v[r], xj);
                    if (k == first) p[r][j] = xstart ? _mm256_add_epi16(i_dword(xstart + 4 * j), q) : q;
                    else __asm__("vpaddw %1, %0, %0" : "+x"(p[r][j]) : "x"(q));      /* in place: the compiler would copy a vector each time */
                    NOW(p[r][j]);
                }
            }
        }
        UNROLL
        for (int j = 0; j < n_col; j++) {
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) {
                vi sum = _mm256_madd_epi16(p[r][j], scale ? i_load((const uint8_t *)scale + 4 * VN * r) : ones);
                s[r][j] = run == 0 ? sum : _mm256_add_epi32(s[r][j], sum);
            }
        }
    }
}

/* Any signed codes, as sizes and 64 bytes behind them signs (code_signs). Where a code is negative its size meets ~x, which is -x - 1: the
 * sums begin with the sizes of the negative codes. 2 * 128 * 128 is met only with a minus, and fits. */
SIMD_INLINE void dot_tile_signed(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, const void *start, int n_vec, const uint8_t *x)
{
    const vi ones = _mm256_set1_epi16(1);

    UNROLL
    for (int k = 0; k < n_vec; k++) {
        vi size[ROW_VECTORS], sign[ROW_VECTORS];
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) size[r] = i_load(w + 4 * VN * r + 128 * k), sign[r] = i_load(w + 4 * VN * r + 128 * k + 64);
        UNROLL
        for (int j = 0; j < n_col; j++) {
            vi xj = i_dword(x + X_STEP * k + 4 * j);
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) {
                vi from = k == 0 ? i_load((const uint8_t *)start + 4 * VN * r) : s[r][j];
                s[r][j] = _mm256_add_epi32(from, _mm256_madd_epi16(_mm256_maddubs_epi16(size[r], _mm256_xor_si256(xj, sign[r])), ones));
                NOW(s[r][j]);
            }
        }
    }
}

/* Two vectors of the same, of sizes up to 62, times what each word of scale has, added to s: 4 * 62 * 128 fits in int16. */
SIMD_INLINE void dot_pair_scaled(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, const void *scale, const uint8_t *x)
{
    vi a[ROW_VECTORS], b[ROW_VECTORS];

    UNROLL
    for (int r = 0; r < ROW_VECTORS; r++) {
        a[r] = i_load(w + 4 * VN * r), b[r] = i_load(w + 4 * VN * r + 128);
        NOW(a[r]);
        NOW(b[r]);
    }
    UNROLL
    for (int j = 0; j < n_col; j++) {
        vi xa = i_dword(x + 4 * j), xb = i_dword(x + X_STEP + 4 * j);
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) {
            vi p = _mm256_maddubs_epi16(a[r], _mm256_xor_si256(xa, i_load(w + 4 * VN * r + 64)));
            p = _mm256_add_epi16(p, _mm256_maddubs_epi16(b[r], _mm256_xor_si256(xb, i_load(w + 4 * VN * r + 192))));
            s[r][j] = i_dot16(s[r][j], p, i_load((const uint8_t *)scale + 4 * VN * r));
            NOW(s[r][j]);
        }
    }
}

/* All ones where a code is negative. */
SIMD_INLINE vi code_signs(vi codes) { return _mm256_cmpgt_epi8(_mm256_setzero_si256(), codes); }

/* s + the sizes of the negative codes of each lane. */
SIMD_INLINE vi add_negative_sizes(vi s, vi size, vi sign)
{
    return i_dot16(s, _mm256_maddubs_epi16(size, _mm256_and_si256(sign, i_bytes(1))), _mm256_set1_epi16(1));
}

SIMD_INLINE void dot_tile(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, const void *start, size_t step, int n_vec, const uint8_t *x, const uint8_t *xstart,
                          int runs, bool is_signed)
{
    (void)step;
    if (is_signed) dot_tile_signed(s, n_col, w, start, n_vec, x);
    else dot_tile_small(s, n_col, w, n_vec, x, xstart, runs, NULL);
}
#endif

#elif defined(SIMD_AVX512)
typedef __m512i vi;
SIMD_INLINE vi i_zero(void) { return _mm512_setzero_si512(); }
SIMD_INLINE vi i_load(const void *p) { return _mm512_loadu_si512(p); }
SIMD_INLINE void i_store(void *p, vi a) { _mm512_storeu_si512(p, a); }
SIMD_INLINE vi i_dword(const void *p) { uint32_t u; memcpy(&u, p, 4); return _mm512_set1_epi32((int)u); }
SIMD_INLINE vi i_bytes(int b) { return _mm512_set1_epi8((char)b); }
SIMD_INLINE vi i_dwords(uint32_t d) { return _mm512_set1_epi32((int)d); }
SIMD_INLINE vi i_and(vi a, vi b) { return _mm512_and_si512(a, b); }
SIMD_INLINE vi i_andnot(vi a, vi b) { return _mm512_andnot_si512(a, b); }
SIMD_INLINE vi i_or(vi a, vi b) { return _mm512_or_si512(a, b); }
SIMD_INLINE vi i_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
SIMD_INLINE vi i_add8(vi a, vi b) { return _mm512_add_epi8(a, b); }
SIMD_INLINE vi i_sub8(vi a, vi b) { return _mm512_sub_epi8(a, b); }
SIMD_INLINE vi i_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
SIMD_INLINE vi i_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
SIMD_INLINE vi i_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
SIMD_INLINE vi i_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
#define i_shr(a, n) _mm512_srli_epi32(a, n)
#define i_shl(a, n) _mm512_slli_epi32(a, n)
#define i_sar(a, n) _mm512_srai_epi32(a, n)
SIMD_INLINE vf i_float(vi a) { return _mm512_cvtepi32_ps(a); }
SIMD_INLINE vf i_as_float(vi a) { return _mm512_castsi512_ps(a); }
SIMD_INLINE vi v_as_int(vf a) { return _mm512_castps_si512(a); }
SIMD_INLINE vi i_look(const int8_t table[16], vi code) { return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const void *)table)), code); }
SIMD_INLINE vi i_dot16(vi s, vi a, vi b) { return _mm512_dpwssd_epi32(s, a, b); }
SIMD_INLINE vi i_load_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)); }

SIMD_INLINE vf v_load_bf16(const uint16_t *p)
{
    return i_as_float(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}
SIMD_INLINE float v_tree(const vf *a)
{
    __m256 v = _mm256_add_ps(_mm512_castps512_ps256(a[0]), _mm512_extractf32x8_ps(a[0], 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
SIMD_INLINE vf i_half(vi a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
SIMD_INLINE int32_t i_most(vi a) { return _mm512_reduce_max_epi32(a); }
SIMD_INLINE int32_t i_round16(int8_t *q, const float *x, float inverse)
{
    vi a = _mm512_cvtps_epi32(_mm512_mul_ps(v_load(x), v_set(inverse)));
    _mm_storeu_si128((void *)q, _mm512_cvtepi32_epi8(a));
    return _mm512_reduce_add_epi32(a);
}

SIMD_INLINE vi i_bit16(vi bits, int i)
{
    vi pick = _mm512_add_epi8(_mm512_set1_epi8((char)(i / 2)), _mm512_broadcast_i32x4(_mm_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0)));
    vi mask = _mm512_set1_epi32(i % 2 ? (int)0x80402010 : 0x08040201);
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, pick), mask), _mm512_set1_epi8(16));
}

SIMD_INLINE vi i_dot8(vi s, vi w, vi x, bool is_signed) { (void)is_signed; return _mm512_dpbusd_epi32(s, w, x); }

SIMD_INLINE void field16(const uint8_t *p, steps step, vi out[4])
{
    __m512i a[4], t0, t1, t2, t3;

    UNROLL
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_castsi128_si512(_mm_loadu_si128((const void *)row_of(p, step, i)));
        a[i] = _mm512_inserti32x4(a[i], _mm_loadu_si128((const void *)row_of(p, step, i + 4)), 1);
        a[i] = _mm512_inserti32x4(a[i], _mm_loadu_si128((const void *)row_of(p, step, i + 8)), 2);
        a[i] = _mm512_inserti32x4(a[i], _mm_loadu_si128((const void *)row_of(p, step, i + 12)), 3);
    }
    t0 = _mm512_unpacklo_epi32(a[0], a[1]), t1 = _mm512_unpacklo_epi32(a[2], a[3]);
    t2 = _mm512_unpackhi_epi32(a[0], a[1]), t3 = _mm512_unpackhi_epi32(a[2], a[3]);
    out[0] = _mm512_unpacklo_epi64(t0, t1), out[1] = _mm512_unpackhi_epi64(t0, t1);
    out[2] = _mm512_unpacklo_epi64(t2, t3), out[3] = _mm512_unpackhi_epi64(t2, t3);
}

SIMD_INLINE vi i_dpbusd(vi s, vi u, vi w) { return _mm512_dpbusd_epi32(s, u, w); }

#elif defined(SIMD_NEON)
typedef int32x4_t vi;
#define AS_U8(a) vreinterpretq_u8_s32(a)
#define AS_S8(a) vreinterpretq_s8_s32(a)
#define AS_U32(a) vreinterpretq_u32_s32(a)
#define FROM_U8(a) vreinterpretq_s32_u8(a)
#define FROM_U32(a) vreinterpretq_s32_u32(a)
SIMD_INLINE vi i_zero(void) { return vdupq_n_s32(0); }
SIMD_INLINE vi i_load(const void *p) { return FROM_U8(vld1q_u8(p)); }
SIMD_INLINE void i_store(void *p, vi a) { vst1q_u8(p, AS_U8(a)); }
SIMD_INLINE vi i_dword(const void *p) { int32_t u; memcpy(&u, p, 4); return vdupq_n_s32(u); }
SIMD_INLINE vi i_bytes(int b) { return FROM_U8(vdupq_n_u8((uint8_t)b)); }
SIMD_INLINE vi i_dwords(uint32_t d) { return FROM_U32(vdupq_n_u32(d)); }
SIMD_INLINE vi i_and(vi a, vi b) { return vandq_s32(a, b); }
SIMD_INLINE vi i_andnot(vi a, vi b) { return vbicq_s32(b, a); }
SIMD_INLINE vi i_or(vi a, vi b) { return vorrq_s32(a, b); }
SIMD_INLINE vi i_xor(vi a, vi b) { return veorq_s32(a, b); }
SIMD_INLINE vi i_add8(vi a, vi b) { return FROM_U8(vaddq_u8(AS_U8(a), AS_U8(b))); }
SIMD_INLINE vi i_sub8(vi a, vi b) { return FROM_U8(vsubq_u8(AS_U8(a), AS_U8(b))); }
SIMD_INLINE vi i_sub(vi a, vi b) { return vsubq_s32(a, b); }
SIMD_INLINE vi i_add(vi a, vi b) { return vaddq_s32(a, b); }
SIMD_INLINE vi i_mul(vi a, vi b) { return vmulq_s32(a, b); }
SIMD_INLINE vi i_max(vi a, vi b) { return vmaxq_s32(a, b); }
SIMD_INLINE vi i_shr(vi a, int n) { return FROM_U32(vshlq_u32(AS_U32(a), vdupq_n_s32(-n))); }
SIMD_INLINE vi i_shl(vi a, int n) { return vshlq_s32(a, vdupq_n_s32(n)); }
SIMD_INLINE vi i_sar(vi a, int n) { return vshlq_s32(a, vdupq_n_s32(-n)); }
SIMD_INLINE vf i_float(vi a) { return vcvtq_f32_s32(a); }
SIMD_INLINE vf i_as_float(vi a) { return vreinterpretq_f32_s32(a); }
SIMD_INLINE vi v_as_int(vf a) { return vreinterpretq_s32_f32(a); }
SIMD_INLINE vi i_look(const int8_t table[16], vi code) { return vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), AS_U8(code))); }
SIMD_INLINE vi i_dot16(vi s, vi a, vi b)
{
    int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    return vaddq_s32(s, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
SIMD_INLINE vi i_load_bytes(const uint8_t *p) { vi v = { p[0], p[1], p[2], p[3] }; return v; }
SIMD_INLINE vf v_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
SIMD_INLINE float v_tree(const vf *a)
{
    vf v = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
    float32x2_t t = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
SIMD_INLINE vf i_half(vi a) { return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(AS_U32(a)))); }
SIMD_INLINE int32_t i_most(vi a) { return vmaxvq_s32(a); }
SIMD_INLINE int32_t i_round16(int8_t *q, const float *x, float inverse)
{
    int32_t sum = 0;
    UNROLL
    for (int i = 0; i < 16; i += 8) {
        vi a = vcvtnq_s32_f32(vmulq_f32(v_load(x + i), v_set(inverse))), b = vcvtnq_s32_f32(vmulq_f32(v_load(x + i + 4), v_set(inverse)));
        vst1_s8(q + i, vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b))));
        sum += vaddvq_s32(vaddq_s32(a, b));
    }
    return sum;
}
SIMD_INLINE vi i_bit16(vi bits, int i)
{
    static const uint8_t first[16] = { 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12 };
    uint8x16_t mask = AS_U8(i_dwords(i % 2 ? 0x80402010u : 0x08040201u));
    uint8x16_t byte = vqtbl1q_u8(AS_U8(bits), vaddq_u8(vld1q_u8(first), vdupq_n_u8((uint8_t)(i / 2))));
    return FROM_U8(vandq_u8(vtstq_u8(byte, mask), vdupq_n_u8(16)));
}
SIMD_INLINE vi i_dot8(vi s, vi w, vi x, bool is_signed) { (void)is_signed; return vdotq_s32(s, AS_S8(w), AS_S8(x)); }

SIMD_INLINE void field16(const uint8_t *p, steps step, vi out[4])
{
    vi a = i_load(p), b = i_load(row_of(p, step, 1)), c = i_load(row_of(p, step, 2)), d = i_load(row_of(p, step, 3));
    int64x2_t t0 = vreinterpretq_s64_s32(vtrn1q_s32(a, b)), t1 = vreinterpretq_s64_s32(vtrn2q_s32(a, b));
    int64x2_t t2 = vreinterpretq_s64_s32(vtrn1q_s32(c, d)), t3 = vreinterpretq_s64_s32(vtrn2q_s32(c, d));

    out[0] = vreinterpretq_s32_s64(vtrn1q_s64(t0, t2)), out[1] = vreinterpretq_s32_s64(vtrn1q_s64(t1, t3));
    out[2] = vreinterpretq_s32_s64(vtrn2q_s64(t0, t2)), out[3] = vreinterpretq_s32_s64(vtrn2q_s64(t1, t3));
}

#if defined(SIMD_I8MM)
/* Codes of VN rows, a row in each lane, as SMMLA takes them: eight values of a row side by side. Of dwords k and k+1, k even, vector k then has
 * rows 0 and 1 (r0k r0k+1 r1k r1k+1), vector k+1 rows 2 and 3. Columns of x alike. What treats all bytes alike does not see the difference. */
SIMD_INLINE void codes_order(vi v[4])
{
    UNROLL
    for (int k = 0; k < 4; k += 2) {
        vi a = v[k], b = v[k + 1];
        v[k] = vzip1q_s32(a, b), v[k + 1] = vzip2q_s32(a, b);
    }
}

/* A dword of each row, which belongs to all its codes, as it meets vector i of them. */
SIMD_INLINE vi codes_row(vi v, int i) { return i % 2 ? vzip2q_s32(v, v) : vzip1q_s32(v, v); }

/* i_bit16 for codes in that order: bit 4 * i + j of row r belongs to byte j of dword i. */
SIMD_INLINE vi codes_bit16(vi bits, int i)
{
    static const uint8_t mask[16] = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };
    static const uint8_t first[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4 };
    uint8x16_t byte = vqtbl1q_u8(AS_U8(bits), vaddq_u8(vld1q_u8(first), vdupq_n_u8((uint8_t)(i % 2 * 8 + i / 2))));
    return FROM_U8(vandq_u8(vtstq_u8(byte, vld1q_u8(mask)), vdupq_n_u8(16)));
}

/* The sums of a vector of rows and a pair of columns are 2 by 2 as they are made, and rows lie side by side again at the end. */
SIMD_INLINE void dot_tile(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, const void *start, size_t step, int n_vec, const uint8_t *x, const uint8_t *xstart,
                          int runs, bool is_signed)
{
    vi t[ROW_VECTORS][2][2];            /* rows, columns */

    (void)n_col, (void)start, (void)xstart, (void)runs, (void)is_signed;
    UNROLL
    for (int r = 0; r < ROW_VECTORS; r++) t[r][0][0] = t[r][0][1] = t[r][1][0] = t[r][1][1] = i_zero();
    UNROLL
    for (int k = 0; k < n_vec; k += 2) {
        int8x16_t q0 = AS_S8(i_load(x + X_STEP * k)), q1 = AS_S8(i_load(x + X_STEP * (k + 1)));
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) {
            int8x16_t v0 = AS_S8(i_load(w + r * step + 64 * k)), v1 = AS_S8(i_load(w + r * step + 64 * (k + 1)));
            t[r][0][0] = vmmlaq_s32(t[r][0][0], q0, v0), t[r][0][1] = vmmlaq_s32(t[r][0][1], q1, v0);
            t[r][1][0] = vmmlaq_s32(t[r][1][0], q0, v1), t[r][1][1] = vmmlaq_s32(t[r][1][1], q1, v1);
        }
    }
    UNROLL
    for (int r = 0; r < ROW_VECTORS; r++) {
        UNROLL
        for (int c = 0; c < 2; c++) {       /* a sum of 2 by 2: column 2c of rows 0 and 1, then column 2c+1 */
            int64x2_t a = vreinterpretq_s64_s32(t[r][0][c]), b = vreinterpretq_s64_s32(t[r][1][c]);
            s[r][2 * c] = vreinterpretq_s32_s64(vzip1q_s64(a, b));
            s[r][2 * c + 1] = vreinterpretq_s32_s64(vzip2q_s64(a, b));
        }
    }
}
#else
/* Four columns always. */
SIMD_INLINE void dot_tile(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, const void *start, size_t step, int n_vec, const uint8_t *x, const uint8_t *xstart,
                          int runs, bool is_signed)
{
    (void)xstart, (void)n_col, (void)start, (void)runs, (void)is_signed;
    UNROLL
    for (int r = 0; r < ROW_VECTORS; r++) s[r][0] = s[r][1] = s[r][2] = s[r][3] = i_zero();
    UNROLL
    for (int k = 0; k < n_vec; k++) {
        int8x16_t q = AS_S8(i_load(x + X_STEP * k));
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) {
            int8x16_t v = AS_S8(i_load(w + r * step + 64 * k));
            s[r][0] = vdotq_laneq_s32(s[r][0], v, q, 0), s[r][1] = vdotq_laneq_s32(s[r][1], v, q, 1);
            s[r][2] = vdotq_laneq_s32(s[r][2], v, q, 2), s[r][3] = vdotq_laneq_s32(s[r][3], v, q, 3);
        }
    }
}
#endif
#endif

#if !defined(SIMD_I8MM)
/* Codes on their way into a panel: a row in each lane, as everything else. */
SIMD_INLINE void codes_order(vi v[4]) { (void)v; }
SIMD_INLINE vi codes_row(vi v, int i) { (void)i; return v; }
SIMD_INLINE vi codes_bit16(vi bits, int i) { return i_bit16(bits, i); }
#endif

#if defined(SIMD_DPBUSD)
/* Activations with 128 added; 4 products a lane fit in int32 whatever they are. */
SIMD_INLINE void dot_tile(vi (*s)[MOST_COLUMNS], int n_col, const uint8_t *w, const void *start, size_t step, int n_vec, const uint8_t *x, const uint8_t *xstart,
                          int runs, bool is_signed)
{
    (void)xstart, (void)runs, (void)is_signed;
    UNROLL
    for (int k = 0; k < n_vec; k++) {
        vi v[ROW_VECTORS];
        UNROLL
        for (int r = 0; r < ROW_VECTORS; r++) v[r] = i_load(w + r * step + 64 * k);
        UNROLL
        for (int j = 0; j < n_col; j++) {
            vi q = i_dword(x + X_STEP * k + 4 * j);
            UNROLL
            for (int r = 0; r < ROW_VECTORS; r++) s[r][j] = i_dpbusd(k == 0 ? i_load((const uint8_t *)start + r * step) : s[r][j], q, v[r]);
        }
    }
}
#endif

/* Dwords i .. i+3 of eight rows, side by side: out + i * step takes dword i of each. flip is XORed to all. */
#if defined(SIMD_NEON)
SIMD_INLINE void cross8(const uint8_t *const p[8], size_t at, uint32_t flip, uint8_t *out, size_t step)
{
    UNROLL
    for (int h = 0; h < 8; h += 4) {
        vi a = i_load(p[h] + at), b = i_load(p[h + 1] + at), c = i_load(p[h + 2] + at), d = i_load(p[h + 3] + at);
        int64x2_t t0 = vreinterpretq_s64_s32(vtrn1q_s32(a, b)), t1 = vreinterpretq_s64_s32(vtrn2q_s32(a, b));
        int64x2_t t2 = vreinterpretq_s64_s32(vtrn1q_s32(c, d)), t3 = vreinterpretq_s64_s32(vtrn2q_s32(c, d));
        i_store(out + 4 * h, i_xor(vreinterpretq_s32_s64(vtrn1q_s64(t0, t2)), i_dwords(flip)));
        i_store(out + step + 4 * h, i_xor(vreinterpretq_s32_s64(vtrn1q_s64(t1, t3)), i_dwords(flip)));
        i_store(out + 2 * step + 4 * h, i_xor(vreinterpretq_s32_s64(vtrn2q_s64(t0, t2)), i_dwords(flip)));
        i_store(out + 3 * step + 4 * h, i_xor(vreinterpretq_s32_s64(vtrn2q_s64(t1, t3)), i_dwords(flip)));
    }
}
#else
SIMD_INLINE void cross8(const uint8_t *const p[8], size_t at, uint32_t flip, uint8_t *out, size_t step)
{
    const __m256i f = _mm256_set1_epi32((int)flip);
    __m256i a[4], t0, t1, t2, t3;

    UNROLL
    for (int i = 0; i < 4; i++)
        a[i] = _mm256_xor_si256(f, _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)(p[i] + at))),
                                                           _mm_loadu_si128((const void *)(p[i + 4] + at)), 1));
    t0 = _mm256_unpacklo_epi32(a[0], a[1]), t1 = _mm256_unpacklo_epi32(a[2], a[3]);
    t2 = _mm256_unpackhi_epi32(a[0], a[1]), t3 = _mm256_unpackhi_epi32(a[2], a[3]);
    _mm256_storeu_si256((void *)out, _mm256_unpacklo_epi64(t0, t1));
    _mm256_storeu_si256((void *)(out + step), _mm256_unpackhi_epi64(t0, t1));
    _mm256_storeu_si256((void *)(out + 2 * step), _mm256_unpacklo_epi64(t2, t3));
    _mm256_storeu_si256((void *)(out + 3 * step), _mm256_unpackhi_epi64(t2, t3));
}
#endif
#endif
