/* hf_files.c - the small files beside a Hugging Face tokenizer: tokenizer_config.json, special_tokens_map.json, added_tokens.json; and
 * vocab.json with merges.txt. */
#include "file.h"
#include "tokenizer_parts.h"
#include "hf_parts.h"
#include "hf_scan.h"
#include <stdio.h>
#include <unistd.h>

enum { MAX_FILE = 512 << 20 };

bool hf_int(const json_t *v, int64_t *out)
{
    double x = json_number_value(v);

    if (json_is_integer(v)) return *out = json_integer_value(v), true;
    if (!json_is_real(v) || x < 0 || x > 1e15 || x != (double)(int64_t)x) return false;
    return *out = (int64_t)x, true;
}

/* NULL with *st LLM_OK: the file is not there. */
static json_t *load(const char *dir, const char *name, llm_status *st, llm_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    json_t *root = NULL;

    *st = LLM_OK;
    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK) != 0) return NULL;
    *st = json_read_file(&root, path, MAX_FILE, err);
    if (*st == LLM_OK && !json_is_object(root)) *st = llm_fail(err, LLM_ERR_FORMAT, "%s: not an object", path);
    if (*st != LLM_OK) json_decref(root), root = NULL;
    return root;
}

unsigned hf_token_flags(const json_t *o)
{
    return (json_is_true(json_object_get(o, "special")) ? ADDED_CONTROL : 0u)
        | (json_is_true(json_object_get(o, "lstrip")) ? ADDED_LSTRIP : 0u)
        | (json_is_true(json_object_get(o, "rstrip")) ? ADDED_RSTRIP : 0u)
        | (json_is_true(json_object_get(o, "single_word")) ? ADDED_SINGLE_WORD : 0u);
}

static llm_status add_decoder(llm_tokenizer *t, const json_t *decoder, llm_error *err)
{
    const char *key;
    json_t *o;

    json_object_foreach((json_t *)decoder, key, o) {
        const json_t *content = json_object_get(o, "content");
        char *end;
        long long id = strtoll(key, &end, 10);
        llm_status st;

        if (*end || end == key || !json_is_string(content))
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer_config.json: added_tokens_decoder: \"%s\" is not an id with a content", key);
        if (json_string_length(content) == 0) continue;
        if (added_find(&t->added, json_string_value(content), json_string_length(content)) >= 0) continue;
        if (added_find(&t->added_late, json_string_value(content), json_string_length(content)) >= 0) continue;
        if ((st = tok_add_special(t, id, json_string_value(content), json_string_length(content), hf_token_flags(o), false, err)) != LLM_OK)
            return st;
    }
    return LLM_OK;
}

/* bos_token and the like: a text or {"content": text}. Leaves *out alone where there is none. */
static void named(const llm_tokenizer *t, const json_t *root, const char *key, llm_token *out)
{
    const json_t *v = json_object_get(root, key);
    const char *s;
    size_t n;
    llm_token id;

    if (json_is_object(v)) v = json_object_get(v, "content");
    if (!json_is_string(v)) return;
    s = json_string_value(v), n = json_string_length(v);
    id = added_find(&t->added, s, n);
    if (id < 0) id = added_find(&t->added_late, s, n);
    for (int k = 0; id < 0 && k < t->vocab.n; k++)          /* there is no index yet */
        if (t->vocab.type[k] != TOK_HOLE && t->vocab.len[k] == n && memcmp(t->vocab.pool.data + t->vocab.off[k], s, n) == 0) id = k;
    if (id >= 0) *out = id;
}

static bool listed(const json_t *map, const char *text)
{
    const json_t *list = json_object_get(map, "additional_special_tokens");
    const char *key;
    json_t *v;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const char *s = json_string_value(json_is_object(o) ? json_object_get(o, "content") : o);
        if (s && strcmp(s, text) == 0) return true;
    }
    json_object_foreach((json_t *)map, key, v) {
        const char *s = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
        if (s && strcmp(s, text) == 0) return true;
    }
    return false;
}

static llm_status add_plain(llm_tokenizer *t, const json_t *added, const json_t *map, llm_error *err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)added, key, v) {
        int64_t id;
        llm_status st;

        if (!hf_int(v, &id)) return llm_fail(err, LLM_ERR_FORMAT, "added_tokens.json: \"%s\": the id is not a number", key);
        if (*key == 0 || added_find(&t->added, key, strlen(key)) >= 0 || added_find(&t->added_late, key, strlen(key)) >= 0) continue;
        st = tok_add_special(t, id, key, strlen(key), listed(map, key) ? ADDED_CONTROL : 0, false, err);
        if (st != LLM_OK) return st;
    }
    return LLM_OK;
}

llm_status tok_load_companions(llm_tokenizer *t, const char *dir, llm_error *err)
{
    json_t *config = NULL, *map = NULL, *added = NULL;
    const json_t *v;
    llm_status st;

    config = load(dir, "tokenizer_config.json", &st, err);
    if (st == LLM_OK) map = load(dir, "special_tokens_map.json", &st, err);
    if (st == LLM_OK) added = load(dir, "added_tokens.json", &st, err);
    if (st == LLM_OK) st = add_decoder(t, json_object_get(config, "added_tokens_decoder"), err);
    if (st == LLM_OK) st = add_plain(t, added, map, err);
    if (st == LLM_OK) {
        named(t, map, "bos_token", &t->bos), named(t, map, "eos_token", &t->eos);
        named(t, config, "bos_token", &t->bos), named(t, config, "eos_token", &t->eos);
        if (json_is_boolean(v = json_object_get(config, "add_bos_token"))) t->adds_bos = json_is_true(v) && t->bos >= 0;
        if (json_is_boolean(v = json_object_get(config, "add_eos_token"))) t->adds_eos = json_is_true(v) && t->eos >= 0;
    }
    json_decref(config), json_decref(map), json_decref(added);
    return st;
}

static llm_status read_vocab_json(llm_tokenizer *t, const char *dir, llm_error *err)
{
    char path[4096];
    int n_path = snprintf(path, sizeof path, "%s/vocab.json", dir);
    scan_list list = { .path = path };
    text_buf b = { 0 };
    const char *s;
    file_map file;
    size_t n;
    int64_t id = 0;
    bool done = false;
    llm_status st;

    if (n_path < 0 || (size_t)n_path >= sizeof path) return llm_fail(err, LLM_ERR_ARG, "the path of vocab.json is too long");
    if ((st = file_map_open(&file, path, err)) != LLM_OK) return st;
    if (file.size > MAX_FILE) st = llm_fail(err, LLM_ERR_FORMAT, "%s: got %zu bytes, wanted at most %d", file_label(path), file.size, MAX_FILE);
    list.p = list.text = file.data ? (const char *)file.data : "", list.end = list.p + file.size;
    while (st == LLM_OK && !done) {
        st = scan_vocab_next(&list, &s, &n, &id, &done, err);
        if (st == LLM_OK && !done) st = tok_set_spelled(t, id, s, n, &b, err);
    }
    buf_free(&b), buf_free(&list.b[0]), buf_free(&list.b[1]);
    file_map_close(&file);
    return st;
}

static llm_status read_merges_txt(llm_tokenizer *t, const char *dir, merge_queue *q, llm_error *err)
{
    char path[4096], *data;
    int n = snprintf(path, sizeof path, "%s/merges.txt", dir);
    size_t len, line;
    llm_status st;

    if (n < 0 || (size_t)n >= sizeof path) return llm_fail(err, LLM_ERR_ARG, "the path of merges.txt is too long");
    if ((st = file_read(&data, &len, path, MAX_FILE, err)) != LLM_OK) return st;
    for (const char *s = data, *end = data + len; st == LLM_OK && s < end; s += line + 1) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));

        line = stop ? (size_t)(stop - s) : (size_t)(end - s);
        n = (int)(line < INT32_MAX ? line : INT32_MAX);
        if (n > 0 && s[n - 1] == '\r') n--;
        if (n == 0 || (s == data && n > 8 && memcmp(s, "#version", 8) == 0)) continue;
        st = tok_add_merge(t, s, (size_t)n, NULL, 0, q, err);
    }
    free(data);
    return st;
}

llm_status tok_load_vocab_merges(llm_tokenizer *t, const char *dir, llm_error *err)
{
    json_t *config;
    const char *class_name;
    merge_queue q = { 0 };
    llm_status st;

    /* These two files do not say how text is split; the class that reads them does. */
    config = load(dir, "tokenizer_config.json", &st, err);
    if (st != LLM_OK) return st;
    class_name = json_string_value(json_object_get(config, "tokenizer_class"));
    t->model = MODEL_BYTES;
    if (class_name && strncmp(class_name, "Qwen2Tokenizer", 14) == 0) {
        st = pretok_by_name(&t->pre, "qwen2", err);
        if (st == LLM_OK) st = tok_add_norm(t, NORM_NFC, NULL, 0, NULL, 0, err);
    } else if (class_name && strncmp(class_name, "GPT2Tokenizer", 13) == 0) {
        st = pretok_by_name(&t->pre, "gpt-2", err);
    } else {
        st = llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: vocab.json and merges.txt do not say how text is split, and tokenizer_class \"%s\" of "
                      "tokenizer_config.json is not Qwen2Tokenizer or GPT2Tokenizer", dir, class_name ? class_name : "");
    }
    json_decref(config);
    if (st != LLM_OK || (st = read_vocab_json(t, dir, err)) != LLM_OK || (st = tok_load_companions(t, dir, err)) != LLM_OK) return st;
    st = tok_begin_merges(t, (size_t)t->vocab.n, true, &q, err);
    if (st == LLM_OK) st = read_merges_txt(t, dir, &q, err);
    return tok_end_merges(t, &q, st, err);
}
