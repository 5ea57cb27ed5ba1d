/* Every kind of vocabulary written as GGUF keys and read back: the same ids for real text of many languages and for code. */
#include "../llm_test.h"
#include "tok_export.h"
#include <dirent.h>
#include <string.h>

static char out_path[64];

/* t as a GGUF file with keys alone, opened again. */
static llm_tokenizer *round_trip(const llm_tokenizer *t, const char *name)
{
    gguf_out o = { 0 };
    gguf_writer w;
    llm_tokenizer *back = NULL;
    llm_error err = { LLM_OK, "" };

    gguf_out_str(&o, "general.architecture", "llama", 5);
    ck_assert_msg(tok_export(t, NULL, tokenizer_n_vocab(t), &o, &err) == LLM_OK, "%s: %s", name, err.text);
    ck_assert_msg(gguf_writer_begin(&w, &o, out_path, &err) == LLM_OK && gguf_writer_finish(&w, &o) == LLM_OK, "%s: %s", name, err.text);
    gguf_writer_close(&w), gguf_out_free(&o);
    ck_assert_msg(tokenizer_open_path(&back, out_path, &err) == LLM_OK, "%s: %s", name, err.text);
    return back;
}

/* Ids of the whole text from both; how many. */
static size_t compare(const llm_tokenizer *a, const llm_tokenizer *b, const char *text, size_t len, const char *what)
{
    size_t cap = 2 * len + 16, n, k;
    llm_token *x = malloc(cap * sizeof *x), *y = malloc(cap * sizeof *y);
    llm_error err;

    for (unsigned flags = 0; flags < 2; flags++) {
        unsigned f = flags ? LLM_TOKENIZE_SPECIAL : 0;
        ck_assert(tokenizer_encode(a, text, len, f, x, cap, &n, &err) == LLM_OK && tokenizer_encode(b, text, len, f, y, cap, &k, &err) == LLM_OK);
        ck_assert_msg(n == k && n <= cap && memcmp(x, y, n * sizeof *x) == 0, "%s: other ids", what);
    }
    free(x), free(y);
    return n;
}

static size_t compare_files(const llm_tokenizer *a, const llm_tokenizer *b, const char *folder)
{
    char path[1024], *text = malloc(200001);
    DIR *d = opendir(folder);
    size_t n = 0;

    ck_assert_msg(d != NULL, "%s", folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        FILE *f;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] == '.' || strstr(e->d_name, ".gz") || (f = fopen(path, "rb")) == NULL) continue;
        size_t len = fread(text, 1, 200000, f);
        fclose(f);
        n += compare(a, b, text, len, path);
    }
    closedir(d);
    free(text);
    return n;
}

START_TEST(the_same_ids_from_gguf)
{
    static const char *const files[] = {
        "gpt-oss/o200k_base.tiktoken", "qwen2", "qwen1/qwen.tiktoken", "deepseek-v3/deepseek_v3.tiktoken", "llama3/llama3.tiktoken",
        "llama2/tokenizer.model", "hf-json/gpt2.tokenizer.json", "hf-json/llama2.tokenizer.json", "gguf/ggml-vocab-deepseek-llm.gguf",
        "gguf/ggml-vocab-deepseek-coder.gguf", "gguf/ggml-vocab-llama-spm.gguf", "gguf/ggml-vocab-gpt-2.gguf", "small/mistral01.model",
    };
    const char *dir = test_data();
    char path[1024], texts[1024];
    size_t n = 0;

    if (dir == NULL) { test_skip("text/tok_export", "no shared data"); return; }
    snprintf(out_path, sizeof out_path, "/tmp/llm-tok-export-%d.gguf", (int)getpid());
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        llm_tokenizer *t, *back;
        llm_error err = { LLM_OK, "" };
        snprintf(path, sizeof path, "%s/tokenizers/%s", dir, files[i]);
        ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s", err.text);
        back = round_trip(t, files[i]);
        ck_assert_msg(tok_same(t, back, &err) == LLM_OK, "%s: %s", files[i], err.text);
        snprintf(texts, sizeof texts, "%s/text/udhr", dir);
        n += compare_files(t, back, texts);
        snprintf(texts, sizeof texts, "%s/text/code", dir);
        n += compare_files(t, back, texts);
        tokenizer_close(t), tokenizer_close(back);
    }
    unlink(out_path);
    printf("  %zu tokens of %zu vocabularies\n", n, sizeof files / sizeof *files);
}
END_TEST

START_TEST(what_gguf_has_no_words_for)
{
    const char *dir = test_data();
    char path[1024];
    llm_tokenizer *t;
    gguf_out o = { 0 };
    llm_error err = { LLM_OK, "" };

    if (dir == NULL) { test_skip("text/tok_export", "no shared data"); return; }
    snprintf(path, sizeof path, "%s/tokenizers/hf-json/litert-lm-test.tokenizer.json", dir);
    ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s", err.text);
    if (tok_export(t, NULL, tokenizer_n_vocab(t), &o, &err) != LLM_OK) ck_assert_msg(err.status == LLM_ERR_UNSUPPORTED && strstr(err.text, "cannot be written as GGUF"), "%s", err.text);
    gguf_out_free(&o);
    ck_assert_int_eq(tok_export(NULL, NULL, 100, &o, &err), LLM_OK);
    ck_assert(gguf_out_has(&o, "tokenizer.ggml.model") && !gguf_out_has(&o, "tokenizer.ggml.tokens"));
    gguf_out_free(&o);
    tokenizer_close(t);
}
END_TEST

LLM_TEST_MAIN("text/tok_export", the_same_ids_from_gguf, what_gguf_has_no_words_for)
