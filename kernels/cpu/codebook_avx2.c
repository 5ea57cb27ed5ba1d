/* codebook_avx2.c - 32 values at a time: entries side by side in a vector, bits of signs spread over bytes. The same as codebook.c; bound by loads of entries
 * and what puts them beside each other, about an instruction for a value. */
#include "codebook.h"
#include "iq_grids.h"
#include "narrow.h"
#include <immintrin.h>
#include <string.h>

#define FOUR(t, i0, i1, i2, i3) _mm256_set_epi64x((long long)(t)[i3], (long long)(t)[i2], (long long)(t)[i1], (long long)(t)[i0])
#define PAIR(t, i0, i1) (long long)((t)[i0] | (uint64_t)(t)[i1] << 32)

/* Byte i of bytes in bytes 8 i .. 8 i + 7. */
static inline __m256i each_eight(uint32_t bytes)
{
    const __m256i place = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    return _mm256_shuffle_epi8(_mm256_set1_epi32((int)bytes), place);
}

/* The same of four times 7 bits, each with an eighth that makes their number even. */
static inline __m256i each_even(uint32_t s)
{
    const __m128i odd = _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0);
    const __m256i place = _mm256_setr_epi64x(0, 0x0404040404040404, 0x0808080808080808, 0x0c0c0c0c0c0c0c0c);
    __m128i x = _mm_and_si128(_mm_srlv_epi32(_mm_set1_epi32((int)s), _mm_setr_epi32(0, 7, 14, 21)), _mm_set1_epi32(127));
    __m128i t = _mm_and_si128(_mm_xor_si128(x, _mm_srli_epi32(x, 4)), _mm_set1_epi32(15));

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_or_si128(x, _mm_shuffle_epi8(odd, t))), place);
}

/* Bit j of each eight bytes of sign negates byte j of them. */
static inline void put(int8_t *w, __m256i v, __m256i sign)
{
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i m = _mm256_cmpeq_epi8(_mm256_and_si256(sign, bit), bit);
    _mm256_storeu_si256((__m256i *)(void *)w, _mm256_sub_epi8(_mm256_xor_si256(v, m), m));
}

static inline void put_less(int8_t *w, __m256i v, __m256i less) { _mm256_storeu_si256((__m256i *)(void *)w, _mm256_sub_epi8(v, less)); }

/* Scales 2 s + 1 of the nibbles of n bytes. */
static inline void put_scales(uint8_t *sc, const uint8_t *b, int n)
{
    for (int i = 0; i < n; i++) sc[2 * i] = (uint8_t)(2 * (b[i] & 15) + 1), sc[2 * i + 1] = (uint8_t)(2 * (b[i] >> 4) + 1);
}

static void unpack_iq2_xxs(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 8 * i;
        uint32_t s = load_u32(q + 4);
        o->sc[i] = (uint8_t)(2 * (s >> 28) + 1);
        put(o->w + 32 * i, FOUR(iq2_xxs_grid, q[0], q[1], q[2], q[3]), each_even(s));
    }
}

static void unpack_iq2_xs(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    put_scales(o->sc, b + 66, 8);
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 8 * i;
        unsigned a = load_u16(q), c = load_u16(q + 2), e = load_u16(q + 4), g = load_u16(q + 6);
        put(o->w + 32 * i, FOUR(iq2_xs_grid, a & 511, c & 511, e & 511, g & 511), each_even(a >> 9 | c >> 9 << 7 | e >> 9 << 14 | g >> 9 << 21));
    }
}

static void unpack_iq2_s(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    put_scales(o->sc, b + 74, 8);
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 4 * i;
        unsigned h = b[66 + i];
        put(o->w + 32 * i, FOUR(iq2_s_grid, q[0] | (h & 3) << 8, q[1] | (h & 12) << 6, q[2] | (h & 48) << 4, q[3] | (h & 192) << 2), each_eight(load_u32(b + 34 + 4 * i)));
    }
}

static void unpack_iq3_xxs(const uint8_t *b, codebook_block *o)
{
    const uint32_t *e = iq3_xxs_grid;

    o->d = f16_to_float(load_u16(b)) * 0.25f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 8 * i;
        uint32_t s = load_u32(b + 66 + 4 * i);
        o->sc[i] = (uint8_t)(2 * (s >> 28) + 1);
        put(o->w + 32 * i, _mm256_set_epi64x(PAIR(e, q[6], q[7]), PAIR(e, q[4], q[5]), PAIR(e, q[2], q[3]), PAIR(e, q[0], q[1])), each_even(s));
    }
}

static void unpack_iq3_s(const uint8_t *b, codebook_block *o)
{
    const uint32_t *e = iq3_s_grid;

    o->d = f16_to_float(load_u16(b));
    put_scales(o->sc, b + 106, 4);
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 8 * i;
        unsigned h = b[66 + i];
#define AT(k) (q[k] | (h << (8 - (k)) & 256))
        put(o->w + 32 * i, _mm256_set_epi64x(PAIR(e, AT(6), AT(7)), PAIR(e, AT(4), AT(5)), PAIR(e, AT(2), AT(3)), PAIR(e, AT(0), AT(1))), each_eight(load_u32(b + 74 + 4 * i)));
#undef AT
    }
}

static void unpack_iq1_s(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b)) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 4 * i;
        unsigned h = load_u16(b + 34 + 2 * i);
        o->sc[i] = (uint8_t)(2 * (h >> 12 & 7) + 1);
        put_less(o->w + 32 * i, FOUR(iq1_grid, q[0] | (h & 7) << 8, q[1] | (h >> 3 & 7) << 8, q[2] | (h >> 6 & 7) << 8, q[3] | (h >> 9 & 7) << 8),
                 _mm256_set1_epi8((char)(7 + 2 * (h >> 15))));
    }
}

static void unpack_iq1_m(const uint8_t *b, codebook_block *o)
{
    o->d = iq1_m_scale(b) * 0.125f;
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 4 * i;
        unsigned h = load_u16(b + 32 + 2 * i), s = (unsigned)load_u16(b + 48 + 2 * (i / 2)) >> 6 * (i % 2);
        o->sc[2 * i] = (uint8_t)(2 * (s & 7) + 1), o->sc[2 * i + 1] = (uint8_t)(2 * (s >> 3 & 7) + 1);
        put_less(o->w + 32 * i, FOUR(iq1_grid, q[0] | (h & 7) << 8, q[1] | (h >> 4 & 7) << 8, q[2] | (h >> 8 & 7) << 8, q[3] | (h >> 12 & 7) << 8),
                 each_eight(0x07070707 + ((h >> 3 & 1) << 1 | (h >> 7 & 1) << 9 | (h >> 11 & 1) << 17 | h >> 15 << 25)));
    }
}

static void unpack_tq2_0(const uint8_t *b, codebook_block *o)
{
    o->d = f16_to_float(load_u16(b + 64));
    memset(o->sc, 1, sizeof o->sc);
    for (int h = 0; h < 2; h++) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(b + 32 * h));
        for (int l = 0; l < 4; l++, v = _mm256_srli_epi16(v, 2)) put_less(o->w + 128 * h + 32 * l, _mm256_and_si256(v, _mm256_set1_epi8(3)), _mm256_set1_epi8(1));
    }
}

/* The low bytes of the products of v with 1, 3, 9 ..., and from each the digit at its top, less 1. */
static inline __m256i times3(__m256i v) { return _mm256_add_epi8(v, _mm256_add_epi8(v, v)); }
static inline __m256i digit(__m256i v)
{
    const __m256i low = _mm256_set1_epi16(255), three = _mm256_set1_epi16(3);
    __m256i even = _mm256_srli_epi16(_mm256_mullo_epi16(_mm256_and_si256(v, low), three), 8);
    __m256i odd = _mm256_andnot_si256(low, _mm256_mullo_epi16(_mm256_srli_epi16(v, 8), three));
    return _mm256_sub_epi8(_mm256_or_si256(even, odd), _mm256_set1_epi8(1));
}

static void unpack_tq1_0(const uint8_t *b, codebook_block *o)
{
    uint8_t rest[32] = { 0 };
    int8_t out[32], *w = o->w;
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)b);

    o->d = f16_to_float(load_u16(b + 52));
    memset(o->sc, 1, sizeof o->sc);
    for (int n = 0; n < 5; n++, w += 32, v = times3(v)) _mm256_storeu_si256((__m256i *)(void *)w, digit(v));
    memcpy(rest, b + 32, 20), v = _mm256_loadu_si256((const __m256i *)(const void *)rest);
    for (int n = 0; n < 5; n++, v = times3(v)) {
        _mm256_storeu_si256((__m256i *)(void *)out, digit(v));
        memcpy(w + 16 * n, out, 16);
        if (n < 4) memcpy(w + 80 + 4 * n, out + 16, 4);
    }
}

void codebook_unpack_avx2(llm_dtype dtype, const uint8_t *b, codebook_block *out)
{
    switch (dtype) {
    case DT_IQ2_XXS: unpack_iq2_xxs(b, out); break;
    case DT_IQ2_XS:  unpack_iq2_xs(b, out); break;
    case DT_IQ2_S:   unpack_iq2_s(b, out); break;
    case DT_IQ3_XXS: unpack_iq3_xxs(b, out); break;
    case DT_IQ3_S:   unpack_iq3_s(b, out); break;
    case DT_IQ1_S:   unpack_iq1_s(b, out); break;
    case DT_IQ1_M:   unpack_iq1_m(b, out); break;
    case DT_TQ1_0:   unpack_tq1_0(b, out); break;
    case DT_TQ2_0:   unpack_tq2_0(b, out); break;
    default:         codebook_unpack(dtype, b, out); break;
    }
}
