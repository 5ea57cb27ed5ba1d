/* Formulas: the block structs and dequantize_row_* of ggml-quants.c (the definition of these formats); each was
 * checked bit for bit against the dequantizers of PyPI gguf. Notation: lo and hi are a byte's nibbles; within
 * 32-blocks byte j holds value j low and value j+16 high. */
#include "dequant.h"
#include "codebook.h"
#include "narrow.h"

const int8_t iq4_value[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
const int8_t mxfp4_value[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static float half_at(const uint8_t *b, int offset) { return f16_to_float(load_u16(b + offset)); }

static void dequant_q4_0(const uint8_t *b, float *y)
{
    float d = half_at(b, 0);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)((b[2 + j] & 15) - 8) * d;
        y[j + 16] = (float)((b[2 + j] >> 4) - 8) * d;
    }
}

static void dequant_q4_1(const uint8_t *b, float *y)
{
    float d = half_at(b, 0), m = half_at(b, 2);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)(b[4 + j] & 15) * d + m;
        y[j + 16] = (float)(b[4 + j] >> 4) * d + m;
    }
}

/* Value k of a 5-bit block: nibble from qs, fifth bit from the 32-bit word qh. */
static int q5(const uint8_t *qs, uint32_t qh, int k)
{
    int nibble = k < 16 ? qs[k] & 15 : qs[k - 16] >> 4;
    return nibble | (int)(qh >> k & 1) << 4;
}

static void dequant_q5_0(const uint8_t *b, float *y)
{
    float d = half_at(b, 0);
    uint32_t qh = load_u32(b + 2);

    for (int k = 0; k < 32; k++) y[k] = (float)(q5(b + 6, qh, k) - 16) * d;
}

static void dequant_q5_1(const uint8_t *b, float *y)
{
    float d = half_at(b, 0), m = half_at(b, 2);
    uint32_t qh = load_u32(b + 4);

    for (int k = 0; k < 32; k++) y[k] = (float)q5(b + 8, qh, k) * d + m;
}

static void dequant_q8_0(const uint8_t *b, float *y)
{
    float d = half_at(b, 0);

    for (int k = 0; k < 32; k++) y[k] = (float)(int8_t)b[2 + k] * d;
}

static void dequant_q4_g(const uint8_t *b, float *y)
{
    float d = half_at(b, 0);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)((b[4 + j] & 15) - b[2]) * d;
        y[j + 16] = (float)((b[4 + j] >> 4) - b[2]) * d;
    }
}

static void dequant_codes(const uint8_t *qs, const int8_t value[16], float d, float *y)
{
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)value[qs[j] & 15];
        y[j + 16] = d * (float)value[qs[j] >> 4];
    }
}

static void dequant_iq4_nl(const uint8_t *b, float *y) { dequant_codes(b + 2, iq4_value, half_at(b, 0), y); }
static void dequant_mxfp4(const uint8_t *b, float *y) { dequant_codes(b + 1, mxfp4_value, e8m0_half_to_f32(b[0]), y); }

/* Without its scale. */
static void dequant_f4_e2m1(const uint8_t *b, float *y)
{
    for (int j = 0; j < 16; j++) {
        y[2 * j] = 0.5f * (float)mxfp4_value[b[j] & 15];
        y[2 * j + 1] = 0.5f * (float)mxfp4_value[b[j] >> 4];
    }
}

static void dequant_iq4_xs(const uint8_t *b, float *y)
{
    float d = half_at(b, 0);
    unsigned high = load_u16(b + 2);

    for (int i = 0; i < 8; i++) {
        int ls = (b[4 + i / 2] >> 4 * (i % 2) & 15) | (int)(high >> 2 * i & 3) << 4;
        dequant_codes(b + 8 + 16 * i, iq4_value, d * (float)(ls - 32), y + 32 * i);
    }
}

/* Q2_K and Q3_K walk halves of 128 values, two bits at a time: value 128n + 32j + 16h + l is in
 * bits 2j of qs[32n + 16h + l] and belongs to scale 8n + 2j + h. */
static void dequant_q2_k(const uint8_t *b, float *y)
{
    float d = half_at(b, 80), dmin = half_at(b, 82);

    for (int i = 0; i < 16; i++) {
        const uint8_t *qs = b + 16 + 32 * (i / 8) + 16 * (i % 2);
        float dl = d * (float)(b[i] & 15), ml = dmin * (float)(b[i] >> 4);
        for (int l = 0; l < 16; l++) y[16 * i + l] = dl * (float)(qs[l] >> 2 * (i % 8 / 2) & 3) - ml;
    }
}

void q3_k_scales(const uint8_t s[12], int8_t sc[16])
{
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
        sc[i] = (int8_t)((low | (s[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32);
    }
}

static void dequant_q3_k(const uint8_t *b, float *y)
{
    float d = half_at(b, 108);
    int8_t sc[16];

    q3_k_scales(b + 96, sc);
    for (int i = 0; i < 16; i++) {
        const uint8_t *qs = b + 32 + 32 * (i / 8) + 16 * (i % 2), *mask = b + 16 * (i % 2);
        float dl = d * (float)sc[i];
        for (int l = 0; l < 16; l++) {
            int q = (qs[l] >> 2 * (i % 8 / 2) & 3) - (mask[l] >> i / 2 & 1 ? 0 : 4);
            y[16 * i + l] = dl * (float)q;
        }
    }
}

void q4_k_scales(const uint8_t s[12], uint8_t sc[8], uint8_t mn[8])
{
    for (int j = 0; j < 4; j++) {
        sc[j] = s[j] & 63, mn[j] = s[j + 4] & 63;
        sc[j + 4] = (uint8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
        mn[j + 4] = (uint8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
    }
}

/* Q4_K, and with the fifth bits qh (NULL: none) Q5_K. */
static void dequant_q45_k(const uint8_t *b, const uint8_t *qh, const uint8_t *qs, float *y)
{
    float d = half_at(b, 0), dmin = half_at(b, 2);
    uint8_t sc[8], mn[8];

    q4_k_scales(b + 4, sc, mn);
    for (int i = 0; i < 8; i++) {
        float dl = d * (float)sc[i], ml = dmin * (float)mn[i];
        for (int l = 0; l < 32; l++) {
            int q = (qs[32 * (i / 2) + l] >> 4 * (i % 2) & 15) | (qh ? (qh[l] >> i & 1) << 4 : 0);
            y[32 * i + l] = dl * (float)q - ml;
        }
    }
}

static void dequant_q4_k(const uint8_t *b, float *y) { dequant_q45_k(b, NULL, b + 16, y); }
static void dequant_q5_k(const uint8_t *b, float *y) { dequant_q45_k(b, b + 16, b + 48, y); }

static void dequant_q6_k(const uint8_t *b, float *y)
{
    float d = half_at(b, 208);

    for (int k = 0; k < 256; k++) {
        int n = k / 128, part = k % 128 / 32, l = k % 32;
        int low = b[64 * n + 32 * (part % 2) + l] >> 4 * (part / 2) & 15;
        int high = b[128 + 32 * n + l] >> 2 * part & 3;
        y[k] = d * (float)(int8_t)b[192 + k / 16] * (float)((low | high << 4) - 32);
    }
}

/* Products of so few bits are exact, but for that of Q8_K's d. */
static void dequant_codebook(llm_dtype dtype, const uint8_t *b, float *y)
{
    int sub = codebook_sub(dtype);
    codebook_block o;

    codebook_unpack(dtype, b, &o);
    for (int k = 0; k < 256; k++) y[k] = o.d * (float)o.sc[k / sub] * (float)o.w[k];
}

/* Formats of one value a block. p is little-endian and may be unaligned. */
static float value_at(llm_dtype dtype, const uint8_t *p)
{
    union { float f; double g; int8_t i8; int16_t i16; int32_t i32; int64_t i64; uint16_t u16; uint32_t u32; uint64_t u64; } v;

    v.u64 = 0;
    switch (dtype) {
    case DT_F32:     memcpy(&v, p, 4); return v.f;
    case DT_F16:     return f16_to_float(load_u16(p));
    case DT_BF16:    return bf16_to_float(load_u16(p));
    case DT_F64:     memcpy(&v, p, 8); return (float)v.g;
    case DT_F8_E4M3: return e4m3_to_f32(*p);
    case DT_F8_E5M2: return e5m2_to_f32(*p);
    case DT_I8:      return (float)(int8_t)*p;
    case DT_I16:     memcpy(&v, p, 2); return (float)v.i16;
    case DT_I32:     memcpy(&v, p, 4); return (float)v.i32;
    case DT_I64:     memcpy(&v, p, 8); return (float)v.i64;
    case DT_U16:     memcpy(&v, p, 2); return (float)v.u16;
    case DT_U32:     memcpy(&v, p, 4); return (float)v.u32;
    case DT_U64:     memcpy(&v, p, 8); return (float)v.u64;
    case DT_F8_E8M0: return e8m0_to_f32(*p);
    default:         return (float)*p;               /* U8, BOOL */
    }
}

typedef void (*block_fn)(const uint8_t *b, float *y);

static block_fn block_dequantizer(llm_dtype dtype)
{
    switch (dtype) {
    case DT_Q4_0:    return dequant_q4_0;
    case DT_Q4_1:    return dequant_q4_1;
    case DT_Q5_0:    return dequant_q5_0;
    case DT_Q5_1:    return dequant_q5_1;
    case DT_Q8_0:    return dequant_q8_0;
    case DT_Q4_G:    return dequant_q4_g;
    case DT_IQ4_NL:  return dequant_iq4_nl;
    case DT_MXFP4:   return dequant_mxfp4;
    case DT_F4_E2M1: return dequant_f4_e2m1;
    case DT_IQ4_XS:  return dequant_iq4_xs;
    case DT_Q2_K:    return dequant_q2_k;
    case DT_Q3_K:    return dequant_q3_k;
    case DT_Q4_K:    return dequant_q4_k;
    case DT_Q5_K:    return dequant_q5_k;
    case DT_Q6_K:    return dequant_q6_k;
    default:         return NULL;
    }
}

bool dequant_row(llm_dtype dtype, const void *src, float *dst, int64_t n)
{
    const llm_dtype_info *info = dtype_info(dtype);
    const uint8_t *b = src;
    bool codebook = codebook_sub(dtype) > 0;
    block_fn fn;

    if (info == NULL) return false;
    fn = block_dequantizer(dtype);
    if (fn == NULL && !codebook && info->block != 1) return false;
    for (int64_t i = 0; i < n; i += info->block, b += info->block_bytes) {
        if (fn != NULL) fn(b, dst + i);
        else if (codebook) dequant_codebook(dtype, b, dst + i);
        else dst[i] = value_at(dtype, b);
    }
    return true;
}

/* Byte offsets of a block's f16 scales, -1 where there is none; every other type is checked by value. */
static void scale_offsets(llm_dtype dtype, int at[2])
{
    at[0] = -1, at[1] = -1;
    switch (dtype) {
    case DT_Q4_1: case DT_Q5_1: case DT_Q4_K: case DT_Q5_K: at[0] = 0, at[1] = 2; break;
    case DT_Q2_K:   at[0] = 80, at[1] = 82; break;
    case DT_Q3_K:   at[0] = 108; break;
    case DT_Q6_K:   at[0] = 208; break;
    case DT_TQ1_0:  at[0] = 52; break;
    case DT_TQ2_0:  at[0] = 64; break;
    case DT_MXFP4: case DT_IQ1_M: case DT_Q8_K: case DT_F4_E2M1: break;
    default:        at[0] = 0; break;
    }
}

static bool block_good(llm_dtype dtype, const uint8_t *b, const int at[2])
{
    if (dtype == DT_MXFP4) return b[0] != 255;
    if (dtype == DT_IQ1_M) return iq1_m_scale(b) * 0.0f == 0.0f;
    if (dtype == DT_Q8_K) return bits_float(load_u32(b)) * 0.0f == 0.0f;
    if (dtype == DT_Q4_G && (b[2] > 16 || b[3] != 0)) return false;
    for (int i = 0; i < 2; i++)
        if (at[i] >= 0 && (load_u16(b + at[i]) & 0x7c00) == 0x7c00) return false;
    return true;
}

bool dtype_check(llm_dtype dtype, const void *data, int64_t n, int64_t *bad)
{
    const llm_dtype_info *info = dtype_info(dtype);
    const uint8_t *b = data;
    int at[2];

    if (info == NULL) { if (bad) *bad = 0; return false; }
    scale_offsets(dtype, at);
    for (int64_t i = 0; i < n / info->block; i++, b += info->block_bytes) {
        bool good = info->block > 1 ? block_good(dtype, b, at) : value_at(dtype, b) * 0.0f == 0.0f;
        if (good) continue;
        if (bad) *bad = i;
        return false;
    }
    return true;
}
