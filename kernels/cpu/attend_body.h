/* attend_body.h - one chunk of keys for a tile of queries, over simd.h. attend_ref.c says in which order things are added.
 *
 * Both products are outer products: scores [rows, 64] = q [rows, d_k] * K [d_k, 64], acc [rows, d_v] += p [rows, 64] * V
 * [64, d_v]; a tile of MR x NV vectors stays in registers while k ascends. A latent cache holds rows: there the scores are
 * [64, rows] = K [64, d_k] * q [d_k, rows], so that nothing of the cache need be transposed. Bound: many rows, fma
 * (2 * 64 * (d_k + d_v) flops per row and block); few rows, the bytes of K and V, which are converted on the way. */
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

/* c [rows, n] (+)= a [rows, n_k] * b [n_k, n]. scale [rows]: c is multiplied by it first; NULL: c starts from 0.
 * half: b is F16, else float. ahead: bytes that will be read next, fetched while this is computed; NULL: none. */
typedef struct {
    float *c;
    const float *a, *scale;
    const uint8_t *b, *ahead;
    int ldc, lda, ldb, n_k;
    bool half;
} operands;

SIMD_INLINE void micro(int mr, int nv, bool half, bool add, const operands *x)
{
    vf acc[MANY > FEW ? MANY : FEW][FEW_NV];
    const float *a = x->a, *bf = (const float *)(const void *)x->b;
    const uint16_t *bh = (const uint16_t *)(const void *)x->b;
    int lda = x->lda, n_k = x->n_k;
    size_t ldb = (size_t)x->ldb;

    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int v = 0; v < nv; v++)
            acc[i][v] = add ? v_mul(v_load(x->c + i * x->ldc + v * VN), v_set(x->scale[i])) : v_set(0.0f);
    for (int k = 0; k < n_k; k++) {
        vf y[FEW_NV];
        if (half && x->ahead) {
            __builtin_prefetch(x->ahead + (size_t)k * 128, 0, 2);
            __builtin_prefetch(x->ahead + (size_t)k * 128 + 64, 0, 2);
        }
        UNROLL for (int v = 0; v < nv; v++) y[v] = half ? v_load_f16(bh + v * VN) : v_load(bf + v * VN);
        UNROLL for (int i = 0; i < mr; i++) {
            vf s = v_set(a[i * lda + k]);
            UNROLL for (int v = 0; v < nv; v++) acc[i][v] = v_fma(s, y[v], acc[i][v]);
        }
        if (half) bh += ldb; else bf += ldb;
    }
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int v = 0; v < nv; v++) v_store(x->c + i * x->ldc + v * VN, acc[i][v]);
}

/* One column of tiles, nv vectors wide and at most `most` rows at a time. */
#define TILE_OF(rows) case rows: micro(rows <= most ? rows : 1, nv, half, add, &x); break;
SIMD_INLINE void column(int most, int nv, bool half, bool add, operands x, int rows)
{
    for (int m; rows > 0; rows -= m) {
        m = rows < most ? rows : most;
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
    if (x.half) { if (x.scale) column(most, nv, true, true, x, rows); else column(most, nv, true, false, x, rows); } \
    else        { if (x.scale) column(most, nv, false, true, x, rows); else column(most, nv, false, false, x, rows); } \
}
COLUMNS(few_rows, FEW, FEW_NV)
COLUMNS(many_rows, MANY, MANY_NV)
COLUMNS(narrow, MANY, VL)

/* n is a multiple of 16; rows at most ATTEND_TILE. */
static void product(operands x, int rows, int n)
{
    int wide = (rows <= FEW ? FEW_NV : MANY_NV) * VN, w;

    for (int at = 0; at < n; at += w) {
        w = n - at >= wide ? wide : LANES;
        if (w != wide) narrow(x, rows);
        else if (rows <= FEW) few_rows(x, rows);
        else many_rows(x, rows);
        x.c += w;
        x.b += (size_t)w * (x.half ? 2 : 4);
        if (x.ahead) x.ahead += (size_t)x.n_k * 128;
    }
}

/* Keys begin..end-1 of the block take part in row i; base is the block's first position. */
static void key_range(const attend_job *j, const attend_tile *t, int64_t base, int row, int *begin, int *end)
{
    int64_t p = (int64_t)t->pos0 + row / t->heads, first = j->a->window > 0 ? p - j->a->window + 1 : 0;

    *begin = first > base ? (int)(first - base < KV_BLOCK ? first - base : KV_BLOCK) : 0;
    *end = p + 1 - base < KV_BLOCK ? (int)(p + 1 - base) : KV_BLOCK;
    if (*end < *begin) *end = *begin;
}

enum { N_SCORE = KV_BLOCK / VN };       /* vectors in a row of scores */

/* Scales and caps the 64 scores of a row, makes those outside begin..end-1 -inf, and returns the largest. */
SIMD_INLINE float finish_scores(const attend_job *j, float *s, int begin, int end)
{
    vf x[N_SCORE], scale = v_set(j->a->scale), cap = v_set(j->a->softcap);

    UNROLL for (int i = 0; i < N_SCORE; i++) x[i] = v_mul(v_load(s + i * VN), scale);
    if (j->a->softcap > 0)
        for (int i = 0; i < N_SCORE; i++) x[i] = v_mul(cap, v_tanh(v_div(x[i], cap)));
    UNROLL for (int i = 0; i < N_SCORE; i++) v_store(s + i * VN, x[i]);
    if (begin > 0 || end < KV_BLOCK) {
        for (int i = 0; i < begin; i++) s[i] = -INFINITY;
        for (int i = end; i < KV_BLOCK; i++) s[i] = -INFINITY;
        for (int i = 0; i < N_SCORE; i++) x[i] = v_load(s + i * VN);
    }
    UNROLL for (int i = 1; i < N_SCORE; i++) x[0] = v_max(x[0], x[i]);
    return v_top(x[0]);
}

/* Scores of rows first..last-1 become weights, and the rows' largest score, lanes and correction follow. */
static void soften(const attend_job *j, const attend_tile *t, attend_work *w, int64_t base, int first, int last)
{
    float *m = w->chunk.m, most[ATTEND_TILE + 16], *s;

    for (int i = first, begin, end; i < last; i++) {
        key_range(j, t, base, i, &begin, &end);
        most[i] = finish_scores(j, w->p + i * KV_BLOCK, begin, end);
        if (m[i] > most[i]) most[i] = m[i];
    }
    for (int i = first; i < last; i += VN) {
        int n = last - i < VN ? last - i : VN;
        v_store_part(w->corr + i, v_exp(v_sub(v_load_part(m + i, n), v_load_part(most + i, n))), n);
    }
    memcpy(m + first, most + first, (size_t)(last - first) * sizeof *m);
    for (int i = first; i < last; i++) {
        float *lane = w->lane + i * LANES;
        vf l[VL], top = v_set(m[i]), corr = v_set(w->corr[i]);
        s = w->p + i * KV_BLOCK;
        UNROLL for (int c = 0; c < VL; c++) l[c] = v_mul(v_load(lane + c * VN), corr);
        UNROLL for (int k = 0; k < N_SCORE; k++) {
            vf p = v_exp(v_sub(v_load(s + k * VN), top));
            v_store(s + k * VN, p);
            l[k % VL] = v_add(l[k % VL], p);
        }
        UNROLL for (int c = 0; c < VL; c++) v_store(lane + c * VN, l[c]);
    }
}

/* Rows from `row` on, at most last - row, to be multiplied together, and the keys begin..end-1 that all of them see: as many
 * as see the same keys, or up to MANY that have some in common. Positions ascend, so the first row's keys end first and the
 * last row's begin last. */
static int rows_together(const attend_job *j, const attend_tile *t, int64_t base, int row, int last, int *begin, int *end)
{
    int n = 1, m, b, e, b0, e0;

    key_range(j, t, base, row, begin, end);
    for (; row + n < last; n++) {
        key_range(j, t, base, row + n, &b, &e);
        if (b != *begin || e != *end) break;
    }
    m = last - row < MANY ? last - row : MANY;
    if (n >= m) return n;
    key_range(j, t, base, row + m - 1, &b0, &e0);
    if (b0 >= *end) return n;
    *begin = b0;
    return m;
}

/* acc of rows first..last-1 = acc * corr + p * V. Values that a row may not see are not even multiplied by 0: they may be
 * infinite. What rows_together leaves over at either end goes row by row. */
static void add_values(const attend_job *j, const attend_tile *t, attend_work *w, int64_t base, int first, int last, const uint8_t *v, bool half,
                       const uint8_t *ahead)
{
    int ldb = kv_v_stride(j->kv), ldc = w->chunk.stride, n = kv_round16(j->kv->d_v), begin, end, b, e;
    size_t bytes = (size_t)ldb * (half ? 2 : 4);

    for (int i = first, m; i < last; i += m) {
        m = rows_together(j, t, base, i, last, &begin, &end);
        operands all = { w->chunk.acc + (size_t)i * (size_t)ldc, w->p + i * KV_BLOCK, w->corr + i, v, i == first ? ahead : NULL,
                         ldc, KV_BLOCK, ldb, 0, half }, one;
        for (int r = 0; r < m; r++) {
            key_range(j, t, base, i + r, &b, &e);
            if (b >= begin) continue;
            one = all;
            one.c += r * ldc, one.a += r * KV_BLOCK + b, one.scale += r, one.b += (size_t)b * bytes, one.n_k = begin - b, one.ahead = NULL;
            product(one, 1, n);
            w->corr[i + r] = 1;
        }
        one = all;
        one.a += begin, one.b += (size_t)begin * bytes, one.n_k = end - begin;
        product(one, m, n);
        for (int r = 0; r < m; r++) {
            key_range(j, t, base, i + r, &b, &e);
            if (e <= end) continue;
            w->corr[i + r] = 1;
            one = all;
            one.c += r * ldc, one.a += r * KV_BLOCK + end, one.scale += r, one.b += (size_t)end * bytes, one.n_k = e - end, one.ahead = NULL;
            product(one, 1, n);
        }
    }
}

static void to_floats(float *y, const uint8_t *x, int n, bool half)
{
    for (int i = 0; i < n; i += VN)
        v_store(y + i, half ? v_load_f16((const uint16_t *)(const void *)x + i) : v_load((const float *)(const void *)x + i));
}

/* A Q8_0 block of keys as [d_k, 64] floats, and one of values as [64, v_stride]. */
static void q8_keys(float *y, uint8_t *block, int d_k)
{
    for (int d = 0; d < d_k; d += KV_GROUP) {
        uint16_t *scale;
        int8_t *q;
        kv_q8_key(block, 0, d, &scale, &q);
        for (int c = 0; c < KV_BLOCK; c += VN) {
            vf s = v_load_f16(scale + c);
            for (int i = 0; i < KV_GROUP; i++) v_store(y + (d + i) * KV_BLOCK + c, v_mul(v_load_i8(q + i * KV_BLOCK + c), s));
        }
    }
}

static void q8_values(const llm_kv_layer *kv, float *y, uint8_t *block)
{
    for (int c = 0; c < KV_BLOCK; c++)
        for (int d = 0; d < kv->d_v; d += KV_GROUP) {
            uint16_t *scale;
            int8_t *q;
            kv_q8_value(kv, block, c, d, &scale, &q);
            vf s = v_set(f16_to_float(*scale));
            for (int i = 0; i < KV_GROUP; i += VN) v_store(y + c * kv->d_v + d + i, v_mul(v_load_i8(q + i), s));
        }
}

/* Scores of rows first..last-1 against the block at keys into w->p. */
static void scores(const attend_job *j, attend_work *w, int rows, int first, int last, const uint8_t *keys, bool half, const uint8_t *ahead)
{
    int d_k = j->kv->d_k;
    operands x = { w->p + first * KV_BLOCK, w->q + first * d_k, NULL, keys, ahead, KV_BLOCK, d_k, KV_BLOCK, d_k, half };

    if (!j->kv->latent) { product(x, last - first, KV_BLOCK); return; }
    x = (operands){ w->pt, (const float *)(const void *)keys, NULL, (const uint8_t *)w->q, NULL, ATTEND_TILE, kv_v_stride(j->kv), ATTEND_TILE, d_k, false };
    product(x, KV_BLOCK, kv_round16(rows));
    for (int i = first; i < last; i++)
        for (int k = 0; k < KV_BLOCK; k++) w->p[i * KV_BLOCK + k] = w->pt[k * ATTEND_TILE + i];
}

static void block(const attend_job *j, const attend_tile *t, attend_work *w, int64_t base)
{
    const llm_kv_layer *kv = j->kv;
    uint8_t *k0 = kv_k_block(kv, t->seq, t->kv_head, base), *v0 = kv_v_block(kv, t->seq, t->kv_head, base);
    const uint8_t *k = k0, *v = v0;
    int64_t lo = base - t->pos0, hi = j->a->window > 0 ? lo + KV_BLOCK - 1 + j->a->window : t->n_pos;
    int first = (int)(lo > 0 ? lo : 0) * t->heads, last = (int)(hi < t->n_pos ? hi : t->n_pos) * t->heads;
    bool half = kv->dtype == DT_F16, convert = kv->latent || (half && last - first > 2 * MANY);

    if (first >= last) return;
    if (kv->dtype == DT_Q8_0) {
        q8_keys(w->k, k0, kv->d_k), q8_values(kv, w->v, v0);
        k = (const uint8_t *)w->k, v = (const uint8_t *)w->v;
    } else if (convert) {
        to_floats(w->k, k, KV_BLOCK * (kv->latent ? kv_v_stride(kv) : kv->d_k), half), k = (const uint8_t *)w->k;
        if (!kv->latent) to_floats(w->v, v, KV_BLOCK * kv_v_stride(kv), half);
        v = (const uint8_t *)(kv->latent ? w->k : w->v);
        half = false;
    }
    scores(j, w, t->n_pos * t->heads, first, last, k, half, v0);
    soften(j, t, w, base, first, last);
    add_values(j, t, w, base, first, last, v, half, kv_k_block(kv, t->seq, t->kv_head, base + KV_BLOCK));
}

static void chunk(const attend_job *j, const attend_tile *t, attend_work *w, int64_t c)
{
    int rows = t->n_pos * t->heads;
    int64_t stop = (c + 1) * ATTEND_CHUNK, all = (int64_t)t->pos0 + t->n_pos;

    for (int i = 0; i < rows; i++) w->chunk.m[i] = -INFINITY;
    memset(w->lane, 0, (size_t)rows * LANES * sizeof(float));
    memset(w->chunk.acc, 0, (size_t)rows * (size_t)w->chunk.stride * sizeof(float));
    for (int64_t base = c * ATTEND_CHUNK; base < stop && base < all; base += KV_BLOCK) block(j, t, w, base);
    for (int i = 0; i < rows; i++) w->chunk.l[i] = lanes_sum(w->lane + i * LANES);
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

const attend_fns SIMD_NAME(attend) = { chunk, merge, finish };
