/* encode_fit_body.h - see encode_fit.h; compiled once for each instruction set. Sums are written as products and additions, not
 * fused, and every step acts on one lane, so the bits do not depend on the width of a vector. */
#include "encode_fit.h"
#include "simd.h"
#include <float.h>

enum { POLISH = 2 };

/* To the nearest whole number, even at a tie; |a| < 2^22. */
SIMD_INLINE vf v_round(vf a) { return v_sub(v_add(a, v_set(0x1.8p23f)), v_set(0x1.8p23f)); }
SIMD_INLINE vf v_nearest(vf a, vf lo, vf hi) { return v_round(v_min(v_max(a, lo), hi)); }
/* 1 / a, or 0 where a is 0 or so small that the quotient would overflow. */
SIMD_INLINE vf v_inverse(vf a) { return v_lt(v_set(1e-37f), v_abs(a), v_div(v_set(1), a), v_set(0)); }

/* ---- x ~ d * q + low -------------------------------------------------------------- */

/* What one vector of lanes has as it is fitted; y = x - first. */
typedef struct { vf first, w, y, yy, best, d, low; } line_state;

typedef struct { vf q, qq, yq; } line_sums;

/* Codes for y ~ d * q + low where inverse = 1 / d, and their sums. */
SIMD_INLINE line_sums line_pass(const fit_groups *g, int l, vf first, vf inverse, vf low, vf top)
{
    line_sums s = { v_set(0), v_set(0), v_set(0) };
    vf from = v_add(first, low), zero = v_set(0);

    for (int k = 0; k < g->n; k++) {
        vf x = v_load(g->x + k * FIT_LANES + l), q = v_nearest(v_mul(v_sub(x, from), inverse), zero, top);
        vf wq = g->w ? v_mul(v_load(g->w + k * FIT_LANES + l), q) : q;
        s.q = v_add(s.q, wq), s.qq = v_add(s.qq, v_mul(wq, q)), s.yq = v_add(s.yq, v_mul(wq, v_sub(x, first)));
    }
    return s;
}

/* Sum of w * (y - d q - low)^2 */
SIMD_INLINE vf line_error(const line_sums *s, vf w, vf y, vf yy, vf d, vf low)
{
    vf cross = v_add(v_mul(d, v_sub(s->yq, v_mul(low, s->q))), v_mul(low, y));
    vf square = v_add(v_mul(v_mul(d, d), s->qq), v_mul(v_mul(low, low), w));
    return v_add(v_sub(yy, v_mul(v_set(2), cross)), square);
}

/* The least-squares d and low of the codes behind s; kept where their error is the smallest yet. */
SIMD_INLINE void line_solve(line_state *t, const line_sums *s, bool any_low)
{
    vf det = v_sub(v_mul(t->w, s->qq), v_mul(s->q, s->q));
    vf d = v_div(v_sub(v_mul(t->w, s->yq), v_mul(t->y, s->q)), det);
    vf low = v_div(v_sub(v_mul(s->qq, t->y), v_mul(s->q, s->yq)), det), e;

    if (!any_low) {                                     /* at most 0, counted from first */
        vf most = v_sub(v_set(0), t->first);
        d = v_lt(most, low, v_div(v_sub(s->yq, v_mul(most, s->q)), s->qq), d);
        low = v_lt(most, low, most, low);
    }
    e = line_error(s, t->w, t->y, t->yy, d, low);
    t->d = v_lt(e, t->best, d, t->d), t->low = v_lt(e, t->best, low, t->low), t->best = v_lt(e, t->best, e, t->best);
}

/* The ends of each lane, and the sums that no code enters. */
SIMD_INLINE line_state line_begin(const fit_groups *g, int l, bool any_low, vf *range)
{
    line_state t = { .w = v_set(0), .y = v_set(0), .yy = v_set(0), .best = v_set(FLT_MAX), .d = v_set(0), .low = v_set(0) };
    vf hi = v_load(g->x + l);

    t.first = any_low ? hi : v_min(hi, v_set(0));
    for (int k = 1; k < g->n; k++) {
        vf x = v_load(g->x + k * FIT_LANES + l);
        t.first = v_min(t.first, x), hi = v_max(hi, x);
    }
    for (int k = 0; k < g->n; k++) {
        vf y = v_sub(v_load(g->x + k * FIT_LANES + l), t.first), w = g->w ? v_load(g->w + k * FIT_LANES + l) : v_set(1);
        vf wy = v_mul(w, y);
        t.w = v_add(t.w, w), t.y = v_add(t.y, wy), t.yy = v_add(t.yy, v_mul(wy, y));
    }
    *range = v_sub(hi, t.first);
    return t;
}

static void line(const fit_groups *g, float top, bool any_low, float *d, float *low)
{
    /* Codes that the greatest value is mapped to, less the greatest code: above 0 the end is cut off, below it codes stay unused. */
    static const float over[] = { 0, -0.7f, -0.4f, -0.2f, 0.2f, 0.4f, 0.7f, 1.0f, 1.4f, 1.9f };

    for (int l = 0; l < FIT_LANES; l += VN) {
        vf range, inverse;
        line_state t = line_begin(g, l, any_low, &range);
        inverse = v_inverse(range);
        for (size_t i = 0; i < sizeof over / sizeof over[0]; i++) {
            line_sums s = line_pass(g, l, t.first, v_mul(v_set(top + over[i] * (top < 8 ? 0.5f : 1)), inverse), v_set(0), v_set(top));
            line_solve(&t, &s, any_low);
        }
        for (int i = 0; i < POLISH; i++) {
            line_sums s = line_pass(g, l, t.first, v_inverse(t.d), t.low, v_set(top));
            line_solve(&t, &s, any_low);
        }
        v_store(d + l, t.d), v_store(low + l, v_add(t.first, t.low));
    }
}

/* The state of one vector of lanes of line_settle: x ~ scale * s * q - base * m. */
typedef struct { vf x, w, xx, best, s, m, q, qq, xq; } settle_state;

SIMD_INLINE void settle_keep(settle_state *t, const line_sums *p, vf d, vf off, vf s, vf m)
{
    vf e = line_error(p, t->w, t->x, t->xx, d, off);
    t->s = v_lt(e, t->best, s, t->s), t->m = v_lt(e, t->best, m, t->m);
    t->q = v_lt(e, t->best, p->q, t->q), t->qq = v_lt(e, t->best, p->qq, t->qq), t->xq = v_lt(e, t->best, p->yq, t->xq);
    t->best = v_lt(e, t->best, e, t->best);
}

static void line_settle(const fit_groups *g, float top, fit_levels *v)
{
    static const float step[] = { 0, -1, 1 };

    for (int l = 0; l < FIT_LANES; l += VN) {
        vf scale = v_load(v->scale + l), base = v_load(v->base + l), s0 = v_load(v->s + l), m0 = v_load(v->m + l), zero = v_set(0);
        settle_state t = { .x = zero, .w = zero, .xx = zero, .best = v_set(FLT_MAX), .s = s0, .m = m0, .q = zero, .qq = zero, .xq = zero };
        for (int k = 0; k < g->n; k++) {
            vf x = v_load(g->x + k * FIT_LANES + l), w = g->w ? v_load(g->w + k * FIT_LANES + l) : v_set(1), wx = v_mul(w, x);
            t.x = v_add(t.x, wx), t.w = v_add(t.w, w), t.xx = v_add(t.xx, v_mul(wx, x));
        }
        for (size_t i = 0; i < sizeof step / sizeof step[0]; i++) {
            vf s = v_min(v_max(v_add(s0, v_set(step[i])), v_set(v->s_lo)), v_set(v->s_hi)), d = v_mul(scale, s), m = m0;
            vf off = v_sub(zero, v_mul(base, m));
            line_sums p = line_pass(g, l, zero, v_inverse(d), off, v_set(top));
            settle_keep(&t, &p, d, off, s, m);
            m = v_nearest(v_mul(v_sub(v_mul(d, p.q), t.x), v_inverse(v_mul(base, t.w))), zero, v_set(v->m_hi));
            off = v_sub(zero, v_mul(base, m));
            p = line_pass(g, l, zero, v_inverse(d), off, v_set(top));
            settle_keep(&t, &p, d, off, s, m);
        }
        v_store(v->s + l, t.s), v_store(v->m + l, t.m);
        v_store(v->sums.q + l, t.q), v_store(v->sums.qq + l, t.qq), v_store(v->sums.xq + l, t.xq);
        v_store(v->sums.x + l, t.x), v_store(v->sums.w + l, t.w), v_store(v->sums.err + l, t.best);
    }
}

static void line_codes(const fit_groups *g, float top, const float *d, const float *low, float *q)
{
    for (int l = 0; l < FIT_LANES; l += VN) {
        vf inverse = v_inverse(v_load(d + l)), from = v_load(low + l);
        for (int k = 0; k < g->n; k++)
            v_store(q + k * FIT_LANES + l, v_nearest(v_mul(v_sub(v_load(g->x + k * FIT_LANES + l), from), inverse), v_set(0), v_set(top)));
    }
}

/* ---- x ~ d * q --------------------------------------------------------------------- */

/* The value of the grid that is nearest to a. */
SIMD_INLINE vf snap(const fit_grid *grid, bool table, vf a)
{
    vf v;

    if (!table) return v_nearest(a, v_set(grid->lo), v_set(grid->hi));
    v = v_set(grid->table[0]);
    for (int i = 1; i < 16; i++) v = v_lt(v_set((grid->table[i - 1] + grid->table[i]) * 0.5f), a, v_set(grid->table[i]), v);
    return v;
}

typedef struct { vf xq, qq; } scale_sums;

SIMD_INLINE scale_sums scale_pass(const fit_groups *g, const fit_grid *grid, bool table, int l, vf inverse)
{
    scale_sums s = { v_set(0), v_set(0) };

    for (int k = 0; k < g->n; k++) {
        vf x = v_load(g->x + k * FIT_LANES + l), q = snap(grid, table, v_mul(x, inverse));
        vf wq = g->w ? v_mul(v_load(g->w + k * FIT_LANES + l), q) : q;
        s.xq = v_add(s.xq, v_mul(wq, x)), s.qq = v_add(s.qq, v_mul(wq, q));
    }
    return s;
}

/* What is gained over codes of 0: (sum w x q)^2 / sum w q^2. */
SIMD_INLINE void scale_keep(const scale_sums *s, vf *d, vf *best)
{
    vf of = v_div(s->xq, s->qq), gain = v_mul(of, s->xq);
    *d = v_lt(*best, gain, of, *d), *best = v_lt(*best, gain, gain, *best);
}

SIMD_INLINE void scale_any(const fit_groups *g, const fit_grid *grid, bool table, float *d)
{
    for (int l = 0; l < FIT_LANES; l += VN) {
        vf end = v_load(g->x + l), best = v_set(0), of = v_set(0), inverse;
        for (int k = 1; k < g->n; k++) {
            vf x = v_load(g->x + k * FIT_LANES + l);
            end = v_lt(v_abs(end), v_abs(x), x, end);
        }
        inverse = v_inverse(end);
        for (int i = 0; i < grid->n_try; i++) {
            scale_sums s = scale_pass(g, grid, table, l, v_mul(v_set(grid->tries[i]), inverse));
            scale_keep(&s, &of, &best);
        }
        for (int i = 0; i < POLISH; i++) {
            scale_sums s = scale_pass(g, grid, table, l, v_inverse(of));
            scale_keep(&s, &of, &best);
        }
        v_store(d + l, of);
    }
}

static void scale(const fit_groups *g, const fit_grid *grid, float *d)
{
    if (grid->table) scale_any(g, grid, true, d);
    else scale_any(g, grid, false, d);
}

SIMD_INLINE void scale_settle_any(const fit_groups *g, const fit_grid *grid, bool table, fit_levels *v)
{
    static const float step[] = { 0, -1, 1 };

    for (int l = 0; l < FIT_LANES; l += VN) {
        vf of = v_load(v->scale + l), s0 = v_load(v->s + l), best = v_set(FLT_MAX), at = s0, qq = v_set(0), xq = v_set(0);
        for (size_t i = 0; i < sizeof step / sizeof step[0]; i++) {
            vf s = v_min(v_max(v_add(s0, v_set(step[i])), v_set(v->s_lo)), v_set(v->s_hi)), d = v_mul(of, s), e;
            scale_sums p = scale_pass(g, grid, table, l, v_inverse(d));
            e = v_mul(d, v_sub(v_mul(d, p.qq), v_mul(v_set(2), p.xq)));
            at = v_lt(e, best, s, at), qq = v_lt(e, best, p.qq, qq), xq = v_lt(e, best, p.xq, xq), best = v_lt(e, best, e, best);
        }
        v_store(v->s + l, at), v_store(v->sums.qq + l, qq), v_store(v->sums.xq + l, xq), v_store(v->sums.err + l, best);
    }
}

static void scale_settle(const fit_groups *g, const fit_grid *grid, fit_levels *v)
{
    if (grid->table) scale_settle_any(g, grid, true, v);
    else scale_settle_any(g, grid, false, v);
}

static void scale_codes(const fit_groups *g, const fit_grid *grid, const float *d, float *q, float *err)
{
    for (int l = 0; l < FIT_LANES; l += VN) {
        vf of = v_load(d + l), inverse = v_inverse(of), e = v_set(0);
        for (int k = 0; k < g->n; k++) {
            vf x = v_load(g->x + k * FIT_LANES + l), v = snap(grid, grid->table != NULL, v_mul(x, inverse)), off = v_sub(x, v_mul(of, v));
            vf w = g->w ? v_load(g->w + k * FIT_LANES + l) : v_set(1);
            v_store(q + k * FIT_LANES + l, v);
            e = v_add(e, v_mul(w, v_mul(off, off)));
        }
        if (err) v_store(err + l, e);
    }
}

const fit_fns SIMD_NAME(fit_fns) = { line, line_settle, line_codes, scale, scale_settle, scale_codes };
