#include "quantize_act.h"
#include "narrow.h"
#include <math.h>

/* d of n values; *inverse is what multiplies them, 0 for a block of zeros or of values that are no numbers. */
static float scale_of(const float *x, int n, float *inverse)
{
    uint32_t most = 0;                  /* as integers, |x| keep their order and NaN is above infinity */
    float d;

    for (int i = 0; i < n; i++) {
        uint32_t a = float_bits(x[i]) & 0x7fffffff;
        if (a > most) most = a;
    }
    *inverse = 0.0f;
    if (most >= 0x7f800000) return bits_float(0x7fc00000);
    if (most < float_bits(0x1p-118f)) return 0.0f;
    d = bits_float(most) / 127.0f;
    *inverse = 1.0f / d;
    return d;
}

static void quantize_block(const float *x, int n, float inverse, int8_t *q, int *sum16)
{
    for (int i = 0; i < n; i += 16) {
        int sum = 0;
        for (int j = i; j < i + 16; j++) {
            q[j] = (int8_t)(inverse == 0.0f ? 0.0f : rintf(x[j] * inverse));
            sum += q[j];
        }
        sum16[i / 16] = sum;
    }
}

void quantize_act_ref(x_form form, const float *x, int64_t n, uint8_t *record)
{
    x_layout l = x_layout_of(form, n);
    int block = form == X_Q32 ? 32 : 256, sum[16];
    float *d = (float *)(void *)(record + l.d), *s = (float *)(void *)(record + l.s);
    int16_t *sum16 = (int16_t *)(void *)(record + l.sum16), *sum32 = (int16_t *)(void *)(record + l.sum32);
    int32_t *zero16 = (int32_t *)(void *)(record + l.zero16), *zero32 = (int32_t *)(void *)(record + l.zero32);

    for (int64_t i = 0; i < n; i += block) {
        float inverse, scale = scale_of(x + i, block, &inverse);
        d[i / block] = scale;
        quantize_block(x + i, block, inverse, (int8_t *)record + i, sum);
        for (int j = 0; j < block / 32; j++) zero32[i / 32 + j] = -128 * (sum[2 * j] + sum[2 * j + 1]);
        if (form == X_Q32) s[i / 32] = scale * (float)(sum[0] + sum[1]);
        for (int j = 0; j < block / 16 && form == X_Q256; j++) {
            sum16[sum_place(i / 16 + j)] = (int16_t)sum[j], zero16[i / 16 + j] = -128 * sum[j];
            if (j % 2) sum32[sum_place((i / 16 + j) / 2)] = (int16_t)(sum[j - 1] + sum[j]);
        }
    }
}
