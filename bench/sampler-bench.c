/* sampler-bench.c - microseconds to pick a token from a row of logits.
 *
 *     sampler-bench [N_VOCAB [RUNS]]
 *
 * Logits are normal with deviation 1.5 and a few likely ones, as those of a model in the middle of a sentence. Median of the runs, CPU time: with the peaks of
 * the row's blocks, which the head makes beside its logits, and from the row alone, as llm_sampler_pick has it. */
#include "peak.h"
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

/* The median of the runs; -1 after a message. *sum: of the picks. */
static double measure(const char *name, llm_sampler_options o, float *logits, float *peak, int n_vocab, int runs, uint64_t *sum)
{
    double *took = malloc((size_t)runs * sizeof *took), median = -1;
    llm_sampler *p = NULL;
    llm_error err = { .text = "no memory" };
    int i = 0;

    o.size = sizeof o, o.seed = 1, *sum = 0;
    if (took == NULL || sampler_open(&p, n_vocab, n_vocab, &o, &err) != LLM_OK) runs = 0;
    for (; i < runs; i++) {
        int at = i % n_vocab, b = at / PEAK_OF;
        logits[at] += 0.01f;                                /* as if a model had written them */
        if (peak != NULL) peak[b] = (b + 1) * PEAK_OF <= n_vocab ? peak_of(logits + b * PEAK_OF) : peak_of_part(logits + b * PEAK_OF, n_vocab - b * PEAK_OF);
        double start = microseconds();
        llm_token t = sampler_pick_row(p, logits, peak, (uint64_t)i, NULL, &err);
        if (t < 0 || llm_sampler_accept(p, t, &err) != LLM_OK) break;
        took[i] = microseconds() - start;
        *sum = *sum * 31 + (uint64_t)t;
    }
    if (runs > 0 && i == runs) qsort(took, (size_t)runs, sizeof *took, ascending), median = took[runs / 2];
    else fprintf(stderr, "%s: %s\n", name, err.text);
    llm_sampler_close(p);
    free(took);
    return median;
}

static void make_row(float *logits, float *peak, int n_vocab)
{
    state = 1;
    for (int k = 0; k < n_vocab; k++) logits[k] = (float)(1.5 * sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()));
    for (int k = 0; k < 20; k++) logits[(int)(uniform() * n_vocab)] = (float)(12 + 4 * uniform());
    for (int k = 0; k < n_vocab; k += PEAK_OF) peak[k / PEAK_OF] = n_vocab - k < PEAK_OF ? peak_of_part(logits + k, n_vocab - k) : peak_of(logits + k);
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
    float *logits = n_vocab > 0 && runs > 0 ? malloc((size_t)n_vocab * sizeof *logits) : NULL, *peak = n_vocab > 0 ? malloc(peaks_of((size_t)n_vocab) * sizeof *peak) : NULL;
    int failed = 0;

    if (logits == NULL || peak == NULL) return free(logits), free(peak), fprintf(stderr, "usage: sampler-bench [N_VOCAB [RUNS]]\n"), 2;
    for (size_t i = 0; i < sizeof row / sizeof row[0] && !failed; i++) {
        uint64_t sum[2];
        make_row(logits, peak, n_vocab);
        double known = measure(row[i].name, row[i].o, logits, peak, n_vocab, runs, &sum[0]);
        make_row(logits, peak, n_vocab);
        double alone = measure(row[i].name, row[i].o, logits, NULL, n_vocab, runs, &sum[1]);
        failed = known < 0 || alone < 0 || sum[0] != sum[1];
        printf("%-44s %8.1f us    row alone %8.1f us    picks %016llx%s\n", row[i].name, known, alone, (unsigned long long)sum[0], sum[0] != sum[1] ? " BUT OTHERS" : "");
    }
    free(logits), free(peak);
    return failed;
}
