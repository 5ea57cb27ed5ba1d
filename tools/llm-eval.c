/* llm-eval: measures what a model computes. perplexity, logits, compare, tokenize and render, one sub-command a file function. */
#include "activations.h"
#include "common.h"
#include "npy.h"
#include "options.h"
#include "render_cases.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static model_choice choice;
static llm_session_options largest;
static int n_ctx = 512, n_batch;
static const char *tokens_text, *out_path, *cases_path;
static bool special, quiet, want_f32;
static float tolerance = 2e-4f;

static const opt_row rows[] = {
    { "Model", "threads", 't', OPT_INT, "N", &choice.n_threads, 1, 1024, "threads (default: the cores there are)", false },
    { "Model", "device", 0, OPT_STR, "cpu|cuda", &choice.device, 0, 0, "what computes: the processor (default) or the first NVIDIA GPU", false },
    OFFLOAD_ROWS("Model", choice),
    { "Model", "cpu", 0, OPT_STR, "SET", &choice.cpu, 0, 0, "kernel set: scalar, avx2, avxvnni, avx512, neon, i8mm (default: $LLM_CPU, else the best)", true },
    { "Model", "batch", 'b', OPT_INT, "N", &n_batch, 1, 65536, "rows computed at once; changes no result", false },
    { "Model", "kv-f32", 0, OPT_FLAG, NULL, &want_f32, 0, 0, "keep keys and values as F32 (default F16)", false },
    { "Model", "quiet", 'q', OPT_FLAG, NULL, &quiet, 0, 0, "no log lines", false },
    { "perplexity, imatrix", "ctx", 'c', OPT_INT, "N", &n_ctx, 8, 1 << 24, "tokens in a window (default 512)", false },
    { "logits, activations", "tokens", 0, OPT_STR, "1,2,3", &tokens_text, 0, 0, "token ids to run", false },
    { "logits, activations, imatrix", "out", 'o', OPT_STR, "PATH", &out_path, 0, 0, "logits: a .npy file, float32 [n_tokens, n_vocab]; activations: a folder; imatrix: the file for --imatrix", false },
    { "compare", "tolerance", 0, OPT_FLOAT, "X", &tolerance, 0, 1, "folders: largest difference allowed, as a share of the largest value (2e-4)", false },
    { "tokenize", "cases", 0, OPT_STR, "FILE.jsonl", &cases_path, 0, 0, "lines {\"text\": ..., \"ids\": [...]}; may hold \"decoded\". For render: see below", false },
    { "tokenize", "special", 0, OPT_FLAG, NULL, &special, 0, 0, "the text of control tokens becomes those tokens", false },
};
static const opt_table table = {
    "llm-eval",
    "perplexity MODEL TEXTFILE | imatrix MODEL TEXTFILE --out FILE | logits MODEL --tokens IDS --out FILE.npy | activations MODEL --tokens IDS --out DIR | compare A B | "
    "tokenize MODEL --cases FILE.jsonl | render [MODEL] --cases FILE.jsonl",
    "Measures a model: perplexity of a text, logits or all named activations of given tokens, the distance\nof two sets of logits or of two folders of activations, a tokenizer against expected ids, and chat\ntemplates against expected texts.",
    rows, sizeof rows / sizeof rows[0],
    "perplexity cuts the tokens of TEXTFILE (no BOS) into windows of --ctx that do not overlap; each is run on its\n"
    "own and every token but its first is scored.\n"
    "render takes lines {\"template\", \"expected\", \"vars\" or \"messages\"}; harmony conversations {\"conversation\", \"mode\", \"expected\"};\n"
    "harmony output {\"ids\", \"text\" or \"parts\", \"role\", \"expected\"}; {\"encode\", \"ids\"} and {\"decode_utf8\", \"expected\"}. Those with ids or\n"
    "output need the vocabulary of MODEL (default: tokenizers/gpt-oss beside the folder of FILE).\n" EXIT_CODES
};

static llm_session *open_session(llm_model *m, int ctx)
{
    llm_session_options opt = { .size = sizeof opt, .n_ctx = ctx, .n_batch = n_batch, .n_threads = choice.n_threads,
                                .kv_type = want_f32 ? LLM_KV_F32 : LLM_KV_DEFAULT };
    llm_session *s;
    llm_error err;

    if (llm_session_open(&s, m, &opt, &err) != LLM_OK) tool_die(&err);
    return s;
}

static llm_model_info model_info(const llm_model *m)
{
    llm_model_info info = { .size = sizeof info };
    llm_model_get_info(m, &info);
    return info;
}

/* log(sum(exp(x))) in double. */
static double log_sum_exp(const float *x, size_t n)
{
    double max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

/* Runs n tokens from an empty sequence and keeps the logits of all of them: [n, n_vocab]. */
static const float *run_all(llm_session *s, const llm_token *ids, size_t n, llm_row *row)
{
    llm_error err;

    if (llm_session_truncate(s, 0, 0, &err) != LLM_OK) tool_die(&err);
    for (size_t i = 0; i < n; i++) row[i] = (llm_row){ ids[i], 0, 1 };
    if (llm_session_decode_rows(s, row, n, &err) != LLM_OK) tool_die(&err);
    return llm_session_logits(s);
}

static int perplexity(const char *path)
{
    llm_model *m = tool_open_model(&choice);
    size_t v = (size_t)model_info(m).n_vocab, len, n, scored = 0;
    char *text = tool_read_file(path, &len);
    llm_token *ids = tool_tokenize(m, text, len, 0, &n);
    llm_session *s = open_session(m, n_ctx);
    llm_row *row = tool_alloc((size_t)n_ctx, sizeof *row);
    double nll = 0, squares = 0;

    if (n < 2) tool_die_text(EXIT_FAILED, "%s: %zu tokens, want 2 or more", path, n);
    for (size_t at = 0; at + 2 <= n; at += (size_t)n_ctx) {
        size_t width = n - at < (size_t)n_ctx ? n - at : (size_t)n_ctx;
        const float *logits = run_all(s, ids + at, width, row);
        for (size_t i = 0; i + 1 < width; i++) {
            double loss = log_sum_exp(logits + i * v, v) - logits[i * v + (size_t)ids[at + i + 1]];
            nll += loss, squares += loss * loss, scored++;
        }
        if (!quiet) fprintf(stderr, "\r%zu of %zu tokens, perplexity %.4f", at + width, n, exp(nll / (double)scored));
    }
    if (!quiet) fputc('\n', stderr);
    double mean = nll / (double)scored, dev = sqrt(fmax(0, squares / (double)scored - mean * mean) / (double)scored);
    printf("perplexity %.5f +- %.5f  (mean loss %.6f, %zu tokens scored of %zu, window %d, %zu bytes, %.4f bits per byte)\n",
           exp(mean), exp(mean) * dev, mean, scored, n, n_ctx, len, nll / log(2) / (double)len);
    free(row), free(ids), free(text);
    llm_session_close(s);
    llm_model_close(m);
    return EXIT_OK;
}

/* Every eighth token's logits are computed too, so that the head is heard. */
static int importance(const char *path)
{
    llm_model *m = tool_open_model(&choice);
    size_t len, n, chunks = 0;
    char *text = tool_read_file(path, &len);
    llm_token *ids = tool_tokenize(m, text, len, LLM_TOKENIZE_BOS, &n);
    llm_session *s = open_session(m, n_ctx);
    llm_row *row = tool_alloc((size_t)n_ctx, sizeof *row);
    const char *name = strrchr(path, '/');
    llm_collector *c;
    llm_error err;

    if (out_path == NULL) opt_fail(&table, "imatrix wants --out FILE");
    if (n < 8) tool_die_text(EXIT_FAILED, "%s: %zu tokens, want 8 or more", path, n);
    if (llm_collector_open(&c, s, &err) != LLM_OK) tool_die(&err);
    for (size_t at = 0; at < n; at += (size_t)n_ctx, chunks++) {
        size_t width = n - at < (size_t)n_ctx ? n - at : (size_t)n_ctx;
        if (width < 8) break;
        if (llm_session_truncate(s, 0, 0, &err) != LLM_OK) tool_die(&err);
        for (size_t i = 0; i < width; i++) row[i] = (llm_row){ ids[at + i], 0, i % 8 == 7 };
        if (llm_session_decode_rows(s, row, width, &err) != LLM_OK) tool_die(&err);
        if (!quiet) fprintf(stderr, "\r%zu of %zu tokens", at + width, n);
    }
    if (!quiet) fputc('\n', stderr);
    if (llm_collector_save(c, out_path, name ? name + 1 : path, (int)chunks, n_ctx, &err) != LLM_OK) tool_die(&err);
    llm_collector_close(c);
    free(row), free(ids), free(text);
    llm_session_close(s);
    llm_model_close(m);
    return EXIT_OK;
}

static llm_token *parse_tokens(const char *text, size_t *n)
{
    llm_token *ids = tool_alloc(strlen(text) / 2 + 2, sizeof *ids);

    *n = 0;
    for (const char *s = text;;) {
        char *end;
        long id = strtol(s, &end, 10);
        if (end == s || id < 0 || id > INT32_MAX || (*end != ',' && *end != '\0'))
            opt_fail(&table, "--tokens: got '%.40s', want ids with commas between", s);
        ids[(*n)++] = (llm_token)id;
        if (*end == '\0') return ids;
        s = end + 1;
    }
}

static int logits(bool all_activations)
{
    size_t n, v;
    llm_token *ids;
    llm_model *m;
    llm_session *s;

    if (tokens_text == NULL || out_path == NULL) opt_fail(&table, "logits and activations need --tokens and --out");
    ids = parse_tokens(tokens_text, &n);
    m = tool_open_model(&choice);
    v = (size_t)model_info(m).n_vocab;
    if (all_activations && n_batch < (int)n) n_batch = (int)n;          /* one piece: a file per activation */
    s = open_session(m, (int)n);
    if (all_activations) {
        activations_write(s, ids, n, out_path);
    } else {
        llm_row *row = tool_alloc(n, sizeof *row);
        const float *y = run_all(s, ids, n, row);
        FILE *f = fopen(out_path, "wb");
        if (f == NULL || !npy_write_header(f, n, v) || fwrite(y, sizeof *y, n * v, f) != n * v || fclose(f) != 0)
            tool_die_text(EXIT_FAILED, "%s: %s", out_path, strerror(errno));
        free(row);
    }
    free(ids);
    llm_session_close(s);
    llm_model_close(m);
    return EXIT_OK;
}

typedef struct { double max, sum, kl, scale; size_t same_top, max_at; } distance;

static size_t top(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void compare_row(distance *d, const float *a, const float *b, size_t v, size_t at)
{
    double la = log_sum_exp(a, v), lb = log_sum_exp(b, v);

    for (size_t i = 0; i < v; i++) {
        double diff = fabs((double)a[i] - b[i]);
        if (npy_further(diff, d->max)) d->max = diff, d->max_at = at;
        if (fabs((double)a[i]) > d->scale) d->scale = fabs((double)a[i]);
        d->sum += diff;
        d->kl += exp(a[i] - la) * ((a[i] - la) - (b[i] - lb));
    }
    d->same_top += top(a, v) == top(b, v);
}

static int compare(const char *path_a, const char *path_b)
{
    npy_array a, b;
    distance d = { 0 };
    char why[256];
    struct stat st;

    if (stat(path_a, &st) == 0 && S_ISDIR(st.st_mode)) return activations_compare(path_a, path_b, tolerance);
    if (!npy_read(path_a, &a, why, sizeof why)) tool_die_text(EXIT_FAILED, "%s: %s", path_a, why);
    if (!npy_read(path_b, &b, why, sizeof why)) tool_die_text(EXIT_FAILED, "%s: %s", path_b, why);
    if (a.rows != b.rows || a.cols != b.cols || a.rows == 0 || a.cols == 0)
        tool_die_text(EXIT_FAILED, "shapes differ: %s has (%zu, %zu), %s has (%zu, %zu)", path_a, a.rows, a.cols, path_b, b.rows, b.cols);
    for (size_t i = 0; i < a.rows; i++) compare_row(&d, a.data + i * a.cols, b.data + i * b.cols, a.cols, i);
    printf("max difference   %.6g at row %zu (%.3g of the largest value %.6g)\nmean difference  %.6g\nKL divergence    %.6g\nsame top         %zu of %zu\n",
           d.max, d.max_at, d.max / d.scale, d.scale, d.sum / (double)(a.rows * a.cols), d.kl / (double)a.rows, d.same_top, a.rows);
    free(a.data), free(b.data);
    return d.max == d.max ? EXIT_OK : EXIT_FAILED;
}

/* Says how ids differ from want, or returns true. */
static bool same_ids(const char *path, int line, const llm_token *ids, size_t n, json_t *want)
{
    for (size_t i = 0; i < n || i < json_array_size(want); i++) {
        long long expected = i < json_array_size(want) ? json_integer_value(json_array_get(want, i)) : -1;
        if (i < n && ids[i] == expected) continue;
        printf("%s:%d: id %zu is %lld, want %lld (%zu ids, want %zu)\n", path, line, i, i < n ? (long long)ids[i] : -1LL,
               expected, n, json_array_size(want));
        return false;
    }
    return true;
}

static bool same_text(const llm_model *m, const char *path, int line, const llm_token *ids, size_t n, const char *want, size_t want_len)
{
    llm_detok *d;
    llm_error err;
    size_t at = 0;
    bool same = true;

    if (llm_detok_open(&d, m, LLM_DETOK_CONTROL | LLM_DETOK_WHOLE, &err) != LLM_OK) tool_die(&err);
    for (size_t i = 0; i <= n && same; i++) {
        const char *text;
        size_t len;
        llm_status st = i < n ? llm_detok_push(d, ids[i], &text, &len, &err) : llm_detok_flush(d, &text, &len, &err);
        if (st != LLM_OK) tool_die(&err);
        same = len <= want_len - at && memcmp(text, want + at, len) == 0;
        if (same) at += len;
    }
    if (!same || at != want_len) printf("%s:%d: decoded text differs at byte %zu\n", path, line, at);
    llm_detok_close(d);
    return same && at == want_len;
}

static bool run_case(const llm_model *m, json_t *c, int line)
{
    json_t *text = json_object_get(c, "text"), *ids = json_object_get(c, "ids"), *decoded = json_object_get(c, "decoded");
    size_t n;
    llm_token *got;
    bool ok;

    if (!json_is_string(text) || !json_is_array(ids)) tool_die_text(EXIT_FAILED, "%s:%d: want {\"text\", \"ids\"}", cases_path, line);
    got = tool_tokenize(m, json_string_value(text), json_string_length(text), special ? LLM_TOKENIZE_SPECIAL : 0, &n);
    ok = same_ids(cases_path, line, got, n, ids);
    if (ok) {
        json_t *want = json_is_string(decoded) ? decoded : text;
        ok = same_text(m, cases_path, line, got, n, json_string_value(want), json_string_length(want));
    }
    free(got);
    return ok;
}

/* Each line of --cases through run_case, or render_case. */
static int cases(bool render)
{
    llm_model *m = NULL;
    render_cases r = { .path = cases_path, .choice = &choice };
    char *text, *at;
    size_t len;
    int line = 0, passed = 0, failed = 0;

    if (cases_path == NULL) opt_fail(&table, "tokenize and render need --cases");
    choice.vocab_only = true;
    if (!render) m = tool_open_model(&choice);
    text = tool_read_file(cases_path, &len);
    for (at = text; at < text + len;) {
        char *end = memchr(at, '\n', (size_t)(text + len - at));
        size_t width = end ? (size_t)(end - at) : (size_t)(text + len - at);
        json_error_t je;
        json_t *c;
        line++;
        if (width > 0) {
            c = json_loadb(at, width, JSON_ALLOW_NUL, &je);
            if (c == NULL) tool_die_text(EXIT_FAILED, "%s:%d: %s", cases_path, line, je.text);
            if (render ? render_case(&r, c, line) : run_case(m, c, line)) passed++; else failed++;
            json_decref(c);
        }
        at += width + 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    free(text);
    llm_model_close(m), llm_model_close(r.model);
    return failed ? EXIT_FAILED : EXIT_OK;
}

int main(int argc, char **argv)
{
    opt_result r;
    const char *what;

    tool_name = "llm-eval";
    opt_parse(&table, argc, argv, &r);
    choice.quiet = quiet;
    if (n_ctx > 4096) largest = (llm_session_options){ .size = sizeof largest, .n_ctx = n_ctx, .n_batch = n_batch }, choice.expect = &largest;
    what = r.n_operand > 0 ? r.operand[0] : "";
    if (r.n_operand > 1) choice.path = r.operand[1];
    if (strcmp(what, "perplexity") == 0 && r.n_operand == 3) return perplexity(r.operand[2]);
    if (strcmp(what, "imatrix") == 0 && r.n_operand == 3) return importance(r.operand[2]);
    if (strcmp(what, "logits") == 0 && r.n_operand == 2) return logits(false);
    if (strcmp(what, "activations") == 0 && r.n_operand == 2) return logits(true);
    if (strcmp(what, "compare") == 0 && r.n_operand == 3) return compare(r.operand[1], r.operand[2]);
    if (strcmp(what, "tokenize") == 0 && r.n_operand == 2) return cases(false);
    if (strcmp(what, "render") == 0 && r.n_operand <= 2) return cases(true);
    opt_fail(&table, "want one of: perplexity MODEL TEXTFILE, imatrix MODEL TEXTFILE, logits MODEL, activations MODEL, compare A B, tokenize MODEL, render");
}
