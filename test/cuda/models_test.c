/* test/model/reference_test.c on the device (or its shim): every family's logits against the official implementation. Products of more than
 * eight rows take x as halves where the weights are floats, and attention keys and values, where the CPU has floats; so single logits may be
 * off by more, but the distributions may not: their divergence from those that the CPU computes stays below 1e-4 with a cache of halves, as
 * sessions have it by default. With a cache of floats, which attention rounds to halves, it stays below that or below twice what a cache of
 * halves makes of them on the CPU: where activations are rounded to eight bits, a last bit before that may change a code. */
#include "llm.h"
#include <stddef.h>

static void check_divergence(const char *path, const float *got, const llm_row *row, size_t n, size_t width);

#define TEST_BACKEND LLM_BACKEND_CUDA
#define TEST_NAME "cuda/models"
#define TOLERANCE_FACTOR 100
#define OUTLIERS 2
#define CHECK_LOGITS check_divergence
#include "../model/reference_test.c"

static double log_sum(const float *y, size_t n)
{
    double most = y[0], sum = 0;

    for (size_t i = 1; i < n; i++) if ((double)y[i] > most) most = y[i];
    for (size_t i = 0; i < n; i++) sum += exp((double)y[i] - most);
    return most + log(sum);
}

/* A backend's logits [n, width] of the same rows; free them. */
static float *logits_of(llm_backend_kind kind, const char *path, const llm_row *row, size_t n, size_t width, llm_kv_type kv_type)
{
    llm_model_options mo = { .size = sizeof mo, .path = path, .n_threads = 2, .backend = kind };
    llm_session_options so = { .size = sizeof so, .n_ctx = MAX_TOKEN, .kv_type = kv_type };
    llm_model *m;
    llm_session *s = NULL;
    llm_error err;
    float *out = malloc(n * width * sizeof *out);

    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK && llm_session_open(&s, m, &so, &err) == LLM_OK && llm_session_decode_rows(s, row, n, &err) == LLM_OK, "%s: %s", path, err.text);
    memcpy(out, llm_session_logits(s), n * width * sizeof *out);
    llm_session_close(s), llm_model_close(m);
    return out;
}

/* The mean over positions, the OUTLIERS worst left out, of the Kullback-Leibler divergence of got from want. */
static double divergence(const float *got, const float *want, size_t n, size_t width)
{
    double all = 0, worst[OUTLIERS + 1] = { 0 };

    for (size_t i = 0; i < n; i++, got += width, want += width) {
        double zg = log_sum(got, width), zw = log_sum(want, width);
        worst[OUTLIERS] = 0;
        for (size_t k = 0; k < width; k++) worst[OUTLIERS] += exp((double)want[k] - zw) * ((double)want[k] - zw - ((double)got[k] - zg));
        for (int j = OUTLIERS; j > 0 && worst[j] > worst[j - 1]; j--) { double t = worst[j]; worst[j] = worst[j - 1], worst[j - 1] = t; }
        all += worst[OUTLIERS];
    }
    return all / (double)n;
}

static void check_divergence(const char *path, const float *got, const llm_row *row, size_t n, size_t width)
{
    float *want = logits_of(LLM_BACKEND_CPU, path, row, n, width, LLM_KV_F32), *rounded = logits_of(LLM_BACKEND_CPU, path, row, n, width, LLM_KV_F16);
    float *halves = logits_of(LLM_BACKEND_CUDA, path, row, n, width, LLM_KV_F16);
    double d = divergence(got, want, n, width), r = divergence(rounded, want, n, width), allowed = 2 * r > 1e-4 ? 2 * r : 1e-4, h = divergence(halves, rounded, n, width);

    ck_assert_msg(d < allowed, "%s: mean divergence from the CPU's logits %.3g, allowed %.3g", path, d, allowed);
    ck_assert_msg(h < 1e-4, "%s: with a cache of halves mean divergence from the CPU's logits %.3g, allowed 1e-4", path, h);
    printf("  %-44s divergence %.2g (allowed %.2g), cache of halves %.2g (allowed 1e-4)\n", path, d, allowed, h);
    free(want), free(rounded), free(halves);
}
