/* Opening, using and closing tokenizers while the n-th allocation fails, for every n. The files are the seeds of the fuzz target. */
#include "alloc_fail.h"
#include "tokenizer.h"
#include <string.h>

static llm_status use(void *arg, llm_error *err)
{
    static const char text[] = " Hello  e\xcc\x81 ab<think> \xe2\x96\x81\xed\x95\x9c\xff <s>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    llm_tokenizer *t = NULL;
    llm_detok *d = NULL;
    llm_token ids[512];
    const char *s;
    char *back = NULL;
    size_t n = 0, len;
    llm_status st = tokenizer_open_path(&t, arg, err);

    if (st == LLM_OK) st = tokenizer_encode(t, text, sizeof text - 1, LLM_TOKENIZE_SPECIAL, ids, 512, &n, err);
    if (st == LLM_OK) st = tokenizer_decode(t, ids, n, true, &back, &len, err);
    if (st == LLM_OK) st = detok_open(&d, t, 0, err);
    for (size_t i = 0; st == LLM_OK && i < n; i++) st = llm_detok_push(d, ids[i], &s, &len, err);
    llm_detok_close(d);
    free(back);
    tokenizer_close(t);
    return st;
}

/* A copy of a seed without its first byte, under a name that says what it is. */
static void run(const char *seed, const char *suffix)
{
    char path[256], copy[] = "/tmp/llm-vocab-XXXXXX.model", data[1 << 14];
    size_t n;
    int fd;
    FILE *f;

    snprintf(path, sizeof path, "test/fuzz/corpus/tokenizer/%s", seed);
    ck_assert_msg((f = fopen(path, "rb")) != NULL, "%s", path);
    n = fread(data, 1, sizeof data, f);
    fclose(f);
    memcpy(copy + 21, suffix, strlen(suffix) + 1);
    ck_assert_int_ge(fd = mkstemps(copy, (int)strlen(suffix)), 0);
    ck_assert_int_eq(write(fd, data + 1, n - 1), (ssize_t)(n - 1));
    close(fd);
    printf("%s: %ld allocations\n", seed, alloc_fail_each(use, copy));
    unlink(copy);
}

START_TEST(json) { run("json-bytes", ".json"), run("json-chars", ".json"), run("json-unigram", ".json"); } END_TEST
START_TEST(sentencepiece) { run("spm-bpe", ".model"), run("spm-unigram", ".model"); } END_TEST
START_TEST(gguf) { run("gguf-spm", ".gguf"); } END_TEST

LLM_TEST_MAIN("hard/vocabulary", json, sentencepiece, gguf)
