/* elementwise_body.h - the rows of cpu_rows, written once over simd.h. SIMD_SCALAR's instance is the reference.
 * Bound: memory; each reads and writes its rows once. A trailing part is computed as a vector filled up with zeros. */
#include "cpu_impl.h"
#include "simd.h"
#include "math_body.h"

/* The sum of squares goes over 16 lanes (simd.h), one fma per element. Then r = 1 / sqrt(sum / n + eps) and
 * y = (x * r) * (w + offset), each step rounded. */
static void norm_row(float *y, const float *x, const float *w, int n, float eps, float offset)
{
    vf acc[VL];
    float lane[LANES];
    int k = 0;

    for (int c = 0; c < VL; c++) acc[c] = v_set(0.0f);
    for (; k + LANES <= n; k += LANES)
        UNROLL for (int c = 0; c < VL; c++) { vf a = v_load(x + k + c * VN); acc[c] = v_fma(a, a, acc[c]); }
    for (int c = 0; k < n; c++, k += VN) {
        vf a = n - k < VN ? v_load_part(x + k, n - k) : v_load(x + k);
        acc[c] = v_fma(a, a, acc[c]);
    }
    for (int c = 0; c < VL; c++) v_store(lane + c * VN, acc[c]);
    vf r = v_set(1.0f / sqrtf(lanes_sum(lane) / (float)n + eps)), o = v_set(offset);
    for (k = 0; k + VN <= n; k += VN) v_store(y + k, v_mul(v_mul(v_load(x + k), r), v_add(v_load(w + k), o)));
    if (k < n)
        v_store_part(y + k, v_mul(v_mul(v_load_part(x + k, n - k), r), v_add(v_load_part(w + k, n - k), o)), n - k);
}

/* silu: (g * sigmoid(g)) * u. gelu_tanh: 0.5 g (1 + tanh(z)) is g * sigmoid(2 z), 2 z = sqrt(8/pi) * (g + 0.044715 g^3)
 * as (g * sqrt(8/pi)) * fma(0.044715 g, g, 1). swiglu_oai (gpt-oss): g = min(gate, limit), u = up within +-limit,
 * (g * sigmoid(1.702 g)) * (u + 1). */
SIMD_INLINE vf glu1(vf g, vf u, llm_act act, vf limit)
{
    if (act == ACT_SILU) return v_mul(v_mul(g, v_sigmoid(g)), u);
    if (act == ACT_GELU_TANH) {
        vf z = v_mul(v_mul(g, v_set(1.59576912f)), v_fma(v_mul(g, v_set(0.044715f)), g, v_set(1.0f)));
        return v_mul(v_mul(g, v_sigmoid(z)), u);
    }
    g = v_min(g, limit);
    u = v_max(v_min(u, limit), v_sub(v_set(0.0f), limit));
    return v_mul(v_mul(g, v_sigmoid(v_mul(g, v_set(1.702f)))), v_add(u, v_set(1.0f)));
}

SIMD_INLINE void glu_loop(float *y, const float *gate, const float *up, int n, llm_act act, float limit)
{
    vf lim = v_set(limit);
    int k = 0;

    for (; k + VN <= n; k += VN) v_store(y + k, glu1(v_load(gate + k), v_load(up + k), act, lim));
    if (k < n) v_store_part(y + k, glu1(v_load_part(gate + k, n - k), v_load_part(up + k, n - k), act, lim), n - k);
}

static void glu_row(float *y, const float *gate, const float *up, int n, llm_act act, float limit)
{
    switch (act) {
    case ACT_SILU:       glu_loop(y, gate, up, n, ACT_SILU, limit); break;
    case ACT_GELU_TANH:  glu_loop(y, gate, up, n, ACT_GELU_TANH, limit); break;
    case ACT_SWIGLU_OAI: glu_loop(y, gate, up, n, ACT_SWIGLU_OAI, limit); break;
    }
}

static void add_row(float *x, const float *y, int n)
{
    int k = 0;

    for (; k + VN <= n; k += VN) v_store(x + k, v_add(v_load(x + k), v_load(y + k)));
    if (k < n) v_store_part(x + k, v_add(v_load_part(x + k, n - k), v_load_part(y + k, n - k)), n - k);
}

static void add_scaled_row(float *x, const float *y, float s, int n)
{
    vf a = v_set(s);
    int k = 0;

    for (; k + VN <= n; k += VN) v_store(x + k, v_fma(a, v_load(y + k), v_load(x + k)));
    if (k < n) v_store_part(x + k, v_fma(a, v_load_part(y + k, n - k), v_load_part(x + k, n - k)), n - k);
}

static void softcap_row(float *x, float cap, int n)
{
    vf c = v_set(cap);
    int k = 0;

    for (; k + VN <= n; k += VN) v_store(x + k, v_mul(c, v_tanh(v_div(v_load(x + k), c))));
    if (k < n) v_store_part(x + k, v_mul(c, v_tanh(v_div(v_load_part(x + k, n - k), c))), n - k);
}

/* (a, b) becomes (fma(-b, sin, a cos), fma(a, sin, b cos)). */
static void rope_row(float *x, const float *cs, int n_rot, llm_rope_style style)
{
    int half = n_rot / 2, i = 0;
    const float *sn = cs + half;

    if (style == ROPE_HALF)
        for (; i + VN <= half; i += VN) {
            vf a = v_load(x + i), b = v_load(x + half + i), c = v_load(cs + i), s = v_load(sn + i);
            v_store(x + i, v_fnma(b, s, v_mul(a, c)));
            v_store(x + half + i, v_fma(a, s, v_mul(b, c)));
        }
    for (; i < half; i++) {
        float *pa = style == ROPE_HALF ? x + i : x + 2 * i, *pb = style == ROPE_HALF ? x + half + i : pa + 1;
        float a = *pa, b = *pb;
        *pa = fmaf(-b, sn[i], a * cs[i]);
        *pb = fmaf(a, sn[i], b * cs[i]);
    }
}

static void exp_row(float *y, const float *x, float minus, int n)
{
    vf m = v_set(minus);
    int k = 0;

    for (; k + VN <= n; k += VN) v_store(y + k, v_exp(v_sub(v_load(x + k), m)));
    if (k < n) v_store_part(y + k, v_exp(v_sub(v_load_part(x + k, n - k), m)), n - k);
}

static void sigmoid_row(float *y, const float *x, int n)
{
    int k = 0;

    for (; k + VN <= n; k += VN) v_store(y + k, v_sigmoid(v_load(x + k)));
    if (k < n) v_store_part(y + k, v_sigmoid(v_load_part(x + k, n - k)), n - k);
}

static void to_f16_row(uint16_t *y, const float *x, int n)
{
    int k = 0;

    for (; k + VN <= n; k += VN) v_store_f16(y + k, v_load(x + k));
    for (; k < n; k++) y[k] = float_to_f16(x[k]);
}

/* What a sum with 0x1.8p23 leaves in the low bits is the whole number nearest to the other term. */
static void to_q8_row(uint16_t *unit, int8_t *q, const float *x, int n)
{
    enum { GROUP = 32 };

    for (int g = 0; g < n; g += GROUP) {
        vf top = v_set(0.0f), most = v_set(127.0f), least = v_set(-127.0f);
        float d, t[GROUP];
        for (int i = g; i < g + GROUP; i += VN) top = v_max(v_abs(v_load(x + i)), top);
        d = v_top(top) / 127;
        *unit = float_to_f16(d < 65504 ? d : 65504), d = f16_to_float(*unit), unit++;
        vf inverse = v_set(d > 0 ? 1 / d : 0);
        for (int i = 0; i < GROUP; i += VN)             /* NaN becomes -127 */
            v_store(t + i, v_add(v_min(v_max(v_mul(v_load(x + g + i), inverse), least), most), v_set(0x1.8p23f)));
        for (int i = 0; i < GROUP; i++) q[g + i] = (int8_t)(uint8_t)float_bits(t[i]);
    }
}

const cpu_rows SIMD_NAME(cpu_rows) = {
    norm_row, glu_row, add_row, add_scaled_row, softcap_row, rope_row, exp_row, sigmoid_row, to_f16_row, to_q8_row,
};
