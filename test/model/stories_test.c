/* A trained model end to end: the weights of stories260K (llama2.c's file, a Llama of 260 thousand parameters) and its tokenizer
 * put into a GGUF file here, opened through the public API, against what llama2.c's own program computes in float32. */
#include "../format/gguf_build.h"
#include "llm.h"
#include <jansson.h>
#include <math.h>

enum { MAX_POS = 256, TOP = 5 };

typedef struct { int32_t dim, hidden, n_layer, n_head, n_kv_head, n_vocab, n_ctx; } header;     /* n_vocab < 0: a head of its own */
typedef struct { uint8_t *at; size_t left; } cursor;

static const void *eat(cursor *c, size_t n)
{
    const void *p = c->at;
    ck_assert_msg(n <= c->left, "the file ends %zu bytes too early", n - c->left);
    c->at += n, c->left -= n;
    return p;
}

static buf read_whole(const char *path)
{
    buf b = { 0 };
    char piece[4096];
    FILE *f = fopen(path, "rb");

    ck_assert_msg(f != NULL, "%s cannot be read", path);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) buf_put(&b, piece, n);
    fclose(f);
    return b;
}

/* One stacked weight [n_layer, rows, cols] of the file as n_layer tensors; cols 0: vectors. A row of q or k rotates in
 * neighbouring pairs in both formats, so that no row moves. */
static void put_layers(gguf_build *g, cursor *c, const char *name, const header *h, uint64_t rows, uint64_t cols)
{
    uint64_t dim[2] = { cols ? cols : rows, rows };

    for (int il = 0; il < h->n_layer; il++) {
        char full[64];
        snprintf(full, sizeof full, "blk.%d.%s.weight", il, name);
        gguf_tensor(g, full, DT_F32, cols ? 2 : 1, dim, eat(c, rows * (cols ? cols : 1) * sizeof(float)));
    }
}

static void put_weights(gguf_build *g, cursor *c, const header *h)
{
    uint64_t d = (uint64_t)h->dim, kv = d / (uint64_t)h->n_head * (uint64_t)h->n_kv_head, ff = (uint64_t)h->hidden;

    gguf_tensor(g, "token_embd.weight", DT_F32, 2, (uint64_t[]){ d, (uint64_t)h->n_vocab }, eat(c, d * (uint64_t)h->n_vocab * sizeof(float)));
    put_layers(g, c, "attn_norm", h, d, 0);
    put_layers(g, c, "attn_q", h, d, d);
    put_layers(g, c, "attn_k", h, kv, d);
    put_layers(g, c, "attn_v", h, kv, d);
    put_layers(g, c, "attn_output", h, d, d);
    put_layers(g, c, "ffn_norm", h, d, 0);
    put_layers(g, c, "ffn_gate", h, ff, d);
    put_layers(g, c, "ffn_down", h, d, ff);
    put_layers(g, c, "ffn_up", h, ff, d);
    gguf_tensor(g, "output_norm.weight", DT_F32, 1, &d, eat(c, d * sizeof(float)));
}

/* Pieces are stored as they look; a SentencePiece vocabulary writes their blanks as U+2581. Ids 0..2 are unknown, begin and end,
 * then the 256 bytes. */
static void put_tokenizer(gguf_build *g, buf *file, int n_vocab)
{
    cursor c = { file->data, file->size };
    float *score = calloc((size_t)n_vocab, sizeof *score);
    int32_t *type = calloc((size_t)n_vocab, sizeof *type);
    buf text = { 0 };

    ck_assert(score != NULL && type != NULL);
    eat(&c, sizeof(int32_t));
    for (int i = 0; i < n_vocab; i++) {
        buf piece = { 0 };
        int32_t n;
        const char *s;
        memcpy(&score[i], eat(&c, sizeof *score), sizeof *score);
        memcpy(&n, eat(&c, sizeof n), sizeof n);
        ck_assert_int_ge(n, 0);
        s = eat(&c, (size_t)n);
        type[i] = i == 0 ? 2 : i <= 2 ? 3 : i < 3 + 256 ? 6 : 1;
        if (i == 1 || i == 2) s = i == 1 ? "<s>" : "</s>", n = (int32_t)strlen(s);
        for (int32_t k = 0; k < n; k++) buf_put(&piece, s[k] == ' ' ? "\xe2\x96\x81" : s + k, s[k] == ' ' ? 3 : 1);
        gguf_text(g, &text, (const char *)piece.data, piece.size);
        buf_free(&piece);
    }
    gguf_str(g, "tokenizer.ggml.model", "llama");
    gguf_array(g, "tokenizer.ggml.tokens", 8, (uint64_t)n_vocab, text.data, text.size);
    gguf_array(g, "tokenizer.ggml.scores", 6, (uint64_t)n_vocab, score, (size_t)n_vocab * sizeof *score);
    gguf_array(g, "tokenizer.ggml.token_type", 5, (uint64_t)n_vocab, type, (size_t)n_vocab * sizeof *type);
    gguf_u32(g, "tokenizer.ggml.bos_token_id", 1);
    gguf_u32(g, "tokenizer.ggml.eos_token_id", 2);
    buf_free(&text);
    free(score), free(type);
}

/* The model as a GGUF file in dir. */
static const char *convert(const char *dir, const char *weights, const char *vocabulary)
{
    buf w = read_whole(weights), v = read_whole(vocabulary), f;
    cursor c = { w.data, w.size };
    gguf_build g = gguf_begin(3);
    header h;
    const char *path;

    memcpy(&h, eat(&c, sizeof h), sizeof h);
    ck_assert_msg(h.dim > 0 && h.n_head > 0 && h.n_vocab > 0, "%s: not the header expected", weights);
    gguf_str(&g, "general.architecture", "llama");
    gguf_u32(&g, "llama.block_count", (uint32_t)h.n_layer);
    gguf_u32(&g, "llama.embedding_length", (uint32_t)h.dim);
    gguf_u32(&g, "llama.feed_forward_length", (uint32_t)h.hidden);
    gguf_u32(&g, "llama.attention.head_count", (uint32_t)h.n_head);
    gguf_u32(&g, "llama.attention.head_count_kv", (uint32_t)h.n_kv_head);
    gguf_u32(&g, "llama.context_length", (uint32_t)h.n_ctx);
    gguf_f32(&g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_tokenizer(&g, &v, h.n_vocab);
    put_weights(&g, &c, &h);
    f = gguf_end(&g);
    path = temp_file(dir, "stories.gguf", f.data, f.size);
    buf_free(&f), buf_free(&w), buf_free(&v);
    return path;
}

/* Largest difference of log-sum-exp and of the five best logits at one position; the ids must agree. */
static double check_position(const char *prompt, size_t i, const float *y, int n_vocab, json_t *want, bool greedy)
{
    double max = -INFINITY, sum = 0, worst;
    json_t *top = json_object_get(want, "top");
    int best = 0;

    for (int k = 1; k < n_vocab; k++)
        if (y[k] > y[best]) best = k;
    max = y[best];
    for (int k = 0; k < n_vocab; k++) sum += exp((double)y[k] - max);
    worst = fabs(max + log(sum) - json_number_value(json_object_get(want, "lse")));
    ck_assert_msg(!greedy || best == json_integer_value(json_object_get(want, "next")), "'%s' position %zu: next id is %d, want %lld", prompt, i,
                  best, (long long)json_integer_value(json_object_get(want, "next")));
    ck_assert_uint_eq(json_array_size(top), TOP);
    for (size_t k = 0; k < TOP; k++) {
        json_t *pair = json_array_get(top, k);
        long long id = json_integer_value(json_array_get(pair, 0));
        double d = fabs(y[id] - json_number_value(json_array_get(pair, 1)));
        if (!(d <= worst)) worst = d;
    }
    ck_assert_msg(worst <= 1e-4, "'%s' position %zu: a logit or the log-sum-exp is off by %.3g", prompt, i, worst);
    return worst;
}

/* The text that the ids after the first one stand for. */
static void check_text(const llm_model *m, json_t *position, const char *want)
{
    llm_detok *d;
    llm_error err;
    buf got = { 0 };
    const char *text;
    size_t len, i;
    json_t *p;

    ck_assert_int_eq(llm_detok_open(&d, m, LLM_DETOK_WHOLE, &err), LLM_OK);
    json_array_foreach(position, i, p) {
        ck_assert_int_eq(llm_detok_push(d, (llm_token)json_integer_value(json_object_get(p, "next")), &text, &len, &err), LLM_OK);
        buf_put(&got, text, len);
    }
    ck_assert_int_eq(llm_detok_flush(d, &text, &len, &err), LLM_OK);
    buf_put(&got, text, len);
    ck_assert_msg(got.size == strlen(want) && memcmp(got.data, want, got.size) == 0, "text is '%.*s', want '%s'",
                  (int)got.size, (const char *)got.data, want);
    buf_free(&got);
    llm_detok_close(d);
}

static void check_prompt_ids(const llm_model *m, const char *prompt, json_t *want)
{
    llm_token id[MAX_POS];
    size_t n = 0, i;
    llm_error err = { LLM_OK, "" };
    json_t *v;

    ck_assert_msg(llm_tokenize(m, prompt, strlen(prompt), LLM_TOKENIZE_BOS, id, MAX_POS, &n, &err) == LLM_OK, "'%s': %s", prompt, err.text);
    ck_assert_msg(n == json_array_size(want), "'%s' has %zu ids, want %zu", prompt, n, json_array_size(want));
    json_array_foreach(want, i, v) ck_assert_msg(id[i] == json_integer_value(v), "'%s': id %zu is %d", prompt, i, id[i]);
}

static double check_line(llm_model *m, llm_session *s, json_t *c)
{
    const char *prompt = json_string_value(json_object_get(c, "prompt"));
    json_t *position = json_object_get(c, "positions"), *p;
    size_t i, n = json_array_size(position), n_prompt = json_array_size(json_object_get(c, "prompt_ids"));
    llm_model_info info = { .size = sizeof info };
    llm_row row[MAX_POS];
    llm_error err = { LLM_OK, "" };
    double worst = 0;

    ck_assert(prompt != NULL && n > n_prompt && n <= MAX_POS);
    ck_assert_int_eq(llm_model_get_info(m, &info), LLM_OK);
    check_prompt_ids(m, prompt, json_object_get(c, "prompt_ids"));
    json_array_foreach(position, i, p) row[i] = (llm_row){ (llm_token)json_integer_value(json_object_get(p, "in")), 0, 1 };
    ck_assert_int_eq(llm_session_truncate(s, 0, 0, &err), LLM_OK);
    ck_assert_msg(llm_session_decode_rows(s, row, n, &err) == LLM_OK, "'%s': %s", prompt, err.text);
    json_array_foreach(position, i, p) {
        double d = check_position(prompt, i, llm_session_logits(s) + i * (size_t)info.n_vocab, info.n_vocab, p, i + 1 >= n_prompt);
        if (d > worst) worst = d;
    }
    check_text(m, position, json_string_value(json_object_get(c, "text")));
    return worst;
}

START_TEST(stories260k_like_llama2c)
{
    const char *data = test_data();
    char dir[256], weights[600], vocabulary[600], greedy[600], line[1 << 16];
    llm_model_options mo = { .size = sizeof mo, .n_threads = 2 };
    llm_session_options so = { .size = sizeof so, .n_ctx = MAX_POS, .kv_type = LLM_KV_F32 };
    llm_model *m = NULL;
    llm_session *s = NULL;
    llm_error err = { LLM_OK, "" };
    double worst = 0;
    int n = 0;
    FILE *f;

    if (data == NULL) {
        test_skip("stories260K", "no shared test data");
        return;
    }
    snprintf(weights, sizeof weights, "%.400s/weights/stories260K/stories260K.bin", data);
    snprintf(vocabulary, sizeof vocabulary, "%.400s/weights/stories260K/tok512.bin", data);
    snprintf(greedy, sizeof greedy, "%.400s/weights/stories260K/greedy.jsonl", data);
    temp_dir(dir);
    mo.path = convert(dir, weights, vocabulary);
    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_session_open(&s, m, &so, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg((f = fopen(greedy, "r")) != NULL, "%s cannot be read", greedy);
    while (fgets(line, sizeof line, f)) {
        json_error_t je;
        json_t *c = json_loads(line, 0, &je);
        double d;
        ck_assert_msg(c != NULL, "%s: %s", greedy, je.text);
        d = check_line(m, s, c);
        if (d > worst) worst = d;
        json_decref(c), n++;
    }
    fclose(f);
    printf("stories260K: %d prompts, largest difference of a logit or log-sum-exp %.2g (allowed 1e-4)\n", n, worst);
    ck_assert_int_gt(n, 0);
    llm_session_close(s);
    llm_model_close(m);
    temp_remove(dir);
}
END_TEST

LLM_TEST_MAIN("model/stories", stories260k_like_llama2c)
