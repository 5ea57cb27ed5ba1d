#include "../llm_test.h"
#include "peak.h"
#include "random.h"
#include "sampler.h"
#include "threads.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { N = 331 };                       /* five blocks and a part */

static uint64_t lcg = 1;
static double uniform(void) { return (double)((lcg = lcg * 6364136223846793005u + 1442695040888963407u) >> 11) * 0x1p-53; }

static void random_logits(float *x, int n, int style)
{
    for (int i = 0; i < n; i++) {
        double v = (uniform() - 0.5) * (style == 0 ? 20 : 4);
        if (style == 1) v = floor(v);                       /* many ties */
        if (style == 2 && i % 3 == 0) v = -INFINITY;
        x[i] = (float)v;
    }
}

static llm_sampler *open_or_fail(int n_row, int n_vocab, llm_sampler_options o)
{
    llm_sampler *p;
    llm_error err;

    o.size = sizeof o;
    ck_assert_msg(sampler_open(&p, n_row, n_vocab, &o, &err) == LLM_OK, "%s", err.text);
    return p;
}

/* Random123's known-answer file (kat_vectors), philox4x32, 10 rounds. */
START_TEST(philox_vectors)
{
    static const struct { uint32_t ctr[4], key[2], want[4]; } c[] = {
        { { 0 }, { 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t x[4];
        memcpy(x, c[i].ctr, sizeof x);
        philox4x32(x, c[i].key[0], c[i].key[1]);
        ck_assert_mem_eq(x, c[i].want, sizeof x);
    }
}
END_TEST

/* ---- the same steps, written without any cleverness: flags over all ids, full sorts, libm's exp ---- */

static double brute_softmax(const float *x, const bool *in, int n, double temperature, double *w)
{
    double best = -INFINITY, sum = 0;

    for (int i = 0; i < n; i++) if (in[i] && x[i] > best) best = x[i];
    for (int i = 0; i < n; i++) sum += w[i] = in[i] ? exp((x[i] - best) / temperature) : 0;
    return sum;
}

/* Ids that are in, best key first, lowest id first among equals. Returns how many. */
static int brute_order(const double *key, const bool *in, int n, int *id)
{
    int m = 0;

    for (int i = 0; i < n; i++) {
        int j;
        if (!in[i]) continue;
        for (j = m++; j > 0 && key[id[j - 1]] < key[i]; j--) id[j] = id[j - 1];
        id[j] = i;
    }
    return m;
}

static void brute_keep(const double *key, const double *w, double mass, int most, bool *in, int n)
{
    int id[N], m = brute_order(key, in, n, id), kept = 0;
    double sum = 0;

    while (kept < m && kept < most && (kept == 0 || sum < mass)) sum += w[id[kept++]];
    for (int i = kept; i < m; i++) in[id[i]] = false;
}

static int brute_pick(const float *logits, int n, const llm_sampler_options *o, const int *count, uint64_t pos)
{
    float x[N];
    bool in[N];
    double w[N], key[N], sum, at;
    int last = -1;

    memcpy(x, logits, (size_t)n * sizeof *x);
    for (size_t i = 0; i < o->n_bias; i++) x[o->bias[i].token] += o->bias[i].bias;
    for (int i = 0; i < n; i++) {
        if (count[i] > 0) {
            if (o->repeat_penalty != 0) x[i] = x[i] > 0 ? x[i] / o->repeat_penalty : x[i] * o->repeat_penalty;
            x[i] -= (float)count[i] * o->frequency_penalty + o->presence_penalty;
        }
        in[i] = x[i] > -INFINITY, key[i] = x[i];
    }
    if (o->temperature == 0) {
        int best = 0;
        for (int i = 1; i < n; i++) if (x[i] > x[best]) best = i;
        return best;
    }
    if (o->top_k > 0) brute_keep(key, key, INFINITY, o->top_k, in, n);
    if (o->typical_p > 0 && o->typical_p < 1) {
        double typical[N], entropy = 0;
        sum = brute_softmax(x, in, n, 1, w);
        for (int i = 0; i < n; i++) if (w[i] > 0) entropy -= w[i] / sum * log(w[i] / sum);
        for (int i = 0; i < n; i++) typical[i] = in[i] ? -fabs(-log(w[i] / sum) - entropy) : 0;
        brute_keep(typical, w, o->typical_p * sum, n, in, n);
    }
    if (o->top_p > 0 && o->top_p < 1) {
        sum = brute_softmax(x, in, n, 1, w);
        brute_keep(key, w, o->top_p * sum, n, in, n);
    }
    if (o->min_p > 0) {
        brute_softmax(x, in, n, 1, w);
        for (int i = 0; i < n; i++) if (w[i] < o->min_p) in[i] = false;
    }
    sum = brute_softmax(x, in, n, o->temperature, w);
    at = random_at(o->seed, pos) * sum;
    sum = 0;
    for (int i = 0; i < n; i++) {
        if (!in[i]) continue;
        if ((sum += w[i]) > at) return i;
        last = i;
    }
    return last;
}

START_TEST(against_brute_force)
{
    static const float off_or[4][6] = {     /* temperature, top_p, min_p, typical_p, repeat, frequency */
        { 0, 0, 0, 0, 0, 0 }, { 1, 0.9f, 0.05f, 0.9f, 1.3f, 0.25f }, { 0.6f, 0.5f, 0.2f, 0.4f, 0.8f, -0.5f }, { 2.5f, 1, 1, 1, 1, 0 } };
    static const int top_k[5] = { 0, 1, 5, 40, N + 9 };

    for (int round = 0; round < 5000; round++) {
        llm_logit_bias bias[2] = { { 3, 2.5f }, { round % N, -INFINITY } };
        int r = round, count[N] = { 0 }, want, got;
        llm_sampler_options o = { .seed = (uint64_t)round * 77 };
        float x[N];
        llm_sampler *p;
        llm_error err;

        lcg = (uint64_t)round + 1;
        o.temperature = off_or[(int)(uniform() * 4)][0], o.top_p = off_or[(int)(uniform() * 4)][1];
        o.min_p = off_or[(int)(uniform() * 4)][2], o.typical_p = off_or[(int)(uniform() * 4)][3];
        o.repeat_penalty = off_or[(int)(uniform() * 4)][4], o.frequency_penalty = off_or[(int)(uniform() * 4)][5];
        o.presence_penalty = off_or[(int)(uniform() * 4)][5];
        o.top_k = top_k[r % 5], o.penalty_last_n = r % 3 - 1 + (r % 3 == 2) * 9;    /* all, 64, 10 */
        if (r % 4 == 0) o.bias = bias, o.n_bias = 2;
        p = open_or_fail(N, N, o);
        for (int i = 0, n = r % 150, last_n = r % 3 == 0 ? n : r % 3 == 1 ? 64 : 10; i < n; i++) {
            int t = (int)(uniform() * 20) * 16;
            ck_assert_int_eq(llm_sampler_accept(p, t, NULL), LLM_OK);
            if (n - i <= last_n) count[t]++;
        }
        random_logits(x, N, r % 3);
        want = brute_pick(x, N, &o, count, (uint64_t)r);
        got = llm_sampler_pick(p, x, (uint64_t)r, &err);
        ck_assert_msg(got == want, "round %d: got %d, want %d", round, got, want);
        llm_sampler_close(p);
    }
}
END_TEST

/* Pearson's test over a million draws (fixed seeds: it passes always or never), for a vocabulary that is taken whole and one that is summed by blocks:
 * 31 and 299 degrees of freedom, whose 99.9 % points are 61.1 and 379.5. */
START_TEST(draws_follow_the_softmax)
{
    enum { MOST = 300, DRAWS = 1000000 };
    static const struct { int n; double most; } of[2] = { { 32, 61.1 }, { MOST, 379.5 } };
    static const float temperature[3] = { 1, 0.5f, 1.7f };

    for (int round = 0; round < 6; round++) {
        float x[MOST], t = temperature[round % 3];
        double w[MOST], sum, chi = 0;
        bool in[MOST];
        int hits[MOST] = { 0 }, n = of[round / 3].n;
        llm_sampler *p = open_or_fail(n, n, (llm_sampler_options){ .temperature = t, .seed = (uint64_t)round + 12345 });
        for (int i = 0; i < n; i++) x[i] = (float)(i % 7) * 0.5f, in[i] = true;
        for (int i = 0; i < DRAWS; i++) hits[llm_sampler_pick(p, x, (uint64_t)i, NULL)]++;
        sum = brute_softmax(x, in, n, t, w);
        for (int i = 0; i < n; i++) {
            double expect = w[i] / sum * DRAWS;
            chi += (hits[i] - expect) * (hits[i] - expect) / expect;
        }
        ck_assert_msg(chi < of[round / 3].most, "chi-square %g of %d at temperature %g", chi, n, (double)t);
        llm_sampler_close(p);
    }
}
END_TEST

/* Temperatures at the ends of their range, absent tokens in every place, and draws at both ends. */
START_TEST(draws_from_a_wide_row_have_a_weight)
{
    enum { M = 1000 };
    static const float temperature[] = { 1e-45f, 1e-30f, 1, 1e6f };
    float x[M];

    for (size_t t = 0; t < sizeof temperature / sizeof temperature[0]; t++) for (int most = 0; most < M; most += 111) {
        llm_sampler *p = open_or_fail(M, M, (llm_sampler_options){ .temperature = temperature[t], .seed = (uint64_t)most });
        for (int i = 0; i < M; i++) x[i] = i == most ? 3 : i % 3 ? -INFINITY : -3e38f * (float)(i % 2);
        for (uint64_t pos = 0; pos < 500; pos++) {
            llm_token got = llm_sampler_pick(p, x, pos, NULL);
            ck_assert_int_ge(got, 0);
            ck_assert_msg(got == most || (temperature[t] >= 1 && x[got] > -1e38f), "temperature %g, best %d: %d with logit %g", (double)temperature[t], most, (int)got, (double)x[got]);
        }
        llm_sampler_close(p);
    }
}
END_TEST

/* Uniformity of the generator over positions and over seeds: 64 bins, 99.9 % point of 63 degrees is 103.4. */
START_TEST(generator_is_uniform)
{
    for (int by_seed = 0; by_seed < 2; by_seed++) {
        int hits[64] = { 0 };
        double chi = 0, expect = 1e6 / 64;
        for (uint64_t i = 0; i < 1000000; i++) {
            double u = by_seed ? random_at(i, 7) : random_at(7, i);
            ck_assert(u >= 0 && u < 1);
            hits[(int)(u * 64)]++;
        }
        for (int i = 0; i < 64; i++) chi += (hits[i] - expect) * (hits[i] - expect) / expect;
        ck_assert_msg(chi < 103.4, "chi-square %g", chi);
    }
    ck_assert(random_at(1, UINT64_C(1) << 32) != random_at(1, 0));          /* the high words count */
    ck_assert(random_at(UINT64_C(1) << 32, 1) != random_at(0, 1));
}
END_TEST

START_TEST(a_draw_depends_on_seed_and_position_alone)
{
    llm_sampler_options o = { .temperature = 1, .seed = 99 };
    llm_sampler *p = open_or_fail(N, N, o), *q = open_or_fail(N, N, o);
    float x[N];
    int first[50], same = 0;

    random_logits(x, N, 1);
    for (int i = 0; i < 50; i++) first[i] = llm_sampler_pick(p, x, (uint64_t)i, NULL);
    for (int i = 49; i >= 0; i--) ck_assert_int_eq(llm_sampler_pick(q, x, (uint64_t)i, NULL), first[i]);
    llm_sampler_close(q);
    o.seed = 100, q = open_or_fail(N, N, o);
    for (int i = 0; i < 50; i++) same += llm_sampler_pick(q, x, (uint64_t)i, NULL) == first[i];
    ck_assert_int_lt(same, 25);
    llm_sampler_close(p), llm_sampler_close(q);
}
END_TEST

START_TEST(padding_and_broken_logits)
{
    llm_sampler *p = open_or_fail(8, 5, (llm_sampler_options){ .temperature = 1, .top_k = 8 });
    float x[8] = { 1, 2, 3, 2, 1, 50, 60, 70 };             /* ids 5..7 are no tokens */
    llm_error err;

    for (uint64_t i = 0; i < 1000; i++) ck_assert_int_lt(llm_sampler_pick(p, x, i, &err), 5);
    x[3] = NAN;
    ck_assert_int_eq(llm_sampler_pick(p, x, 0, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "token 3"));
    x[3] = INFINITY;
    ck_assert_int_eq(llm_sampler_pick(p, x, 0, &err), -1);
    for (int i = 0; i < 8; i++) x[i] = -INFINITY;
    ck_assert_int_eq(llm_sampler_pick(p, x, 0, &err), -1);
    ck_assert_int_eq(err.status, LLM_ERR_ARG);
    x[2] = -1e30f;                                          /* one that is left is picked, however unlikely */
    ck_assert_int_eq(llm_sampler_pick(p, x, 0, &err), 2);
    ck_assert_int_eq(llm_sampler_accept(p, 8, &err), LLM_ERR_ARG);
    ck_assert_int_eq(llm_sampler_accept(p, 7, &err), LLM_OK);
    ck_assert_int_eq(llm_sampler_pick(p, NULL, 0, &err), -1);
    llm_sampler_close(p);
}
END_TEST

/* Peaks that are known change nothing but the time a pick takes: with bias and penalties in some blocks, padding, and a broken logit. */
START_TEST(known_peaks_pick_the_same)
{
    enum { ROW = 1000, VOCAB = 970 };
    static const llm_logit_bias bias[] = { { 3, 4 }, { 500, -INFINITY }, { 969, 2 } };
    const llm_sampler_options all[] = {
        { .temperature = 0 }, { .temperature = 1 }, { .temperature = 0.7f, .top_k = 20, .top_p = 0.9f }, { .temperature = 1, .top_p = 0.95f }, { .temperature = 1, .min_p = 0.05f },
        { .temperature = 0, .bias = bias, .n_bias = 3 }, { .temperature = 1, .top_k = 5, .repeat_penalty = 1.3f, .presence_penalty = 1 },
    };
    float x[ROW], peak[(ROW + PEAK_OF - 1) / PEAK_OF];
    llm_error a, b;

    for (size_t o = 0; o < sizeof all / sizeof all[0]; o++) {
        llm_sampler *p = open_or_fail(ROW, VOCAB, all[o]), *q = open_or_fail(ROW, VOCAB, all[o]);
        for (uint64_t pos = 0; pos < 300; pos++) {
            llm_token t;
            for (int i = 0; i < ROW; i++) x[i] = 4 * (float)random_at(7 + o, pos * ROW + (uint64_t)i) + (i >= VOCAB ? 100.0f : 0);
            if (pos == 299) x[130] = o % 2 ? INFINITY : NAN;
            for (int i = 0; i < ROW; i += PEAK_OF) peak[i / PEAK_OF] = ROW - i < PEAK_OF ? peak_of_part(x + i, ROW - i) : peak_of(x + i);
            t = llm_sampler_pick(p, x, pos, &a);
            ck_assert_int_eq(sampler_pick_row(q, x, peak, pos, NULL, &b), t);
            if (t >= 0) {
                ck_assert_int_eq(llm_sampler_accept(p, t, NULL), LLM_OK);
                ck_assert_int_eq(llm_sampler_accept(q, t, NULL), LLM_OK);
            }
            ck_assert_int_eq(t < 0, pos == 299);
            if (t < 0) ck_assert_str_eq(a.text, b.text);
        }
        llm_sampler_close(p), llm_sampler_close(q);
    }
}
END_TEST

/* However many threads sum a wide row, and from wherever: the same draw. */
START_TEST(threads_draw_the_same)
{
    enum { VOCAB = 70001, PICKS = 60 };
    static const llm_sampler_options all[] = { { .temperature = 1 }, { .temperature = 0.8f, .top_p = 0.9f }, { .temperature = 1.5f, .top_p = 0.5f, .min_p = 0.01f } };
    float *x = malloc(VOCAB * sizeof *x);

    for (int i = 0; i < VOCAB; i++) x[i] = 8 * (float)random_at(3, (uint64_t)i);
    for (size_t o = 0; o < sizeof all / sizeof all[0]; o++) {
        llm_sampler *p = open_or_fail(VOCAB, VOCAB, all[o]);
        llm_token want[PICKS];
        for (uint64_t pos = 0; pos < PICKS; pos++) want[pos] = llm_sampler_pick(p, x, pos, NULL);
        for (int n = 1; n < 5; n++) {
            llm_pool *pool;
            llm_error err;
            ck_assert_int_eq(pool_open(&pool, n, &err), LLM_OK);
            for (uint64_t pos = 0; pos < PICKS; pos++) ck_assert_int_eq(sampler_pick_row(p, x, NULL, pos, pool, &err), want[pos]);
            pool_close(pool);
        }
        llm_sampler_close(p);
    }
    free(x);
}
END_TEST

START_TEST(greedy_takes_the_lowest_of_equals)
{
    llm_sampler *p = open_or_fail(4, 4, (llm_sampler_options){ .top_p = 0.1f });
    float x[4] = { 1, 7, 7, 7 };

    ck_assert_int_eq(llm_sampler_pick(p, x, 0, NULL), 1);
    llm_sampler_close(p);
}
END_TEST

START_TEST(refuses_bad_options)
{
    llm_logit_bias far = { 9, 1 }, nan = { 1, NAN };
    const llm_sampler_options bad[] = {
        { .temperature = -1 }, { .temperature = NAN }, { .top_k = -1 }, { .top_p = 1.5f }, { .min_p = -0.1f }, { .typical_p = 2 },
        { .repeat_penalty = -1 }, { .repeat_penalty = INFINITY }, { .frequency_penalty = NAN }, { .presence_penalty = 1e30f },
        { .penalty_last_n = -2 }, { .penalty_last_n = 1 << 30 }, { .n_bias = 1 }, { .bias = &far, .n_bias = 1 }, { .bias = &nan, .n_bias = 1 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        llm_sampler *p;
        llm_error err = { 0 };
        ck_assert_int_eq(sampler_open(&p, 8, 8, &bad[i], &err), LLM_ERR_ARG);
        ck_assert_ptr_null(p);
        ck_assert_uint_gt(strlen(err.text), 10);
    }
    llm_sampler_close(NULL);
}
END_TEST

/* What a device gives for a pick: the k greatest in order, the values asked for, and a sum that is as wrong as it may be. */
static void top_of(const float *x, llm_top *t, double wrong)
{
    bool *taken = calloc((size_t)t->n, sizeof *taken);

    for (int k = 0; k < t->k; k++) {
        int best = -1;
        for (int i = 0; i < t->n; i++) if (!taken[i] && (best < 0 || x[i] > x[best])) best = i;
        taken[best] = true, t->best[k] = (llm_candidate){ x[best], best };
    }
    for (int i = 0; i < t->n_asked; i++) t->value[i] = x[t->asked[i]];
    t->sum = 0;
    for (int i = 0; i < t->n; i++) t->sum += exp((double)x[i] - t->best[0].value);
    t->sum *= 1 + wrong;
    free(taken);
}

START_TEST(a_part_of_a_row_picks_what_the_row_picks)
{
    enum { WIDE = 700 };
    static const llm_sampler_options kind[] = {
        { 0 }, { .repeat_penalty = 1.3f }, { .temperature = 1, .top_k = 40 }, { .temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .min_p = 0.05f },
        { .temperature = 1, .top_p = 0.9f }, { .temperature = 1.5f, .top_p = 0.95f, .min_p = 0.02f, .frequency_penalty = 0.5f }, { .temperature = 1, .min_p = 0.1f },
        { .temperature = 1, .top_k = 30, .typical_p = 0.6f, .presence_penalty = -1 }, { .temperature = 0.8f, .top_k = 8, .repeat_penalty = 0.7f, .penalty_last_n = -1 },
        { .temperature = 1 }, { .temperature = 1, .typical_p = 0.5f }, { .temperature = 1, .top_k = 600 },
    };
    int asked = 0, sure[sizeof kind / sizeof kind[0]] = { 0 };
    static llm_top top;
    static float x[WIDE];
    llm_error err;

    for (size_t k = 0; k < sizeof kind / sizeof kind[0]; k++) for (int round = 0; round < 40; round++) {
        llm_logit_bias bias[3] = { { 5, 3.5f }, { 400, -INFINITY }, { 5, -1 } };
        llm_sampler_options o = kind[k];
        int n = round % 8 == 7 ? 50 : WIDE;
        o.seed = (uint64_t)round, o.bias = bias, o.n_bias = round % 3 == 1 && n == WIDE ? 3 : 0;
        llm_sampler *p = open_or_fail(n, n, o);
        random_logits(x, n, round % 3);
        for (int i = 0; i < 30; i++) ck_assert_int_eq(llm_sampler_accept(p, (llm_token)(uniform() * n), &err), LLM_OK);
        for (uint64_t pos = 0; pos < 3; pos++) {
            if (!sampler_wants(p, &top)) continue;
            top_of(x, &top, (double)((int)pos - 1) * 0.99e-4);
            llm_token got = sampler_pick_top(p, &top, pos), want = llm_sampler_pick(p, x, pos, &err);
            ck_assert_msg(got == -1 || got == want, "options %zu round %d: %d, want %d", k, round, (int)got, (int)want);
            sure[k] += got >= 0, asked++;
        }
        llm_sampler_close(p);
    }
    ck_assert_int_gt(asked, 0);
    /* of 120 picks each. Flat rows keep more than is known for top_p and min_p; without any bound only short rows, known whole, succeed. */
    for (size_t k = 0; k < sizeof kind / sizeof kind[0]; k++) {
        static const int least[] = { 105, 105, 105, 105, 70, 40, 60, 105, 105, 15, 15, 15 };
        ck_assert_msg(sure[k] >= least[k] && (k < 9 || sure[k] == 15), "options %zu: %d of 120 picks were proven", k, sure[k]);
    }
}
END_TEST

/* What the row would answer with an error is not picked from a part of it. */
START_TEST(a_part_with_broken_logits_proves_nothing)
{
    llm_sampler *p = open_or_fail(N, N, (llm_sampler_options){ .temperature = 1, .top_k = 4 });
    static llm_top top;
    float x[N];

    random_logits(x, N, 0);
    ck_assert(sampler_wants(p, &top));
    top_of(x, &top, 0);
    ck_assert_int_ge(sampler_pick_top(p, &top, 0), 0);
    top.best[0].value = NAN;
    ck_assert_int_eq(sampler_pick_top(p, &top, 0), -1);
    top.best[0].value = INFINITY;
    ck_assert_int_eq(sampler_pick_top(p, &top, 0), -1);
    for (int i = 0; i < N; i++) x[i] = -INFINITY;
    top_of(x, &top, 0);
    ck_assert_int_eq(sampler_pick_top(p, &top, 0), -1);
    llm_sampler_close(p);
}
END_TEST

LLM_TEST_MAIN("run/sampler", philox_vectors, against_brute_force, draws_follow_the_softmax, draws_from_a_wide_row_have_a_weight, generator_is_uniform,
              a_draw_depends_on_seed_and_position_alone, padding_and_broken_logits, known_peaks_pick_the_same, threads_draw_the_same, greedy_takes_the_lowest_of_equals,
              refuses_bad_options, a_part_of_a_row_picks_what_the_row_picks, a_part_with_broken_logits_proves_nothing)
