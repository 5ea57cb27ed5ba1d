/* attend_body.h - one chunk of keys for a tile of queries, over simd.h. attend_ref.c says in which order things are added.
 *
 * Both products are outer products: scores [rows, 64] = q [rows, d_k] * K [d_k, 64], acc [rows, d_v] += p [rows, 64] * V
 * [64, d_v]; a tile of MR x NV vectors stays in registers while k ascends. A latent cache holds rows: there everything is
 * turned round, scores [64, rows] = K [64, d_k] * q [d_k, rows], so that nothing of the cache need be transposed.
 * Rows are computed in groups of whole positions, so that a group's rows see the same keys but for a few at either end.
 * Many rows: K and V are converted once into panels of floats, and fma binds (2 * 64 * (d_k + d_v) flops per row and block, and
 * per row some 70 vector operations for 64 exponentials). Few rows: the bytes of K and V, converted on the way. */
#include "attend.h"
#include "ops.h"
#include "simd.h"
#include "math_body.h"

/* Rows and vectors that fit the registers together: few rows leave room for more columns, and so for enough independent
 * chains of fma; many rows read less of b. */
#if defined(SIMD_AVX512)
enum { FEW = 6, FEW_NV = 4, MANY = 12, MANY_NV = 2 };
#elif defined(SIMD_AVX2)
enum { FEW = 2, FEW_NV = 4, MANY = 6, MANY_NV = 2 };
#else
enum { FEW = 6, FEW_NV = 4, MANY = 6, MANY_NV = 4 };
#endif
enum { PANEL = MANY_NV * VN, WIDE = FEW_NV * VN };      /* floats; both divide 64 */

typedef enum { B_F32, B_F16, B_F8, B_I8 } b_form;       /* B_F8: E4M3; B_I8: codes, each 32 of a row with a factor in `unit` */

/* c [rows, n] (+)= a [rows, n_k] * b [n_k, n]. scale [rows]: c is multiplied by it first; NULL: c starts from 0.
 * a: rows lda apart, elements step apart. b: rows ldb bytes apart, the next PANEL columns at `next` bytes. ahead: bytes that will
 * be read next, fetched while this is computed, `pace` of them with each k; NULL: none. */
typedef struct {
    float *c;
    const float *a, *scale, *unit;
    const uint8_t *b, *ahead;
    size_t ldb, next, pace;
    int ldc, lda, step, n_k, units;
    b_form form;
} operands;

SIMD_INLINE vf load_b(b_form form, const uint8_t *b, int i, const float *unit)
{
    if (form == B_F16) return v_load_f16((const uint16_t *)(const void *)b + i);
    if (form == B_F8) return v_load_e4m3(b + i);
    if (form == B_I8) return v_mul(v_load_i8((const int8_t *)b + i), v_set(unit[i / KV_GROUP]));
    return v_load((const float *)(const void *)b + i);
}

/* Rows of a are reached from every third one, through pointers that compilers cannot turn into a register for each row. */
#define HIDDEN(x) __asm__("" : "+r"(x))

SIMD_INLINE void fetch(const uint8_t *p, size_t n)
{
    for (const uint8_t *end = p + n; p < end; p += 64) __builtin_prefetch(p, 0, 2);
}

/* Where b is converted on the way, and rows are few enough that counting and fetching show, STEP values of k come at a time. */
enum { STEP = 4, STEP_ROWS = 6 };

/* acc += a at `at` of each row * b. */
SIMD_INLINE void micro_step(int mr, int nv, b_form form, vf (*acc)[FEW_NV], const uint8_t *const *a, size_t lda, size_t at, const uint8_t *b, const float *unit)
{
    vf y[FEW_NV];

    UNROLL for (int v = 0; v < nv; v++) y[v] = load_b(form, b, v * VN, unit);
    UNROLL for (int i = 0; i < mr; i++) {
        vf s = v_set(*(const float *)(const void *)(a[i / 3] + (size_t)(i % 3) * lda + at));
        UNROLL for (int v = 0; v < nv; v++) acc[i][v] = v_fma(s, y[v], acc[i][v]);
    }
}

SIMD_INLINE void micro(int mr, int nv, b_form form, bool add, const operands *x)
{
    vf acc[MANY > FEW ? MANY : FEW][FEW_NV];
    const float *unit = x->unit;
    const uint8_t *a[(MANY + 2) / 3], *b = x->b, *ahead = x->ahead ? x->ahead : b;
    bool steps = form != B_F32 && mr <= STEP_ROWS;
    size_t ldb = x->ldb, pace = x->ahead ? x->pace : 0, lda = (size_t)x->lda * sizeof(float), step = (size_t)x->step * sizeof(float);
    int n_k = x->n_k, units = x->units, k = 0;

    HIDDEN(lda);
    UNROLL for (int i = 0; i < mr; i += 3) { a[i / 3] = (const uint8_t *)x->a + (size_t)i * lda; HIDDEN(a[i / 3]); }

    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int v = 0; v < nv; v++)
            acc[i][v] = add ? v_mul(v_load(x->c + i * x->ldc + v * VN), v_set(x->scale[i])) : v_set(0.0f);
    for (; steps && k + STEP <= n_k; k += STEP) {       /* elements of a lie side by side then */
        fetch(ahead, STEP * pace), ahead += STEP * pace;
        UNROLL for (int i = 0; i < STEP; i++) {
            micro_step(mr, nv, form, acc, a, lda, (size_t)i * sizeof(float), b, unit);
            b += ldb;
            if (form == B_I8) unit += units;
        }
        UNROLL for (int i = 0; i < mr; i += 3) a[i / 3] += STEP * sizeof(float);
    }
    for (; k < n_k; k++) {
        if (form != B_F32) fetch(ahead, pace), ahead += pace;
        micro_step(mr, nv, form, acc, a, lda, 0, b, unit);
        UNROLL for (int i = 0; i < mr; i += 3) a[i / 3] += step;
        b += ldb;
        if (form == B_I8) unit += units;
    }
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int v = 0; v < nv; v++) v_store(x->c + i * x->ldc + v * VN, acc[i][v]);
}

/* nv vectors wide, in rows as equal as can be and at most `most` at a time. */
#define TILE_OF(rows) case rows: if (rows <= most) micro(rows, nv, form, add, &x); break;
SIMD_INLINE void column(int most, int nv, b_form form, bool add, operands x, int rows)
{
    for (int m; rows > 0; rows -= m) {
        int parts = (rows + most - 1) / most;
        m = (rows + parts - 1) / parts;
        switch (m) {
        TILE_OF(1) TILE_OF(2) TILE_OF(3) TILE_OF(4) TILE_OF(5) TILE_OF(6)
        TILE_OF(7) TILE_OF(8) TILE_OF(9) TILE_OF(10) TILE_OF(11) TILE_OF(12)
        }
        x.c += m * x.ldc, x.a += m * x.lda, x.ahead = NULL;
        if (add) x.scale += m;
    }
}

#define COLUMNS(name, most, nv) \
static void name(operands x, int rows) \
{ \
    switch (x.form) { \
    case B_F32: if (x.scale) column(most, nv, B_F32, true, x, rows); else column(most, nv, B_F32, false, x, rows); break; \
    case B_F16: if (x.scale) column(most, nv, B_F16, true, x, rows); else column(most, nv, B_F16, false, x, rows); break; \
    case B_F8:  if (x.scale) column(most, nv, B_F8, true, x, rows); else column(most, nv, B_F8, false, x, rows); break; \
    case B_I8:  column(most, nv, B_I8, true, x, rows); break; \
    } \
}
COLUMNS(few_rows, FEW, FEW_NV)
COLUMNS(many_rows, MANY, MANY_NV)
COLUMNS(narrow, MANY, VL)

static inline size_t b_bytes(b_form form) { return form == B_F32 ? 4 : form == B_F16 ? 2 : 1; }

/* n is a multiple of 16. Where PANEL columns lie side by side, few rows may take WIDE of them. ahead: bytes of x.ahead. */
static void product(operands x, int rows, int n, size_t ahead)
{
    bool side = rows <= FEW && x.next == PANEL * b_bytes(x.form);

    if (x.ahead) {
        int wide = side ? n / WIDE : 0, steps = (wide + (n - wide * WIDE + PANEL - 1) / PANEL) * x.n_k;
        x.pace = steps > 0 ? (ahead / (size_t)steps + 31) & ~(size_t)31 : 0;
    }
    for (int at = 0, w; at < n; at += w) {
        w = side && n - at >= WIDE ? WIDE : n - at >= PANEL ? PANEL : LANES;
        if (w == WIDE && side) few_rows(x, rows);
        else if (w == PANEL) many_rows(x, rows);
        else narrow(x, rows);
        x.c += w;
        x.b += (size_t)(w / PANEL) * x.next;
        if (x.form == B_I8) x.unit = x.unit + (at + w) / KV_GROUP - at / KV_GROUP;
        if (x.ahead) x.ahead += (size_t)x.n_k * x.pace;
    }
}

/* Keys begin..end-1 of the block take part for the tile's position i; base is the block's first position. */
SIMD_INLINE void key_range(const attend_job *j, const attend_tile *t, int64_t base, int i, int *begin, int *end)
{
    int64_t p = (int64_t)t->pos0 + i - base, first = j->a->window > 0 ? p - j->a->window + 1 : 0;

    *begin = first > 0 ? (int)first : 0;
    *end = p + 1 < KV_BLOCK ? (int)(p + 1) : KV_BLOCK;
}

/* Rows that are multiplied together from row i on: all where all see the whole block, else whole positions, or an equal part of one. */
static int group_at(const attend_tile *t, int i, int last, bool whole)
{
    int h = t->heads, parts = (h + MANY - 1) / MANY, each = (h + parts - 1) / parts, n;

    if (whole) return last - i;
    if (h <= MANY) n = MANY / h * h;
    else n = h - i % h < each ? h - i % h : each;
    return n < last - i ? n : last - i;
}

/* The right operands of a block, and what to fetch while they are used. */
typedef struct {
    operands k, v;                      /* b, ldb, next, form, unit */
    const uint8_t *ahead_k, *ahead_v;   /* while k, and v, is multiplied; NULL when they are panels, whose fma leave no room */
    size_t k_bytes, v_bytes;            /* of those */
    struct { const uint8_t *from; size_t bytes; } next[2];      /* the next block, while scores become weights; NULL: not panels */
    bool whole;                         /* every row takes all keys */
} sides;

/* Fetches part i of n of the next block. */
SIMD_INLINE void fetch_part(const sides *s, int i, int n)
{
    for (int o = 0; o < 2 && s->next[0].from; o++) {
        size_t part = (s->next[o].bytes / 64 + (size_t)n - 1) / (size_t)n * 64;
        fetch(s->next[o].from + (size_t)i * part, part);
    }
}

/* Scores of rows first..last-1 into w->p. Columns that no row of a group sees are left as they are. */
static void scores(const attend_job *j, const attend_tile *t, attend_work *w, const sides *s, int64_t base, int first, int last)
{
    int d_k = j->kv->d_k, b, e, b1;

    for (int i = first, m; i < last; i += m) {
        operands x = s->k;
        m = group_at(t, i, last, s->whole);
        key_range(j, t, base, i / t->heads, &b, &e);
        key_range(j, t, base, (i + m - 1) / t->heads, &b1, &e);
        b = b / PANEL * PANEL;
        x.c = w->p + i * KV_BLOCK + b, x.ldc = KV_BLOCK;
        x.a = w->q + i * d_k, x.lda = d_k, x.step = 1, x.n_k = d_k;
        x.b += (size_t)(b / PANEL) * x.next;
        x.ahead = i == first ? s->ahead_k : NULL;
        product(x, m, kv_round16(e - b), s->k_bytes);
    }
}

#include "attend_dots_body.h"

/* The scores of one row in vectors from..to-1, capped, those outside begin..end-1 -inf. */
SIMD_INLINE vf mend(const attend_job *j, float *s, int from, int to, int begin, int end)
{
    static const float index[KV_BLOCK] = {
         0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63 };
    vf none = v_set(-INFINITY), cap = v_set(j->a->softcap), b = v_set((float)begin), e = v_set((float)end), top = none;

    for (int v = from; v < to; v++) {
        vf x = v_load(s + v * VN), at = v_load(index + v * VN);
        if (j->a->softcap > 0) x = v_mul(cap, v_tanh(v_div(x, cap)));
        x = v_lt(at, b, none, v_lt(at, e, x, none));
        v_store(s + v * VN, x);
        top = v_max(top, x);
    }
    return top;
}

enum { N_SCORE = KV_BLOCK / VN };       /* vectors in a row of scores */

/* The correction of rows first..last-1 whose largest score so far becomes most. */
static void correct(attend_work *w, const float *most, int first, int last)
{
    float *m = w->chunk.m;

    for (int i = first; i < last; i += VN) {
        int n = last - i < VN ? last - i : VN;
        v_store_part(w->corr + i, v_exp(v_sub(v_load_part(m + i, n), v_load_part(most + i, n))), n);
    }
    memcpy(m + first, most + first, (size_t)(last - first) * sizeof *m);
}

/* Scores of rows first..last-1 become weights, and the rows' largest score, lanes and correction follow. */
static void soften(const attend_job *j, const attend_tile *t, attend_work *w, const sides *sd, int64_t base, int first, int last)
{
    float most[ATTEND_TILE] = { 0 }, *m = w->chunk.m;
    uint8_t from[ATTEND_TILE], to[ATTEND_TILE];

    for (int i = first; i < last; i++) {
        float *s = w->p + i * KV_BLOCK;
        int begin, end;
        vf x;
        key_range(j, t, base, i / t->heads, &begin, &end);
        from[i] = (uint8_t)(begin / VN), to[i] = (uint8_t)((end + VN - 1) / VN);
        if (begin == 0 && end == KV_BLOCK && !(j->a->softcap > 0)) {
            x = v_load(s);
            UNROLL for (int v = 1; v < N_SCORE; v++) x = v_max(x, v_load(s + v * VN));
        } else x = mend(j, s, from[i], to[i], begin, end);
        most[i] = v_top(x);
        if (m[i] > most[i]) most[i] = m[i];
    }
    correct(w, most, first, last);
    for (int i = first; i < last; i++) {
        float *lane = w->lane + i * LANES, *s = w->p + i * KV_BLOCK;
        vf l[VL], top = v_set(m[i]), corr = v_set(w->corr[i]);
        fetch_part(sd, i - first, last - first);
        UNROLL for (int c = 0; c < VL; c++) l[c] = v_mul(v_load(lane + c * VN), corr);
        if (from[i] == 0 && to[i] == N_SCORE) {
            UNROLL for (int k = 0; k < N_SCORE; k++) {
                vf p = v_exp(v_sub(v_load(s + k * VN), top));
                v_store(s + k * VN, p);
                l[k % VL] = v_add(l[k % VL], p);
            }
            UNROLL for (int c = 0; c < VL; c++) v_store(lane + c * VN, l[c]);
            continue;
        }
        UNROLL for (int c = 0; c < VL; c++) v_store(lane + c * VN, l[c]);
        for (int k = from[i]; k < to[i]; k++) {
            vf p = v_exp(v_sub(v_load(s + k * VN), top));
            v_store(s + k * VN, p);
            v_store(lane + k % VL * VN, v_add(v_load(lane + k % VL * VN), p));
        }
    }
}

/* The same for scores that lie across, [64, ATTEND_WIDE_TILE]: lanes are rows, and so are w->lane [16, ATTEND_WIDE_TILE]. */
static void soften_across(const attend_job *j, const attend_tile *t, attend_work *w, int64_t base, int first, int last)
{
    float most[ATTEND_WIDE_TILE], begin[ATTEND_WIDE_TILE], end[ATTEND_WIDE_TILE];
    bool whole = !(j->a->softcap > 0) && first == 0 && last == t->n_pos * t->heads;
    vf none = v_set(-INFINITY), cap = v_set(j->a->softcap);
    int round = kv_round16(t->n_pos * t->heads), from = first / LANES * LANES;

    for (int i = from; i < round; i++) {
        int b = KV_BLOCK, e = 0;
        if (i >= first && i < last) key_range(j, t, base, i / t->heads, &b, &e), whole = whole && b == 0 && e == KV_BLOCK;
        begin[i] = (float)b, end[i] = (float)e, w->corr[i] = 1;
    }
    for (int i = from; i < round; i += VN) {
        float *s = w->p + i;
        vf top = none, b = v_load(begin + i), e = v_load(end + i);
        for (int k = 0; k < KV_BLOCK; k++, s += ATTEND_WIDE_TILE) {
            vf x = v_load(s), at = v_set((float)k);
            if (!whole) {
                if (j->a->softcap > 0) x = v_mul(cap, v_tanh(v_div(x, cap)));
                x = v_lt(at, b, none, v_lt(at, e, x, none));
                v_store(s, x);
            }
            top = v_max(top, x);
        }
        v_store(most + i, v_max(v_load(w->chunk.m + i), top));
    }
    correct(w, most, first, last);
    for (int i = from; i < round; i += VN) {
        vf top = v_load(most + i), corr = v_load(w->corr + i), b = v_load(begin + i), e = v_load(end + i);
        for (int c = 0; c < LANES; c++) {
            vf l = v_mul(v_load(w->lane + c * ATTEND_WIDE_TILE + i), corr);
            for (int k = c; k < KV_BLOCK; k += LANES) {
                float *s = w->p + k * ATTEND_WIDE_TILE + i;
                vf p = v_exp(v_sub(v_load(s), top)), at = v_set((float)k);
                if (!whole) p = v_lt(at, b, v_set(0.0f), v_lt(at, e, p, v_set(0.0f)));
                v_store(s, p);
                l = v_add(l, p);
            }
            v_store(w->lane + c * ATTEND_WIDE_TILE + i, l);
        }
    }
}

/* acc of rows row.. *= corr (unless that was done: scaled), then += p * V over keys begin..end-1. */
static void add_part(operands x, const attend_work *w, int row, int rows, int n, int begin, int end, bool scaled, size_t ahead)
{
    static const float one[12] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

    x.c = w->chunk.acc + (size_t)row * (size_t)w->chunk.stride, x.ldc = w->chunk.stride;
    x.a = w->p + (size_t)row * (size_t)x.lda + (size_t)begin * (size_t)x.step;
    x.scale = scaled ? one : w->corr + row;
    x.b += (size_t)begin * x.ldb, x.n_k = end - begin;
    if (x.form == B_I8) x.unit += begin * x.units;
    product(x, rows, n, ahead);
}

/* acc of rows first..last-1 = acc * corr + p * V. Values that a row may not see are not even multiplied by 0: they may be
 * infinite. What some positions of a group see and others do not is added position by position. */
static void add_values(const attend_job *j, const attend_tile *t, attend_work *w, const sides *s, int64_t base, int first, int last)
{
    int n = kv_round16(j->kv->d_v), h = t->heads, begin, end, b, e;

    for (int i = first, m; i < last; i += m) {
        operands x = s->v;
        m = group_at(t, i, last, s->whole);
        int p0 = i / h, p1 = (i + m - 1) / h;
        x.ahead = i == first ? s->ahead_v : NULL;
        key_range(j, t, base, p1, &begin, &e);
        key_range(j, t, base, p0, &b, &end);
        if (b == begin && e == end) { add_part(x, w, i, m, n, begin, end, false, s->v_bytes); continue; }
        x.ahead = NULL;
        if (begin >= end) {                             /* nothing in common */
            for (int p = p0; p <= p1; p++) {
                key_range(j, t, base, p, &b, &e);
                add_part(x, w, p * h, h, n, b, e, false, 0);
            }
            continue;
        }
        bool low = b < begin;
        for (int p = p0; low && p <= p1; p++) {
            key_range(j, t, base, p, &b, &e);
            add_part(x, w, p * h, h, n, b, begin, false, 0);
        }
        add_part(x, w, i, m, n, begin, end, low, 0);
        for (int p = p0 + 1; p <= p1; p++) {
            key_range(j, t, base, p, &b, &e);
            if (e > end) add_part(x, w, p * h, h, n, end, e, true, 0);
        }
    }
}

/* A block of keys as panels [64 / PANEL][d_k][PANEL] of floats, one of values as [.. / PANEL][64][PANEL]. */
SIMD_INLINE void keys_of(b_form form, float *y, const operands *k, int d_k)
{
    const uint8_t *b = k->b;
    size_t ldb = k->ldb;

    for (int c = 0; c < KV_BLOCK; c += PANEL, y += d_k * PANEL)
        for (int d = 0; d < d_k; d++)
            UNROLL for (int v = 0; v < PANEL; v += VN)
                v_store(y + d * PANEL + v, load_b(form, b + (size_t)d * ldb + (size_t)c * b_bytes(form), v, NULL));
}

SIMD_INLINE void values_of(b_form form, float *y, const operands *x, int n)
{
    const uint8_t *b = x->b;
    const float *unit = x->unit;
    size_t ldb = x->ldb;

    for (int at = 0; at < n; at += PANEL, y += KV_BLOCK * PANEL) {
        int w = n - at < PANEL ? n - at : PANEL;
        for (int k = 0; k < KV_BLOCK; k++)
            for (int v = 0; v < w; v += VN)
                v_store(y + k * PANEL + v, load_b(form, b + (size_t)k * ldb + (size_t)at * b_bytes(form), v,
                                                  form == B_I8 ? unit + k * x->units + at / KV_GROUP : NULL));
    }
}

static void keys_to_panels(float *y, const operands *k, int d_k)
{
    switch (k->form) {
    case B_F32: keys_of(B_F32, y, k, d_k); break;
    case B_F16: keys_of(B_F16, y, k, d_k); break;
    case B_F8:  keys_of(B_F8, y, k, d_k); break;
    case B_I8:  break;                  /* scores are made of its codes */
    }
}

static void values_to_panels(float *y, const operands *x, int n)
{
    switch (x->form) {
    case B_F32: values_of(B_F32, y, x, n); break;
    case B_F16: values_of(B_F16, y, x, n); break;
    case B_F8:  values_of(B_F8, y, x, n); break;
    case B_I8:  values_of(B_I8, y, x, n); break;
    }
}

/* What b is; the rest is set where it is multiplied. (A compound literal would first fill all with zeros, for each block.) */
static void right_side(operands *x, const uint8_t *b, size_t ldb, size_t next, b_form form)
{
    x->b = b, x->ldb = ldb, x->next = next, x->form = form, x->scale = x->unit = NULL, x->units = 0;
}

/* The block of position base as it lies in the cache; its last keys are never read past the block. */
static void cached(sides *s, const attend_job *j, const attend_tile *t, attend_work *w, int64_t base)
{
    const llm_kv_layer *kv = j->kv;
    size_t e = kv->dtype == DT_Q8_0 ? 1 : kv_element(kv), stride = (size_t)kv_v_stride(kv);
    b_form form = kv->dtype == DT_F16 ? B_F16 : kv->dtype == DT_F32 ? B_F32 : kv->dtype == DT_F8_E4M3 ? B_F8 : B_I8;
    uint8_t *k = kv_k_block(kv, t->seq, t->kv_head, base), *v = kv_v_block(kv, t->seq, t->kv_head, base);

    right_side(&s->k, k, KV_BLOCK * e, PANEL * e, form);
    right_side(&s->v, v, stride * e, PANEL * e, form);
    s->v.lda = KV_BLOCK, s->v.step = 1;
    s->ahead_k = v, s->ahead_v = kv_k_block(kv, t->seq, t->kv_head, base + KV_BLOCK), s->next[0].from = NULL;
    s->k_bytes = kv_v_bytes(kv), s->v_bytes = kv_k_bytes(kv);
    if (form == B_I8) {
        s->v.b = v + (size_t)(KV_BLOCK * 2 * (kv->d_v / KV_GROUP)), s->v.ldb = (size_t)kv->d_v;
        s->v.unit = w->unit, s->v.units = kv->d_v / KV_GROUP;
        for (int i = 0; i < KV_BLOCK * s->v.units; i += VN) v_store(w->unit + i, v_load_f16((const uint16_t *)(const void *)v + i));
    }
}

/* Rows of a latent cache as floats; scores and sums come from the same rows. */
static void latent_block(const attend_job *j, const attend_tile *t, attend_work *w, sides *s, int64_t base, int first, int last)
{
    int d_k = j->kv->d_k, stride = kv_v_stride(j->kv), rows = t->n_pos * t->heads;
    operands x = { .c = w->p, .a = w->k, .b = (const uint8_t *)w->q, .ldb = ATTEND_WIDE_TILE * sizeof(float), .next = PANEL * sizeof(float),
                   .ldc = ATTEND_WIDE_TILE, .lda = stride, .step = 1, .n_k = d_k, .form = B_F32 };

    for (int i = 0; i < KV_BLOCK * stride; i += VN) {
        __builtin_prefetch(s->ahead_v + (size_t)i * b_bytes(s->k.form), 0, 2);
        v_store(w->k + i, load_b(s->k.form, s->k.b, i, NULL));
    }
    product(x, KV_BLOCK, kv_round16(rows), 0);
    soften_across(j, t, w, base, first, last);
    right_side(&s->v, (const uint8_t *)w->k, (size_t)stride * sizeof(float), PANEL * sizeof(float), B_F32);
    s->v.lda = 1, s->v.step = ATTEND_WIDE_TILE;
    s->ahead_v = NULL;
    add_values(j, t, w, s, base, first, last);
}

static void block(const attend_job *j, const attend_tile *t, attend_work *w, int64_t base)
{
    const llm_kv_layer *kv = j->kv;
    int64_t lo = base - t->pos0, hi = j->a->window > 0 ? lo + KV_BLOCK - 1 + j->a->window : t->n_pos;
    int first = (int)(lo > 0 ? lo : 0) * t->heads, last = (int)(hi < t->n_pos ? hi : t->n_pos) * t->heads;
    int begin, end;
    sides s;

    if (first >= last) return;
    cached(&s, j, t, w, base);
    key_range(j, t, base, first / t->heads, &begin, &end);
    s.whole = end == KV_BLOCK;
    key_range(j, t, base, (last - 1) / t->heads, &begin, &end);
    s.whole = s.whole && begin == 0;
    if (kv->latent) { latent_block(j, t, w, &s, base, first, last); return; }
    if (last - first > 2 * MANY) {
        if (s.k.form != B_I8) {
            keys_to_panels(w->k, &s.k, kv->d_k);
            s.k.b = (const uint8_t *)w->k, s.k.ldb = PANEL * sizeof(float), s.k.next = (size_t)kv->d_k * PANEL * sizeof(float), s.k.form = B_F32;
        }
        values_to_panels(w->v, &s.v, kv_round16(kv->d_v));
        s.v.b = (const uint8_t *)w->v, s.v.ldb = PANEL * sizeof(float), s.v.next = KV_BLOCK * PANEL * sizeof(float), s.v.form = B_F32;
        s.next[0].from = s.ahead_v, s.next[0].bytes = s.v_bytes;
        s.next[1].from = kv_v_block(kv, t->seq, t->kv_head, base + KV_BLOCK), s.next[1].bytes = s.k_bytes;
        s.ahead_k = s.ahead_v = NULL;
    }
    if (s.k.form == B_I8) dot_scores(j, t, w, &s, base, first, last);
    else scores(j, t, w, &s, base, first, last);
    soften(j, t, w, &s, base, first, last);
    add_values(j, t, w, &s, base, first, last);
}

/* Queries times scale: side by side; for a latent cache across, with zeros up to a multiple of 16; for Q8_0 rounded. */
static void gather(const attend_job *j, const attend_tile *t, attend_work *w)
{
    int rows = t->n_pos * t->heads, round = kv_round16(rows), d_k = j->kv->d_k, d;
    float scale = j->a->scale, *wide = j->kv->dtype == DT_Q8_0 ? w->k : w->q;

    for (int i = 0; i < (j->kv->latent ? round : rows); i++) {
        const float *q = row_at(j->q, t->row0 + i / t->heads) + (size_t)(t->head + i % t->heads) * (size_t)d_k;
        float *y = wide + (size_t)i * (size_t)d_k;
        if (j->kv->latent) {
            for (d = 0; d < d_k; d++) w->q[(size_t)d * ATTEND_WIDE_TILE + (size_t)i] = i < rows ? q[d] * scale : 0;
            continue;
        }
        if (j->kv->dtype == DT_Q8_0) y = wide;
        for (d = 0; d + VN <= d_k; d += VN) v_store(y + d, v_mul(v_load(q + d), v_set(scale)));
        if (d < d_k) v_store_part(y + d, v_mul(v_load_part(q + d, d_k - d), v_set(scale)), d_k - d);
        if (j->kv->dtype == DT_Q8_0) dot_query(j, w, i, y);
    }
}

static void chunk(const attend_job *j, const attend_tile *t, attend_work *w, int64_t c)
{
    int rows = t->n_pos * t->heads;
    int64_t stop = (c + 1) * ATTEND_CHUNK, all = (int64_t)t->pos0 + t->n_pos;

    for (int i = 0; i < kv_round16(rows); i++) w->chunk.m[i] = -INFINITY;
    memset(w->lane, 0, (size_t)(j->kv->latent ? ATTEND_WIDE_TILE : rows) * LANES * sizeof(float));
    memset(w->chunk.acc, 0, (size_t)rows * (size_t)w->chunk.stride * sizeof(float));
    for (int64_t base = c * ATTEND_CHUNK; base < stop && base < all; base += KV_BLOCK) block(j, t, w, base);
    for (int i = 0; i < rows; i++) {
        float *lane = w->lane + i * LANES, across[LANES];
        for (int l = 0; l < LANES && j->kv->latent; l++) across[l] = w->lane[l * ATTEND_WIDE_TILE + i];
        w->chunk.l[i] = lanes_sum(j->kv->latent ? across : lane);
    }
}

SIMD_INLINE float exp1(float x)
{
    float y;
    v_store_part(&y, v_exp(v_load_part(&x, 1)), 1);
    return y;
}

static void merge(attend_state to, attend_state st, int rows, int width)
{
    for (int i = 0; i < rows; i++) {
        float *acc = to.acc + (size_t)i * (size_t)to.stride, *add = st.acc + (size_t)i * (size_t)st.stride;
        if (st.l[i] == 0) continue;
        if (to.l[i] == 0) {
            to.m[i] = st.m[i], to.l[i] = st.l[i];
            memcpy(acc, add, (size_t)width * sizeof *acc);
            continue;
        }
        float m = to.m[i] > st.m[i] ? to.m[i] : st.m[i], a = exp1(to.m[i] - m), b = exp1(st.m[i] - m);
        to.l[i] = fmaf(to.l[i], a, st.l[i] * b);
        to.m[i] = m;
        for (int d = 0; d < width; d += VN) v_store(acc + d, v_fma(v_load(acc + d), v_set(a), v_mul(v_load(add + d), v_set(b))));
    }
}

static void finish(const attend_job *j, const attend_tile *t, attend_state st)
{
    int d_v = j->kv->d_v, d;

    for (int i = 0; i < t->n_pos * t->heads; i++) {
        int h = t->head + i % t->heads;
        float scale = 1, l = st.l[i], *acc = st.acc + (size_t)i * (size_t)st.stride;
        float *o = row_at(j->o, t->row0 + i / t->heads) + (size_t)h * (size_t)d_v;
        if (j->sink != NULL) {
            float m = st.m[i] > j->sink[h] ? st.m[i] : j->sink[h];
            scale = exp1(st.m[i] - m);
            l = fmaf(l, scale, exp1(j->sink[h] - m));
        }
        scale *= 1 / l;
        for (d = 0; d + VN <= d_v; d += VN) v_store(o + d, v_mul(v_load(acc + d), v_set(scale)));
        if (d < d_v) v_store_part(o + d, v_mul(v_load(acc + d), v_set(scale)), d_v - d);
    }
}

const attend_fns SIMD_NAME(attend) = { gather, chunk, merge, finish };
