/* merges.c - vocabularies that are a list of spelled tokens and a list of merges: tokenizer.json, vocab.json, GGUF. */
#include "tokenizer_parts.h"

static const char BLANK[] = "\xe2\x96\x81";

/* Appends the text that a spelled part stands for; false: not of the byte-level alphabet, or out of memory. */
static bool unspell(const llm_tokenizer *t, const char *s, size_t n, text_buf *b)
{
    if (t->model == MODEL_BYTES) return byte_level_decode(s, n, b);
    for (size_t i = 0; i < n; i++) {
        if (t->escape && n - i >= 3 && memcmp(s + i, BLANK, 3) == 0) buf_byte(b, ' '), i += 2;
        else buf_byte(b, s[i]);
    }
    return !b->failed;
}

llm_status tok_set_spelled(llm_tokenizer *t, int64_t id, const char *s, size_t n, text_buf *b, llm_error *err)
{
    int byte = t->byte_fallback && t->model != MODEL_BYTES ? byte_token(s, n) : -1;
    char c = (char)byte;

    b->len = 0;
    if (byte >= 0 && id >= 0 && id < VOCAB_MAX) {
        if (t->byte_id[byte] < 0) t->byte_id[byte] = (int32_t)id;
        return vocab_set(&t->vocab, id, &c, 1, TOK_BYTE, err);
    }
    if (t->escape && memchr(s, ' ', n)) return vocab_set(&t->vocab, id, s, n, TOK_UNUSED, err);  /* no text turns into it */
    if (unspell(t, s, n, b)) return vocab_set(&t->vocab, id, b->data ? b->data : "", b->len, TOK_NORMAL, err);
    if (b->failed) return llm_fail_memory(err, n, "a token");
    return vocab_set(&t->vocab, id, s, n, TOK_UNUSED, err);
}

static bool is_one_symbol(const llm_tokenizer *t, const char *s, size_t len)
{
    uint32_t cp;

    if (len <= 1 || t->model == MODEL_BYTES) return len == 1;
    return (size_t)utf8_decode((const uint8_t *)s, (const uint8_t *)s + len, &cp) == len;
}

llm_status tok_begin_merges(llm_tokenizer *t, size_t n, llm_error *err)
{
    llm_status st;

    if ((st = vocab_index(&t->vocab, 1u << TOK_NORMAL, false, err)) != LLM_OK) return st;
    if ((st = bpe_init(&t->bpe, (size_t)t->vocab.n, n, err)) != LLM_OK) return st;
    for (int id = 0; id < t->vocab.n; id++) {
        size_t len;
        const char *s = vocab_bytes(&t->vocab, id, &len);

        if (t->vocab.type[id] == TOK_NORMAL && len && is_one_symbol(t, s, len)) t->bpe.whole[id] = 1;
    }
    return LLM_OK;
}

llm_status tok_add_merge(llm_tokenizer *t, const char *a, size_t n_a, const char *c, size_t n_c, uint32_t rank, text_buf *b, llm_error *err)
{
    const char *blank = c == NULL && n_a > 1 ? memchr(a + 1, ' ', n_a - 1) : NULL;
    size_t cut, n = n_a;
    int32_t x, y, xy;

    if (c == NULL) {
        if (blank == NULL)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %u, \"%.*s\", has no blank", rank, (int)(n < 60 ? n : 60), a);
        c = blank + 1, n_c = n_a - (size_t)(c - a), n_a = (size_t)(blank - a);
    }
    b->len = 0;
    if (!unspell(t, a, n_a, b)) goto unknown;
    cut = b->len;
    if (!unspell(t, c, n_c, b)) goto unknown;
    x = cut ? vocab_find(&t->vocab, b->data, cut) : -1;
    y = b->len > cut ? vocab_find(&t->vocab, b->data + cut, b->len - cut) : -1;
    xy = x >= 0 && y >= 0 ? vocab_find(&t->vocab, b->data, b->len) : -1;
    if (xy < 0) goto unknown;
    return bpe_add(&t->bpe, x, y, rank, xy, err);
unknown:
    if (b->failed) return llm_fail_memory(err, n, "a merge");
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %u, \"%.*s\" and \"%.*s\": a part or the whole is no token of the vocabulary", rank,
                    (int)(n_a < 60 ? n_a : 60), a, (int)(n_c < 60 ? n_c : 60), c);
}
