/* simd.h - the few vector operations that the *_body.h files are written in.
 *
 * A file that includes a body says which instance it wants: SIMD_SCALAR, SIMD_AVX2, SIMD_AVX512 or SIMD_NEON, and
 * SIMD_NAME(x), which puts the suffix on its symbols. vf holds VN floats; every operation below acts on each float
 * alone, rounds once as IEEE 754 says, and so gives the same bits in every instance:
 *
 *   v_set v_load v_store v_load_part v_store_part (the first n floats; the rest read as 0)
 *   v_add v_sub v_mul v_div  v_fma(a,b,c) = a*b + c, rounded once  v_fnma(a,b,c) = c - a*b  v_max(a,b) = a > b ? a : b
 *   v_min(a,b) = a < b ? a : b  v_abs  v_lt(a,b,x,y) = a < b ? x : y  v_nan(a,x,y) = a is NaN ? x : y
 *   v_scale(a,n) = a * 2^n, rounded once, for whole n in -252..254 (NaN: NaN)  v_load_f16 v_load_i8
 *   v_store_f16 (to nearest even)  v_load_e4m3  v_load_e5m2
 *
 * and v_top(a), the largest of its floats (any of them where one is NaN). */
#ifndef LLM_SIMD_H
#define LLM_SIMD_H
#include "half.h"
#include <math.h>
#include <stdbool.h>

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define ROLLED _Pragma("GCC unroll 1")
#endif
#define SIMD_INLINE static inline __attribute__((always_inline, unused))

#if defined(SIMD_SCALAR)
typedef float vf;
enum { VN = 1 };
SIMD_INLINE vf v_set(float x) { return x; }
SIMD_INLINE vf v_load(const float *p) { return *p; }
SIMD_INLINE void v_store(float *p, vf a) { *p = a; }
SIMD_INLINE vf v_load_part(const float *p, int n) { return n > 0 ? *p : 0.0f; }
SIMD_INLINE void v_store_part(float *p, vf a, int n) { if (n > 0) *p = a; }
SIMD_INLINE vf v_add(vf a, vf b) { return a + b; }
SIMD_INLINE vf v_sub(vf a, vf b) { return a - b; }
SIMD_INLINE vf v_mul(vf a, vf b) { return a * b; }
SIMD_INLINE vf v_div(vf a, vf b) { return a / b; }
SIMD_INLINE vf v_fma(vf a, vf b, vf c) { return fmaf(a, b, c); }
SIMD_INLINE vf v_fnma(vf a, vf b, vf c) { return fmaf(-a, b, c); }
SIMD_INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
SIMD_INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
SIMD_INLINE vf v_abs(vf a) { return fabsf(a); }
SIMD_INLINE vf v_lt(vf a, vf b, vf x, vf y) { return a < b ? x : y; }
SIMD_INLINE vf v_nan(vf a, vf x, vf y) { return a != a ? x : y; }
SIMD_INLINE vf v_scale(vf a, vf n)      /* in two factors, the first of which leaves a normal number */
{
    if (n != n) return n;
    int32_t i = (int32_t)n, h = i / 2;
    return a * bits_float((uint32_t)(h + 127) << 23) * bits_float((uint32_t)(i - h + 127) << 23);
}
SIMD_INLINE float v_top(vf a) { return a; }
SIMD_INLINE vf v_load_f16(const uint16_t *p) { return f16_to_float(*p); }
SIMD_INLINE vf v_load_i8(const int8_t *p) { return (float)*p; }
SIMD_INLINE vf v_load_e4m3_low(const uint8_t *p) { return f16_to_float((uint16_t)((*p & 0x80) << 8 | (*p & 0x7f) << 7)); }
SIMD_INLINE vf v_load_e5m2(const uint8_t *p) { return f16_to_float((uint16_t)(*p << 8)); }
SIMD_INLINE void v_store_f16(uint16_t *p, vf a) { *p = float_to_f16(a); }

#elif defined(SIMD_AVX2)
#include <immintrin.h>
typedef __m256 vf;
enum { VN = 8 };
SIMD_INLINE vf v_set(float x) { return _mm256_set1_ps(x); }
SIMD_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
SIMD_INLINE void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
SIMD_INLINE vf v_load_part(const float *p, int n)
{
    float t[8] = { 0 };
    memcpy(t, p, (size_t)n * sizeof *p);
    return v_load(t);
}
SIMD_INLINE void v_store_part(float *p, vf a, int n)
{
    float t[8];
    v_store(t, a);
    memcpy(p, t, (size_t)n * sizeof *p);
}
SIMD_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
SIMD_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
SIMD_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
SIMD_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
SIMD_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
SIMD_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
SIMD_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
SIMD_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
SIMD_INLINE vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
SIMD_INLINE vf v_lt(vf a, vf b, vf x, vf y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
SIMD_INLINE vf v_nan(vf a, vf x, vf y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
SIMD_INLINE vf v_scale(vf a, vf n)
{
    __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    a = _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(h, bias), 23)));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, h), bias), 23)));
}
SIMD_INLINE float v_top(vf a)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}
SIMD_INLINE vf v_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
SIMD_INLINE vf v_load_i8(const int8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))); }
SIMD_INLINE vf v_load_e4m3_low(const uint8_t *p)        /* the sign goes up by 8 and the rest by 7: a shift by 7 of the sign-extended byte */
{
    __m128i w = _mm_slli_epi16(_mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p)), 7);
    return _mm256_cvtph_ps(_mm_and_si128(w, _mm_set1_epi16((short)0xbfff)));
}
SIMD_INLINE vf v_load_e5m2(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)p)), 8));
}
SIMD_INLINE void v_store_f16(uint16_t *p, vf a) { _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }

#elif defined(SIMD_AVX512)
#include <immintrin.h>
typedef __m512 vf;
enum { VN = 16 };
SIMD_INLINE vf v_set(float x) { return _mm512_set1_ps(x); }
SIMD_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
SIMD_INLINE void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
SIMD_INLINE vf v_load_part(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
SIMD_INLINE void v_store_part(float *p, vf a, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }
SIMD_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
SIMD_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
SIMD_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
SIMD_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
SIMD_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
SIMD_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
SIMD_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
SIMD_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
SIMD_INLINE vf v_abs(vf a) { return _mm512_abs_ps(a); }
SIMD_INLINE vf v_lt(vf a, vf b, vf x, vf y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
SIMD_INLINE vf v_nan(vf a, vf x, vf y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), y, x); }
SIMD_INLINE vf v_scale(vf a, vf n) { return _mm512_scalef_ps(a, n); }
SIMD_INLINE float v_top(vf a) { return _mm512_reduce_max_ps(a); }
SIMD_INLINE vf v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
SIMD_INLINE vf v_load_i8(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p))); }
SIMD_INLINE vf v_load_e4m3_low(const uint8_t *p)
{
    __m256i w = _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p)), 7);
    return _mm512_cvtph_ps(_mm256_and_si256(w, _mm256_set1_epi16((short)0xbfff)));
}
SIMD_INLINE vf v_load_e5m2(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p)), 8));
}
SIMD_INLINE void v_store_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

#elif defined(SIMD_NEON)
#include <arm_neon.h>
typedef float32x4_t vf;
enum { VN = 4 };
SIMD_INLINE vf v_set(float x) { return vdupq_n_f32(x); }
SIMD_INLINE vf v_load(const float *p) { return vld1q_f32(p); }
SIMD_INLINE void v_store(float *p, vf a) { vst1q_f32(p, a); }
SIMD_INLINE vf v_load_part(const float *p, int n)
{
    float t[4] = { 0 };
    memcpy(t, p, (size_t)n * sizeof *p);
    return v_load(t);
}
SIMD_INLINE void v_store_part(float *p, vf a, int n)
{
    float t[4];
    v_store(t, a);
    memcpy(p, t, (size_t)n * sizeof *p);
}
SIMD_INLINE vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
SIMD_INLINE vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
SIMD_INLINE vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
SIMD_INLINE vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
SIMD_INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
SIMD_INLINE vf v_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
SIMD_INLINE vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
SIMD_INLINE vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
SIMD_INLINE vf v_abs(vf a) { return vabsq_f32(a); }
SIMD_INLINE vf v_lt(vf a, vf b, vf x, vf y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
SIMD_INLINE vf v_nan(vf a, vf x, vf y) { return vbslq_f32(vceqq_f32(a, a), y, x); }
SIMD_INLINE vf v_scale(vf a, vf n)
{
    int32x4_t i = vcvtq_s32_f32(n), h = vshrq_n_s32(i, 1), bias = vdupq_n_s32(127);
    a = vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(h, bias), 23)));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(i, h), bias), 23)));
}
SIMD_INLINE float v_top(vf a) { return vmaxvq_f32(a); }
SIMD_INLINE vf v_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
SIMD_INLINE vf v_load_i8(const int8_t *p)
{
    int8_t t[8] = { p[0], p[1], p[2], p[3] };
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(t)))));
}
SIMD_INLINE vf v_load_e4m3_low(const uint8_t *p)
{
    int8_t t[8] = { (int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3] };
    int16x4_t w = vand_s16(vshl_n_s16(vget_low_s16(vmovl_s8(vld1_s8(t))), 7), vdup_n_s16((int16_t)0xbfff));
    return vcvt_f32_f16(vreinterpret_f16_s16(w));
}
SIMD_INLINE vf v_load_e5m2(const uint8_t *p)
{
    uint16_t t[4] = { (uint16_t)(p[0] << 8), (uint16_t)(p[1] << 8), (uint16_t)(p[2] << 8), (uint16_t)(p[3] << 8) };
    return v_load_f16(t);
}
SIMD_INLINE void v_store_f16(uint16_t *p, vf a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }

#else
#error "say which instance of simd.h is wanted"
#endif

/* E4M3 moved into a half is the value times 2^-8, exactly; its NaN would be 480. */
SIMD_INLINE vf v_load_e4m3(const uint8_t *p)
{
    vf x = v_mul(v_load_e4m3_low(p), v_set(256.0f));
    return v_lt(v_set(448.0f), v_abs(x), v_set(NAN), x);
}

/* Sums that the numeric contract calls "16 lanes": lane j adds the elements j, j + 16, j + 32 ...; then lanes j and
 * j + 8 are added, j and j + 4, j and j + 2, j and j + 1. The same order whatever VN is. */
enum { LANES = 16, VL = LANES / VN };   /* VL vectors hold the lanes */

/* 16 of E4M3 at once, which costs less. */
#if defined(SIMD_AVX2)
SIMD_INLINE void v_load16_e4m3(const uint8_t *p, vf out[VL])
{
    const __m256i top = _mm256_set1_epi16(0x3f80);
    __m256i w = _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p)), 7);
    w = _mm256_or_si256(_mm256_and_si256(w, _mm256_set1_epi16((short)0xbfff)), _mm256_cmpeq_epi16(_mm256_and_si256(w, top), top));     /* all bits: NaN */
    out[0] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(w)), v_set(256.0f));
    out[1] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(w, 1)), v_set(256.0f));
}
#else
SIMD_INLINE void v_load16_e4m3(const uint8_t *p, vf out[VL])
{
    UNROLL
    for (int i = 0; i < VL; i++) out[i] = v_load_e4m3(p + i * VN);
}
#endif

/* The same times 2^-8, which costs less still, where codes of NaN are looked for later: most has the greatest code of each place without its sign. */
#if defined(SIMD_AVX2) || defined(SIMD_AVX512)
typedef __m128i e4m3_codes;
SIMD_INLINE void v_load16_e4m3_low(const uint8_t *p, vf out[VL], e4m3_codes *most)
{
    __m128i code = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m256i w = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(code), 7), _mm256_set1_epi16((short)0xbfff));
    *most = _mm_max_epu8(*most, _mm_and_si128(code, _mm_set1_epi8(0x7f)));
#if defined(SIMD_AVX512)
    out[0] = _mm512_cvtph_ps(w);
#else
    out[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(w)), out[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(w, 1));
#endif
}
SIMD_INLINE bool e4m3_nan(e4m3_codes most) { return _mm_movemask_epi8(_mm_cmpeq_epi8(most, _mm_set1_epi8(0x7f))) != 0; }
#elif defined(SIMD_NEON)
typedef uint8x16_t e4m3_codes;
SIMD_INLINE void v_load16_e4m3_low(const uint8_t *p, vf out[VL], e4m3_codes *most)
{
    uint8x16_t code = vld1q_u8(p);
    int8x16_t c = vreinterpretq_s8_u8(code);
    int16x8_t half[2] = { vmovl_s8(vget_low_s8(c)), vmovl_s8(vget_high_s8(c)) };
    *most = vmaxq_u8(*most, vandq_u8(code, vdupq_n_u8(0x7f)));
    UNROLL
    for (int i = 0; i < 2; i++) {
        int16x8_t w = vandq_s16(vshlq_n_s16(half[i], 7), vdupq_n_s16((int16_t)0xbfff));
        out[2 * i] = vcvt_f32_f16(vreinterpret_f16_s16(vget_low_s16(w)));
        out[2 * i + 1] = vcvt_f32_f16(vreinterpret_f16_s16(vget_high_s16(w)));
    }
}
SIMD_INLINE bool e4m3_nan(e4m3_codes most) { return vmaxvq_u8(most) == 0x7f; }
#endif

SIMD_INLINE float lanes_sum(const float *lane)
{
    float t[LANES / 2];

    UNROLL for (int j = 0; j < 8; j++) t[j] = lane[j] + lane[j + 8];
    UNROLL for (int j = 0; j < 4; j++) t[j] += t[j + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
}
#endif
