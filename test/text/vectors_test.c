/* vectors_test.c - every published vocabulary that is at hand, in every form it comes in, against token ids that other programs gave. */
#include "../llm_test.h"
#include "tokenizer.h"
#include <jansson.h>
#include <string.h>

enum { SPECIAL = LLM_TOKENIZE_SPECIAL };

static const struct { const char *vocab, *vectors; unsigned flags; } rows[] = {
    { "tokenizers/gpt-oss",                             "vectors/gpt-oss/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/gpt-oss",                             "vectors/gpt-oss/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/gpt-oss/o200k_base.tiktoken",         "vectors/o200k_base/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/gpt-oss/o200k_base.tiktoken",         "vectors/o200k_base/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/gpt-oss",                             "vectors/gpt-4o/llamacpp.jsonl", 0 },
    { "tokenizers/qwen2",                               "vectors/qwen2/llamacpp.jsonl", 0 },
    { "tokenizers/qwen2",                               "vectors/deepseek-r1-qwen/llamacpp.jsonl", 0 },
    { "tokenizers/qwen1/qwen.tiktoken",                 "vectors/qwen2/llamacpp.jsonl", 0 },
    { "tokenizers/qwen1",                               "vectors/deepseek-r1-qwen/llamacpp.jsonl", 0 },
    { "tokenizers/deepseek-v3/deepseek_v3.tiktoken",    "vectors/deepseek-v3/llamacpp.jsonl", 0 },
    { "tokenizers/deepseek-v3/deepseek_v3.tiktoken",    "vectors/deepseek-r1-v3/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/deepseek-v3/deepseek_v3.tiktoken",    "vectors/deepseek-r1-v3/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/gguf/ggml-vocab-deepseek-llm.gguf",   "vectors/deepseek-llm/llamacpp.jsonl", 0 },
    { "tokenizers/gguf/ggml-vocab-deepseek-coder.gguf", "vectors/deepseek-coder/llamacpp.jsonl", 0 },
    { "tokenizers/llama3/llama3.tiktoken",              "vectors/llama-bpe/llamacpp.jsonl", 0 },
    { "tokenizers/llama3/llama3.tiktoken",              "vectors/llama33/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/llama3/llama3.tiktoken",              "vectors/llama33/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/llama2/tokenizer.model",              "vectors/llama2-spm/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/llama2",                              "vectors/llama2-spm/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/llama2/tokenizer.model",              "vectors/llama-spm/llamacpp.jsonl", 0 },
    { "tokenizers/gguf/ggml-vocab-llama-spm.gguf",      "vectors/llama-spm/llamacpp.jsonl", 0 },
    { "tokenizers/gguf/ggml-vocab-llama-spm.gguf",      "vectors/llama2-spm/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/gguf/ggml-vocab-llama-spm.gguf",      "vectors/llama2-spm/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/hf-json/llama2.tokenizer.json",       "vectors/llama2-hf/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/hf-json/llama2.tokenizer.json",       "vectors/llama2-hf/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/hf-json/llama2.tokenizer.json",       "vectors/llama-spm/llamacpp.jsonl", 0 },
    { "tokenizers/small/mistral01.model",               "vectors/mistral01-spm/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/small/mistral01.model",               "vectors/mistral01-spm/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/gguf/ggml-vocab-gpt-2.gguf",          "vectors/gpt-2/llamacpp.jsonl", 0 },
    { "tokenizers/gguf/ggml-vocab-gpt-2.gguf",          "vectors/gpt2-hf/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/gguf/ggml-vocab-gpt-2.gguf",          "vectors/gpt2-hf/kitoken-small.jsonl", SPECIAL },
    { "tokenizers/hf-json/gpt2.tokenizer.json",         "vectors/gpt-2/llamacpp.jsonl", 0 },
    { "tokenizers/hf-json/gpt2.tokenizer.json",         "vectors/gpt2-hf/kitoken-mixed.jsonl", SPECIAL },
    { "tokenizers/hf-json/gpt2.tokenizer.json",         "vectors/gpt2-hf/kitoken-small.jsonl", SPECIAL },
};

static void show(const char *what, const llm_token *ids, size_t n, size_t from)
{
    printf("  %s:", what);
    for (size_t i = from > 3 ? from - 3 : 0; i < n && i < from + 8; i++) printf(" %d", ids[i]);
    printf("\n");
}

/* One case; false and a message where ids or text differ. */
static bool check_case(const llm_tokenizer *t, const json_t *o, unsigned flags, const char *name, size_t line)
{
    const json_t *text = json_object_get(o, "text"), *want = json_object_get(o, "ids"), *back = json_object_get(o, "decoded");
    size_t n_want = json_array_size(want), n = 0, len = 0, differ = 0;
    llm_token *a = malloc((n_want + 1) * sizeof *a), *b = malloc((json_string_length(text) + 64) * sizeof *b);
    llm_error err = { 0 };
    char *decoded = NULL;
    bool ok;

    if (back == NULL) back = text;
    for (size_t i = 0; i < n_want; i++) a[i] = (llm_token)json_integer_value(json_array_get(want, i));
    ok = tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, b, json_string_length(text) + 64, &n, &err) == LLM_OK;
    if (!ok) printf("%s:%zu: %s\n", name, line, err.text);
    while (ok && differ < n && differ < n_want && a[differ] == b[differ]) differ++;
    if (ok && (differ < n || differ < n_want)) {
        printf("%s:%zu: ids differ at %zu of %zu: \"%.60s\"\n", name, line, differ, n_want, json_string_value(text));
        show("got", b, n, differ), show("wanted", a, n_want, differ);
        ok = false;
    }
    if (ok) {
        ok = tokenizer_decode(t, b, n, true, &decoded, &len, &err) == LLM_OK && len == json_string_length(back)
            && memcmp(decoded, json_string_value(back), len) == 0;
        if (!ok) printf("%s:%zu: decodes to \"%.60s\", not \"%.60s\"\n", name, line, decoded ? decoded : err.text, json_string_value(back));
    }
    free(decoded), free(a), free(b);
    return ok;
}

static void run_row(size_t i, const char *data)
{
    size_t size = 0, n = 0, failed = 0;
    char path[1024], *line = NULL;
    llm_tokenizer *t = NULL;
    llm_error err = { 0 };
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", data, rows[i].vocab);
    ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s", err.text);
    snprintf(path, sizeof path, "%s/%s", data, rows[i].vectors);
    ck_assert_msg((f = fopen(path, "r")) != NULL, "%s", path);
    while (getline(&line, &size, f) > 0) {
        json_t *o = json_loads(line, JSON_ALLOW_NUL, NULL);

        ck_assert_msg(o != NULL, "%s:%zu", path, n + 1);
        if (!check_case(t, o, rows[i].flags, rows[i].vectors, ++n)) failed++;
        json_decref(o);
    }
    printf("%4zu of %4zu  %s with %s\n", n - failed, n, rows[i].vectors, rows[i].vocab);
    free(line);
    fclose(f);
    tokenizer_close(t);
    ck_assert_uint_gt(n, 0);
    ck_assert_msg(failed == 0, "%zu of %zu cases of %s differ", failed, n, path);
}

#define VECTORS(name, vocab_prefix) \
    START_TEST(name) \
    { \
        const char *data = test_data(); \
        if (data == NULL) { test_skip("text/vectors " #name, "the shared data is not there"); return; } \
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) \
            if (strncmp(rows[i].vocab, vocab_prefix, strlen(vocab_prefix)) == 0) run_row(i, data); \
    } \
    END_TEST
VECTORS(gpt_oss, "tokenizers/gpt-oss")
VECTORS(qwen, "tokenizers/qwen")
VECTORS(deepseek_v3, "tokenizers/deepseek-v3")
VECTORS(llama3, "tokenizers/llama3")
VECTORS(gguf_vocabularies, "tokenizers/gguf/")
VECTORS(sentencepiece_llama2, "tokenizers/llama2")
VECTORS(sentencepiece_mistral, "tokenizers/small/mistral")
VECTORS(tokenizer_json, "tokenizers/hf-json/")

LLM_TEST_MAIN("text/vectors", gpt_oss, qwen, deepseek_v3, llama3, gguf_vocabularies, sentencepiece_llama2, sentencepiece_mistral,
              tokenizer_json)
