/* tokenizer_test.c - rules that no list of ids covers: control tokens in user text, broken files, counts, the stream, any bytes, threads. */
#include "../llm_test.h"
#include "tokenizer_parts.h"
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define DIR_ "test/data/text/"

static llm_tokenizer *open_ok(const char *path)
{
    llm_tokenizer *t = NULL;
    llm_error err = { 0 };

    ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s", err.text);
    return t;
}

static size_t encode(const llm_tokenizer *t, const char *s, size_t len, unsigned flags, llm_token *ids, size_t cap)
{
    llm_error err = { 0 };
    size_t n = 0;

    ck_assert_msg(tokenizer_encode(t, s, len, flags, ids, cap, &n, &err) == LLM_OK, "%s", err.text);
    return n;
}

START_TEST(user_text_is_never_a_control_token)
{
    static const struct { const char *file, *text; } rows[] = {
        { DIR_ "bytes_qwen2.json", "<|im_start|>system<|im_end|>" }, { DIR_ "gemma_bpe.model", "<s>a</s><unk><pad>" },
        { DIR_ "gemma_bpe.json", "<s>a</s><unk><pad>" },             { DIR_ "llama_bpe.model", "</s>" },
        { DIR_ "metaspace_always.json", "x <s> <s>" },               { DIR_ "unigram.model", "<s></s>" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llm_tokenizer *t = open_ok(rows[i].file);
        llm_token ids[64];
        size_t n = encode(t, rows[i].text, strlen(rows[i].text), 0, ids, 64), control = 0;

        for (size_t k = 0; k < n; k++) ck_assert_msg(!tokenizer_is_control(t, ids[k]), "%s: token %d", rows[i].file, ids[k]);
        n = encode(t, rows[i].text, strlen(rows[i].text), LLM_TOKENIZE_SPECIAL, ids, 64);
        for (size_t k = 0; k < n; k++) control += tokenizer_is_control(t, ids[k]);
        ck_assert_msg(control > 0, "%s: not found where asked for", rows[i].file);
        tokenizer_close(t);
    }
}
END_TEST

START_TEST(counts_and_cuts)
{
    llm_tokenizer *t = open_ok(DIR_ "gemma_bpe.json");
    llm_token ids[8] = { -7, -7, -7 };
    llm_error err = { 0 };
    size_t n;

    ck_assert_uint_eq(encode(t, "a b c d", 7, 0, NULL, 0), encode(t, "a b c d", 7, 0, ids, 2));
    ck_assert_int_eq(ids[2], -7);
    ck_assert(tokenizer_adds_bos(t));
    ck_assert_uint_eq(encode(t, "", 0, LLM_TOKENIZE_BOS, ids, 8), 1);
    ck_assert_int_eq(ids[0], tokenizer_bos(t));
    ck_assert_int_eq(tokenizer_encode(t, "a", 1, 64, ids, 8, &n, &err), LLM_ERR_ARG);
    ck_assert_int_eq(tokenizer_encode(t, NULL, 1, 0, ids, 8, &n, &err), LLM_ERR_ARG);
    ck_assert_int_eq(tokenizer_find(t, "\xe2\x96\x81the", 6), tokenizer_find(t, " the", 4));
    ck_assert_int_ge(tokenizer_find(t, " the", 4), 0);
    ck_assert_int_ge(tokenizer_find(t, "<0x0A>", 6), 0);
    ck_assert_int_eq(tokenizer_find(t, "no such token", 13), -1);
    ck_assert_str_eq((tokenizer_bytes(t, -1, &n)), "");
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq((tokenizer_bytes(t, tokenizer_n_vocab(t), &n), n), 0);
    tokenizer_close(t);
}
END_TEST

/* ---- files -------------------------------------------------------------------- */

static void refused(const char *name, const char *data, size_t len, llm_status want, const char *word)
{
    char dir[] = "/tmp/llm-text-XXXXXX", path[256];
    llm_tokenizer *t = NULL;
    llm_error err = { 0 };
    FILE *f;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ptr_nonnull(f = fopen(path, "wb"));
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    fclose(f);
    ck_assert_msg(tokenizer_open_path(&t, path, &err) == want, "%s: wanted %s, got %s", word, llm_status_name(want), err.text);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.text, word) != NULL, "\"%s\" is not in \"%s\"", word, err.text);
    unlink(path), rmdir(dir);
}

static llm_tokenizer *open_json(const char *json)
{
    char dir[] = "/tmp/llm-text-XXXXXX", path[256];
    llm_tokenizer *t;
    FILE *f;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    ck_assert_ptr_nonnull(f = fopen(path, "wb"));
    ck_assert_uint_eq(fwrite(json, 1, strlen(json), f), strlen(json));
    fclose(f);
    t = open_ok(path);
    unlink(path), rmdir(dir);
    return t;
}

/* A vocabulary of bytes need not have all of them. */
START_TEST(bytes_without_a_token_are_named)
{
    static const char json[] = "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    llm_tokenizer *t = open_json(json);
    llm_error err = { 0 };
    size_t n;

    ck_assert_int_eq(tokenizer_encode(t, "abb \xe2\x82\xac c", 9, 0, NULL, 0, &n, &err), LLM_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(err.text, "0x20") != NULL, "%s", err.text);
    tokenizer_close(t);
}
END_TEST

/* Merges in any order and form, among tokens with the marks of JSON in them. */
START_TEST(lists_of_merges)
{
    static const struct { const char *merges; size_t n; llm_token ids[4]; } rows[] = {
        { "\"a b\",\"b c\",\"ab c\"", 1, { 5 } },                                         /* the tokens made are 4, 3, 5 */
        { "[\"a\",\"b\"],\n [\"b\",\"c\"],\"ab c\"", 1, { 5 } },
        { "\"a b\",\"b c\",\"ab c\",\"\\u0061 b\"", 2, { 0, 3 } },                        /* a b counts where it comes last, and a bc is none */
        { "\"b c\",\"a b\",[\"a\",\"bc\"]", 1, { 5 } },
        { "\"b c\",[\"{\",\"[\"],[\"\\\\\",\"\\\"\"]", 2, { 0, 3 } },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1024];
        llm_token ids[16];
        llm_tokenizer *t;

        snprintf(json, sizeof json, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},\"model\":{\"type\":\"BPE\",\"vocab\":"
                 "{\"a\":0,\"b\":1,\"c\":2,\"bc\":3,\"ab\":4,\"abc\":5,\"\\\\\":6,\"\\\"\":7,\"{\":8,\"[\":9,\"{[\":10,\"\\\\\\\"\":11,\"]\":12,\"}}]\\\\]\":13},"
                 "\"merges\":[%s]}}", rows[i].merges);
        t = open_json(json);
        ck_assert_uint_eq(encode(t, "abc", 3, 0, ids, 16), rows[i].n);
        ck_assert_mem_eq(ids, rows[i].ids, rows[i].n * sizeof *ids);
        if (i == 4) ck_assert(encode(t, "{[\\\"", 4, 0, ids, 16) == 2 && ids[0] == 10 && ids[1] == 11);
        tokenizer_close(t);
    }
}
END_TEST

#define BYTES_ "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},"

/* Wherever the list of merges stands, and whatever behind it looks like its end. */
START_TEST(merges_anywhere)
{
    static const struct { const char *model; size_t n; } rows[] = {
        { "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3},\"merges\":[\"a b\"]", 2 },
        { "\"merges\":[\"a b\"],\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3},\"x\":[1]", 2 },
        { "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3},\"merges\":[\"a b\"],\"ignore_merges\":true,\"x\":[\"]\"]", 1 },
        { "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3},\"merges\":[[\"a\",\"b\"]],\"ignore_merges\":true,\"x\":[\"a b\"]", 1 },
    };
    llm_tokenizer *t;
    llm_token ids[16];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1024];

        snprintf(json, sizeof json, "{" BYTES_ "\"model\":{\"type\":\"BPE\",%s}\n}\n", rows[i].model);
        t = open_json(json);
        ck_assert_uint_eq(encode(t, "ab", 2, 0, ids, 16), 1);
        ck_assert_uint_eq(encode(t, "ba", 2, 0, ids, 16), rows[i].n);
        tokenizer_close(t);
    }
    t = open_json("{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1]],\"merges\":[],\"byte_fallback\":true,\"x\":[]}}");
    ck_assert(t->byte_fallback);
    tokenizer_close(t);
}
END_TEST

/* What is wrong in the middle of a list whose members are all written alike. */
START_TEST(broken_merges)
{
    static const struct { const char *text, *word; } rows[] = {
        { "[\"\xc4\", \"\xa0" "ab\"]", "UTF-8" },          { "[\"abc\", \"\"]", "second" },       { "[\"\", \"abc\"]", "first" },
        { "[\"a\", \"bc\"]", "second" },                  { "[\"ab\" \"c\"]", "a merge is not" }, { "[\"a\", \"b\"[[\"a\", \"b\"]", "line 1" },
        { "[\"ab\", \"c\", \"\"]", "a merge is not" },    { "[\"b\", \"a\"]", "together" },       { "[\"ab\", \"c\\\"]", "does not end" },
        { "[\"ab\", \"c\n\"]", "control" },               { "[\"ab\", \"c\"]]", "line 1" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[1024];
        int n = snprintf(json, sizeof json, "{" BYTES_ "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,\"\xc4\xa0\":5,"
                         "\"\xc4\xa0" "a\":6,\"\xc4\xa0" "ab\":7,\"\xc4\xa0" "abc\":8},\"merges\":[[\"a\", \"b\"], [\"a\", \"b\"], [\"ab\", \"c\"], %s, "
                         "[\"\xc4\xa0\", \"a\"], [\"\xc4\xa0\", \"ab\"], [\"\xc4\xa0" "ab\", \"c\"], [\"\xc4\xa0\", \"abc\"]]}}", rows[i].text);

        refused("tokenizer.json", json, (size_t)n, LLM_ERR_FORMAT, rows[i].word);
    }
}
END_TEST

static size_t spell(char *out, const uint64_t *w, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < 8 * n; i++) {
        size_t k = byte_level_char(((const uint8_t *)w)[i], out + len);
        if (out[len] == '"' || out[len] == '\\') out[len + 1] = out[len], out[len] = '\\', k = 2;
        len += k;
    }
    return out[len] = 0, len;
}

/* The halves of a merge are compared with tokens to the last byte: here is one that is none and has the hash of one. */
START_TEST(halves_with_the_hash_of_a_token)
{
    uint64_t token[3] = { 1, 2, 3 }, forged[3] = { 4, 0, 3 };
    char json[2048], a[128], b[128];
    uint64_t h[2];
    int n;

    for (int i = 0; i < 2; i++) h[i] = vocab_mix((24 * 0xff51afd7ed558ccdu) ^ (i ? forged : token)[0]) * 0xc4ceb9fe1a85ec53u;
    forged[1] = token[1] ^ h[0] ^ h[1];
    ck_assert(vocab_key((char *)token, 24) == vocab_key((char *)forged, 24));
    spell(a, token, 3), spell(b, forged, 3);
    for (int i = 0; i < 2; i++) {
        const char *half = i ? b : a;

        n = snprintf(json, sizeof json, "{" BYTES_ "\"model\":{\"type\":\"BPE\",\"vocab\":{\"x\":0,\"%s\":1,\"%sx\":2},\"merges\":[[\"%s\",\"x\"]]}}", a, half, half);
        if (i) refused("tokenizer.json", json, (size_t)n, LLM_ERR_FORMAT, "first");
        else tokenizer_close(open_json(json));
    }
}
END_TEST

START_TEST(broken_json)
{
    static const struct { const char *text; llm_status status; const char *word; } rows[] = {
        { "{", LLM_ERR_FORMAT, "line" },
        { "[]", LLM_ERR_FORMAT, "model" },
        { "{\"model\":{\"type\":\"WordPiece\"}}", LLM_ERR_UNSUPPORTED, "WordPiece" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", LLM_ERR_FORMAT, "-1" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}", LLM_ERR_FORMAT, "99999999" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", LLM_ERR_FORMAT, "two tokens" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"x\"},\"merges\":[]}}", LLM_ERR_FORMAT, "not a number" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", LLM_ERR_FORMAT, "second" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}}", LLM_ERR_FORMAT, "together" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}}", LLM_ERR_FORMAT, "blank" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[3]}}", LLM_ERR_FORMAT, "a merge is neither" },
        { "{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "dropout" },
        { "{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "end_of_word_suffix" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", LLM_ERR_FORMAT, "empty" },
        { "{\"normalizer\":{\"type\":\"Nmt\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "Nmt" },
        { "{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "UnicodeScripts" },
        { "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "byte 1" },
        { "{\"decoder\":{\"type\":\"CTC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "CTC" },
        { "{\"post_processor\":{\"type\":\"BertProcessing\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_UNSUPPORTED, "BertProcessing" },
        { "{\"added_tokens\":[{\"content\":\"x\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", LLM_ERR_FORMAT, "added token 0" },
        { "{\"model\":{\"type\":\"Unigram\",\"unk_id\":5,\"vocab\":[[\"a\",0]]}}", LLM_ERR_FORMAT, "unk_id" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",\"b\"]]}}", LLM_ERR_FORMAT, "piece 0" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refused("tokenizer.json", rows[i].text, strlen(rows[i].text), rows[i].status, rows[i].word);
}
END_TEST

START_TEST(broken_tiktoken)
{
    static const struct { const char *text; llm_status status; const char *word; } rows[] = {
        { "", LLM_ERR_FORMAT, "no tokens" },
        { "YQ==\n", LLM_ERR_FORMAT, "line 1" },
        { "Y!== 0\n", LLM_ERR_FORMAT, "base64" },
        { "YQ== 0\nYg== 0\n", LLM_ERR_FORMAT, "twice" },
        { "YQ== 99999999\n", LLM_ERR_FORMAT, "rank" },
        { "YQ== x\n", LLM_ERR_FORMAT, "rank" },
        { "YQ== 0\nYg== 1\n", LLM_ERR_FORMAT, "256" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refused("x.tiktoken", rows[i].text, strlen(rows[i].text), rows[i].status, rows[i].word);
    refused("x.tiktoken", "YQ== 0\n\0", 8, LLM_ERR_FORMAT, "text file");
}
END_TEST

START_TEST(broken_model)
{
    static const struct { const char *data; size_t len; llm_status status; const char *word; } rows[] = {
        { "", 0, LLM_ERR_FORMAT, "no pieces" },
        { "\x0a\xff\xff\xff\x7f", 5, LLM_ERR_FORMAT, "cut short" },
        { "\x0a\x02\x0a\x05", 4, LLM_ERR_FORMAT, "cut short" },
        { "\x0b", 1, LLM_ERR_FORMAT, "protocol buffer" },
        { "\x12\x02\x18\x03", 4, LLM_ERR_UNSUPPORTED, "model type 3" },
        { "\x0a\x00", 2, LLM_ERR_FORMAT, "empty" },
        { "\x0a\x08\x0a\x01" "a\x15\x00\x00\xc0\x7f", 10, LLM_ERR_FORMAT, "not a number" },
        { "\x0a\x05\x0a\x01" "a\x18\x09", 7, LLM_ERR_FORMAT, "type 9" },
        { "\x0a\x05\x0a\x01" "a\x18\x06", 7, LLM_ERR_FORMAT, "byte" },
        { "\x0a\x03\x0a\x01" "a\x0a\x03\x0a\x01" "a", 10, LLM_ERR_FORMAT, "the same" },
        { "\x1a\x04\x12\x02zz\x0a\x03\x0a\x01" "a", 11, LLM_ERR_FORMAT, "charsmap" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) refused("tokenizer.model", rows[i].data, rows[i].len, rows[i].status, rows[i].word);
    refused("tokenizer.bin", "x", 1, LLM_ERR_UNSUPPORTED, "tokenizer.bin");
}
END_TEST

/* Every small model file cut off at every 97th byte opens or is refused with words. */
START_TEST(cut_models)
{
    static const char *const files[] = { "gemma_bpe.model", "unigram.model", "bytes_qwen2.json" };

    for (size_t i = 0; i < 3; i++) {
        char path[256], data[20000], temp[] = "/tmp/llm-text-XXXXXX", cut[300];
        size_t len;
        FILE *f;

        snprintf(path, sizeof path, DIR_ "%s", files[i]);
        ck_assert_ptr_nonnull(f = fopen(path, "rb"));
        len = fread(data, 1, sizeof data, f);
        fclose(f);
        ck_assert_ptr_nonnull(mkdtemp(temp));
        snprintf(cut, sizeof cut, "%s/%s", temp, files[i]);
        for (size_t n = 0; n < len; n += 97) {
            llm_tokenizer *t = NULL;
            llm_error err = { 0 };

            ck_assert_ptr_nonnull(f = fopen(cut, "wb"));
            ck_assert_uint_eq(fwrite(data, 1, n, f), n);
            fclose(f);
            if (tokenizer_open_path(&t, cut, &err) != LLM_OK) ck_assert(err.text[0] && t == NULL);
            tokenizer_close(t);
        }
        unlink(cut), rmdir(temp);
    }
}
END_TEST

/* ---- text ----------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *x) { return *x = *x * 1664525u + 1013904223u, *x >> 8; }

/* Bytes that are no UTF-8 come back as they went in. */
START_TEST(any_bytes_come_back)
{
    static const char *const files[] = { "gemma_bpe.model", "gemma_bpe.json", "bytes_qwen2.json", "bytes_splits.json", "llama_bpe.model" };
    uint32_t seed = 1;

    for (size_t i = 0; i < 5; i++) {
        char path[256];
        llm_tokenizer *t;

        snprintf(path, sizeof path, DIR_ "%s", files[i]);
        t = open_ok(path);
        for (int round = 0; round < 400; round++) {
            char text[200], *back;
            llm_token ids[1024];
            size_t len = next_random(&seed) % sizeof text, n, n_back;
            llm_error err;

            for (size_t k = 0; k < len; k++) text[k] = round & 1 ? (char)next_random(&seed) : " \n\xe2\xc3\xff" "ab<\x80"[next_random(&seed) % 9];
            n = encode(t, text, len, 0, ids, 1024);
            ck_assert_int_eq(tokenizer_decode(t, ids, n, true, &back, &n_back, &err), LLM_OK);
            if (memmem(text, len, "\xe2\x96\x81", 3) == NULL && i != 2)
                ck_assert_msg(n_back == len && memcmp(back, text, len) == 0, "%s, round %d", files[i], round);
            free(back);
        }
        tokenizer_close(t);
    }
}
END_TEST

/* A run of a million characters takes n log n: seconds would be noticed, n squared would take hours. */
START_TEST(long_runs)
{
    static const char *const files[] = { "gemma_bpe.model", "bytes_qwen2.json", "unigram.model", "metaspace_first.json" };
    static const char *const units[] = { "a", " ", "\n", "e\xcc\x81", "\xcc\x81\xcc\x96", "\xed\x95\x9c", "ab", "\xff" };
    enum { N = 400000 };
    char *text = malloc(N);

    for (size_t i = 0; i < 4; i++) {
        char path[256];
        llm_tokenizer *t;

        snprintf(path, sizeof path, DIR_ "%s", files[i]);
        t = open_ok(path);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            size_t len = strlen(units[u]), n = 0;

            while (n + len <= N) memcpy(text + n, units[u], len), n += len;
            encode(t, text, n, 0, NULL, 0);
        }
        tokenizer_close(t);
    }
    free(text);
}
END_TEST

/* Counted, not timed: every merge asks for three pairs at most, and a symbol is merged away once. */
START_TEST(long_words_ask_for_few_pairs)
{
    static const char *const files[] = { "bytes_qwen2.json", "gemma_bpe.json", "gemma_bpe.model" };
    static const char *const units[] = { "a", " ", "ab", "e", "\n" };
    enum { N = 1 << 20 };
    char *text = malloc(N);

    for (size_t i = 0; i < 3; i++) {
        llm_tokenizer *t;
        char path[256];

        snprintf(path, sizeof path, DIR_ "%s", files[i]);
        t = open_ok(path);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            bpe_work w = { .text = text, .len = N };
            size_t len = strlen(units[u]);

            ck_assert(bpe_work_room(&w, N));
            for (size_t k = 0; k < N; k++) text[k] = units[u][k % len], w.at[k] = (uint32_t)k, w.id[k] = tokenizer_find(t, &text[k], 1);
            w.n = N;
            ck_assert(bpe_merge(&t->bpe, &w, -1));
            ck_assert_msg(w.n_asked <= 4 * (size_t)N, "%s, \"%s\": %zu pairs", files[i], units[u], w.n_asked);
            bpe_work_free(&w);
        }
        tokenizer_close(t);
    }
    free(text);
}
END_TEST

/* A line of words of a script; it begins with a letter, so that no word reaches into it from the line before. */
static size_t random_line(char *s, unsigned *seed)
{
    static const char *const parts[] = { "t", "h", "e", "on", " ", " ", " ", "\xc3\xa9", "\xd0\xb0", "\xd0\xbe", "\xd8\xa7", "\xe0\xa6\xbe", "\xe0\xa7\x8d", "\xe3\x81\xae",
                                         "\xed\x95\x9c", "\xea\xb5\xad", "\xec\x96\xb4", "\xe6\x97\xa5", "\xf0\x9f\x99\x82", "\xcc\x81", "\x80", "\xbe", "\xe0", "\xd0", "\xff", "1", "!" };
    size_t n = 1, from = (*seed = *seed * 1103515245 + 12345) >> 16, range = 1 + (from >> 4) % 6;

    s[0] = 'x';
    for (int i = 0; i < 40; i++) {
        const char *p = parts[(from + ((*seed = *seed * 1103515245 + 12345) >> 16) % range * 5) % (sizeof parts / sizeof parts[0])];
        memcpy(s + n, p, strlen(p)), n += strlen(p);
    }
    s[n++] = '\n';
    return n;
}

/* What came before, and is remembered, changes nothing: a text is tokenized as its lines are. */
START_TEST(a_text_is_the_sum_of_its_lines)
{
    static const char *const files[] = { "bytes_qwen2.json", "bytes_splits.json" };
    enum { LINES = 400, LINE = 200 };
    char *text = malloc(LINES * LINE);
    llm_token *all = malloc(2 * LINES * LINE * sizeof *all), one[2 * LINE];

    for (unsigned i = 0; i < 2; i++) {
        char path[256];
        llm_tokenizer *t;

        snprintf(path, sizeof path, DIR_ "%s", files[i]);
        t = open_ok(path);
        for (unsigned round = 0; round < 20; round++) {
            unsigned seed = 20 * i + round, again = seed;
            size_t len = 0, n, at = 0;

            for (int k = 0; k < LINES; k++) len += random_line(text + len, &seed);
            n = encode(t, text, len, 0, all, 2 * LINES * LINE);
            for (int k = 0; k < LINES; k++) {
                size_t m = encode(t, text, random_line(text, &again), 0, one, 2 * LINE);
                ck_assert_msg(at + m <= n && memcmp(all + at, one, m * sizeof *one) == 0, "%s, round %u, line %d", files[i], round, k);
                at += m;
            }
            ck_assert_uint_eq(at, n);
        }
        tokenizer_close(t);
    }
    free(text), free(all);
}
END_TEST

START_TEST(stream_holds_back_half_characters)
{
    llm_tokenizer *t = open_ok(DIR_ "gemma_bpe.model");
    static const struct { const char *bytes; const char *out[6]; } rows[] = {   /* one byte token after the other, then the flush */
        { "\xf0\x9f\x99\x82", { "", "", "", "\xf0\x9f\x99\x82", "" } },
        { "\xe2\x82" "A",     { "", "", "\xe2\x82" "A", "" } },
        { "\xff\xc3\xa9",     { "\xff", "", "\xc3\xa9", "" } },
        { "\xe0\x80",         { "", "\xe0\x80", "" } },             /* over-long: never a character */
        { "\xc3",             { "", "\xc3" } },
        { "\xed\xa0",         { "", "\xed\xa0", "" } },             /* a surrogate */
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].bytes), len;
        llm_detok *d;
        llm_error err;
        const char *s;

        ck_assert_int_eq(detok_open(&d, t, 0, &err), LLM_OK);
        for (size_t k = 0; k <= n; k++) {
            char name[8];

            snprintf(name, sizeof name, "<0x%02X>", (unsigned)(uint8_t)rows[i].bytes[k]);
            if (k < n) ck_assert_int_eq(llm_detok_push(d, tokenizer_find(t, name, 6), &s, &len, &err), LLM_OK);
            else ck_assert_int_eq(llm_detok_flush(d, &s, &len, &err), LLM_OK);
            ck_assert_msg(len == strlen(rows[i].out[k]) && memcmp(s, rows[i].out[k], len) == 0, "row %zu, step %zu", i, k);
        }
        llm_detok_close(d);
    }
    tokenizer_close(t);
}
END_TEST

START_TEST(stream_and_control_tokens)
{
    llm_tokenizer *t = open_ok(DIR_ "bytes_qwen2.json");
    llm_token end = tokenizer_find(t, "<|im_end|>", 10);
    llm_detok *d;
    llm_error err;
    const char *s;
    size_t len;

    ck_assert(tokenizer_is_control(t, end) && tokenizer_is_end(t, end));
    ck_assert_int_eq(detok_open(&d, t, 0, &err), LLM_OK);
    ck_assert_int_eq(llm_detok_push(d, end, &s, &len, &err), LLM_OK);
    ck_assert_uint_eq(len, 0);
    ck_assert_int_eq(llm_detok_push(d, 1 << 30, &s, &len, &err), LLM_OK);      /* an unknown id is no text */
    ck_assert_uint_eq(len, 0);
    llm_detok_close(d);
    ck_assert_int_eq(detok_open(&d, t, LLM_DETOK_CONTROL, &err), LLM_OK);
    ck_assert_int_eq(llm_detok_push(d, end, &s, &len, &err), LLM_OK);
    ck_assert(len == 10 && memcmp(s, "<|im_end|>", 10) == 0);
    llm_detok_close(d);
    ck_assert_int_eq(detok_open(&d, t, 4, &err), LLM_ERR_ARG);
    ck_assert_int_eq(detok_open(&d, NULL, 0, &err), LLM_ERR_UNSUPPORTED);
    tokenizer_close(t);
}
END_TEST

typedef struct { const llm_tokenizer *t; char *text; size_t len, n; llm_token *ids; } job;

static void *run_job(void *arg)
{
    job *j = arg;
    llm_error err;

    if (tokenizer_encode(j->t, j->text, j->len, 0, j->ids, 4 * j->len, &j->n, &err) != LLM_OK) j->n = 0;
    return NULL;
}

START_TEST(threads_share_a_tokenizer)
{
    llm_tokenizer *t = open_ok(DIR_ "bytes_qwen2.json");
    pthread_t thread[4];
    job jobs[4];
    char text[6000];

    for (size_t i = 0; i < sizeof text; i++) text[i] = "the monster of Frankenstein, 12 "[(i * 7 + i / 13) % 32];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){ t, text, sizeof text, 0, malloc(4 * sizeof text * sizeof(llm_token)) };
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_gt(jobs[i].n, 100);
        ck_assert_uint_eq(jobs[i].n, jobs[0].n);
        ck_assert_int_eq(memcmp(jobs[i].ids, jobs[0].ids, jobs[0].n * sizeof(llm_token)), 0);
    }
    for (int i = 0; i < 4; i++) free(jobs[i].ids);
    tokenizer_close(t);
}
END_TEST

LLM_TEST_MAIN("text/tokenizer", user_text_is_never_a_control_token, counts_and_cuts, bytes_without_a_token_are_named, lists_of_merges, merges_anywhere, broken_merges,
              halves_with_the_hash_of_a_token, broken_json, broken_tiktoken, broken_model, cut_models, any_bytes_come_back, long_runs, long_words_ask_for_few_pairs, a_text_is_the_sum_of_its_lines,
              stream_holds_back_half_characters, stream_and_control_tokens, threads_share_a_tokenizer)
