/* cases_test.c - small tokenizers of every kind against ids that PyPI sentencepiece and tokenizers gave (tools/reference/make_spm_cases.py). */
#include "../llm_test.h"
#include "tokenizer.h"
#include <jansson.h>
#include <string.h>

#define DIR "test/data/text/"

static void print_ids(const char *what, const llm_token *ids, size_t n)
{
    printf("  %s:", what);
    for (size_t i = 0; i < n && i < 40; i++) printf(" %d", ids[i]);
    printf("\n");
}

static bool run_case(const llm_tokenizer *t, const json_t *o)
{
    const json_t *text = json_object_get(o, "text"), *want = json_object_get(o, "ids"), *back = json_object_get(o, "decoded");
    unsigned flags = json_is_true(json_object_get(o, "special")) ? LLM_TOKENIZE_SPECIAL : 0;
    size_t n_want = json_array_size(want), n = 0, len = 0;
    llm_token a[1024], b[1024];
    llm_error err = { 0 };
    char *decoded = NULL;
    bool ok = tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, b, 1024, &n, &err) == LLM_OK;

    if (back == NULL) back = text;
    for (size_t i = 0; i < n_want && i < 1024; i++) a[i] = (llm_token)json_integer_value(json_array_get(want, i));
    if (!ok || n != n_want || memcmp(a, b, n * sizeof *a) != 0) {
        printf("%s: \"%s\"%s: ids differ %s\n", json_string_value(json_object_get(o, "file")), json_string_value(text),
               flags ? " (special)" : "", err.text);
        print_ids("got", b, n), print_ids("wanted", a, n_want);
        return false;
    }
    if (json_is_null(back)) return true;
    ok = tokenizer_decode(t, b, n, true, &decoded, &len, &err) == LLM_OK && len == json_string_length(back)
        && memcmp(decoded, json_string_value(back), len) == 0;
    if (!ok) printf("%s: \"%s\" decodes to \"%s\", wanted \"%s\"\n", json_string_value(json_object_get(o, "file")), json_string_value(text), decoded,
                    json_string_value(back));
    free(decoded);
    return ok;
}

static void run_file(const char *file)
{
    llm_tokenizer *t = NULL;
    llm_error err = { 0 };
    char path[256], *line = NULL;
    size_t size = 0, n = 0, failed = 0;
    FILE *f;

    snprintf(path, sizeof path, DIR "%s", file);
    ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s: %s", file, err.text);
    ck_assert_msg((f = fopen(DIR "cases.jsonl", "r")) != NULL, "no " DIR "cases.jsonl");
    while (getline(&line, &size, f) > 0) {
        json_t *o = json_loads(line, JSON_ALLOW_NUL, NULL);

        ck_assert_ptr_nonnull(o);
        if (strcmp(json_string_value(json_object_get(o, "file")), file) == 0) n++, failed += !run_case(t, o);
        json_decref(o);
    }
    fclose(f);
    free(line);
    tokenizer_close(t);
    printf("%3zu of %3zu  %s\n", n - failed, n, file);
    ck_assert_uint_gt(n, 50);
    ck_assert_msg(failed == 0, "%s: %zu of %zu cases differ", file, failed, n);
}

#define CASES(name, file) START_TEST(name) { run_file(file); } END_TEST
CASES(gemma_bpe, "gemma_bpe.model")                     /* Gemma's settings */
CASES(gemma_bpe_json, "gemma_bpe.json")                 /* the same vocabulary as merges */
CASES(unused_pieces, "gemma_unused.model")
CASES(llama_bpe, "llama_bpe.model")
CASES(unigram_with_rules, "unigram.model")
CASES(unigram_bytes_suffix, "unigram_bytes.model")
CASES(bytes_nfc_added, "bytes_qwen2.json")
CASES(bytes_every_split, "bytes_splits.json")
CASES(bytes_removed_lower, "bytes_removed.json")
CASES(metaspace_first, "metaspace_first.json")
CASES(metaspace_always_unigram, "metaspace_always.json")

LLM_TEST_MAIN("text/cases", gemma_bpe, gemma_bpe_json, unused_pieces, llama_bpe, unigram_with_rules, unigram_bytes_suffix, bytes_nfc_added,
              bytes_every_split, bytes_removed_lower, metaspace_first, metaspace_always_unigram)
