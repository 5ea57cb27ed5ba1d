/* codebook_avx2.c - 32 values at a time: entries side by side in a vector, bits of signs spread over bytes. The same as codebook.c. Bound by the number of
 * instructions: 23 for 32 values of IQ2_XXS and a column, 9 of which find the entries and 9 the signs. */
#include "codebook.h"
#include "iq_grids.h"
#include "narrow.h"
#define SIMD_AVX2
#include "simd.h"

/* Where decoded values go: into block, or where that is NULL times those of n_col columns at once. scale: of a sub-block in each word, or of the even ones of 16
 * in the low half and the odd ones in the high half. */
typedef struct { codebook_block *block; const uint8_t *q[FEW_COLUMNS]; int n_col; float d; __m256i scale, sum[FEW_COLUMNS]; } sink;

SIMD_INLINE __m128i load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
SIMD_INLINE __m128i load8(const uint8_t *p) { return _mm_loadl_epi64((const __m128i *)(const void *)p); }
SIMD_INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
SIMD_INLINE void store32(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }
SIMD_INLINE __m256i twice16(__m128i v) { return _mm256_broadcastsi128_si256(v); }
SIMD_INLINE __m256i each4(const uint8_t *p) { return _mm256_set1_epi32((int)load_u32(p)); }

SIMD_INLINE float half(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }

/* The scales of the sub-blocks, as bytes. */
SIMD_INLINE void begin(sink *to, float d, int sub, __m128i sc)
{
    to->d = d;
    UNROLL
    for (int c = 0; c < to->n_col; c++) to->sum[c] = _mm256_setzero_si256();
    if (to->block) {
        to->block->d = d;
        _mm_storeu_si128((__m128i *)(void *)to->block->sc, sc);
    }
    else if (sub == 32) to->scale = twice16(_mm_cvtepu8_epi16(sc));
    else to->scale = _mm256_set_m128i(_mm_srli_epi16(sc, 8), _mm_and_si128(sc, _mm_set1_epi16(255)));
}

SIMD_INLINE __m256i scale_of(const sink *to, int i) { return _mm256_shuffle_epi8(to->scale, _mm256_set1_epi16((short)(0x0100 + 0x0202 * i))); }

/* s + size * q * scale, in any order: all are whole numbers. */
SIMD_INLINE __m256i plus_times(__m256i s, __m256i size, __m256i q, __m256i scale)
{
    return _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(size, q), scale));
}

/* Values 32 i .. 32 i + 31 */
SIMD_INLINE void put(sink *to, int i, __m256i v)
{
    if (to->block) { store32(to->block->w + 32 * i, v); return; }
    __m256i size = _mm256_abs_epi8(v), scale = scale_of(to, i);
    UNROLL
    for (int c = 0; c < to->n_col; c++) to->sum[c] = plus_times(to->sum[c], size, _mm256_sign_epi8(load32(to->q[c] + 32 * i), v), scale);
}

/* Bit j of each eight bytes of sign negates byte j of v. */
SIMD_INLINE void put_signed(sink *to, int i, __m256i v, __m256i sign)
{
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i m = _mm256_cmpeq_epi8(_mm256_and_si256(sign, bit), bit);

    if (to->block) { put(to, i, _mm256_sub_epi8(_mm256_xor_si256(v, m), m)); return; }
    __m256i scale = scale_of(to, i);
    UNROLL
    for (int c = 0; c < to->n_col; c++) to->sum[c] = plus_times(to->sum[c], v, _mm256_sub_epi8(_mm256_xor_si256(load32(to->q[c] + 32 * i), m), m), scale);
}

/* Bytes a, b of the low half and c, d of the high half, eight times each. */
#define EIGHT(v, a, b, c, d) \
    _mm256_shuffle_epi8(v, _mm256_setr_epi64x((a) * 0x0101010101010101, (b) * 0x0101010101010101, (c) * 0x0101010101010101, (d) * 0x0101010101010101))
/* Bytes 0 .. 3 of each dword, eight times each. */
SIMD_INLINE __m256i each_eight(__m256i v) { return EIGHT(v, 0, 1, 2, 3); }

/* 7 bits in each word or dword, and an eighth that makes their number even. */
SIMD_INLINE __m256i even(__m256i v)
{
    const __m256i odd = twice16(_mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    return _mm256_or_si256(v, _mm256_shuffle_epi8(odd, _mm256_xor_si256(v, _mm256_srli_epi32(v, 4))));
}
/* Signs of two sub-blocks, four times 7 bits of a dword: v has the first dword twice, then the other twice, in each half. Bytes 0 and 4 of each half are those of
 * the first, 8 and 12 those of the other. */
SIMD_INLINE __m256i even_pair(__m256i v)
{
    return even(_mm256_and_si256(_mm256_srlv_epi32(v, _mm256_setr_epi32(0, 7, 0, 7, 14, 21, 14, 21)), _mm256_set1_epi32(127)));
}

/* Entries of 8 or 4 bytes, side by side: loaded to all places and blended, which any port can do. */
#define BLEND8(v, e, mask) _mm256_blend_epi32(v, _mm256_set1_epi64x((long long)(e)), mask)
#define BLEND4(v, e, mask) _mm256_blend_epi32(v, _mm256_set1_epi32((int)(e)), mask)
#define FOUR(t, i) BLEND8(BLEND8(BLEND8(_mm256_castsi128_si256(load8((const uint8_t *)((t) + (i)[0]))), (t)[(i)[1]], 0x0c), (t)[(i)[2]], 0x30), (t)[(i)[3]], 0xc0)
#define QUARTER(t, v, i, at) BLEND4(BLEND4(BLEND4(BLEND4(v, (t)[(i)[0]], 1 << (at)), (t)[(i)[1]], 2 << (at)), (t)[(i)[2]], 4 << (at)), (t)[(i)[3]], 8 << (at))
#define OCTET(t, i) QUARTER(t, QUARTER(t, _mm256_set1_epi32((int)(t)[(i)[0]]), (i), 0), (i) + 4, 4)

/* Scales 2 s + 1: of the top nibbles of eight dwords, of the nibbles of eight bytes. */
SIMD_INLINE __m128i top_scales(__m256i v)
{
    v = _mm256_or_si256(_mm256_srli_epi32(v, 27), _mm256_set1_epi32(1));
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_packus_epi16(w, w);
}
SIMD_INLINE __m128i nibble_scales(__m128i v)
{
    __m128i low = _mm_and_si128(_mm_add_epi8(v, v), _mm_set1_epi8(30)), high = _mm_and_si128(_mm_srli_epi16(v, 3), _mm_set1_epi8(30));
    return _mm_or_si128(_mm_unpacklo_epi8(low, high), _mm_set1_epi8(1));
}

/* at_TYPE: places in the grid that are not bytes of the block; IQ1_M has what is taken off behind them. Eight rows' are found before they are used: loads from a
 * vector that was stored just now wait. TYPE: the rest. */
enum { PLACES = 64 };
SIMD_INLINE void at_none(const uint8_t *b, uint16_t *at) { (void)b, (void)at; }
#define at_iq2_xxs at_none
#define at_iq3_xxs at_none
#define at_tq1_0 at_none
#define at_tq2_0 at_none
#define at_q8_k at_none

SIMD_INLINE void iq2_xxs(const uint8_t *b, const uint16_t *at, sink *to)
{
    (void)at;
    __m256 low = _mm256_loadu_ps((const float *)(const void *)(b + 2)), high = _mm256_loadu_ps((const float *)(const void *)(b + 34));
    __m256i top = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xdd)), 0xd8);

    begin(to, half(load_u16(b)) * 0.125f, 32, top_scales(top));
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        const uint8_t *q = b + 2 + 8 * i;
        __m256i sign = even_pair(_mm256_shuffle_epi32(twice16(load16(q)), 0xf5));
        put_signed(to, i, FOUR(iq2_xxs_grid, q), EIGHT(sign, 0, 4, 0, 4));
        put_signed(to, i + 1, FOUR(iq2_xxs_grid, q + 8), EIGHT(sign, 8, 12, 8, 12));
    }
}

SIMD_INLINE void at_iq2_xs(const uint8_t *b, uint16_t *at)
{
    UNROLL
    for (int i = 0; i < 32; i += 16) store32(at + i, _mm256_and_si256(load32(b + 2 + 2 * i), _mm256_set1_epi16(511)));
}

SIMD_INLINE void iq2_xs(const uint8_t *b, const uint16_t *at, sink *to)
{
    begin(to, half(load_u16(b)) * 0.125f, 16, nibble_scales(load8(b + 66)));
    UNROLL
    for (int i = 0; i < 8; i += 4, at += 16) {
        __m256i sign = even(_mm256_srli_epi16(load32(b + 2 + 8 * i), 9));
        put_signed(to, i, FOUR(iq2_xs_grid, at), EIGHT(_mm256_permute4x64_epi64(sign, 0x00), 0, 2, 4, 6));
        put_signed(to, i + 1, FOUR(iq2_xs_grid, at + 4), EIGHT(_mm256_permute4x64_epi64(sign, 0x55), 0, 2, 4, 6));
        put_signed(to, i + 2, FOUR(iq2_xs_grid, at + 8), EIGHT(_mm256_permute4x64_epi64(sign, 0xaa), 0, 2, 4, 6));
        put_signed(to, i + 3, FOUR(iq2_xs_grid, at + 12), EIGHT(_mm256_permute4x64_epi64(sign, 0xff), 0, 2, 4, 6));
    }
}

/* 16 bytes and above each of them bits of h, which were brought there by products. */
SIMD_INLINE void put_places(uint16_t *at, __m128i q, __m256i h, int bits)
{
    store32(at, _mm256_or_si256(_mm256_cvtepu8_epi16(q), _mm256_and_si256(h, _mm256_set1_epi16((short)bits))));
}
/* Bytes of each quarter of v, all in the form 0x8001800180018001, times four words again and again. */
#define TIMES4(v, p0, p1, p2, p3, a, b, c, d) \
    _mm256_mullo_epi16(_mm256_shuffle_epi8(v, _mm256_setr_epi64x((long long)(p0), (long long)(p1), (long long)(p2), (long long)(p3))), \
                       _mm256_set1_epi64x((a) | (b) << 16 | (long long)(c) << 32 | (long long)(d) << 48))

SIMD_INLINE void at_iq2_s(const uint8_t *b, uint16_t *at)
{
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256i h = TIMES4(each4(b + 66 + i), 0x8000800080008000, 0x8001800180018001, 0x8002800280028002, 0x8003800380038003, 256, 64, 16, 4);
        put_places(at + 4 * i, load16(b + 2 + 4 * i), h, 0x300);
    }
}

SIMD_INLINE void iq2_s(const uint8_t *b, const uint16_t *at, sink *to)
{
    begin(to, half(load_u16(b)) * 0.125f, 16, nibble_scales(load8(b + 74)));
    UNROLL
    for (int i = 0; i < 8; i++) put_signed(to, i, FOUR(iq2_s_grid, at + 4 * i), each_eight(each4(b + 34 + 4 * i)));
}

SIMD_INLINE void iq3_xxs(const uint8_t *b, const uint16_t *at, sink *to)
{
    (void)at;
    begin(to, half(load_u16(b)) * 0.25f, 32, top_scales(load32(b + 66)));
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        const uint8_t *q = b + 2 + 8 * i;
        __m256i sign = even_pair(_mm256_shuffle_epi32(_mm256_broadcastq_epi64(load8(b + 66 + 4 * i)), 0x50));
        put_signed(to, i, OCTET(iq3_xxs_grid, q), EIGHT(sign, 0, 4, 0, 4));
        put_signed(to, i + 1, OCTET(iq3_xxs_grid, q + 8), EIGHT(sign, 8, 12, 8, 12));
    }
}

SIMD_INLINE void at_iq3_s(const uint8_t *b, uint16_t *at)
{
    const __m256i factor = twice16(_mm_setr_epi16(256, 128, 64, 32, 16, 8, 4, 2));

    UNROLL
    for (int i = 0; i < 8; i += 2) {
        __m256i h = EIGHT(_mm256_set1_epi16((short)load_u16(b + 66 + i)), 0, 0, 1, 1);
        put_places(at + 8 * i, load16(b + 2 + 8 * i), _mm256_mullo_epi16(_mm256_and_si256(h, _mm256_set1_epi16(255)), factor), 0x100);
    }
}

SIMD_INLINE void iq3_s(const uint8_t *b, const uint16_t *at, sink *to)
{
    begin(to, half(load_u16(b)), 32, nibble_scales(_mm_cvtsi32_si128((int)load_u32(b + 106))));
    UNROLL
    for (int i = 0; i < 8; i++) put_signed(to, i, OCTET(iq3_s_grid, at + 8 * i), each_eight(each4(b + 74 + 4 * i)));
}

SIMD_INLINE void at_iq1_s(const uint8_t *b, uint16_t *at)
{
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256i h = TIMES4(_mm256_broadcastq_epi64(load8(b + 34 + 2 * i)), 0x8001010001000100, 0x8003030203020302, 0x8005050405040504, 0x8007070607060706, 256, 32, 4, 128);
        put_places(at + 4 * i, load16(b + 2 + 4 * i), h, 0x700);
    }
}

SIMD_INLINE void iq1_s(const uint8_t *b, const uint16_t *at, sink *to)
{
    __m128i h = load16(b + 34), minus = _mm_srai_epi16(h, 15);
    __m128i sc = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(h, 11), _mm_set1_epi16(14)), _mm_set1_epi16(1));
    __m256i less = twice16(_mm_sub_epi16(_mm_set1_epi16(7), _mm_add_epi16(minus, minus)));

    begin(to, half(load_u16(b)) * 0.125f, 32, _mm_packus_epi16(sc, sc));
    UNROLL
    for (int i = 0; i < 8; i++)
        put(to, i, _mm256_sub_epi8(FOUR(iq1_grid, at + 4 * i), _mm256_shuffle_epi8(less, _mm256_set1_epi8((char)(2 * i)))));
}

SIMD_INLINE void at_iq1_m(const uint8_t *b, uint16_t *at)
{
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256i h = TIMES4(_mm256_broadcastq_epi64(load8(b + 32 + 2 * i)), 0x8001800180008000, 0x8003800380028002, 0x8005800580048004, 0x8007800780068006, 256, 16, 256, 16);
        put_places(at + 4 * i, load16(b + 4 * i), h, 0x700);
        store32(at + 32 + 4 * i, _mm256_add_epi16(_mm256_and_si256(_mm256_srli_epi16(h, 10), _mm256_set1_epi16(2)), _mm256_set1_epi16(7)));
    }
}

SIMD_INLINE void iq1_m(const uint8_t *b, const uint16_t *at, sink *to)
{
    __m256i sc = TIMES4(_mm256_broadcastq_epi64(load8(b + 48)), 0x0100010001000100, 0x0302030203020302, 0x0504050405040504, 0x0706070607060706, 0x2000, 0x400, 0x80, 0x10);

    sc = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(sc, 12), _mm256_set1_epi16(14)), _mm256_set1_epi16(1));
    begin(to, iq1_m_scale(b) * 0.125f, 16, _mm_packus_epi16(_mm256_castsi256_si128(sc), _mm256_extracti128_si256(sc, 1)));
    UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i less = _mm256_broadcastq_epi64(load8((const uint8_t *)(at + 32 + 4 * i)));
        put(to, i, _mm256_sub_epi8(FOUR(iq1_grid, at + 4 * i), EIGHT(less, 0, 2, 4, 6)));
    }
}

SIMD_INLINE void tq2_0(const uint8_t *b, const uint16_t *at, sink *to)
{
    (void)at;
    begin(to, half(load_u16(b + 64)), 32, _mm_set1_epi8(1));
    UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i v = load32(b + 32 * h);
        UNROLL
        for (int l = 0; l < 4; l++) put(to, 4 * h + l, _mm256_sub_epi8(_mm256_and_si256(_mm256_srli_epi16(v, 2 * l), _mm256_set1_epi8(3)), _mm256_set1_epi8(1)));
    }
}

/* The low bytes of the products of v with 1, 3, 9 ..., and from each the digit at its top, less 1. */
SIMD_INLINE __m256i times3(__m256i v) { return _mm256_add_epi8(v, _mm256_add_epi8(v, v)); }
SIMD_INLINE __m256i digit(__m256i v)
{
    const __m256i low = _mm256_set1_epi16(255), three = _mm256_set1_epi16(3);
    __m256i even = _mm256_srli_epi16(_mm256_mullo_epi16(_mm256_and_si256(v, low), three), 8);
    __m256i odd = _mm256_andnot_si256(low, _mm256_mullo_epi16(_mm256_srli_epi16(v, 8), three));
    return _mm256_sub_epi8(_mm256_or_si256(even, odd), _mm256_set1_epi8(1));
}

/* 32 bytes of five digits, 16 of five, four of four: the last three vectors are of 16 values twice, or of 16 and four times four. */
SIMD_INLINE void tq1_0(const uint8_t *b, const uint16_t *at, sink *to)
{
    (void)at;
    __m128i rest[5], last[5];
    __m256i v = load32(b), r = _mm256_set_m128i(_mm_cvtsi32_si128((int)load_u32(b + 48)), load16(b + 32));

    begin(to, half(load_u16(b + 52)), 32, _mm_set1_epi8(1));
    UNROLL
    for (int n = 0; n < 5; n++, v = times3(v), r = times3(r)) {
        __m256i t = digit(r);
        put(to, n, digit(v));
        rest[n] = _mm256_castsi256_si128(t), last[n] = _mm256_extracti128_si256(t, 1);
    }
    put(to, 5, _mm256_set_m128i(rest[1], rest[0]));
    put(to, 6, _mm256_set_m128i(rest[3], rest[2]));
    put(to, 7, _mm256_set_m128i(_mm_unpacklo_epi64(_mm_unpacklo_epi32(last[0], last[1]), _mm_unpacklo_epi32(last[2], last[3])), rest[4]));
}

SIMD_INLINE void q8_k(const uint8_t *b, const uint16_t *at, sink *to)
{
    (void)at;
    begin(to, bits_float(load_u32(b)), 32, _mm_set1_epi8(1));
    UNROLL
    for (int i = 0; i < 8; i++) put(to, i, load32(b + 4 + 32 * i));
}

/* t[r] = the sum of the lanes of part[r]. */
SIMD_INLINE void add_lanes(const __m256i part[8], int32_t *t)
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(part[0], part[1]), _mm256_hadd_epi32(part[2], part[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(part[4], part[5]), _mm256_hadd_epi32(part[6], part[7]));
    store32(t, _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)));
}

typedef void finder(const uint8_t *b, uint16_t *at);
typedef void decoder(const uint8_t *b, const uint16_t *at, sink *to);

/* 8 rows at a time; n_col is known when this is compiled. */
SIMD_INLINE void times(finder *find, decoder *decode, const uint8_t *b, size_t row_bytes, int n_row, const uint8_t *const *q, int n_col, codebook_sums *out)
{
    __m256i part[FEW_COLUMNS][8];
    uint16_t at[8][PLACES];

    for (int first = 0; first < TILE_ROWS; first += 8, b += 8 * row_bytes) {
        int n = n_row - first < 8 ? n_row - first : 8;
        for (int r = 0; r < n; r++) find(b + r * row_bytes, at[r]);
        for (int r = 0; r < n; r++) {
            sink to = { .n_col = n_col };
            UNROLL
            for (int c = 0; c < n_col; c++) to.q[c] = q[c];
            decode(b + r * row_bytes, at[r], &to);
            out->d[first + r] = to.d;
            UNROLL
            for (int c = 0; c < n_col; c++) part[c][r] = to.sum[c];
        }
        for (int r = n < 0 ? 0 : n; r < 8; r++) {
            out->d[first + r] = 0.0f;
            for (int c = 0; c < n_col; c++) part[c][r] = _mm256_setzero_si256();
        }
        for (int c = 0; c < n_col; c++) add_lanes(part[c], out->sum[c] + first);
    }
}

/* One column, or an even number of them, of which the last may be there twice. */
#define TIMES(type, name, sub) \
    static __attribute__((noinline)) void times_##name(const uint8_t *b, size_t row_bytes, int n_row, const uint8_t *const *q, int n_col, codebook_sums *out) \
    { \
        const uint8_t *all[FEW_COLUMNS]; \
        for (int c = 0; c < FEW_COLUMNS; c++) all[c] = q[c < n_col ? c : n_col - 1]; \
        if (n_col == 1) times(at_##name, name, b, row_bytes, n_row, all, 1, out); \
        else if (n_col == 2) times(at_##name, name, b, row_bytes, n_row, all, 2, out); \
        else if (n_col <= 4) times(at_##name, name, b, row_bytes, n_row, all, 4, out); \
        else if (n_col <= 6) times(at_##name, name, b, row_bytes, n_row, all, 6, out); \
        else times(at_##name, name, b, row_bytes, n_row, all, 8, out); \
    }
CODEBOOK_TYPES(TIMES)

#define UNPACK(type, name, sub) \
    static __attribute__((noinline)) void unpack_##name(const uint8_t *b, size_t row_bytes, int n_row, codebook_block *out) \
    { \
        uint16_t at[TILE_ROWS][PLACES]; \
        for (int r = 0; r < n_row; r++) at_##name(b + r * row_bytes, at[r]); \
        for (int r = 0; r < n_row; r++, b += row_bytes) { \
            sink to = { .block = &out[r] }; \
            name(b, at[r], &to); \
        } \
    }
CODEBOOK_TYPES(UNPACK)

void codebook_unpack_avx2(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, codebook_block *out)
{
    switch (dtype) {
#define CASE(type, name, sub) case DT_##type: unpack_##name(b, row_bytes, n_row, out); break;
    CODEBOOK_TYPES(CASE)
#undef CASE
    default: break;
    }
}

void codebook_times_avx2(llm_dtype dtype, const uint8_t *b, size_t row_bytes, int n_row, const uint8_t *const *q, int n_col, codebook_sums *out)
{
    switch (dtype) {
#define CASE(type, name, sub) case DT_##type: times_##name(b, row_bytes, n_row, q, n_col, out); break;
    CODEBOOK_TYPES(CASE)
    default: break;
    }
}
