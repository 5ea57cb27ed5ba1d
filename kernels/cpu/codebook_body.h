/* codebook_body.h - super-blocks of the types that have no integer form here (IQ1, IQ2, IQ3, TQ1_0, TQ2_0, Q8_K), eight values at a time: the bits of
 * dequant_row, whose files say what the fields are. Included by product_float_body.h.
 * An entry of a codebook is spread over eight lanes by shifts of its own for each, its codes pick from a table in a register, and signs are put in by
 * exclusive or: some ten instructions for eight values, which bind. Sets without such shifts and tables have dequant_row itself. */
#include "iq_grids.h"

typedef void (*block_fn)(const uint8_t *b, float *y);

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)

/* What codes of 2 bits, in the low bits of each lane, pick. */
SIMD_INLINE __m256 pick4(__m256 table, __m256i codes) { return _mm256_permutevar_ps(table, codes); }
SIMD_INLINE __m256 table4(float a, float b, float c, float d) { return _mm256_setr_ps(a, b, c, d, a, b, c, d); }

SIMD_INLINE __m256i spread2(unsigned entry) { return _mm256_srlv_epi32(_mm256_set1_epi32((int)entry), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)); }
SIMD_INLINE __m256i spread3(unsigned entry) { return _mm256_srlv_epi32(_mm256_set1_epi32((int)entry), _mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21)); }

/* Bit j of sign negates value j. */
SIMD_INLINE void put_signed(float *y, __m256 v, unsigned sign)
{
    __m256i s = _mm256_sllv_epi32(_mm256_set1_epi32((int)sign), _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
    _mm256_storeu_ps(y, _mm256_xor_ps(v, _mm256_and_ps(_mm256_castsi256_ps(s), _mm256_set1_ps(-0.0f))));
}

/* The sign index of 8 values holds 7 bits; the eighth makes the number of minus signs even. */
SIMD_INLINE unsigned even_signs(unsigned index) { return index | (unsigned)__builtin_parity(index) << 7; }

SIMD_INLINE void put_iq2(float *y, unsigned entry, unsigned sign, float db)
{
    put_signed(y, _mm256_mul_ps(_mm256_set1_ps(db), pick4(table4(iq2_value[0], iq2_value[1], iq2_value[2], iq2_value[3]), spread2(entry))), sign);
}

static void blocks_iq2_xxs(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(qs + 4);
        float db = d * (0.5f + (float)(s >> 28)) * 0.25f;
        UNROLL
        for (int l = 0; l < 4; l++, y += 8) put_iq2(y, iq2_xxs_grid[qs[l]], even_signs(s >> 7 * l & 127), db);
    }
}

/* The factors of two times 16 values, whose scales are in `both`. */
SIMD_INLINE void iq2_scales(float db[2], float d, unsigned both)
{
    db[0] = d * (0.5f + (float)(both & 15)) * 0.25f, db[1] = d * (0.5f + (float)(both >> 4)) * 0.25f;
}

static void blocks_iq2_xs(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b)), db[2];

    for (int i = 0; i < 8; i++) {
        iq2_scales(db, d, b[66 + i]);
        UNROLL
        for (int l = 0; l < 4; l++, y += 8) {
            unsigned q = load_u16(b + 2 + 8 * i + 2 * l);
            put_iq2(y, iq2_xs_grid[q & 511], even_signs(q >> 9), db[l / 2]);
        }
    }
}

static void blocks_iq2_s(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b)), db[2];

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 4 * i, *sign = b + 34 + 4 * i;
        unsigned qh = b[66 + i];
        iq2_scales(db, d, b[74 + i]);
        UNROLL
        for (int l = 0; l < 4; l++, y += 8) put_iq2(y, iq2_s_grid[qs[l] | (qh >> 2 * l & 3) << 8], sign[l], db[l / 2]);
    }
}

/* Two entries of four values. */
SIMD_INLINE void put_iq3(float *y, __m256 table, unsigned first, unsigned second, unsigned sign, float db)
{
    put_signed(y, _mm256_mul_ps(_mm256_set1_ps(db), _mm256_permutevar8x32_ps(table, spread3(first | second << 12))), sign);
}
SIMD_INLINE __m256 table8(const uint8_t *v) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)v))); }

static void blocks_iq3_xxs(const uint8_t *b, float *y)
{
    const __m256 table = table8(iq3_xxs_value);
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(b + 66 + 4 * i);
        float db = d * (0.5f + (float)(s >> 28)) * 0.5f;
        UNROLL
        for (int l = 0; l < 4; l++, y += 8) put_iq3(y, table, iq3_xxs_grid[qs[2 * l]], iq3_xxs_grid[qs[2 * l + 1]], even_signs(s >> 7 * l & 127), db);
    }
}

static void blocks_iq3_s(const uint8_t *b, float *y)
{
    const __m256 table = table8(iq3_s_value);
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i, *sign = b + 74 + 4 * i;
        unsigned qh = b[66 + i];
        float db = d * (float)(1 + 2 * (b[106 + i / 2] >> 4 * (i % 2) & 15));
        UNROLL
        for (int l = 0; l < 4; l++, y += 8)
            put_iq3(y, table, iq3_s_grid[qs[2 * l] | (qh >> 2 * l & 1) << 8], iq3_s_grid[qs[2 * l + 1] | (qh >> (2 * l + 1) & 1) << 8], sign[l], db);
    }
}

/* Codes 0, 1, 2 are -1, 0, 1, all moved by an eighth, whose sign is the lowest bit of minus. */
SIMD_INLINE void put_iq1(float *y, unsigned entry, unsigned minus, float dl)
{
    const __m256 whole = pick4(table4(-1.0f, 0.0f, 1.0f, 2.0f), spread2(entry)), eighth = _mm256_set1_ps(bits_float(0x3e000000 | minus << 31));
    _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_set1_ps(dl), _mm256_add_ps(whole, eighth)));
}

static void blocks_iq1_s(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        unsigned qh = load_u16(b + 34 + 2 * i);
        float dl = d * (float)(2 * (qh >> 12 & 7) + 1);
        UNROLL
        for (int l = 0; l < 4; l++, y += 8) put_iq1(y, iq1_grid[b[2 + 4 * i + l] | (qh >> 3 * l & 7) << 8], qh >> 15, dl);
    }
}

static void blocks_iq1_m(const uint8_t *b, float *y)
{
    float d = iq1_m_scale(b);

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 4 * i, *qh = b + 32 + 2 * i;
        unsigned scale = (unsigned)load_u16(b + 48 + 2 * (i / 2)) >> 6 * (i % 2);
        const float dl[2] = { d * (float)(2 * (scale & 7) + 1), d * (float)(2 * (scale >> 3 & 7) + 1) };
        UNROLL
        for (int l = 0; l < 4; l++, y += 8) {
            unsigned h = (unsigned)qh[l / 2] >> 4 * (l % 2);
            put_iq1(y, iq1_grid[qs[l] | (h & 7) << 8], h >> 3 & 1, dl[l / 2]);
        }
    }
}

SIMD_INLINE __m256i eight_bytes(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)); }

static void blocks_tq2_0(const uint8_t *b, float *y)
{
    const __m256 d = _mm256_set1_ps(f16_to_float(load_u16(b + 64))), table = table4(-1, 0, 1, 2);

    for (int h = 0; h < 64; h += 32) for (int l = 0; l < 8; l += 2) for (int m = 0; m < 32; m += 8, y += 8)
        _mm256_storeu_ps(y, _mm256_mul_ps(pick4(table, _mm256_srl_epi32(eight_bytes(b + h + m), _mm_cvtsi32_si128(l))), d));
}

/* Digit n of the bytes of n_byte, for n below n_digit, and the values they stand for. */
SIMD_INLINE float *put_trits(float *y, const uint8_t *b, int n_byte, int n_digit, __m256 d)
{
    static const uint8_t power[5] = { 1, 3, 9, 27, 81 };

    for (int n = 0; n < n_digit; n++) for (int m = 0; m < n_byte; m += 8, y += 8) {
        __m256i q = _mm256_and_si256(_mm256_mullo_epi16(eight_bytes(b + m), _mm256_set1_epi32(power[n])), _mm256_set1_epi32(255));
        q = _mm256_srli_epi32(_mm256_mullo_epi16(q, _mm256_set1_epi32(3)), 8);
        _mm256_storeu_ps(y, _mm256_mul_ps(pick4(table4(-1, 0, 1, 2), q), d));
    }
    return y;
}

static void blocks_tq1_0(const uint8_t *b, float *y)
{
    const __m256 d = _mm256_set1_ps(f16_to_float(load_u16(b + 52)));
    uint8_t last[8];
    float t[32];

    y = put_trits(put_trits(y, b, 32, 5, d), b + 32, 16, 5, d);
    memcpy(last, b + 48, 4), memset(last + 4, 0, 4);
    put_trits(t, last, 8, 4, d);
    for (int n = 0; n < 4; n++) memcpy(y + 4 * n, t + 8 * n, 4 * sizeof *y);
}

static void blocks_q8_k(const uint8_t *b, float *y)
{
    float d;

    memcpy(&d, b, sizeof d);
    for (int k = 0; k < 256; k += 8)
        _mm256_storeu_ps(y + k, _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(b + 4 + k))))));
}

static block_fn block_decoder(llm_dtype dtype)
{
    switch (dtype) {
    case DT_IQ2_XXS: return blocks_iq2_xxs;
    case DT_IQ2_XS:  return blocks_iq2_xs;
    case DT_IQ2_S:   return blocks_iq2_s;
    case DT_IQ3_XXS: return blocks_iq3_xxs;
    case DT_IQ3_S:   return blocks_iq3_s;
    case DT_IQ1_S:   return blocks_iq1_s;
    case DT_IQ1_M:   return blocks_iq1_m;
    case DT_TQ1_0:   return blocks_tq1_0;
    case DT_TQ2_0:   return blocks_tq2_0;
    case DT_Q8_K:    return blocks_q8_k;
    default:         return NULL;
    }
}
#else
static block_fn block_decoder(llm_dtype dtype) { (void)dtype; return NULL; }
#endif

/* Values k .. k+n-1 of row r, whole blocks of 256. */
static void block_values(const matrix *w, int64_t r, int64_t k, int64_t n, float *y)
{
    const llm_dtype_info *info = dtype_info(w->dtype);
    const uint8_t *b = w->data + (size_t)r * w->row_bytes + (size_t)(k / info->block) * (size_t)info->block_bytes;
    block_fn fn = block_decoder(w->dtype);

    if (fn == NULL) { dequant_row(w->dtype, b, y, n); return; }
    for (; n > 0; n -= info->block, b += info->block_bytes, y += info->block) fn(b, y);
}
