/* merges.c - vocabularies that are a list of spelled tokens and a list of merges: tokenizer.json, vocab.json, GGUF. */
#include "tokenizer_parts.h"

static const char BLANK[] = "\xe2\x96\x81";

/* Appends the text that a spelled part stands for; false: not of the byte-level alphabet, or out of memory. */
static bool unspell(const llm_tokenizer *t, const char *s, size_t n, text_buf *b)
{
    char *o;

    if (t->model == MODEL_BYTES) return byte_level_decode(s, n, b);
    if (!buf_room(b, n)) return false;
    o = b->data + b->len;
    for (size_t i = 0; i < n; i++) {
        if (t->escape && s[i] == BLANK[0] && n - i >= 3 && memcmp(s + i, BLANK, 3) == 0) *o++ = ' ', i += 2;
        else *o++ = s[i];
    }
    b->len = (size_t)(o - b->data);
    return true;
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

/* ---- merges ----------------------------------------------------------------- */

static void set_alphabet(const llm_tokenizer *t, spelled_byte alphabet[256])
{
    for (int c = 0; c < 256; c++) {
        spelled_byte *x = &alphabet[c];

        if (t->model == MODEL_BYTES) x->n = (uint8_t)byte_level_char((uint8_t)c, x->text);
        else if (c == ' ') memcpy(x->text, BLANK, x->n = 3);
        else x->text[0] = (char)c, x->n = c < ' ' ? 0 : 1;  /* 0: cannot be compared, since JSON escapes it */
    }
}

/* Spells token id to compare merges with; nothing where it is none that they make, or too long. */
static void spell(const llm_tokenizer *t, int32_t id, merge_queue *q)
{
    const llm_vocab *v = &t->vocab;
    spelled_token *out = &q->token;
    size_t len, n = 0;
    const char *s;

    out->id = id, out->n = 0;
    if (id >= v->n || v->type[id] != TOK_NORMAL || v->len[id] > SPELLED_BYTES || v->n_same || !(t->escape || t->model == MODEL_BYTES)) return;
    s = vocab_bytes(v, id, &len);
    for (size_t i = 0; i < len; i++) {
        const spelled_byte *x = &q->alphabet[(uint8_t)s[i]];

        if (x->n == 0) return;
        memcpy(out->text + n, x->text, 3), memset(out->cut + n, 0, 3);
        out->cut[n] = (uint8_t)i, n += x->n;
    }
    out->n = n;
}

/* Where a and c together are the token's text: how many of its bytes are a's. 0: they are not. */
static size_t cut_of(const spelled_token *x, const char *a, size_t n_a, const char *c, size_t n_c)
{
    return n_a + n_c == x->n && n_c > 0 && memcmp(x->text, a, n_a) == 0 && memcmp(x->text + n_a, c, n_c) == 0 ? x->cut[n_a] : 0;
}

static llm_status no_token(size_t rank, const char *s, size_t cut, size_t n, const char *which, llm_error *err)
{
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %zu, \"%.*s\" and \"%.*s\": %s no token of the vocabulary", rank,
                    (int)(cut < 60 ? cut : 60), s, (int)(n - cut < 60 ? n - cut : 60), s + cut, which);
}

/* Looks up the halves of the last merges of the list. */
static llm_status flush(const llm_tokenizer *t, merge_queue *q, llm_error *err)
{
    const llm_vocab *v = &t->vocab;
    size_t rank = q->list.n - (size_t)q->n;

    for (int i = 0; i < q->n; i++, rank++) {
        const queued_half *half = q->half[i];
        size_t n, cut = q->list.cut[rank];
        const char *s = vocab_bytes(v, (int32_t)q->list.to[rank], &n);

        if (vocab_find_from(v, half[0].line, s, cut, half[0].key) < 0) return no_token(rank, s, cut, n, "the first is", err);
        if (vocab_find_from(v, half[1].line, s + cut, n - cut, half[1].key) < 0) return no_token(rank, s, cut, n, "the second is", err);
    }
    q->n = 0;
    return LLM_OK;
}

/* The merge to token id, whose first cut bytes are the first half. */
static llm_status enqueue(llm_tokenizer *t, int32_t id, size_t cut, merge_queue *q, llm_error *err)
{
    size_t n;
    const char *s = vocab_bytes(&t->vocab, id, &n);
    queued_half *half = q->half[q->n];
    llm_status st = bpe_list_add(&q->list, id, cut, q->n_room, err);

    if (st != LLM_OK) return st;
    half[0].key = vocab_key_padded(s, cut), half[1].key = vocab_key_padded(s + cut, n - cut);
    for (int i = 0; i < 2; i++) half[i].line = vocab_soon(&t->vocab, half[i].key);
    return ++q->n == MERGE_QUEUE ? flush(t, q, err) : LLM_OK;
}

/* A merge to any token. */
static llm_status add_other(llm_tokenizer *t, const char *a, size_t n_a, const char *c, size_t n_c, merge_queue *q, llm_error *err)
{
    text_buf *b = &q->bytes;
    const char *s;
    size_t cut, n;
    int32_t id;
    llm_status st;

    b->len = 0;
    if (!unspell(t, a, n_a, b) || (cut = b->len, !unspell(t, c, n_c, b))) {
        if (b->failed) return llm_fail_memory(err, n_a + n_c, "a merge");
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %zu, \"%.*s\" and \"%.*s\": not in the alphabet of bytes", q->list.n,
                        (int)(n_a < 60 ? n_a : 60), a, (int)(n_c < 60 ? n_c : 60), c);
    }
    s = b->data ? b->data : "", n = b->len;
    id = vocab_find(&t->vocab, s, n);
    if (id >= 0 && cut > 0 && cut < n) return spell(t, id, q), enqueue(t, id, cut, q, err);
    if ((st = flush(t, q, err)) != LLM_OK) return st;       /* of those before it may be the first that is wrong */
    if (vocab_find(&t->vocab, s, cut) < 0) return no_token(q->list.n, s, cut, n, "the first is", err);
    return no_token(q->list.n, s, cut, n, vocab_find(&t->vocab, s + cut, n - cut) < 0 ? "the second is" : "the two together are", err);
}

llm_status tok_begin_merges(llm_tokenizer *t, size_t n, bool strict, merge_queue *q, llm_error *err)
{
    llm_status st = vocab_index(&t->vocab, 1u << TOK_NORMAL, strict, err);

    q->n_room = n;
    set_alphabet(t, q->alphabet);
    return st == LLM_OK ? bpe_init(&t->bpe, &t->vocab, err) : st;
}

llm_status tok_add_merge(llm_tokenizer *t, const char *a, size_t n_a, const char *c, size_t n_c, merge_queue *q, llm_error *err)
{
    const char *blank = c == NULL && n_a > 1 ? memchr(a + 1, ' ', n_a - 1) : NULL;
    size_t cut;

    if (c == NULL) {
        if (blank == NULL)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %zu, \"%.*s\", has no blank", q->list.n, (int)(n_a < 60 ? n_a : 60), a);
        c = blank + 1, n_c = n_a - (size_t)(c - a), n_a = (size_t)(blank - a);
    }
    /* Mostly it makes the same token as the one before, or the next. */
    if ((cut = cut_of(&q->token, a, n_a, c, n_c)) == 0) spell(t, q->token.id + 1, q), cut = cut_of(&q->token, a, n_a, c, n_c);
    return cut ? enqueue(t, q->token.id, cut, q, err) : add_other(t, a, n_a, c, n_c, q, err);
}

bool tok_read_merge(llm_tokenizer *t, scan_list *l, merge_queue *q, llm_status *st, llm_error *err)
{
    const spelled_token *x = &q->token;
    const char *from = l->p;
    size_t cut;

    if ((cut = scan_merge_of(l, x->text, x->n)) == 0) spell(t, x->id + 1, q), cut = scan_merge_of(l, x->text, x->n);
    if (cut == 0 || x->cut[cut] == 0) return l->p = from, false;
    *st = enqueue(t, x->id, x->cut[cut], q, err);
    return true;
}

llm_status tok_end_merges(llm_tokenizer *t, merge_queue *q, llm_status st, llm_error *err)
{
    if (st == LLM_OK && q->n) st = flush(t, q, err);
    if (st == LLM_OK) st = bpe_set_list(&t->bpe, &q->list, err);
    bpe_list_free(&q->list);
    buf_free(&q->bytes);
    return st;
}
