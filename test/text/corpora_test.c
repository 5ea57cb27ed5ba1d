/* corpora_test.c - encode, then decode, gives back every text of the shared data: byte for byte, or its NFC form where the vocabulary
 * normalizes. */
#include "../llm_test.h"
#include "tokenizer.h"
#include "unicode.h"
#include <glob.h>
#include <stdbool.h>
#include <string.h>

typedef struct { const char *vocab; bool nfc; } row;

static char *read_text(const char *path, size_t *len)
{
    bool packed = strstr(path, ".gz") != NULL;
    char command[1100], part[65536];
    text_buf b = { 0 };
    size_t n;
    FILE *f;

    snprintf(command, sizeof command, "gzip -dc '%s'", path);
    ck_assert_ptr_nonnull(f = packed ? popen(command, "r") : fopen(path, "rb"));
    while ((n = fread(part, 1, sizeof part, f)) > 0) buf_add(&b, part, n);
    if (packed) ck_assert_int_eq(pclose(f), 0);
    else fclose(f);
    ck_assert(!b.failed && b.len > 0);
    *len = b.len;
    return b.data;
}

static void round_trip(const llm_tokenizer *t, const uni_table *u, const char *path, bool nfc, size_t *total)
{
    size_t len, n = 0, n_back;
    char *text = read_text(path, &len), *back;
    llm_token *ids = malloc((2 * len + 64) * sizeof *ids);
    text_buf form = { 0 };
    llm_error err = { 0 };

    ck_assert_ptr_nonnull(ids);
    ck_assert_msg(tokenizer_encode(t, text, len, 0, ids, 2 * len + 64, &n, &err) == LLM_OK && n <= 2 * len + 64, "%s: %s", path, err.text);
    ck_assert_int_eq(tokenizer_decode(t, ids, n, true, &back, &n_back, &err), LLM_OK);
    if (nfc) {
        ck_assert(uni_normalize(u, FORM_NFC, text, len, &form));
        ck_assert_msg(n_back == form.len && memcmp(back, form.data, n_back) == 0, "%s: not its NFC form", path);
    } else {
        ck_assert_msg(n_back == len && memcmp(back, text, len) == 0, "%s: not the same bytes", path);
    }
    *total += len;
    buf_free(&form);
    free(text), free(ids), free(back);
}

static void run(const row *r)
{
    static uni_table u;
    const char *data = test_data();
    char path[1024];
    llm_tokenizer *t = NULL;
    llm_error err = { 0 };
    size_t total = 0;
    glob_t files = { 0 };

    if (data == NULL) { test_skip("text/corpora", "the shared data is not there"); return; }
    snprintf(path, sizeof path, "%s/%s", data, r->vocab);
    ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s", err.text);
    snprintf(path, sizeof path, "%s/text/*/*", data);
    ck_assert_int_eq(glob(path, 0, NULL, &files), 0);
    uni_init(&u);
    for (size_t i = 0; i < files.gl_pathc; i++) round_trip(t, &u, files.gl_pathv[i], r->nfc, &total);
    printf("%zu files, %.1f MB  %s\n", files.gl_pathc, 1e-6 * (double)total, r->vocab);
    globfree(&files);
    tokenizer_close(t);
}

#define CORPORA(name, vocab, nfc) START_TEST(name) { run(&(row){ vocab, nfc }); } END_TEST
CORPORA(gpt_oss, "tokenizers/gpt-oss", false)
CORPORA(qwen2, "tokenizers/qwen2", true)
CORPORA(deepseek_v3, "tokenizers/deepseek-v3/deepseek_v3.tiktoken", false)
CORPORA(deepseek_llm, "tokenizers/gguf/ggml-vocab-deepseek-llm.gguf", false)
CORPORA(llama2, "tokenizers/llama2/tokenizer.model", false)

LLM_TEST_MAIN("text/corpora", gpt_oss, qwen2, deepseek_v3, deepseek_llm, llama2)
