/* sampler.c - from one row of logits to one token.
 *
 * The steps, in the order of llama.cpp's default chain: bias, penalties, top-k, typical, top-p, min-p, temperature,
 * draw. Probabilities of the filters are those before the temperature. Each filter leaves at least one token; among
 * equal logits the lowest id comes first. Every sum runs in ascending id (or, for the mass of a filter, in
 * descending preference), in double, with an exponential of our own: the draw is the same on every machine. The weights of a whole
 * vocabulary, which take the most time, are floats that every instruction set computes alike (softmax_sum.h). */
#include "sampler.h"
#include "checked.h"
#include "floats.h"
#include "peak.h"
#include "random.h"
#include "softmax_sum.h"
#include "threads.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double weight;                      /* exp(logit - best), of the last softmax */
    double key;                         /* what a filter prefers, greater first */
    float logit;
    int32_t id;
} cand;

enum { BLOCK = PEAK_OF };               /* ids whose greatest logit is known */
_Static_assert((int)BLOCK == (int)SOFTMAX_BLOCK, "weights are summed by the same blocks");

struct llm_sampler {
    llm_sampler_options opt;            /* bias points to our copy */
    int n_row, n_vocab, n_block;
    cand *cand;                         /* [n_vocab] */
    const float *raw;                   /* [n_vocab] the logits of this pick */
    float *logit;                       /* [n_vocab] with bias and penalties; only blocks that have one are filled */
    uint8_t *changed;                   /* [n_block] whether it is filled */
    float *peak;                        /* [n_block] the greatest logit of each block */
    double *before;                     /* [n_block] the weight of all ids before each block */
    softmax_sum_fn weigh;
    int32_t *count;                     /* [n_vocab] occurrences looked back on; NULL: no penalties */
    llm_token *listed;                  /* [n_listed] all ids that have a count, and some that had */
    uint8_t *is_listed;                 /* [n_vocab] */
    int n_listed;
    llm_token *recent;                  /* [n_recent] ring; NULL: all tokens count */
    int n_recent, n_seen;               /* n_seen stops at n_recent */
    int next;
};

/* ---- a heap over candidates; before(a, b): a belongs nearer to the root ---- */

typedef bool (*order)(const cand *a, const cand *b);

static bool better(const cand *a, const cand *b) { return a->key > b->key || (a->key == b->key && a->id < b->id); }
static bool worse(const cand *a, const cand *b) { return better(b, a); }
static bool later(const cand *a, const cand *b) { return a->id > b->id; }

static void sift(cand *h, int n, int i, order before)
{
    cand moving = h[i];

    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&h[child + 1], &h[child])) child++;
        if (!before(&h[child], &moving)) break;
        h[i] = h[child];
    }
    h[i] = moving;
}

static void heapify(cand *h, int n, order before)
{
    for (int i = n / 2 - 1; i >= 0; i--) sift(h, n, i, before);
}

static void sort_by_id(cand *c, int n)
{
    heapify(c, n, later);
    while (n > 1) {
        cand last = c[0];
        c[0] = c[--n], c[n] = last;
        sift(c, n, 0, later);
    }
}

/* ---- softmax ---- */

/* e^x for x <= 0: x = n ln 2 + r, |r| <= ln(2)/2, Taylor to r^13 (the next term is below 2^-57); 0 from -708 on. Four pairs side by
 * side: every processor has vectors of two, and one chain of steps alone would wait for itself. */
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_bits __attribute__((vector_size(16)));
typedef int32_t pair_int __attribute__((vector_size(8)));
enum { SIDE = 4 };

static inline void exp_neg8(pair x[SIDE])
{
    static const double c[] = { 1. / 6227020800., 1. / 479001600, 1. / 39916800, 1. / 3628800, 1. / 362880, 1. / 40320, 1. / 5040, 1. / 720,
                                1. / 120, 1. / 24, 1. / 6, 1. / 2, 1., 1. };
    const double ln2_hi = 0x1.62e42feep-1, ln2_lo = 0x1.a39ef35793c76p-33;          /* fdlibm's split of ln 2 */
    pair_bits keep[SIDE], two_n[SIDE];
    pair r[SIDE], y[SIDE];

#pragma GCC unroll 4
    for (int k = 0; k < SIDE; k++) {
        keep[k] = (pair_bits)(x[k] > -708);
        pair in = (pair)((pair_bits)x[k] & keep[k]), n;
        pair_int power = __builtin_convertvector(in * 0x1.71547652b82fep+0 - 0.5, pair_int);
        n = __builtin_convertvector(power, pair);
        r[k] = (in - n * ln2_hi) - n * ln2_lo;
        two_n[k] = (__builtin_convertvector(power, pair_bits) + 1023) << 52;
        y[k] = (pair){ c[0], c[0] };
    }
#pragma GCC unroll 16
    for (int i = 1; i < 14; i++)
#pragma GCC unroll 4
        for (int k = 0; k < SIDE; k++) y[k] = y[k] * r[k] + c[i];
#pragma GCC unroll 4
    for (int k = 0; k < SIDE; k++) x[k] = (pair)((pair_bits)(y[k] * (pair)two_n[k]) & keep[k]);
}

/* Fills in the weights and returns their sum. c is in ascending id. */
static double softmax(cand *c, int n, double temperature)
{
    float best = c[0].logit;
    double sum = 0;

    for (int i = 1; i < n; i++) best = c[i].logit > best ? c[i].logit : best;
    for (int i = 0; i < n; i += 2 * SIDE) {
        int m = n - i < 2 * SIDE ? n - i : 2 * SIDE;
        double w[2 * SIDE] = { 0 };
        pair z[SIDE];
        for (int k = 0; k < m; k++) w[k] = ((double)c[i + k].logit - best) / temperature;
        memcpy(z, w, sizeof z), exp_neg8(z), memcpy(w, z, sizeof z);
        for (int k = 0; k < m; k++) sum += c[i + k].weight = w[k];
    }
    return sum;
}

/* The logits of block b, ids *first and up, *n of them. */
static const float *block(const llm_sampler *p, int b, int *first, int *n)
{
    *first = b * BLOCK, *n = p->n_vocab - *first < BLOCK ? p->n_vocab - *first : BLOCK;
    return (p->changed[b] ? p->logit : p->raw) + *first;
}

/* The same as BLOCK of them: at the end of the vocabulary in rest, filled up with -inf. */
static const float *whole_block(const llm_sampler *p, int b, float rest[BLOCK])
{
    int first, n;
    const float *x = block(p, b, &first, &n);

    if (n == BLOCK) return x;
    for (int k = 0; k < BLOCK; k++) rest[k] = k < n ? x[k] : -INFINITY;
    return rest;
}

static float inverse_of(double temperature) { return (float)fmin(1 / temperature, FLT_MAX); }

typedef struct { llm_sampler *p; float best, inverse; } blocks_arg;
enum { TOGETHER = 256 };                /* blocks that one thread takes */

static void sum_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const blocks_arg *a = arg;
    float w[BLOCK], rest[BLOCK];

    (void)thread;
    for (int64_t b = begin; b < end; b++) a->p->before[b] = a->p->weigh(whole_block(a->p, (int)b, rest), a->best, a->inverse, w);
}

/* The softmax of all logits, block by block, with pool's threads (NULL: alone): fills p->before and returns the sum of the weights. */
static double softmax_all(llm_sampler *p, float best, double temperature, llm_pool *pool)
{
    blocks_arg a = { p, best, inverse_of(temperature) };
    double sum = 0;

    pool_run(pool, p->n_block, TOGETHER, sum_blocks, &a);
    for (int b = 0; b < p->n_block; b++) {
        double own = p->before[b];
        p->before[b] = sum, sum += own;
    }
    return sum;
}

/* ---- filters: c [n] in ascending id, before and after; each returns how many are left ---- */

/* All logits of at least `least`. Absent ones are -inf. */
static int take(llm_sampler *p, double least)
{
    int have = 0, first, n;

    for (int b = 0; b < p->n_block; b++) {
        const float *x = block(p, b, &first, &n);
        if (p->peak[b] == -INFINITY || p->peak[b] < least) continue;
        for (int k = 0; k < n; k++)
            if (x[k] != -INFINITY && x[k] >= least) p->cand[have++] = (cand){ .key = x[k], .logit = x[k], .id = first + k };
    }
    return have;
}

/* A logit that at least k reach: with the blocks in k parts, each has its own greatest. */
static float reached_by(const llm_sampler *p, int k)
{
    float least = INFINITY;

    if (k > p->n_block) return -INFINITY;
    for (int i = 0; i < k; i++) {
        float most = -INFINITY;
        for (int64_t b = (int64_t)p->n_block * i / k; b < (int64_t)p->n_block * (i + 1) / k; b++) most = greater(most, p->peak[b]);
        if (most < least) least = most;
    }
    return least;
}

/* The k best. A heap of the k best so far, the worst of them at its root. */
static int top_k(llm_sampler *p, int k)
{
    cand *c = p->cand;
    int n = take(p, reached_by(p, k));

    if (n <= k) return n;
    heapify(c, k, worse);
    for (int i = k; i < n; i++)
        if (better(&c[i], &c[0])) c[0] = c[i], sift(c, k, 0, worse);
    sort_by_id(c, k);
    return k;
}

/* The fewest candidates, taken in order of preference, that hold at least mass of the total weight; *enough: they do. */
static int keep_mass(cand *c, int n, double mass, bool *enough)
{
    double sum = 0;
    int left = n;

    heapify(c, n, better);
    while (left > 0 && (left == n || sum < mass)) {
        cand best = c[0];
        sum += best.weight;
        c[0] = c[--left], c[left] = best;       /* taken ones gather at the end */
        sift(c, left, 0, better);
    }
    *enough = sum >= mass;
    memmove(c, c + left, (size_t)(n - left) * sizeof *c);
    sort_by_id(c, n - left);
    return n - left;
}

/* Locally typical sampling (Meister et al., arXiv 2202.00666): nearest to the entropy first. With z the logit less the
 * best one, -log p = log Z - z, so |-log p - H| = |z - E z|. */
static int typical(cand *c, int n, double p)
{
    double sum = softmax(c, n, 1), mean = 0;
    bool enough;

    for (int i = 0; i < n; i++) mean += c[i].weight * c[i].logit;
    mean /= sum;
    for (int i = 0; i < n; i++) c[i].key = -fabs(c[i].logit - mean);
    return keep_mass(c, n, p * sum, &enough);
}

/* Nucleus sampling (Holtzman et al., arXiv 1904.09751). */
static int top_p(cand *c, int n, double p)
{
    double sum = softmax(c, n, 1);
    bool enough;

    for (int i = 0; i < n; i++) c[i].key = c[i].logit;
    return keep_mass(c, n, p * sum, &enough);
}

/* The candidates that hold mass of the weight of all logits, of which those near the best one come first in any case, and nearly always are enough.
 * *enough: they do hold it. */
static int best_of_all(llm_sampler *s, float best, double mass, bool *enough)
{
    for (double depth = 4;; depth *= 2) {
        bool all = depth > 1000;
        int n = take(s, all ? -INFINITY : best - depth);
        softmax(s->cand, n, 1);
        n = keep_mass(s->cand, n, mass, enough);
        if (*enough || all) return n;
    }
}

/* The same over all logits. */
static int top_p_all(llm_sampler *s, float best, double p, llm_pool *pool)
{
    bool enough;

    return best_of_all(s, best, p * softmax_all(s, best, 1, pool), &enough);
}

/* Min-p (Nguyen et al., arXiv 2407.01082): at least p times as likely as the best one, whose weight is 1. */
static int min_p(cand *c, int n, double p)
{
    int kept = 0;

    softmax(c, n, 1);
    for (int i = 0; i < n; i++)
        if (c[i].weight >= p) c[kept++] = c[i];
    return kept;
}

/* ---- the sampler ---- */

static llm_status option_bad(llm_error *err, const char *name, double got, const char *want)
{
    return llm_fail(err, LLM_ERR_ARG, "sampler: %s is %g, want %s", name, got, want);
}

static llm_status options_check(const llm_sampler_options *o, int n_vocab, llm_error *err)
{
    if (!(o->temperature >= 0 && o->temperature <= 1e6f)) return option_bad(err, "temperature", o->temperature, "0..1e6");
    if (o->top_k < 0) return option_bad(err, "top_k", o->top_k, "0 (off) or more");
    if (!(o->top_p >= 0 && o->top_p <= 1)) return option_bad(err, "top_p", o->top_p, "0..1");
    if (!(o->min_p >= 0 && o->min_p <= 1)) return option_bad(err, "min_p", o->min_p, "0..1");
    if (!(o->typical_p >= 0 && o->typical_p <= 1)) return option_bad(err, "typical_p", o->typical_p, "0..1");
    if (o->repeat_penalty != 0 && !(o->repeat_penalty >= 0.01f && o->repeat_penalty <= 100))
        return option_bad(err, "repeat_penalty", o->repeat_penalty, "0 (off) or 0.01..100");
    if (!(fabsf(o->frequency_penalty) <= 1e4f)) return option_bad(err, "frequency_penalty", o->frequency_penalty, "-1e4..1e4");
    if (!(fabsf(o->presence_penalty) <= 1e4f)) return option_bad(err, "presence_penalty", o->presence_penalty, "-1e4..1e4");
    if (o->penalty_last_n < -1 || o->penalty_last_n > 1 << 24)
        return option_bad(err, "penalty_last_n", o->penalty_last_n, "-1 (all), 0 (64) or up to 16777216");
    if (o->n_bias > 0 && o->bias == NULL) return llm_fail(err, LLM_ERR_ARG, "sampler: bias is NULL, n_bias is %zu", o->n_bias);
    for (size_t i = 0; i < o->n_bias; i++) {
        llm_logit_bias b = o->bias[i];
        if (b.token < 0 || b.token >= n_vocab)
            return llm_fail(err, LLM_ERR_ARG, "sampler: bias %zu is for token %d, want 0..%d", i, (int)b.token, n_vocab - 1);
        if (!(b.bias <= 1e9f && (b.bias >= -1e9f || b.bias == -INFINITY)))
            return llm_fail(err, LLM_ERR_ARG, "sampler: bias of token %d is %g, want -1e9..1e9 or -inf", (int)b.token, b.bias);
    }
    return LLM_OK;
}

static bool has_penalty(const llm_sampler_options *o)
{
    return (o->repeat_penalty != 0 && o->repeat_penalty != 1) || o->frequency_penalty != 0 || o->presence_penalty != 0;
}

static void *array(size_t n, size_t size)
{
    return calloc(n ? n : 1, size);
}

llm_status sampler_open(llm_sampler **out, int n_row, int n_vocab, const llm_sampler_options *opt, llm_error *err)
{
    llm_sampler *p;
    size_t n = (size_t)n_vocab, n_block = (n + BLOCK - 1) / BLOCK;
    llm_status st;

    *out = NULL;
    if ((st = options_check(opt, n_vocab, err)) != LLM_OK) return st;
    if ((p = calloc(1, sizeof *p)) == NULL) return llm_fail_memory(err, sizeof *p, "a sampler");
    p->opt = *opt, p->n_row = n_row, p->n_vocab = n_vocab, p->n_block = (int)n_block;
    p->opt.bias = NULL, p->weigh = softmax_sum_best();
    p->cand = array(n, sizeof *p->cand), p->logit = array(n, sizeof *p->logit);
    p->changed = array(n_block, 1), p->peak = array(n_block, sizeof *p->peak), p->before = array(n_block, sizeof *p->before);
    if (p->cand == NULL || p->logit == NULL || p->changed == NULL || p->peak == NULL || p->before == NULL) goto no_memory;
    if (opt->n_bias > 0) {
        llm_logit_bias *copy = array(opt->n_bias, sizeof *copy);
        if (copy == NULL) goto no_memory;
        memcpy(copy, opt->bias, opt->n_bias * sizeof *copy);
        p->opt.bias = copy;
    }
    if (has_penalty(opt)) {
        p->n_recent = opt->penalty_last_n == 0 ? 64 : opt->penalty_last_n;
        p->count = array(n, sizeof *p->count), p->listed = array(n, sizeof *p->listed), p->is_listed = array(n, 1);
        if (p->count == NULL || p->listed == NULL || p->is_listed == NULL) goto no_memory;
        if (p->n_recent > 0 && (p->recent = array((size_t)p->n_recent, sizeof *p->recent)) == NULL) goto no_memory;
    }
    *out = p;
    return LLM_OK;
no_memory:
    llm_sampler_close(p);
    return llm_fail_memory(err, n * (sizeof *p->cand + sizeof *p->logit), "a sampler");
}

void llm_sampler_close(llm_sampler *p)
{
    if (p == NULL) return;
    free((void *)(uintptr_t)p->opt.bias);
    free(p->cand), free(p->logit), free(p->changed), free(p->peak), free(p->before);
    free(p->count), free(p->listed), free(p->is_listed), free(p->recent);
    free(p);
}

llm_status llm_sampler_accept(llm_sampler *p, llm_token t, llm_error *err)
{
    STANDARD_FLOATS;
    if (p == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_sampler_accept: the sampler is NULL");
    if (t < 0 || t >= p->n_row)
        return llm_fail(err, LLM_ERR_ARG, "llm_sampler_accept: token %d, want 0..%d", (int)t, p->n_row - 1);
    if (p->count == NULL || t >= p->n_vocab) return LLM_OK;
    if (p->recent != NULL) {
        if (p->n_seen == p->n_recent) p->count[p->recent[p->next]]--;
        else p->n_seen++;
        p->recent[p->next] = t;
        p->next = (p->next + 1) % p->n_recent;
    }
    if (p->count[t] < INT32_MAX) p->count[t]++;
    if (!p->is_listed[t]) p->is_listed[t] = 1, p->listed[p->n_listed++] = t;
    return LLM_OK;
}

/* Keskar et al., arXiv 1909.05858, section 4.1, for repeat; the other two as OpenAI's API defines them. */
static float penalize(const llm_sampler_options *o, float x, int32_t count)
{
    if (o->repeat_penalty != 0) x = x > 0 ? x / o->repeat_penalty : x * o->repeat_penalty;
    return x - ((float)count * o->frequency_penalty + o->presence_penalty);
}

/* A logit to be changed: its block is a copy from now on. */
static float *own(llm_sampler *p, llm_token t)
{
    int b = t / BLOCK, first, n;
    const float *x = block(p, b, &first, &n);

    if (!p->changed[b]) memcpy(p->logit + first, x, (size_t)n * sizeof *x);
    p->changed[b] = 1;
    return &p->logit[t];
}

/* Bias, then the penalties of all tokens that have been; those that none is left of leave the list. */
static void change(llm_sampler *p)
{
    memset(p->changed, 0, (size_t)p->n_block);
    for (size_t i = 0; i < p->opt.n_bias; i++) *own(p, p->opt.bias[i].token) += p->opt.bias[i].bias;
    for (int i = 0; i < p->n_listed;) {
        llm_token t = p->listed[i];
        float *x = own(p, t);
        if (p->count[t] > 0) *x = penalize(&p->opt, *x, p->count[t]), i++;
        else p->is_listed[t] = 0, p->listed[i] = p->listed[--p->n_listed];
    }
}

/* Bias, penalties, and the peaks of all blocks, of which those of whole unchanged blocks may be known (NULL: none); false: a logit is broken. */
static bool prepare(llm_sampler *p, const float *logits, const float *known, llm_error *err)
{
    bool good = true;
    float rest[BLOCK];
    int first, n;

    p->raw = logits;
    change(p);
    for (int b = 0; b < p->n_block; b++) {
        bool is_known = known != NULL && !p->changed[b] && (b + 1) * BLOCK <= p->n_vocab;
        p->peak[b] = is_known ? known[b] : peak_of(whole_block(p, b, rest));
        good &= p->peak[b] < INFINITY;
    }
    for (int b = 0; !good && b < p->n_block; b++) {
        const float *x = block(p, b, &first, &n);
        for (int k = 0; k < n; k++)
            if (!(x[k] < INFINITY)) {
                llm_fail(err, LLM_ERR_ARG, "the logit of token %d is %g: the model's output is broken", first + k, x[k]);
                return false;
            }
    }
    return true;
}

/* The id of the greatest logit *x, the lowest among equals; -1 and an error where there is none. */
static llm_token greatest(const llm_sampler *p, float *x, llm_error *err)
{
    int best = 0, first, n, k = 0;
    const float *at;

    for (int b = 1; b < p->n_block; b++)
        if (p->peak[b] > p->peak[best]) best = b;
    if (p->n_block == 0 || p->peak[best] == -INFINITY) {
        llm_fail(err, LLM_ERR_ARG, "no token can be picked: all %d logits are -inf", p->n_vocab);
        return -1;
    }
    *x = p->peak[best];
    for (at = block(p, best, &first, &n); k + 1 < n && at[k] != *x; k++) { }
    return first + k;
}

static llm_token draw(const cand *c, int n, double at)
{
    double sum = 0;
    int i = 0;

    for (; i < n - 1; i++)
        if ((sum += c[i].weight) > at) break;
    while (i > 0 && c[i].weight == 0) i--;      /* only where rounding pushed us past the last one that can be drawn */
    return c[i].id;
}

/* The same over all logits, u in 0..1: the block where the sum passes u times the whole, then the id. */
static llm_token draw_all(llm_sampler *p, float best, double temperature, double u, llm_pool *pool)
{
    double at = u * softmax_all(p, best, temperature, pool), sum;
    float w[BLOCK], rest[BLOCK];
    int b = p->n_block - 1, last = -1;

    while (b > 0 && !(p->before[b] <= at)) b--;
    for (; last < 0; b--) {                     /* goes back only where rounding pushed us past the last one that can be drawn */
        p->weigh(whole_block(p, b, rest), best, inverse_of(temperature), w), sum = p->before[b];
        for (int k = 0; k < BLOCK && !(last >= 0 && sum > at); k++) {
            if (w[k] > 0) last = b * BLOCK + k;
            sum += w[k];
        }
    }
    return last;
}

static bool active(float p) { return p > 0 && p < 1; }

/* From typical_p on, with the draw u in 0..1; use_top_p: it is not done yet. c [n] in ascending id. */
static llm_token choose(const llm_sampler_options *o, cand *c, int n, bool use_top_p, double u)
{
    double sum;

    if (active(o->typical_p)) n = typical(c, n, o->typical_p);
    if (use_top_p) n = top_p(c, n, o->top_p);
    if (o->min_p > 0) n = min_p(c, n, o->min_p);
    sum = softmax(c, n, o->temperature);
    return draw(c, n, u * sum);
}

llm_token llm_sampler_pick(llm_sampler *p, const float *logits, uint64_t pos, llm_error *err)
{
    STANDARD_FLOATS;
    return sampler_pick_row(p, logits, NULL, pos, NULL, err);
}

llm_token sampler_pick_row(llm_sampler *p, const float *logits, const float *peak, uint64_t pos, llm_pool *pool, llm_error *err)
{
    const llm_sampler_options *o;
    bool use_typical, use_top_p, few;
    double u;
    llm_token best;
    float top;
    int n;

    if (p == NULL || logits == NULL) {
        llm_fail(err, LLM_ERR_ARG, "llm_sampler_pick: the %s NULL", p == NULL ? "sampler is" : "logits are");
        return -1;
    }
    o = &p->opt;
    if (!prepare(p, logits, peak, err) || (best = greatest(p, &top, err)) < 0) return -1;
    if (o->temperature == 0) return best;
    use_typical = active(o->typical_p), use_top_p = active(o->top_p);
    u = random_at(o->seed, pos);
    few = p->n_vocab <= TOP_MOST;                           /* as sampler_pick_top, which may know them all */
    if (!few && o->top_k == 0 && !use_typical && !use_top_p && o->min_p == 0) return draw_all(p, top, o->temperature, u, pool);
    if (o->top_k > 0) n = top_k(p, o->top_k);
    else if (use_typical || few) n = take(p, -INFINITY);
    else if (use_top_p) n = top_p_all(p, top, o->top_p, pool);
    else n = take(p, top + log(o->min_p) - 1);              /* more than min_p leaves */
    return choose(o, p->cand, n, use_top_p && (o->top_k > 0 || use_typical || few), u);
}

/* ---- picks from a part of a row ----
 *
 * Known are the k greatest logits and those of all tokens that bias or penalties change. A token that is not known has its own logit and
 * comes after the k-th one, the edge; so the known ones that come no later than the edge, after bias and penalties, are the begin of the whole
 * order, without a gap. A filter that keeps no more than these keeps what it would keep of the whole row, and the rest of the way is the same
 * arithmetic. top_p also needs the sum of all weights, which is known to one part in 10^4: its choice stands where both ends of that interval
 * lead to it. */

static bool ask(llm_top *t, int32_t id)
{
    if (t->n_asked == TOP_ASKED) return false;
    t->asked[t->n_asked++] = id;
    return true;
}

/* The tokens that bias or penalties change; false when there are too many. */
static bool ask_changed(const llm_sampler *p, llm_top *t)
{
    t->n_asked = 0;
    for (size_t i = 0; i < p->opt.n_bias; i++) if (!ask(t, p->opt.bias[i].token)) return false;
    for (int i = 0; i < p->n_listed; i++) if (p->count[p->listed[i]] > 0 && !ask(t, p->listed[i])) return false;
    return true;
}

bool sampler_wants(const llm_sampler *p, llm_top *t)
{
    const llm_sampler_options *o = &p->opt;
    bool open = o->temperature != 0 && o->top_k == 0;       /* no number of tokens bounds what is kept */
    int most = o->temperature == 0 ? 1 : o->top_k < TOP_MOST ? o->top_k : TOP_MOST;

    if (!ask_changed(p, t)) return false;
    t->n = p->n_vocab, t->k = open ? TOP_MOST : most + t->n_asked;      /* all but the changed ones keep their place */
    if (t->k >= p->n_vocab) t->k = p->n_vocab;
    else if (open && (active(o->typical_p) || (!active(o->top_p) && !(o->min_p > 0)))) return false;
    return t->k <= TOP_MOST;
}

/* Bias and penalties of one token, as change applies them. */
static float changed_one(const llm_sampler *p, int32_t id, float x)
{
    for (size_t i = 0; i < p->opt.n_bias; i++) if (p->opt.bias[i].token == id) x += p->opt.bias[i].bias;
    return p->count != NULL && p->count[id] > 0 ? penalize(&p->opt, x, p->count[id]) : x;
}

/* What is known to p->cand, changed, in ascending id, each once; weight is the logit as it was. -1: there is a NaN or infinity, or no room. */
static int gather(llm_sampler *p, const llm_top *t)
{
    cand *c = p->cand;
    int n = 0, kept = 0, n_asked = t->k < p->n_vocab ? t->n_asked : 0;

    if (n_asked > p->n_vocab - t->k) return -1;
    for (int i = 0; i < t->k; i++) c[n++] = (cand){ .logit = t->best[i].value, .id = t->best[i].id };
    for (int i = 0; i < n_asked; i++) c[n++] = (cand){ .logit = t->value[i], .id = t->asked[i] };
    sort_by_id(c, n);
    for (int i = 0; i < n; i++) {
        cand new = c[i];
        if (kept > 0 && c[kept - 1].id == new.id) continue;
        new.weight = new.logit, new.key = new.logit = changed_one(p, new.id, new.logit);
        if (!(new.logit < INFINITY)) return -1;
        c[kept++] = new;
    }
    return kept;
}

/* The sum of all weights after the changes, relative to the greatest logit before them, between *low and *high. c [n] are all known ones. */
static void sum_bounds(const llm_top *t, const cand *c, int n, double *low, double *high)
{
    double before = 0, after = 0, rest, error;

    for (int i = 0; i < n; i++) before += exp(c[i].weight - t->best[0].value), after += exp((double)c[i].logit - t->best[0].value);
    rest = t->sum > before ? t->sum - before : 0;
    error = 1e-4 * t->sum + 1e-9 * (before + after);
    *low = after + rest - error, *high = after + rest + error;
}

/* Drops what comes after the edge, and absent ones. */
static int before_edge(cand *c, int n, const cand *edge)
{
    int kept = 0;

    for (int i = 0; i < n; i++)
        if (c[i].logit != -INFINITY && (edge == NULL || !better(edge, &c[i]))) c[kept++] = c[i];
    return kept;
}

/* The k best of c [n], which are in ascending id, before and after. */
static int best_of(cand *c, int n, int k)
{
    int left = n;

    if (n <= k) return n;
    for (heapify(c, n, better); left > n - k; sift(c, left, 0, better)) {
        cand best = c[0];
        c[0] = c[--left], c[left] = best;
    }
    memmove(c, c + left, (size_t)k * sizeof *c);
    sort_by_id(c, k);
    return k;
}

static const cand *first_of(const cand *c, int n)
{
    const cand *best = c;

    for (int i = 1; i < n; i++) if (better(&c[i], best)) best = &c[i];
    return best;
}

/* top_p of the whole row, whose weights have a sum between low and high. 0: it may keep something else. */
static int sure_top_p(cand *c, int n, float p, double low, double high)
{
    double sum = 0;
    bool enough;

    softmax(c, n, 1);
    n = keep_mass(c, n, p * low, &enough);
    for (int i = 0; i < n; i++) sum += c[i].weight;
    return sum >= p * high ? n : 0;
}

llm_token sampler_pick_top(llm_sampler *p, const llm_top *t, uint64_t pos)
{
    const llm_sampler_options o = p->opt;
    llm_candidate last = t->best[t->k - 1];
    cand *c = p->cand, edge = { .key = last.value, .id = last.id };
    bool all = t->k == p->n_vocab || last.value == -INFINITY;
    int n = gather(p, t), most = o.temperature == 0 ? 1 : o.top_k > 0 ? o.top_k : INT_MAX;
    double low = 0, high = 0, best, u = random_at(o.seed, pos);

    if (n < 0) return -1;
    if (!all && most == INT_MAX) sum_bounds(t, c, n, &low, &high);
    n = before_edge(c, n, all ? NULL : &edge);
    if (n == 0 || (!all && n < most && most < INT_MAX)) return -1;
    if (o.temperature == 0) return first_of(c, n)->id;
    if (all || most < INT_MAX) return choose(&o, c, best_of(c, n, most), active(o.top_p), u);
    best = first_of(c, n)->logit;
    if (active(o.typical_p)) return -1;
    if (active(o.top_p)) {
        double scale = exp(t->best[0].value - best);
        n = sure_top_p(c, n, o.top_p, low * scale, high * scale);
        return n > 0 ? choose(&o, c, n, false, u) : -1;
    }
    return exp(edge.key - best) < o.min_p * (1 - 1e-9) ? choose(&o, c, n, false, u) : -1;
}
