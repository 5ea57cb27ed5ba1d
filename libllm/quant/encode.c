/* encode.c - float rows to blocks. The layouts are those of kernels/cpu/dequant.c, which is their definition. */
#include "encode.h"
#include "dequant.h"
#include "encode_fit.h"
#include "encode_rule.h"
#include "narrow.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* What a block encoder works with; w is NULL where all columns count alike. */
typedef struct { const fit_fns *fit; const rule_fns *rule; const float *x, *w; int n_block; uint8_t *out; } job;

static void put_u16(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static float half(float x) { return f16_to_float(float_to_f16(x)); }

/* ---- blocks of 32 by the formats' own rule -------------------------------------------- */

static void q8_0(const job *j) { j->rule->q8_0(j->x, j->n_block, j->out); }

/* ---- lanes ------------------------------------------------------------------------------ */

typedef struct { fit_groups g; float x[FIT_VALUES * FIT_LANES], w[FIT_VALUES * FIT_LANES], q[FIT_VALUES * FIT_LANES]; } lanes;

/* n_group groups of n values that follow one another, to lanes; the lanes left over are 0. */
static void to_lanes(lanes *t, const float *x, const float *w, int n_group, int n)
{
    t->g = (fit_groups){ n, t->x, w ? t->w : NULL };
    if (n_group < FIT_LANES) {
        memset(t->x, 0, sizeof t->x);
        for (int i = 0; i < FIT_VALUES * FIT_LANES; i++) t->w[i] = 1;
    }
    for (int l = 0; l < n_group; l++)
        for (int k = 0; k < n; k++) t->x[k * FIT_LANES + l] = x[l * n + k];
    for (int l = 0; w && l < n_group; l++)
        for (int k = 0; k < n; k++) t->w[k * FIT_LANES + l] = w[l * n + k];
}

/* Codes of lane l less `from`. */
static void lane_codes(const lanes *t, int l, float from, uint8_t *code)
{
    for (int k = 0; k < t->g.n; k++) code[k] = (uint8_t)(int)(t->q[k * FIT_LANES + l] - from);
}

/* ---- blocks of 32, searched ---------------------------------------------------------------- */

static const float tries_4bit[] = { -8, -8.9f, -8.6f, -8.3f, -7.7f, -7.4f, -7.1f, -6.8f, -6.5f, 7, 7.4f, 7.8f };
static const float tries_5bit[] = { -16, -17, -16.6f, -16.3f, -15.7f, -15.4f, -15.1f, -14.8f, -14.4f, 15, 15.4f, 15.8f };
static const fit_grid grid_4bit = { NULL, -8, 7, tries_4bit, sizeof tries_4bit / sizeof *tries_4bit };
static const fit_grid grid_5bit = { NULL, -16, 15, tries_5bit, sizeof tries_5bit / sizeof *tries_5bit };

/* Q4_0 and Q5_0, 16 blocks at a time. */
static void scaled_32(const job *j, const fit_grid *grid, int block_bytes)
{
    for (int i = 0; i < j->n_block; i += FIT_LANES) {
        int n = j->n_block - i < FIT_LANES ? j->n_block - i : FIT_LANES;
        float d[FIT_LANES];
        lanes t;
        to_lanes(&t, j->x + 32 * i, j->w + 32 * i, n, 32);
        j->fit->scale(&t.g, grid, d);
        for (int l = 0; l < FIT_LANES; l++) d[l] = half(d[l]);
        j->fit->scale_codes(&t.g, grid, d, t.q, NULL);
        for (int l = 0; l < n; l++) {
            uint8_t *b = j->out + (i + l) * block_bytes, code[32];
            put_u16(b, float_to_f16(d[l]));
            lane_codes(&t, l, grid->lo, code);
            put_nibbles(b + block_bytes - 16, block_bytes == 22 ? b + 2 : NULL, code);
        }
    }
}

/* Q4_1 and Q5_1. */
static void lined_32(const job *j, float top, int block_bytes)
{
    for (int i = 0; i < j->n_block; i += FIT_LANES) {
        int n = j->n_block - i < FIT_LANES ? j->n_block - i : FIT_LANES;
        float d[FIT_LANES], low[FIT_LANES];
        lanes t;
        to_lanes(&t, j->x + 32 * i, j->w + 32 * i, n, 32);
        j->fit->line(&t.g, top, true, d, low);
        for (int l = 0; l < FIT_LANES; l++) d[l] = half(d[l]), low[l] = half(low[l]);
        j->fit->line_codes(&t.g, top, d, low, t.q);
        for (int l = 0; l < n; l++) {
            uint8_t *b = j->out + (i + l) * block_bytes, code[32];
            put_u16(b, float_to_f16(d[l])), put_u16(b + 2, float_to_f16(low[l]));
            lane_codes(&t, l, 0, code);
            put_nibbles(b + block_bytes - 16, block_bytes == 24 ? b + 4 : NULL, code);
        }
    }
}

static void q45_0(const job *j, int levels, const fit_grid *grid, int block_bytes)
{
    uint8_t *b = j->out, code[32];

    if (j->w) { scaled_32(j, grid, block_bytes); return; }
    for (int i = 0; i < j->n_block; i++, b += block_bytes) {
        j->rule->extreme(j->x + 32 * i, levels, b, code);
        put_nibbles(b + block_bytes - 16, levels == 32 ? b + 2 : NULL, code);
    }
}

static void q45_1(const job *j, int levels, int block_bytes)
{
    uint8_t *b = j->out, code[32];

    if (j->w) { lined_32(j, (float)(levels - 1), block_bytes); return; }
    for (int i = 0; i < j->n_block; i++, b += block_bytes) {
        j->rule->ends(j->x + 32 * i, levels, b, code);
        put_nibbles(b + block_bytes - 16, levels == 32 ? b + 4 : NULL, code);
    }
}

static void q4_0(const job *j) { q45_0(j, 16, &grid_4bit, 18); }
static void q5_0(const job *j) { q45_0(j, 32, &grid_5bit, 22); }
static void q4_1(const job *j) { q45_1(j, 16, 20); }
static void q5_1(const job *j) { q45_1(j, 32, 24); }

/* ---- tables ---------------------------------------------------------------------------------- */

static const float iq4_table[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
static const float tries_iq4[] = { -127, -134, -131, -123, -119, -115, -110, 113, 118, 109, 105, 101, 96 };
static const fit_grid grid_iq4 = { iq4_table, -127, 113, tries_iq4, sizeof tries_iq4 / sizeof *tries_iq4 };

/* The nibble of each value of a 16-entry table, at value + 128. */
static void code_of(const int8_t value[16], uint8_t code[256])
{
    memset(code, 0, 256);
    for (int i = 15; i >= 0; i--) code[value[i] + 128] = (uint8_t)i;
}

static void table_codes(const lanes *t, int l, const uint8_t *code_at, uint8_t *code)
{
    for (int k = 0; k < t->g.n; k++) code[k] = code_at[(int)t->q[k * FIT_LANES + l] + 128];
}

static void iq4_nl(const job *j)
{
    uint8_t at[256], code[32];

    code_of(iq4_value, at);
    for (int i = 0; i < j->n_block; i += FIT_LANES) {
        int n = j->n_block - i < FIT_LANES ? j->n_block - i : FIT_LANES;
        float d[FIT_LANES];
        lanes t;
        to_lanes(&t, j->x + 32 * i, j->w ? j->w + 32 * i : NULL, n, 32);
        j->fit->scale(&t.g, &grid_iq4, d);
        for (int l = 0; l < FIT_LANES; l++) d[l] = half(d[l]);
        j->fit->scale_codes(&t.g, &grid_iq4, d, t.q, NULL);
        for (int l = 0; l < n; l++) {
            uint8_t *b = j->out + (i + l) * 18;
            put_u16(b, float_to_f16(d[l]));
            table_codes(&t, l, at, code);
            put_nibbles(b + 2, NULL, code);
        }
    }
}

static void mxfp4(const job *j) { j->rule->mxfp4(j->x, j->w, j->n_block, j->out); }

/* ---- super-blocks ------------------------------------------------------------------------------ */

enum { ROUNDS = 3 };

/* The state of the groups per = 8 or 16 lanes that make one super-block. */
static double block_error(const fit_levels *v, int first, int per)
{
    double e = 0;
    for (int l = first; l < first + per; l++) e += (double)v->sums.err[l];
    return e;
}

/* Solves for scale and base of the super-block over its groups' codes. */
static void solve_block(fit_levels *v, int first, int per, bool based)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0, det, scale, base = 0;

    for (int l = first; l < first + per; l++) {
        double s = (double)v->s[l], m = (double)v->m[l];
        aa += s * s * (double)v->sums.qq[l], ax += s * (double)v->sums.xq[l];
        if (based) ab += s * m * (double)v->sums.q[l], bb += m * m * (double)v->sums.w[l], bx += m * (double)v->sums.x[l];
    }
    if (!(aa > 0)) return;
    det = aa * bb - ab * ab;
    if (based && bb > 0 && det > 1e-9 * aa * bb) scale = (ax * bb - bx * ab) / det, base = (ax * ab - bx * aa) / det;
    else scale = (ax + ab * (double)v->base[first]) / aa, base = (double)v->base[first];
    if (based && (base < 0 || scale < 0)) return;
    for (int l = first; l < first + per; l++) v->scale[l] = half((float)scale), v->base[l] = based ? half((float)base) : 0;
}

/* Keeps what is best of each super-block. */
static void keep_blocks(fit_levels *best, const fit_levels *v, int per, bool always)
{
    for (int first = 0; first < FIT_LANES; first += per) {
        if (!always && !(block_error(v, first, per) < block_error(best, first, per))) continue;
        for (int l = first; l < first + per; l++) {
            best->scale[l] = v->scale[l], best->base[l] = v->base[l], best->s[l] = v->s[l], best->m[l] = v->m[l];
            best->sums.err[l] = v->sums.err[l];
        }
    }
}

/* The integers s and m that come nearest to the groups' own d and low. */
static void guess(fit_levels *v, const float *d, const float *low)
{
    for (int l = 0; l < FIT_LANES; l++) {
        float s = v->scale[l] != 0 ? nearbyintf(d[l] / v->scale[l]) : 0, m = v->base[l] > 0 ? nearbyintf(-low[l] / v->base[l]) : 0;
        v->s[l] = s < v->s_lo ? v->s_lo : s > v->s_hi ? v->s_hi : s;
        v->m[l] = m < 0 ? 0 : m > v->m_hi ? v->m_hi : m;
    }
}

/* x ~ scale s q - base m: Q2_K, Q4_K, Q5_K. Leaves the levels in best and the codes in t->q. */
static void fit_based(const fit_fns *fit, lanes *t, float top, float most, int per, fit_levels *best)
{
    float d[FIT_LANES], low[FIT_LANES];
    fit_levels v = { .s_lo = 0, .s_hi = most, .m_hi = most };

    fit->line(&t->g, top, false, d, low);
    for (int first = 0; first < FIT_LANES; first += per) {
        float most_d = 0, most_m = 0;
        for (int l = first; l < first + per; l++) most_d = d[l] > most_d ? d[l] : most_d, most_m = -low[l] > most_m ? -low[l] : most_m;
        for (int l = first; l < first + per; l++) v.scale[l] = half(most_d / most), v.base[l] = half(most_m / most);
    }
    for (int round = 0; round < ROUNDS; round++) {
        if (round > 0)
            for (int first = 0; first < FIT_LANES; first += per) solve_block(&v, first, per, true);
        guess(&v, d, low);
        fit->line_settle(&t->g, top, &v);
        keep_blocks(best, &v, per, round == 0);
    }
    for (int l = 0; l < FIT_LANES; l++) d[l] = best->scale[l] * best->s[l], low[l] = -(best->base[l] * best->m[l]);
    fit->line_codes(&t->g, top, d, low, t->q);
}

/* x ~ scale s q: Q3_K, Q6_K, IQ4_XS. s is from..-from-1. */
static void fit_scaled(const fit_fns *fit, lanes *t, const fit_grid *grid, float from, int per, fit_levels *best)
{
    float d[FIT_LANES];
    fit_levels v = { .s_lo = from, .s_hi = -from - 1, .m_hi = 0 };

    fit->scale(&t->g, grid, d);
    for (int first = 0; first < FIT_LANES; first += per) {
        float end = 0;
        for (int l = first; l < first + per; l++) end = fabsf(d[l]) > fabsf(end) ? d[l] : end;
        for (int l = first; l < first + per; l++) v.scale[l] = half(end / from), v.base[l] = 0;
    }
    for (int round = 0; round < ROUNDS; round++) {
        if (round > 0)
            for (int first = 0; first < FIT_LANES; first += per) solve_block(&v, first, per, false);
        guess(&v, d, d);
        fit->scale_settle(&t->g, grid, &v);
        keep_blocks(best, &v, per, round == 0);
    }
    for (int l = 0; l < FIT_LANES; l++) d[l] = best->scale[l] * best->s[l];
    fit->scale_codes(&t->g, grid, d, t->q, NULL);
}

static void put_q4_k_scales(uint8_t *s, const float *sc, const float *mn)
{
    for (int i = 0; i < 4; i++) {
        int s0 = (int)sc[i], s1 = (int)sc[i + 4], m0 = (int)mn[i], m1 = (int)mn[i + 4];
        s[i] = (uint8_t)(s0 | (s1 >> 4) << 6), s[i + 4] = (uint8_t)(m0 | (m1 >> 4) << 6), s[i + 8] = (uint8_t)((s1 & 15) | (m1 & 15) << 4);
    }
}

/* Lane l of a super-block's codes, as a row of 256. */
static void all_codes(const lanes *t, int first, int per, float from, uint8_t *code)
{
    for (int i = 0; i < per; i++) lane_codes(t, first + i, from, code + i * t->g.n);
}

/* Packs n fields a byte: out [32], each byte of which takes mask's bits, from bit `from` on, of n codes that lie stride apart. */
static void put_fields(uint8_t *out, const uint8_t *code, int n, int stride, int from, uint8_t mask)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);

    for (int i = 0; i < 32; i += 8) {
        uint64_t all = 0, c;
        for (int k = 0; k < n; k++) memcpy(&c, code + i + k * stride, sizeof c), all |= (c >> from & mask * ones) << 8 / n * k;
        memcpy(out + i, &all, sizeof all);
    }
}

static void q45_k(const job *j, float top, int bytes)
{
    for (int i = 0; i < j->n_block; i += 2) {
        int n = j->n_block - i < 2 ? j->n_block - i : 2;
        fit_levels v;
        lanes t;
        to_lanes(&t, j->x + 256 * i, j->w ? j->w + 256 * i : NULL, 8 * n, 32);
        fit_based(j->fit, &t, top, 63, 8, &v);
        for (int k = 0; k < n; k++) {
            uint8_t *b = j->out + (i + k) * bytes, *qs = b + bytes - 128, code[256];
            put_u16(b, float_to_f16(v.scale[8 * k])), put_u16(b + 2, float_to_f16(v.base[8 * k]));
            put_q4_k_scales(b + 4, v.s + 8 * k, v.m + 8 * k);
            all_codes(&t, 8 * k, 8, 0, code);
            for (int p = 0; p < 4; p++) put_fields(qs + 32 * p, code + 64 * p, 2, 32, 0, 15);
            if (bytes == 176) put_fields(b + 16, code, 8, 32, 4, 1);
        }
    }
}

static void q4_k(const job *j) { q45_k(j, 15, 144); }
static void q5_k(const job *j) { q45_k(j, 31, 176); }

static void q2_k(const job *j)
{
    for (int i = 0; i < j->n_block; i++) {
        uint8_t *b = j->out + 84 * i, code[256];
        fit_levels v;
        lanes t;
        to_lanes(&t, j->x + 256 * i, j->w ? j->w + 256 * i : NULL, 16, 16);
        fit_based(j->fit, &t, 3, 15, 16, &v);
        for (int l = 0; l < 16; l++) b[l] = (uint8_t)((int)v.s[l] | (int)v.m[l] << 4);
        all_codes(&t, 0, 16, 0, code);
        for (int h = 0; h < 2; h++) put_fields(b + 16 + 32 * h, code + 128 * h, 4, 32, 0, 3);
        put_u16(b + 80, float_to_f16(v.scale[0])), put_u16(b + 82, float_to_f16(v.base[0]));
    }
}

static const float tries_3bit[] = { -4, -4.7f, -4.4f, -4.2f, -3.8f, -3.6f, -3.3f, -3.0f, 3, 2.6f, 2.8f, 3.2f, 3.4f, 3.7f };
static const float tries_6bit[] = { -32, -33, -32.6f, -32.3f, -31.7f, -31.4f, -31, -30.6f, -30.2f, 31, 31.4f };
static const fit_grid grid_3bit = { NULL, -4, 3, tries_3bit, sizeof tries_3bit / sizeof *tries_3bit };
static const float tries_3bit_plain[] = { -4, -4.4f, -3.6f, 3, 2.8f, 3.4f };
static const fit_grid grid_3bit_plain = { NULL, -4, 3, tries_3bit_plain, sizeof tries_3bit_plain / sizeof *tries_3bit_plain };
static const fit_grid grid_6bit = { NULL, -32, 31, tries_6bit, sizeof tries_6bit / sizeof *tries_6bit };

static void q3_k(const job *j)
{
    for (int i = 0; i < j->n_block; i++) {
        uint8_t *b = j->out + 110 * i, code[256];
        fit_levels v;
        lanes t;
        to_lanes(&t, j->x + 256 * i, j->w ? j->w + 256 * i : NULL, 16, 16);
        fit_scaled(j->fit, &t, j->w ? &grid_3bit : &grid_3bit_plain, -32, 16, &v);
        all_codes(&t, 0, 16, -4, code);
        put_fields(b, code, 8, 32, 2, 1);
        for (int h = 0; h < 2; h++) put_fields(b + 32 + 32 * h, code + 128 * h, 4, 32, 0, 3);
        memset(b + 96, 0, 12);
        for (int l = 0; l < 16; l++) {
            int s = (int)v.s[l] + 32;
            b[96 + l % 8] |= (uint8_t)((s & 15) << 4 * (l / 8));
            b[104 + l % 4] |= (uint8_t)((s >> 4) << 2 * (l / 4));
        }
        put_u16(b + 108, float_to_f16(v.scale[0]));
    }
}

static void q6_k(const job *j)
{
    for (int i = 0; i < j->n_block; i++) {
        uint8_t *b = j->out + 210 * i, code[256];
        fit_levels v;
        lanes t;
        to_lanes(&t, j->x + 256 * i, j->w ? j->w + 256 * i : NULL, 16, 16);
        fit_scaled(j->fit, &t, &grid_6bit, -128, 16, &v);
        all_codes(&t, 0, 16, -32, code);
        for (int h = 0; h < 2; h++) {
            for (int p = 0; p < 2; p++) put_fields(b + 64 * h + 32 * p, code + 128 * h + 32 * p, 2, 64, 0, 15);
            put_fields(b + 128 + 32 * h, code + 128 * h, 4, 32, 4, 3);
        }
        for (int l = 0; l < 16; l++) b[192 + l] = (uint8_t)(int8_t)v.s[l];
        put_u16(b + 208, float_to_f16(v.scale[0]));
    }
}

static void iq4_xs(const job *j)
{
    uint8_t at[256], code[32];

    code_of(iq4_value, at);
    for (int i = 0; i < j->n_block; i += 2) {
        int n = j->n_block - i < 2 ? j->n_block - i : 2;
        fit_levels v;
        lanes t;
        to_lanes(&t, j->x + 256 * i, j->w ? j->w + 256 * i : NULL, 8 * n, 32);
        fit_scaled(j->fit, &t, &grid_iq4, -32, 8, &v);
        for (int k = 0; k < n; k++) {
            uint8_t *b = j->out + (i + k) * 136;
            unsigned high = 0;
            put_u16(b, float_to_f16(v.scale[8 * k]));
            memset(b + 4, 0, 4);
            for (int l = 0; l < 8; l++) {
                unsigned s = (unsigned)((int)v.s[8 * k + l] + 32);
                b[4 + l / 2] |= (uint8_t)((s & 15) << 4 * (l % 2)), high |= s >> 4 << 2 * l;
                table_codes(&t, 8 * k + l, at, code);
                put_nibbles(b + 8 + 16 * l, NULL, code);
            }
            put_u16(b + 2, (uint16_t)high);
        }
    }
}

/* ---- values of their own ------------------------------------------------------------------------- */

static void f32(const job *j) { memcpy(j->out, j->x, (size_t)j->n_block * sizeof(float)); }
static void f16(const job *j) { for (int i = 0; i < j->n_block; i++) put_u16(j->out + 2 * i, float_to_f16(j->x[i])); }
static void bf16(const job *j) { for (int i = 0; i < j->n_block; i++) put_u16(j->out + 2 * i, float_to_bf16(j->x[i])); }

/* ---- the table -------------------------------------------------------------------------------------- */

typedef struct { llm_dtype dtype; void (*run)(const job *j); bool weighted; } encoder;

static const encoder encoders[] = {
    { DT_F32, f32, false }, { DT_F16, f16, false }, { DT_BF16, bf16, false }, { DT_Q8_0, q8_0, false },
    { DT_Q4_0, q4_0, true }, { DT_Q4_1, q4_1, true }, { DT_Q5_0, q5_0, true }, { DT_Q5_1, q5_1, true },
    { DT_Q2_K, q2_k, true }, { DT_Q3_K, q3_k, true }, { DT_Q4_K, q4_k, true }, { DT_Q5_K, q5_k, true }, { DT_Q6_K, q6_k, true },
    { DT_IQ4_NL, iq4_nl, true }, { DT_IQ4_XS, iq4_xs, true }, { DT_MXFP4, mxfp4, true },
};

static const encoder *find(llm_dtype dtype)
{
    for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++)
        if (encoders[i].dtype == dtype) return &encoders[i];
    return NULL;
}

bool encode_known(llm_dtype dtype) { return find(dtype) != NULL; }

bool encode_weighted(llm_dtype dtype)
{
    const encoder *e = find(dtype);
    return e && e->weighted;
}

void encode_widen(llm_isa isa, llm_dtype dtype, const void *from, int64_t n, float *x) { rule_for(isa)->widen(dtype, from, n, x); }

bool encode_row(llm_isa isa, llm_dtype dtype, const float *x, const float *w, int64_t n, void *out)
{
    const encoder *e = find(dtype);
    const llm_dtype_info *info = dtype_info(dtype);
    job j = { .fit = fit_for(isa), .rule = rule_for(isa), .x = x, .w = w, .out = out };

    if (e == NULL || n % info->block != 0) return false;
    for (int64_t left = n / info->block; left > 0; left -= j.n_block) {
        j.n_block = left < 4096 ? (int)left : 4096;
        e->run(&j);
        j.x += (int64_t)j.n_block * info->block, j.out += (size_t)j.n_block * (size_t)info->block_bytes;
        if (j.w) j.w += (int64_t)j.n_block * info->block;
    }
    return true;
}

bool encode_check(llm_isa isa, llm_dtype dtype, const float *x, const void *out, int64_t n, int64_t *bad)
{
    const llm_dtype_info *info = dtype_info(dtype);
    float most = info && info->block > 1 && dtype != DT_MXFP4 ? 65504 : FLT_MAX;

    if (!rule_for(isa)->within(x, n, most)) {
        int64_t i = 0;
        while (i + 1 < n && fabsf(x[i]) <= most) i++;
        if (bad) *bad = i;
        return false;
    }
    if (dtype_check(dtype, out, n, bad)) return true;
    if (bad && info) *bad *= info->block;
    return false;
}
