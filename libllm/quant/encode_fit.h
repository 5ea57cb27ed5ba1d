/* encode_fit.h - the search for scales. 16 groups of values are fitted at a time, one to a lane, so that a lane's sums are
 * plain loops over its values and every instruction set gives the same bits.
 *
 * A group x [n] becomes codes q with x ~ d * q (a scale alone; the codes stand for the values of a grid) or x ~ d * q + low.
 * For given codes the best d (and low) solve the normal equations of weighted least squares; for given d and low the best codes
 * are the nearest ones. So a number of scales is tried, the codes of each give sums, the sums the best d and low for those codes
 * and the error; the best of them is polished by rounding to codes and solving again. Where d and low are themselves products of
 * a small integer and a super-block's scale, the integers are settled group by group (one below and above are tried too), and
 * then the super-block's scales are solved for over all its groups; twice. */
#ifndef LLM_ENCODE_FIT_H
#define LLM_ENCODE_FIT_H
#include "cpu.h"

enum { FIT_LANES = 16, FIT_VALUES = 32 };

/* Value k of lane l is x[k * FIT_LANES + l]; w NULL: every weight is 1. Lanes of zeros are fine. */
typedef struct { int n; const float *x, *w; } fit_groups;

/* What codes stand for. A line: the whole numbers from lo to hi. Else the 16 values of a table, ascending, of which lo and hi are
 * the ends. tries: numbers that the value of greatest magnitude is mapped to in turn. */
typedef struct {
    const float *table;                 /* NULL: a line */
    float lo, hi;
    const float *tries;
    int n_try;
} fit_grid;

/* Sums over a lane for the codes it has, w included. */
typedef struct { float qq[FIT_LANES], q[FIT_LANES], xq[FIT_LANES], x[FIT_LANES], w[FIT_LANES], err[FIT_LANES]; } fit_sums;

/* The two levels of scales: a lane's are scale * s and base * m, with s in s_lo..s_hi and m in 0..m_hi. s and m come with a
 * first guess and leave with the best; sums: of the codes that go with them. */
typedef struct { float scale[FIT_LANES], base[FIT_LANES], s[FIT_LANES], m[FIT_LANES]; float s_lo, s_hi, m_hi; fit_sums sums; } fit_levels;

typedef struct {
    /* d and low of every lane, codes 0..top; low is not above 0 unless any_low. */
    void (*line)(const fit_groups *g, float top, bool any_low, float *d, float *low);
    void (*line_settle)(const fit_groups *g, float top, fit_levels *v);
    void (*line_codes)(const fit_groups *g, float top, const float *d, const float *low, float *q);
    /* d of every lane. */
    void (*scale)(const fit_groups *g, const fit_grid *grid, float *d);
    void (*scale_settle)(const fit_groups *g, const fit_grid *grid, fit_levels *v);
    /* The grid's nearest values for d; err [FIT_LANES]: the weighted squared errors, NULL: not asked for. */
    void (*scale_codes)(const fit_groups *g, const fit_grid *grid, const float *d, float *q, float *err);
} fit_fns;

const fit_fns *fit_for(llm_isa isa);
extern const fit_fns fit_fns_ref, fit_fns_avx2, fit_fns_avx512, fit_fns_neon;
#endif
