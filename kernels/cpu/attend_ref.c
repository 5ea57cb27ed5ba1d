/* attend_ref.c - attention of one query after the other: the reference, and the order of every sum.
 *
 * For one query row at position p and one head, with keys j in (p - window, p], or [0, p] without a window:
 *
 *   score_j   q is multiplied by scale first. A chain of fma over d ascending, from 0; then cap * tanh(score / cap) where there
 *             is a cap. Keys of Q8_0: q (times scale) is rounded like a key (kv.h), and per group of 32 ascending, from 0,
 *             score = fma(sum of the products of codes, factor of q * factor of the key, score).
 *   blocks    of 64 positions, borders at multiples of 64. Keys of a block that the query may not see take no part; a
 *             block in which it sees none is skipped. M = max(m, scores of the block); c = exp(m - M); 16 lanes
 *             l_i = l_i * c, then l_i += p_j for j = i, i+16, i+32, i+48 of the block, p_j = exp(score_j - M);
 *             acc_d = acc_d * c, then acc_d = fma(p_j, v_jd, acc_d), j ascending; m = M.
 *   chunks    of 512 positions, borders at multiples of 512. Each starts fresh (m = -inf, l = 0, acc = 0) and ends by
 *             adding up the lanes (lanes_sum in simd.h). Chunks may therefore be computed anywhere, by any thread.
 *   merging   in ascending order; the first one is taken as it is, then with M = max(m, m'), a = exp(m - M),
 *             b = exp(m' - M): l = fma(l, a, l' * b), acc_d = fma(acc_d, a, acc'_d * b).
 *   end       o_d = acc_d * (1 / l). With a sink s: M = max(m, s), a = exp(m - M), l = fma(l, a, exp(s - M)),
 *             o_d = acc_d * (a * (1 / l)).
 *
 * max(x, y) is x > y ? x : y; exp and tanh are those of math_body.h. No term depends on other rows, on threads, or on how
 * the batch was cut. */
#define SIMD_SCALAR
#include "attend.h"
#include "kv.h"
#include "simd.h"
#include "math_body.h"

typedef struct { float m, l, acc[ATTEND_MAX_D]; bool any; } state;

/* A query times scale; of Q8_0 its codes and factors. */
typedef struct { float q[ATTEND_MAX_D]; int8_t code[ATTEND_MAX_D]; uint16_t unit[ATTEND_MAX_D / KV_GROUP]; } query;

static void make_query(const attend_job *j, query *y, const float *q)
{
    for (int d = 0; d < j->kv->d_k; d++) y->q[d] = q[d] * j->a->scale;
    if (j->kv->dtype == DT_Q8_0) j->row->to_q8(y->unit, y->code, y->q, j->kv->d_k);
}

static float score(const attend_job *j, const query *q, uint8_t *keys, int cell)
{
    float s = 0;

    for (int d = 0; d < j->kv->d_k && j->kv->dtype != DT_Q8_0; d++) s = fmaf(q->q[d], kv_element_at(j->kv, keys, cell, d, false), s);
    for (int g = 0; g < j->kv->d_k / KV_GROUP && j->kv->dtype == DT_Q8_0; g++) {
        uint16_t *unit;
        int8_t *code;
        int32_t sum = 0;
        for (int d = g * KV_GROUP; d < (g + 1) * KV_GROUP; d++) kv_q8_key(keys, cell, d, &unit, &code), sum += q->code[d] * *code;
        s = fmaf((float)sum, f16_to_float(q->unit[g]) * f16_to_float(*unit), s);
    }
    return j->a->softcap > 0 ? j->a->softcap * v_tanh(s / j->a->softcap) : s;
}

/* Keys begin..end-1 of the block of position pos. */
static void block(const attend_job *j, state *st, float *lane, const query *q, int seq, int head, int64_t pos, int begin, int end)
{
    uint8_t *keys = kv_k_block(j->kv, seq, head, pos), *values = kv_v_block(j->kv, seq, head, pos);
    float s[KV_BLOCK], m = st->m, c;

    for (int i = begin; i < end; i++) s[i] = score(j, q, keys, i), m = v_max(m, s[i]);
    c = v_exp(st->m - m);
    for (int i = 0; i < LANES; i++) lane[i] *= c;
    for (int i = begin; i < end; i++) s[i] = v_exp(s[i] - m), lane[i % LANES] += s[i];
    for (int d = 0; d < j->kv->d_v; d++) {
        float acc = st->acc[d] * c;
        for (int i = begin; i < end; i++) acc = fmaf(s[i], kv_element_at(j->kv, values, i, d, true), acc);
        st->acc[d] = acc;
    }
    st->m = m;
}

/* The chunk of positions begin..end-1, all of which the query sees. */
static void chunk(const attend_job *j, state *st, const query *q, int seq, int head, int64_t begin, int64_t end)
{
    float lane[LANES] = { 0 };

    st->m = -INFINITY;
    for (int d = 0; d < j->kv->d_v; d++) st->acc[d] = 0;
    for (int64_t pos = begin; pos < end;) {
        int64_t base = pos / KV_BLOCK * KV_BLOCK, next = base + KV_BLOCK < end ? base + KV_BLOCK : end;
        block(j, st, lane, q, seq, head, pos, (int)(pos - base), (int)(next - base));
        pos = next;
    }
    st->l = lanes_sum(lane);
}

static void merge(state *to, const state *st, int d_v)
{
    float m = v_max(to->m, st->m), a = v_exp(to->m - m), b = v_exp(st->m - m);

    to->l = fmaf(to->l, a, st->l * b);
    for (int d = 0; d < d_v; d++) to->acc[d] = fmaf(to->acc[d], a, st->acc[d] * b);
    to->m = m;
}

static void row(const attend_job *j, float *o, const float *x, int seq, int h, int64_t p)
{
    int d_v = j->kv->d_v, head = h / (j->a->n_head / j->kv->n_kv_head);
    int64_t first = j->a->window > 0 && p >= j->a->window ? p - j->a->window + 1 : 0;
    state total, st;
    float scale = 1;
    query q;

    make_query(j, &q, x);
    for (int64_t pos = first; pos <= p;) {
        int64_t next = (pos / ATTEND_CHUNK + 1) * ATTEND_CHUNK;
        next = next < p + 1 ? next : p + 1;
        if (pos == first) chunk(j, &total, &q, seq, head, pos, next);
        else chunk(j, &st, &q, seq, head, pos, next), merge(&total, &st, d_v);
        pos = next;
    }
    if (j->sink != NULL) {
        float m = v_max(total.m, j->sink[h]);
        scale = v_exp(total.m - m);
        total.l = fmaf(total.l, scale, v_exp(j->sink[h] - m));
    }
    scale *= 1 / total.l;
    for (int d = 0; d < d_v; d++) o[d] = total.acc[d] * scale;
}

/* Item i: head i % n_head of row i / n_head. */
static void items(void *arg, int64_t begin, int64_t end, int thread)
{
    const attend_job *j = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t r = i / j->a->n_head, h = i % j->a->n_head;
        row(j, row_at(j->o, r) + h * j->kv->d_v, row_at(j->q, r) + h * j->kv->d_k, j->b->seq[r], (int)h, j->b->pos[r]);
    }
}

void attend_run_ref(cpu_impl *impl, attend_job *j) { pool_run(impl->pool, (int64_t)j->q.n * j->a->n_head, 1, items, j); }
