/* quantize_act_body.h - quantize_act.h for one instruction set; the same steps as quantize_act.c. Included by product_body.h. */
#include "quantize_act.h"

/* d of n values (a multiple of 32); *inverse 0: write zeros. */
SIMD_INLINE float act_scale(const float *x, int n, float *inverse)
{
    vi most = i_zero();
    int32_t bits;

    for (int i = 0; i < n; i += VN) most = i_max(most, i_and(i_load(x + i), i_dwords(0x7fffffff)));
    bits = i_most(most);
    *inverse = 0.0f;
    if (bits >= 0x7f800000) return bits_float(0x7fc00000);
    if ((uint32_t)bits < float_bits(0x1p-118f)) return 0.0f;
    *inverse = 1.0f / (bits_float((uint32_t)bits) / 127.0f);
    return bits_float((uint32_t)bits) / 127.0f;
}

SIMD_INLINE int act_sum16(int8_t *q, const float *x, float inverse)
{
    if (inverse != 0.0f) return i_round16(q, x, inverse);
    memset(q, 0, 16);
    return 0;
}

static void act_q32(const float *x, int64_t n, uint8_t *record)
{
    x_layout l = x_layout_of(X_Q32, n);
    float *d = (float *)(void *)(record + l.d), *s = (float *)(void *)(record + l.s);
    int32_t *zero = (int32_t *)(void *)(record + l.zero32);

    for (int64_t b = 0; b < n / 32; b++, x += 32) {
        int8_t *q = (int8_t *)record + 32 * b;
        float inverse, scale = act_scale(x, 32, &inverse);
        int sum = act_sum16(q, x, inverse) + act_sum16(q + 16, x + 16, inverse);
        d[b] = scale, s[b] = scale * (float)sum, zero[b] = -128 * sum;
    }
}

static void act_q256(const float *x, int64_t n, uint8_t *record)
{
    x_layout l = x_layout_of(X_Q256, n);
    float *d = (float *)(void *)(record + l.d);
    int16_t *sum16 = (int16_t *)(void *)(record + l.sum16), *sum32 = (int16_t *)(void *)(record + l.sum32);
    int32_t *zero16 = (int32_t *)(void *)(record + l.zero16), *zero32 = (int32_t *)(void *)(record + l.zero32);

    for (int64_t b = 0; b < n / 256; b++, x += 256) {
        float inverse;
        d[b] = act_scale(x, 256, &inverse);
        for (int64_t i = 8 * b; i < 8 * b + 8; i++) {
            int8_t *q = (int8_t *)record + 32 * i;
            int low = act_sum16(q, x + 32 * (i - 8 * b), inverse), high = act_sum16(q + 16, x + 32 * (i - 8 * b) + 16, inverse);
            sum16[sum_place(2 * i)] = (int16_t)low, sum16[sum_place(2 * i + 1)] = (int16_t)high;
            sum32[sum_place(i)] = (int16_t)(low + high);
            zero16[2 * i] = -128 * low, zero16[2 * i + 1] = -128 * high, zero32[i] = -128 * (low + high);
        }
    }
}

void SIMD_NAME(quantize_act)(x_form form, const float *x, int64_t n, uint8_t *record)
{
    if (form == X_Q32) act_q32(x, n, record);
    else act_q256(x, n, record);
}
