/* Every tiny model of test/data/ref against the logits of the official implementation, from both layouts. When one is off, the
 * first activation that differs is named (README of tools/reference). LLM_TEST_CASE=name runs one of them. */
#include "../llm_test.h"
#include "llm.h"
#include "npy.h"
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#define ROOT "test/data/ref"
enum { MAX_TOKEN = 256 };

/* test/cuda/models_test.c runs the same models on another backend, whose matrix units round more coarsely. */
#ifndef TEST_BACKEND
#define TEST_BACKEND LLM_BACKEND_CPU
#define TEST_NAME "model/reference"
#define TOLERANCE_FACTOR 1
#define OUTLIERS 0                  /* positions that may be further off: where a router's choice was a near tie */
#define CHECK_LOGITS(path, got, row, n, width)
#endif

typedef struct { const char *folder; double tol; json_t *skip; char first[160]; } watch;

static double distance(const float *a, const float *b, size_t n, double *scale)
{
    double max = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= max)) max = d;
        if (fabs((double)b[i]) > *scale) *scale = fabs((double)b[i]);
    }
    return max;
}

static int is_skipped(const watch *w, const char *name)
{
    size_t i;
    json_t *s;

    json_array_foreach(w->skip, i, s)
        if (strcmp(json_string_value(s), name) == 0) return 1;
    return 0;
}

/* The files hold the last four positions. */
static void on_tap(void *user, const char *name, int il, const float *data, int n, int width)
{
    watch *w = user;
    char path[256], why[128];
    npy_array want;
    double scale = 0, d;

    snprintf(path, sizeof path, "%s/tap.%d.%s.npy", w->folder, il, name);
    if (*w->first || is_skipped(w, name) || access(path, R_OK) != 0 || !npy_read(path, &want, why, sizeof why)) return;
    if (want.cols != (size_t)width || want.rows > (size_t)n) {
        snprintf(w->first, sizeof w->first, "%s of layer %d has width %d, want %zu", name, il, width, want.cols);
    } else {
        d = distance(data + ((size_t)n - want.rows) * (size_t)width, want.data, want.rows * want.cols, &scale);
        if (!(d <= 2 * w->tol * scale)) snprintf(w->first, sizeof w->first, "%s of layer %d is off by %.3g of %.3g", name, il, d, scale);
    }
    free(want.data);
}

static void check_model(const char *path, watch *w, const npy_array *tokens, const npy_array *logits)
{
    llm_model_options mo = { .size = sizeof mo, .path = path, .n_threads = 2, .backend = TEST_BACKEND };
    llm_session_options so = { .size = sizeof so, .n_ctx = MAX_TOKEN, .kv_type = LLM_KV_F32 };
    llm_row row[MAX_TOKEN];
    size_t n = tokens->cols;
    llm_model *m = NULL;
    llm_session *s = NULL;
    llm_error err = { LLM_OK, "" };
    double scale = 0, worst = 0;
    int outliers = 0;

    for (size_t i = 0; i < n; i++) row[i] = (llm_row){ (llm_token)tokens->data[i], 0, 1 };
    w->first[0] = '\0';
    if (llm_model_open(&m, &mo, &err) == LLM_ERR_UNSUPPORTED && TEST_BACKEND != LLM_BACKEND_CPU) {
        if (test_skipped == 0) test_skip(TEST_NAME, err.text);
        return;
    }
    ck_assert_msg(m != NULL, "%s: %s", path, err.text);
    ck_assert_msg(llm_session_open(&s, m, &so, &err) == LLM_OK, "%s: %s", path, err.text);
    llm_session_set_tap(s, on_tap, w);
    ck_assert_msg(llm_session_decode_rows(s, row, n, &err) == LLM_OK, "%s: %s", path, err.text);
    distance(llm_session_logits(s), logits->data, n * logits->cols, &scale);
    for (size_t i = 0; i < n; i++) {
        double unused = 0, d = distance(llm_session_logits(s) + i * logits->cols, logits->data + i * logits->cols, logits->cols, &unused);
        if (!(d <= w->tol * scale) && outliers++ < OUTLIERS) continue;
        if (!(d <= worst)) worst = d;
        ck_assert_msg(d <= w->tol * scale, "%s: position %zu: logits off by %.3g of %.3g (allowed %.3g); first to differ: %s", path, i, d, scale,
                      w->tol * scale, *w->first ? w->first : "no activation on file");
    }
    CHECK_LOGITS(path, llm_session_logits(s), row, n, logits->cols);
    printf("  %-44s largest difference %.2g of the largest logit (allowed %.2g)\n", path, worst / scale, w->tol);
    llm_session_close(s);
    llm_model_close(m);
}

static void read_npy(const char *folder, const char *name, npy_array *out)
{
    char path[256], why[128] = "";

    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_assert_msg(npy_read(path, out, why, sizeof why), "%s: %s", path, why);
}

static int check_case(const char *name)
{
    char folder[160], path[256];
    json_t *c, *also, *v;
    json_error_t je;
    npy_array tokens, logits;
    watch w = { .folder = folder };
    size_t i;
    int n = 0;

    snprintf(folder, sizeof folder, ROOT "/%s", name);
    snprintf(path, sizeof path, "%s/case.json", folder);
    if ((c = json_load_file(path, 0, &je)) == NULL) return 0;
    read_npy(folder, "tokens.npy", &tokens);
    read_npy(folder, "logits.npy", &logits);
    ck_assert(tokens.cols <= MAX_TOKEN && logits.rows == tokens.cols);
    v = json_object_get(c, "tol_int8");
    w.tol = v ? json_number_value(v) : TOLERANCE_FACTOR * json_number_value(json_object_get(c, "tol"));
    if (json_is_true(json_object_get(c, "hf"))) snprintf(path, sizeof path, "%s/hf", folder), check_model(path, &w, &tokens, &logits), n++;
    w.skip = json_object_get(c, "gguf_skip_taps");
    if (json_is_true(json_object_get(c, "gguf"))) snprintf(path, sizeof path, "%s/model.gguf", folder), check_model(path, &w, &tokens, &logits), n++;
    also = json_object_get(c, "gguf_also");
    json_array_foreach(also, i, v) snprintf(path, sizeof path, "%s/%s", folder, json_string_value(v)), check_model(path, &w, &tokens, &logits), n++;
    free(tokens.data), free(logits.data);
    json_decref(c);
    return n;
}

START_TEST(logits_equal_the_official_ones)
{
    const char *only = getenv("LLM_TEST_CASE");
    DIR *d = opendir(ROOT);
    int n = 0;

    ck_assert_msg(d != NULL, ROOT " is missing; run from the root of the tree");
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && (only == NULL || strcmp(only, e->d_name) == 0)) n += check_case(e->d_name);
    closedir(d);
    ck_assert_msg(only != NULL || n >= 40, "%d models, want 40 or more", n);
}
END_TEST

LLM_TEST_MAIN(TEST_NAME, logits_equal_the_official_ones)
