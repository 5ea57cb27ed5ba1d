/* Any bytes through small tokenizers: the first byte picks one and the flags, the rest is the text. Ids are in range, both ways of asking
 * agree, and decoding gives the text back, at once and as a stream. */
#include "fuzz_model.h"
#include "tokenizer.h"

enum { N_FILE = 6 };
static const struct { const char *path; bool exact, blanks; } files[N_FILE] = {    /* exact: bytes come back; blanks: but for U+2581 */
    { "test/data/text/gemma_bpe.model", true, true },
    { "test/data/text/llama_bpe.model", true, true },
    { "test/data/text/bytes_splits.json", true, false },
    { "test/data/text/bytes_qwen2.json", false, false },
    { "test/data/text/unigram.model", false, false },
    { "test/data/text/gemma_bpe.json", true, true },
};

/* Every U+2581 as a blank, in place. */
static size_t blanks(char *s, size_t n)
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        if (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) s[out++] = ' ', i += 2;
        else s[out++] = s[i];
    }
    return out;
}

/* The stream gives exactly the bytes of the tokens, and never half a character where the whole one came. */
static void check_stream(const llm_tokenizer *t, const llm_token *ids, size_t n)
{
    llm_error err;
    llm_detok *d;
    size_t len, k = 0, at = 0, n_token;
    const char *s, *token;

    if (detok_open(&d, t, LLM_DETOK_CONTROL, &err) != LLM_OK) abort();
    for (size_t i = 0; i <= n; i++) {
        if ((i < n ? llm_detok_push(d, ids[i], &s, &len, &err) : llm_detok_flush(d, &s, &len, &err)) != LLM_OK) abort();
        for (size_t j = 0; j < len; j++, at++) {
            while (token = tokenizer_bytes(t, ids[k], &n_token), at == n_token) k++, at = 0;
            if (s[j] != token[at]) abort();
        }
    }
    while (k < n && (tokenizer_bytes(t, ids[k], &n_token), at == n_token)) k++, at = 0;
    if (k != n) abort();
    llm_detok_close(d);
}

static void round_trip(const llm_tokenizer *t, int k, unsigned flags, const char *text, size_t size)
{
    size_t n = 0, again = 0, len = 0, n_text = size;
    llm_token *ids;
    llm_error err;
    char *back = NULL, *plain = malloc(size + 1);

    if (plain == NULL || tokenizer_encode(t, text, size, flags, NULL, 0, &n, &err) != LLM_OK) abort();
    if ((ids = malloc((n + 1) * sizeof *ids)) == NULL) abort();
    if (tokenizer_encode(t, text, size, flags, ids, n, &again, &err) != LLM_OK || again != n) abort();
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= tokenizer_n_vocab(t)) abort();
        if (!(flags & LLM_TOKENIZE_SPECIAL) && tokenizer_is_control(t, ids[i])) abort();
    }
    if (tokenizer_decode(t, ids, n, true, &back, &len, &err) != LLM_OK) abort();
    if (size) memcpy(plain, text, size);
    if (files[k].blanks) n_text = blanks(plain, size);
    if (memmem(text, size, "<mask>", 6)) len = n_text = 0;     /* it may take the blanks in front of it along */
    if (files[k].exact && !flags && (len != n_text || memcmp(back, plain, len) != 0)) abort();
    check_stream(t, ids, n);
    free(ids), free(back), free(plain);
}

FUZZ_TARGET(encode)
{
    static llm_tokenizer *open[N_FILE];
    llm_error err;
    int k = size ? data[0] % N_FILE : 0;

    if (size > 1 << 16) return;
    if (open[k] == NULL && tokenizer_open_path(&open[k], files[k].path, &err) != LLM_OK) abort();
    round_trip(open[k], k, size && data[0] & 128 ? LLM_TOKENIZE_SPECIAL : 0, (const char *)data + (size > 0), size ? size - 1 : 0);
}
