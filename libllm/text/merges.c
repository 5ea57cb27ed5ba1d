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

llm_status tok_begin_merges(llm_tokenizer *t, size_t n, bool strict, llm_error *err)
{
    llm_status st = vocab_index(&t->vocab, 1u << TOK_NORMAL, strict, err);

    return st == LLM_OK ? bpe_init_pairs(&t->bpe, &t->vocab, n, err) : st;
}

/* Looks the queued merges up. */
static llm_status flush(llm_tokenizer *t, merge_queue *q, llm_error *err)
{
    int32_t a[MERGE_QUEUE], b[MERGE_QUEUE];
    llm_status st = LLM_OK;

    for (int i = 0; i < q->n; i++) {
        const char *s = q->bytes.data;
        size_t from = q->merge[i].from, cut = q->merge[i].cut, end = q->merge[i].end;

        a[i] = cut > from ? vocab_find(&t->vocab, s + from, cut - from) : -1;
        b[i] = end > cut ? vocab_find(&t->vocab, s + cut, end - cut) : -1;
        __builtin_prefetch(&t->bpe.slot[bpe_hash(a[i], b[i]) >> 20 & t->bpe.mask]);
    }
    for (int i = 0; st == LLM_OK && i < q->n; i++) {
        const char *s = q->bytes.data + q->merge[i].from;
        size_t n = q->merge[i].end - q->merge[i].from, cut = q->merge[i].cut - q->merge[i].from;
        int32_t id = n ? vocab_find(&t->vocab, s, n) : -1;

        if (a[i] >= 0 && b[i] >= 0 && id >= 0) st = bpe_add(&t->bpe, a[i], b[i], q->merge[i].rank, id, err);
        else st = llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %u, \"%.*s\" and \"%.*s\": %s no token of the vocabulary", q->merge[i].rank,
                           (int)(cut < 60 ? cut : 60), s, (int)(n - cut < 60 ? n - cut : 60), s + cut,
                           a[i] < 0 ? "the first is" : b[i] < 0 ? "the second is" : "the two together are");
    }
    q->n = 0, q->bytes.len = 0;
    return st;
}

llm_status tok_add_merge(llm_tokenizer *t, const char *a, size_t n_a, const char *c, size_t n_c, uint32_t rank, merge_queue *q, llm_error *err)
{
    const char *blank = c == NULL && n_a > 1 ? memchr(a + 1, ' ', n_a - 1) : NULL, *s;
    size_t from = q->bytes.len, cut, end;

    if (c == NULL) {
        if (blank == NULL)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %u, \"%.*s\", has no blank", rank, (int)(n_a < 60 ? n_a : 60), a);
        c = blank + 1, n_c = n_a - (size_t)(c - a), n_a = (size_t)(blank - a);
    }
    if (!unspell(t, a, n_a, &q->bytes)) goto failed;
    cut = q->bytes.len;
    if (!unspell(t, c, n_c, &q->bytes)) goto failed;
    end = q->bytes.len, s = q->bytes.data;
    vocab_soon(&t->vocab, s + from, cut - from), vocab_soon(&t->vocab, s + cut, end - cut), vocab_soon(&t->vocab, s + from, end - from);
    q->merge[q->n].from = from, q->merge[q->n].cut = cut, q->merge[q->n].end = end, q->merge[q->n].rank = rank;
    return ++q->n == MERGE_QUEUE ? flush(t, q, err) : LLM_OK;
failed:
    if (q->bytes.failed) return llm_fail_memory(err, n_a + n_c, "a merge");
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %u, \"%.*s\" and \"%.*s\": not in the alphabet of bytes", rank,
                    (int)(n_a < 60 ? n_a : 60), a, (int)(n_c < 60 ? n_c : 60), c);
}

llm_status tok_end_merges(llm_tokenizer *t, merge_queue *q, llm_error *err)
{
    llm_status st = q->n ? flush(t, q, err) : LLM_OK;

    buf_free(&q->bytes);
    return st;
}
