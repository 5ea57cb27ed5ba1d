/* encode_rule_body.h - see encode_rule.h; compiled once for each instruction set. */
#include "encode_rule.h"
#include "narrow.h"
#include "simd.h"
#include <float.h>
#include <math.h>

/* v_load_bf16: VN values. v_store_i8: VN values of -128..127 as bytes, the fractions cut off. v_tree: lanes_sum of VL vectors. */
#if defined(SIMD_SCALAR)
SIMD_INLINE vf v_load_bf16(const uint16_t *p) { return bf16_to_float(load_u16(p)); }
SIMD_INLINE float v_tree(const vf *a) { return lanes_sum(a); }
SIMD_INLINE void v_store_i8(uint8_t *p, vf a) { *p = (uint8_t)(int8_t)a; }
#else
#include "lanes.h"
#endif
#if defined(SIMD_AVX2)
SIMD_INLINE void v_store_i8(uint8_t *p, vf a)
{
    __m256i i = _mm256_cvttps_epi32(a);
    __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(w, w));
}
#elif defined(SIMD_AVX512)
SIMD_INLINE void v_store_i8(uint8_t *p, vf a) { _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(_mm512_cvttps_epi32(a))); }
#elif defined(SIMD_NEON)
SIMD_INLINE void v_store_i8(uint8_t *p, vf a)
{
    int16x4_t w = vmovn_s32(vcvtq_s32_f32(a));
    int8_t t[8];
    vst1_s8(t, vmovn_s16(vcombine_s16(w, w)));
    memcpy(p, t, 4);
}
#endif

static void widen(llm_dtype dtype, const void *from, int64_t n, float *x)
{
    const uint8_t *p = from;
    int64_t i = 0;

    for (; VN > 1 && i + VN <= n; i += VN) {
        const uint16_t *h = (const uint16_t *)(const void *)(p + 2 * i);
        v_store(x + i, dtype == DT_F16 ? v_load_f16(h) : v_load_bf16(h));
    }
    for (; i < n; i++) x[i] = dtype == DT_F16 ? f16_to_float(load_u16(p + 2 * i)) : bf16_to_float(load_u16(p + 2 * i));
}

static bool within(const float *x, int64_t n, float most)
{
    vf bad = v_set(0), one = v_set(1), top = v_set(most);
    int64_t i = 0;

    for (; i + VN <= n; i += VN) {
        vf a = v_abs(v_load(x + i));
        bad = v_lt(top, a, one, v_nan(a, one, bad));
    }
    for (; i < n; i++)
        if (!(fabsf(x[i]) <= most)) return false;
    return v_top(bad) == 0;
}

/* 1 / d, or 0 where d is 0 or so small that the quotient would overflow. */
static float inverse_of(float d)
{
    float r = 1 / d;
    return isfinite(r) ? r : 0;
}

static void put_f16(uint8_t *p, float x) { uint16_t h = float_to_f16(x); memcpy(p, &h, sizeof h); }

/* To the nearest whole number, even at a tie; |a| < 2^22. */
SIMD_INLINE vf v_even(vf a) { return v_sub(v_add(a, v_set(0x1.8p23f)), v_set(0x1.8p23f)); }

/* The same with ties away from zero. */
SIMD_INLINE vf v_away(vf a)
{
    vf size = v_abs(a), r = v_even(size);
    r = v_lt(v_sub(size, r), v_set(0.5f), r, v_add(r, v_set(1)));
    return v_lt(a, v_set(0), v_sub(v_set(0), r), r);
}

static void q8_0(const float *x, int n_block, uint8_t *b)
{
    for (int i = 0; i < n_block; i++, x += 32, b += 34) {
        vf most = v_set(0);
        float d, inverse;
        for (int k = 0; k < 32; k += VN) most = v_max(v_abs(v_load(x + k)), most);
        d = v_top(most) / 127, inverse = inverse_of(d);
        put_f16(b, d);
        for (int k = 0; k < 32; k += VN) v_store_i8(b + 2 + k, v_away(v_mul(v_load(x + k), v_set(inverse))));
    }
}

/* The least and the greatest of 32; of zeros, either. */
SIMD_INLINE void range_of(const float *x, float *lo, float *hi)
{
    vf least = v_load(x), most = least;

    for (int k = VN; k < 32; k += VN) least = v_min(v_load(x + k), least), most = v_max(v_load(x + k), most);
    *lo = -v_top(v_sub(v_set(0), least)), *hi = v_top(most);
}

/* The first of greatest magnitude. */
SIMD_INLINE float extreme_of(const float *x)
{
    float lo, hi;

    range_of(x, &lo, &hi);
    if (hi > -lo) return hi;
    if (hi < -lo) return lo;
    for (int k = 0; hi > 0 && k < 32; k++)
        if (fabsf(x[k]) == hi) return x[k];
    return 0;
}

/* (x - low) * inverse + add, cut to whole numbers of at most top; never below 0 here. */
SIMD_INLINE void put_codes(const float *x, float low, float inverse, float add, float top, uint8_t *code)
{
    for (int k = 0; k < 32; k += VN) {
        vf at = v_add(v_mul(v_sub(v_load(x + k), v_set(low)), v_set(inverse)), v_set(add));
        v_store_i8(code + k, v_min(at, v_set(top)));
    }
}

static void extreme(const float *x, int levels, uint8_t *d_at, uint8_t *code)
{
    float mid = (float)(levels / 2), d = extreme_of(x) / -mid;

    put_f16(d_at, d);
    put_codes(x, 0, inverse_of(d), mid + 0.5f, (float)(levels - 1), code);
}

static void ends(const float *x, int levels, uint8_t *d_low, uint8_t *code)
{
    float lo, hi, d;

    range_of(x, &lo, &hi);
    if (lo == 0 || hi == 0) {                               /* the sign of the first zero */
        lo = hi = x[0];
        for (int k = 1; k < 32; k++) lo = x[k] < lo ? x[k] : lo, hi = x[k] > hi ? x[k] : hi;
    }
    d = (hi - lo) / (float)(levels - 1);
    put_f16(d_low, d), put_f16(d_low + 2, lo);
    put_codes(x, lo, inverse_of(d), 0.5f, (float)(levels - 1), code);
}

/* Magnitudes of FP4, doubled: 0 to 4 in steps of 1, 6 and 8, 12. n whole steps make a value, n + bias its code. */
typedef struct { vf step, inverse, most, bias; } fp4;

SIMD_INLINE fp4 fp4_at(vf size)
{
    vf four = v_set(4), eight = v_set(8);
    fp4 v = { v_lt(four, size, v_set(2), v_set(1)), v_lt(four, size, v_set(0.5f), v_set(1)), four, v_lt(four, size, v_set(2), v_set(0)) };

    v.step = v_lt(eight, size, four, v.step), v.inverse = v_lt(eight, size, v_set(0.25f), v.inverse);
    v.most = v_lt(eight, size, v_set(3), v.most), v.bias = v_lt(eight, size, four, v.bias);
    return v;
}

/* The error of a block of magnitudes at scale d. */
SIMD_INLINE float fp4_error(const vf *size, const float *w, float d, float inverse)
{
    vf sum[VL];

    for (int j = 0; j < VL; j++) sum[j] = v_set(0);
    UNROLL
    for (int k = 0; k < 32 / VN; k++) {
        vf a = v_mul(size[k], v_set(inverse)), off;
        fp4 v = fp4_at(a);
        off = v_sub(size[k], v_mul(v_set(d), v_mul(v_min(v_even(v_mul(a, v.inverse)), v.most), v.step)));
        off = v_mul(off, off);
        sum[k % VL] = v_add(sum[k % VL], w ? v_mul(v_load(w + k * VN), off) : off);
    }
    return v_tree(sum);
}

/* The E8M0 code whose doubled scale 2^(code - 128) puts the greatest magnitude into 8..16 of the doubled values. */
SIMD_INLINE int fp4_exponent(const vf *size)
{
    vf most = size[0];
    int e;

    for (int k = 1; k < 32 / VN; k++) most = v_max(size[k], most);
    e = (int)(float_bits(v_top(most)) >> 23) - 2;
    return e < 0 ? 0 : e > 253 ? 253 : e;
}

/* d is a power of two. */
SIMD_INLINE float fp4_inverse(float d) { return d > 1e-37f ? bits_float((254u << 23) - float_bits(d)) : 0; }

static void mxfp4(const float *x, const float *w, int n_block, uint8_t *b)
{
    for (int i = 0; i < n_block; i++, x += 32, b += 17) {
        vf size[32 / VN];
        int first, e;
        float least = FLT_MAX;
        uint8_t code[32];
        for (int k = 0; k < 32 / VN; k++) size[k] = v_abs(v_load(x + k * VN));
        first = e = fp4_exponent(size);
        for (int try = first > 0 ? first - 1 : 0; try <= first + 1; try++) {
            float d = e8m0_half_to_f32((uint8_t)try), err = fp4_error(size, w ? w + 32 * i : NULL, d, fp4_inverse(d));
            if (err < least) least = err, e = try;
        }
        b[0] = (uint8_t)e;
        for (int k = 0; k < 32 / VN; k++) {
            vf a = v_mul(size[k], v_set(fp4_inverse(e8m0_half_to_f32((uint8_t)e)))), n;
            fp4 v = fp4_at(a);
            n = v_add(v_min(v_even(v_mul(a, v.inverse)), v.most), v.bias);
            v_store_i8(code + k * VN, v_lt(v_load(x + k * VN), v_set(0), v_lt(v_set(0), n, v_add(n, v_set(8)), n), n));
        }
        put_nibbles(b + 1, NULL, code);
    }
}

const rule_fns SIMD_NAME(rule_fns) = { widen, within, q8_0, extreme, ends, mxfp4 };
