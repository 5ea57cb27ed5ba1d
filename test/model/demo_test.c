/* The bundled model against what transformers computes from its dequantized weights (test/data/demo/expected.json): the ids of the
 * held-out text, its perplexity, and greedy answers. The engine multiplies quantized weights with activations of eight bits, so
 * that two logits which lie close together may change places: every expected id must be our best or within MARGIN of it. */
#include "../llm_test.h"
#include "llm.h"
#include <jansson.h>
#include <math.h>
#include <string.h>

#define MODEL "tools/demo/demo-gpt-oss.gguf"
#define DATA "test/data/demo/"
#define MARGIN 0.1                  /* logits */
#define PERPLEXITY_TOLERANCE 0.005  /* of the figure of the reference */

static json_t *expected;
static llm_model *model;
static int n_vocab;

static void open_demo(void)
{
    llm_model_options mo = { .size = sizeof mo, .path = MODEL };
    llm_model_info info = { .size = sizeof info };
    llm_error err = { LLM_OK, "" };
    json_error_t je;

    if (model != NULL) return;
    ck_assert_msg((expected = json_load_file(DATA "expected.json", 0, &je)) != NULL, DATA "expected.json: %s", je.text);
    ck_assert_msg(llm_model_open(&model, &mo, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq(llm_model_get_info(model, &info), LLM_OK);
    ck_assert_str_eq(info.arch, "gpt-oss");
    n_vocab = info.n_vocab;
}

static llm_session *open_session(int n_ctx)
{
    llm_session_options so = { .size = sizeof so, .n_ctx = n_ctx };
    llm_session *s = NULL;
    llm_error err = { LLM_OK, "" };

    ck_assert_msg(llm_session_open(&s, model, &so, &err) == LLM_OK, "%s", err.text);
    return s;
}

static int best_of(const float *y)
{
    int best = 0;

    for (int i = 1; i < n_vocab; i++)
        if (y[i] > y[best]) best = i;
    return best;
}

static double log_sum_exp(const float *y)
{
    double max = y[best_of(y)], sum = 0;

    for (int i = 0; i < n_vocab; i++) sum += exp((double)y[i] - max);
    return max + log(sum);
}

/* Ids of a list, malloc'ed; room for more behind them. */
static llm_token *ids_of(json_t *list, size_t more)
{
    llm_token *id = calloc(json_array_size(list) + more + 1, sizeof *id);
    size_t i;
    json_t *v;

    ck_assert_ptr_nonnull(id);
    json_array_foreach(list, i, v) id[i] = (llm_token)json_integer_value(v);
    return id;
}

/* Every row of ids, from an empty sequence; logits [n, n_vocab]. */
static const float *run_all(llm_session *s, const llm_token *id, size_t n)
{
    llm_row *row = calloc(n, sizeof *row);
    llm_error err = { LLM_OK, "" };

    ck_assert_ptr_nonnull(row);
    for (size_t i = 0; i < n; i++) row[i] = (llm_row){ id[i], 0, 1 };
    ck_assert_int_eq(llm_session_truncate(s, 0, 0, &err), LLM_OK);
    ck_assert_msg(llm_session_decode_rows(s, row, n, &err) == LLM_OK, "%s", err.text);
    free(row);
    return llm_session_logits(s);
}

static void check_prompt_ids(const char *prompt, const llm_token *want, size_t n_want)
{
    llm_token id[1024];
    size_t n = 0;
    llm_error err = { LLM_OK, "" };

    ck_assert_msg(llm_tokenize(model, prompt, strlen(prompt), 0, id, 1024, &n, &err) == LLM_OK, "'%s': %s", prompt, err.text);
    ck_assert_msg(n == n_want && memcmp(id, want, n * sizeof *id) == 0, "'%s': other ids than expected (%zu, want %zu)", prompt, n, n_want);
}

/* One greedy answer with the expected ids as input; how many of them are our best, and the widest gap to it. */
static size_t check_greedy(llm_session *s, json_t *c, double *widest)
{
    json_t *prompt = json_object_get(c, "prompt_ids"), *answer = json_object_get(c, "greedy_ids");
    size_t n_prompt = json_array_size(prompt), n = json_array_size(answer), exact = 0;
    llm_token *id = ids_of(prompt, n), *want = ids_of(answer, 0);
    const float *y;

    ck_assert(n_prompt > 0 && n > 0);
    check_prompt_ids(json_string_value(json_object_get(c, "prompt")), id, n_prompt);
    memcpy(id + n_prompt, want, n * sizeof *id);
    y = run_all(s, id, n_prompt + n - 1);
    for (size_t i = 0; i < n; i++) {
        const float *row = y + (n_prompt - 1 + i) * (size_t)n_vocab;
        int best = best_of(row);
        double gap = (double)row[best] - row[want[i]];
        if (gap > *widest) *widest = gap;
        exact += best == want[i];
        ck_assert_msg(gap <= MARGIN, "answer %zu to a prompt of %zu ids is %d, which is %.3g above %d (allowed %.3g)", i, n_prompt, best, gap,
                      want[i], MARGIN);
    }
    free(id), free(want);
    return exact;
}

START_TEST(greedy_answers)
{
    json_t *list, *c;
    size_t i, exact = 0, all = 0, longest = 1;
    double widest = 0;
    llm_session *s;

    open_demo();
    list = json_object_get(expected, "greedy");
    json_array_foreach(list, i, c) {
        size_t n = json_array_size(json_object_get(c, "prompt_ids")) + json_array_size(json_object_get(c, "greedy_ids"));
        if (n > longest) longest = n;
    }
    s = open_session((int)longest);
    json_array_foreach(list, i, c) {
        exact += check_greedy(s, c, &widest);
        all += json_array_size(json_object_get(c, "greedy_ids"));
    }
    llm_session_close(s);
    printf("demo: %zu of %zu greedy ids are the best logit, the others are at most %.3g below it (allowed %.3g)\n", exact, all, widest, MARGIN);
    ck_assert_uint_gt(all, 0);
    ck_assert_msg(100 * exact >= 95 * all, "only %zu of %zu are exact, want 95 %%", exact, all);
}
END_TEST

/* The held-out text and the rule of `llm-eval perplexity`: windows that do not overlap, each on its own, all but its first id scored. */
static double perplexity_of(llm_session *s, const llm_token *id, size_t n, size_t window, size_t *scored)
{
    double loss = 0;

    *scored = 0;
    for (size_t at = 0; at + 2 <= n; at += window) {
        size_t width = n - at < window ? n - at : window;
        const float *y = run_all(s, id + at, width);
        for (size_t i = 0; i + 1 < width; i++, ++*scored) loss += log_sum_exp(y + i * (size_t)n_vocab) - y[i * (size_t)n_vocab + (size_t)id[at + i + 1]];
    }
    return exp(loss / (double)*scored);
}

static char *read_text(const char *name, size_t *len)
{
    char path[200], *text;
    FILE *f;
    long size;

    snprintf(path, sizeof path, DATA "%.100s", name);
    ck_assert_msg((f = fopen(path, "rb")) != NULL && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 0, "%s cannot be read", path);
    rewind(f);
    ck_assert_ptr_nonnull(text = malloc((size_t)size));
    ck_assert_uint_eq(fread(text, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    *len = (size_t)size;
    return text;
}

START_TEST(heldout_perplexity)
{
    json_t *h, *v;
    size_t len, n = 0, i, scored;
    double want, got;
    char *text;
    llm_token *id;
    llm_session *s;
    llm_error err = { LLM_OK, "" };

    open_demo();
    h = json_object_get(expected, "heldout");
    text = read_text(json_string_value(json_object_get(h, "file")), &len);
    ck_assert_ptr_nonnull(id = calloc(len, sizeof *id));
    ck_assert_msg(llm_tokenize(model, text, len, 0, id, len, &n, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq((long long)n, json_integer_value(json_object_get(h, "tokens")));
    json_array_foreach(json_object_get(h, "first_ids"), i, v) ck_assert_msg(id[i] == json_integer_value(v), "id %zu of the text is %d", i, id[i]);
    s = open_session((int)json_integer_value(json_object_get(h, "n_ctx")));
    want = json_number_value(json_object_get(h, "perplexity"));
    got = perplexity_of(s, id, n, (size_t)json_integer_value(json_object_get(h, "n_ctx")), &scored);
    printf("demo: held-out perplexity %.4f over %zu tokens, the reference says %.4f: %+.3f %% (allowed %.1f %%)\n", got, scored, want, 100 * (got / want - 1),
           100 * PERPLEXITY_TOLERANCE);
    ck_assert_int_eq((long long)scored, json_integer_value(json_object_get(h, "scored")));
    ck_assert(fabs(got / want - 1) <= PERPLEXITY_TOLERANCE);
    llm_session_close(s);
    free(text), free(id);
}
END_TEST

START_TEST(closes)
{
    llm_model_close(model);
    json_decref(expected);
    model = NULL, expected = NULL;
}
END_TEST

LLM_TEST_MAIN("model/demo", greedy_answers, heldout_perplexity, closes)
