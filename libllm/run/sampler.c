/* sampler.c - from one row of logits to one token.
 *
 * The steps, in the order of llama.cpp's default chain: bias, penalties, top-k, typical, top-p, min-p, temperature,
 * draw. Probabilities of the filters are those before the temperature. Each filter leaves at least one token; among
 * equal logits the lowest id comes first. Every sum runs in ascending id (or, for the mass of a filter, in
 * descending preference), in double, with an exponential of our own: the draw is the same on every machine. */
#include "sampler.h"
#include "checked.h"
#include "random.h"
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

struct llm_sampler {
    llm_sampler_options opt;            /* bias points to our copy */
    int n_row, n_vocab;
    cand *cand;                         /* [n_vocab] */
    float *logit;                       /* [n_vocab] after bias and penalties */
    int32_t *count;                     /* [n_vocab] occurrences looked back on; NULL: no penalties */
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

/* e^x for x <= 0: x = n ln 2 + r, |r| <= ln(2)/2, Taylor to r^13 (the next term is below 2^-57). */
static double exp_neg(double x)
{
    static const double ln2_hi = 0x1.62e42feep-1, ln2_lo = 0x1.a39ef35793c76p-33;   /* fdlibm's split of ln 2 */
    static const double c[] = { 1., 1., 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
                                1. / 39916800, 1. / 479001600, 1. / 6227020800. };
    double r, y = c[13];
    union { uint64_t bits; double value; } two_n;
    int n;

    if (!(x > -708)) return 0;
    n = (int)(x * 0x1.71547652b82fep+0 - 0.5);
    r = (x - n * ln2_hi) - n * ln2_lo;
    for (int i = 12; i >= 0; i--) y = y * r + c[i];
    two_n.bits = (uint64_t)(1023 + n) << 52;
    return y * two_n.value;
}

/* Fills in the weights and returns their sum. c is in ascending id. */
static double softmax(cand *c, int n, double temperature)
{
    float best = c[0].logit;
    double sum = 0;

    for (int i = 1; i < n; i++) best = c[i].logit > best ? c[i].logit : best;
    for (int i = 0; i < n; i++) {
        c[i].weight = exp_neg(((double)c[i].logit - best) / temperature);
        sum += c[i].weight;
    }
    return sum;
}

/* ---- filters: c [n] in ascending id, before and after; each returns how many are left ---- */

/* The k best logits of x [n]. Absent ones are -inf. A heap of the k best so far, the worst of them at its root. */
static int top_k(cand *c, const float *x, int n, int k)
{
    int have = 0;

    for (int i = 0; i < n; i++) {
        cand new = { .key = x[i], .logit = x[i], .id = i };
        if (x[i] == -INFINITY) continue;
        if (have < k) {
            c[have++] = new;
            if (have == k) heapify(c, k, worse);
        } else if (better(&new, &c[0])) {
            c[0] = new;
            sift(c, k, 0, worse);
        }
    }
    if (have == k) sort_by_id(c, k);
    return have;
}

/* The fewest candidates, taken in order of preference, that hold at least mass of the total weight. */
static int keep_mass(cand *c, int n, double mass)
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
    memmove(c, c + left, (size_t)(n - left) * sizeof *c);
    sort_by_id(c, n - left);
    return n - left;
}

/* Locally typical sampling (Meister et al., arXiv 2202.00666): nearest to the entropy first. With z the logit less the
 * best one, -log p = log Z - z, so |-log p - H| = |z - E z|. */
static int typical(cand *c, int n, double p)
{
    double sum = softmax(c, n, 1), mean = 0;

    for (int i = 0; i < n; i++) mean += c[i].weight * c[i].logit;
    mean /= sum;
    for (int i = 0; i < n; i++) c[i].key = -fabs(c[i].logit - mean);
    return keep_mass(c, n, p * sum);
}

/* Nucleus sampling (Holtzman et al., arXiv 1904.09751). */
static int top_p(cand *c, int n, double p)
{
    double sum = softmax(c, n, 1);

    for (int i = 0; i < n; i++) c[i].key = c[i].logit;
    return keep_mass(c, n, p * sum);
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
    size_t n = (size_t)n_vocab;
    llm_status st;

    *out = NULL;
    if ((st = options_check(opt, n_vocab, err)) != LLM_OK) return st;
    if ((p = calloc(1, sizeof *p)) == NULL) return llm_fail_memory(err, sizeof *p, "a sampler");
    p->opt = *opt, p->n_row = n_row, p->n_vocab = n_vocab;
    p->opt.bias = NULL;
    p->cand = array(n, sizeof *p->cand), p->logit = array(n, sizeof *p->logit);
    if (p->cand == NULL || p->logit == NULL) goto no_memory;
    if (opt->n_bias > 0) {
        llm_logit_bias *copy = array(opt->n_bias, sizeof *copy);
        if (copy == NULL) goto no_memory;
        memcpy(copy, opt->bias, opt->n_bias * sizeof *copy);
        p->opt.bias = copy;
    }
    if (has_penalty(opt)) {
        p->n_recent = opt->penalty_last_n == 0 ? 64 : opt->penalty_last_n;
        if ((p->count = array(n, sizeof *p->count)) == NULL) goto no_memory;
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
    free(p->cand), free(p->logit), free(p->count), free(p->recent);
    free(p);
}

llm_status llm_sampler_accept(llm_sampler *p, llm_token t, llm_error *err)
{
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
    return LLM_OK;
}

/* Keskar et al., arXiv 1909.05858, section 4.1, for repeat; the other two as OpenAI's API defines them. */
static float penalize(const llm_sampler_options *o, float x, int32_t count)
{
    if (o->repeat_penalty != 0) x = x > 0 ? x / o->repeat_penalty : x * o->repeat_penalty;
    return x - ((float)count * o->frequency_penalty + o->presence_penalty);
}

/* Fills p->logit; returns the id of the greatest, or -1 and an error. */
static llm_token prepare(llm_sampler *p, const float *logits, llm_error *err)
{
    float *x = p->logit;
    int best = -1;

    memcpy(x, logits, (size_t)p->n_vocab * sizeof *x);
    for (size_t i = 0; i < p->opt.n_bias; i++) x[p->opt.bias[i].token] += p->opt.bias[i].bias;
    for (int i = 0; i < p->n_vocab; i++) {
        if (p->count != NULL && p->count[i] > 0) x[i] = penalize(&p->opt, x[i], p->count[i]);
        if (!(x[i] < INFINITY)) {
            llm_fail(err, LLM_ERR_ARG, "the logit of token %d is %g: the model's output is broken", i, x[i]);
            return -1;
        }
        if (x[i] > (best < 0 ? -INFINITY : x[best])) best = i;
    }
    if (best < 0) llm_fail(err, LLM_ERR_ARG, "no token can be picked: all %d logits are -inf", p->n_vocab);
    return best;
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

llm_token llm_sampler_pick(llm_sampler *p, const float *logits, uint64_t pos, llm_error *err)
{
    const llm_sampler_options *o;
    llm_token best;
    double sum;
    int n;

    if (p == NULL || logits == NULL) {
        llm_fail(err, LLM_ERR_ARG, "llm_sampler_pick: the %s NULL", p == NULL ? "sampler is" : "logits are");
        return -1;
    }
    o = &p->opt;
    if ((best = prepare(p, logits, err)) < 0 || o->temperature == 0) return best;
    n = top_k(p->cand, p->logit, p->n_vocab, o->top_k > 0 ? o->top_k : INT_MAX);
    if (o->typical_p > 0 && o->typical_p < 1) n = typical(p->cand, n, o->typical_p);
    if (o->top_p > 0 && o->top_p < 1) n = top_p(p->cand, n, o->top_p);
    if (o->min_p > 0) n = min_p(p->cand, n, o->min_p);
    sum = softmax(p->cand, n, o->temperature);
    return draw(p->cand, n, random_at(o->seed, pos) * sum);
}
