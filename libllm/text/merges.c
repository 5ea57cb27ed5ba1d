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

/* The byte that character k of the byte-level alphabet, of those with two bytes in UTF-8, stands for; -1: not of the alphabet. */
static int wide_byte(unsigned k)
{
    if (k < 0x100) return k > 0xa0 && k != 0xad ? (int)k : -1;
    return k < 0x121 ? (int)k - 0x100 : k < 0x143 ? (int)k - 0x121 + 0x7f : k == 0x143 ? 0xad : -1;
}

static const char *quick_bytes(const char *s, const char *end, char **out)
{
    char *o = *out;

    if (end - s > QUICK_BYTES) end = s + QUICK_BYTES;
    for (; s < end; o++) {
        uint8_t c = (uint8_t)*s;
        int byte;

        if (c > 0x20 && c < 0x7f && c != '"' && c != '\\') { *o = *s++; continue; }
        if (c == '"' || c == ' ') return *out = o, s;
        if (c < 0xc2 || c > 0xc5 || end - s < 2 || ((uint8_t)s[1] & 0xc0) != 0x80 || (byte = wide_byte((c & 31u) << 6 | (s[1] & 63u))) < 0) return NULL;
        *o = (char)byte, s += 2;
    }
    return NULL;
}

/* Of an escaped vocabulary; what begins with < may be a byte. */
static const char *quick_blanks(const char *s, const char *end, char **out)
{
    char *o = *out;

    if (s == end || *s == '<') return NULL;
    if (end - s > QUICK_BYTES) end = s + QUICK_BYTES;
    while (s < end) {
        uint8_t c = (uint8_t)*s;
        uint32_t cp;
        int len;

        if (c > 0x20 && c < 0x80 && c != '"' && c != '\\') { *o++ = *s++; continue; }
        if (c == '"' || c == ' ') return *out = o, s;
        if (c < 0x80 || (len = utf8_decode((const uint8_t *)s, (const uint8_t *)end, &cp)) < 2) return NULL;
        if (cp == 0x2581) *o++ = ' ';
        else memcpy(o, s, (size_t)len), o += len;
        s += len;
    }
    return NULL;
}

quick_fn tok_quick(const llm_tokenizer *t) { return t->model == MODEL_BYTES ? quick_bytes : t->escape ? quick_blanks : NULL; }

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

llm_status tok_begin_merges(llm_tokenizer *t, size_t n, bool strict, merge_queue *q, llm_error *err)
{
    llm_status st = vocab_index(&t->vocab, 1u << TOK_NORMAL, strict, err);

    q->n_room = n;
    return st == LLM_OK ? bpe_init(&t->bpe, &t->vocab, err) : st;
}

static bool is_token(const llm_vocab *v, int32_t id, const char *s, size_t n)
{
    return id < v->n && v->type[id] == TOK_NORMAL && v->len[id] == n && memcmp(v->pool.data + v->off[id], s, n) == 0;
}

/* The token that a merge makes, or -1: mostly that of the merge before or the next one. */
static int32_t made(const llm_vocab *v, merge_queue *q, const char *s, size_t n)
{
    int32_t id = -1;

    if (v->n_same == 0 && is_token(v, q->last, s, n)) return q->last;
    if (v->n_same == 0 && is_token(v, q->last + 1, s, n)) return ++q->last;
    if (n > 0 && (id = vocab_find(v, s, n)) >= 0) q->last = id;
    return id;
}

/* Has a token this hash? A merge whose half only had the hash of one would never be made, so no more need be known here. */
static bool is_half(const llm_vocab *v, uint64_t key, size_t len)
{
    if (len == 0 || len > v->longest) return false;
    for (size_t i = vocab_place(v, vocab_home(key, len));; i = vocab_after(v, i)) {
        const vocab_slot *p = v->line[i].slot;
        bool any = false;

        for (int k = 0; k < VOCAB_LINE; k++) any |= vocab_slot_like(&p[k], len, key);       /* which one it is could not be predicted */
        if (any) return true;
        if (p[VOCAB_LINE - 1].tag == 0) return false;
    }
}

/* Looks the queued merges up. */
static llm_status flush(llm_tokenizer *t, merge_queue *q, llm_error *err)
{
    const llm_vocab *v = &t->vocab;
    llm_status st = LLM_OK;

    for (int i = 0; st == LLM_OK && i < q->n; i++) {
        const queued_merge *m = &q->merge[i];
        const char *s = q->bytes.data + m->from;
        size_t n = m->end - m->from, cut = m->cut - m->from;
        bool a = is_half(v, m->key[0], cut), b = is_half(v, m->key[1], n - cut);
        int32_t id = made(v, q, s, n);

        if (a && b && id >= 0) st = bpe_list_add(&q->list, id, cut, q->n_room, err);
        else st = llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %zu, \"%.*s\" and \"%.*s\": %s no token of the vocabulary", q->list.n,
                           (int)(cut < 60 ? cut : 60), s, (int)(n - cut < 60 ? n - cut : 60), s + cut,
                           !a ? "the first is" : !b ? "the second is" : "the two together are");
    }
    q->n = 0, q->bytes.len = 0;
    return st;
}

/* The merge of q->bytes from..cut and cut..end. */
static llm_status enqueue(llm_tokenizer *t, size_t from, size_t cut, merge_queue *q, llm_error *err)
{
    const char *s = q->bytes.data;
    size_t end = q->bytes.len;
    queued_merge *m = &q->merge[q->n];

    *m = (queued_merge){ from, cut, end, { vocab_key(s + from, cut - from), vocab_key(s + cut, end - cut) } };
    vocab_soon(&t->vocab, m->key[0], cut - from), vocab_soon(&t->vocab, m->key[1], end - cut);
    return ++q->n == MERGE_QUEUE ? flush(t, q, err) : LLM_OK;
}

bool tok_read_merge(llm_tokenizer *t, scan_list *l, merge_queue *q, llm_status *st, llm_error *err)
{
    quick_fn fn = tok_quick(t);
    size_t from = q->bytes.len, n_a, n;

    if (fn == NULL || !buf_room(&q->bytes, 2 * QUICK_BYTES) || !scan_merge_quick(l, fn, q->bytes.data + from, &n_a, &n)) return false;
    q->bytes.len += n;
    *st = enqueue(t, from, from + n_a, q, err);
    return true;
}

llm_status tok_add_merge(llm_tokenizer *t, const char *a, size_t n_a, const char *c, size_t n_c, merge_queue *q, llm_error *err)
{
    const char *blank = c == NULL && n_a > 1 ? memchr(a + 1, ' ', n_a - 1) : NULL;
    size_t from = q->bytes.len, cut, rank = q->list.n + (size_t)q->n;

    if (c == NULL) {
        if (blank == NULL)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %zu, \"%.*s\", has no blank", rank, (int)(n_a < 60 ? n_a : 60), a);
        c = blank + 1, n_c = n_a - (size_t)(c - a), n_a = (size_t)(blank - a);
    }
    if (!unspell(t, a, n_a, &q->bytes)) goto failed;
    cut = q->bytes.len;
    if (!unspell(t, c, n_c, &q->bytes)) goto failed;
    return enqueue(t, from, cut, q, err);
failed:
    if (q->bytes.failed) return llm_fail_memory(err, n_a + n_c, "a merge");
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: merge %zu, \"%.*s\" and \"%.*s\": not in the alphabet of bytes", rank,
                    (int)(n_a < 60 ? n_a : 60), a, (int)(n_c < 60 ? n_c : 60), c);
}

llm_status tok_end_merges(llm_tokenizer *t, merge_queue *q, llm_status st, llm_error *err)
{
    if (st == LLM_OK && q->n) st = flush(t, q, err);
    if (st == LLM_OK) st = bpe_set_list(&t->bpe, &q->list, err);
    bpe_list_free(&q->list);
    buf_free(&q->bytes);
    return st;
}
