/* sampler-bench.c - microseconds to pick a token from a row of logits.
 *
 *     sampler-bench [N_VOCAB [RUNS]]
 *
 * Logits are normal with deviation 1.5 and a few likely ones, as those of a model in the middle of a sentence. Median of the runs, CPU time. */
#include "sampler.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double microseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static uint64_t state = 1;
static double uniform(void) { return ((double)((state = state * 6364136223846793005u + 1442695040888963407u) >> 11) + 0.5) * 0x1p-53; }

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int measure(const char *name, llm_sampler_options o, float *logits, int n_vocab, int runs)
{
    double *took = malloc((size_t)runs * sizeof *took);
    uint64_t sum = 0;
    llm_sampler *p;
    llm_error err;

    o.size = sizeof o, o.seed = 1;
    if (took == NULL || sampler_open(&p, n_vocab, n_vocab, &o, &err) != LLM_OK) return fprintf(stderr, "%s: %s\n", name, err.text), 1;
    for (int i = 0; i < runs; i++) {
        logits[i % n_vocab] += 0.01f;                       /* as if a model had written them */
        double start = microseconds();
        llm_token t = llm_sampler_pick(p, logits, (uint64_t)i, &err);
        if (t < 0 || llm_sampler_accept(p, t, &err) != LLM_OK) return fprintf(stderr, "%s: %s\n", name, err.text), 1;
        took[i] = microseconds() - start;
        sum = sum * 31 + (uint64_t)t;
    }
    qsort(took, (size_t)runs, sizeof *took, ascending);
    printf("%-44s %8.1f us    picks %016llx\n", name, took[runs / 2], (unsigned long long)sum);
    llm_sampler_close(p);
    free(took);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; llm_sampler_options o; } row[] = {
        { "greedy", { .temperature = 0 } },
        { "greedy, penalties", { .temperature = 0, .repeat_penalty = 1.1f, .frequency_penalty = 0.1f } },
        { "top-k 40, top-p 0.95, min-p 0.05", { .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f } },
        { "the same, penalties", { .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.1f, .presence_penalty = 0.1f } },
        { "top-k 64, top-p 0.95", { .temperature = 1, .top_k = 64, .top_p = 0.95f } },
        { "top-p 0.95 alone", { .temperature = 0.6f, .top_p = 0.95f } },
        { "min-p 0.05 alone", { .temperature = 1, .min_p = 0.05f } },
        { "temperature alone", { .temperature = 1 } },
    };
    int n_vocab = argc > 1 ? atoi(argv[1]) : 262144, runs = argc > 2 ? atoi(argv[2]) : 200;
    float *logits = n_vocab > 0 && runs > 0 ? malloc((size_t)n_vocab * sizeof *logits) : NULL;

    if (logits == NULL) return fprintf(stderr, "usage: sampler-bench [N_VOCAB [RUNS]]\n"), 2;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        state = 1;
        for (int k = 0; k < n_vocab; k++) logits[k] = (float)(1.5 * sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()));
        for (int k = 0; k < 20; k++) logits[(int)(uniform() * n_vocab)] = (float)(12 + 4 * uniform());
        if (measure(row[i].name, row[i].o, logits, n_vocab, runs)) return 1;
    }
    free(logits);
    return 0;
}
