/* vocab.c - filling and indexing the table of tokens. Vocabulary files are hostile: ids, lengths and the number of tokens
 * that fall on one place of the index are bounded. */
#include "vocab.h"

enum {
    MAX_PROBES = 8192,                  /* lines of the index; a real vocabulary needs a few */
    INDEX_AHEAD = 24                    /* tokens whose place the memory is asked for beforehand */
};

_Static_assert(sizeof(vocab_line) == 64, "a line of the index is one of the cache");

void vocab_free(llm_vocab *v)
{
    free(v->off), free(v->len), free(v->type), free(v->line), free(v->filter), free(v->two);
    buf_free(&v->pool);
    *v = (llm_vocab){ 0 };
}

static llm_status set_cap(llm_vocab *v, size_t cap, llm_error *err)
{
    void *p;

    if ((p = realloc(v->off, cap * sizeof *v->off)) == NULL) return llm_fail_memory(err, cap * sizeof *v->off, "the vocabulary");
    v->off = p;
    if ((p = realloc(v->len, cap * sizeof *v->len)) == NULL) return llm_fail_memory(err, cap * sizeof *v->len, "the vocabulary");
    v->len = p;
    if ((p = realloc(v->type, cap)) == NULL) return llm_fail_memory(err, cap, "the vocabulary");
    v->type = p;
    return LLM_OK;
}

static llm_status grow(llm_vocab *v, size_t n, llm_error *err)
{
    size_t cap = v->cap + v->cap / 2 > 1024 ? v->cap + v->cap / 2 : 1024;
    llm_status st;

    if (cap < n) cap = n;
    if ((st = set_cap(v, cap, err)) != LLM_OK) return st;
    memset(v->off + v->cap, 0, (cap - v->cap) * sizeof *v->off);
    memset(v->len + v->cap, 0, (cap - v->cap) * sizeof *v->len);
    memset(v->type + v->cap, TOK_HOLE, cap - v->cap);
    v->cap = cap;
    return LLM_OK;
}

llm_status vocab_set(llm_vocab *v, int64_t id, const char *s, size_t len, tok_type type, llm_error *err)
{
    llm_status st;

    if (id < 0 || id >= VOCAB_MAX)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: token id %lld is not in 0..%d", (long long)id, VOCAB_MAX - 1);
    if (len > TOKEN_MAX_BYTES)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: token %lld has %zu bytes, at most %d are read", (long long)id, len,
                        TOKEN_MAX_BYTES);
    if (v->pool.len > UINT32_MAX - TOKEN_MAX_BYTES)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: the tokens have more than 4 GiB of text");
    if ((size_t)id >= v->cap && (st = grow(v, (size_t)id + 1, err)) != LLM_OK) return st;
    if (id >= v->n) v->n = (int)id + 1;
    if (v->type[id] != TOK_HOLE) {
        if (v->len[id] != len || memcmp(v->pool.data + v->off[id], s, len) != 0)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: id %lld is given to two tokens, \"%.*s\" and \"%.*s\"", (long long)id,
                            (int)(v->len[id] < 40 ? v->len[id] : 40), v->pool.data + v->off[id], (int)(len < 40 ? len : 40), s);
        v->type[id] = (uint8_t)type;
        return LLM_OK;
    }
    v->off[id] = (uint32_t)v->pool.len, v->len[id] = (uint32_t)len, v->type[id] = (uint8_t)type;
    if (!buf_room(&v->pool, len + 1)) return llm_fail_memory(err, v->pool.len + len, "the vocabulary");
    buf_add(&v->pool, s, len);
    return LLM_OK;
}

void vocab_forget(llm_vocab *v, int32_t id) { v->type[id] = TOK_HOLE, v->len[id] = 0; }

/* Gives back what growing took too much. */
static llm_status trim(llm_vocab *v, llm_error *err)
{
    llm_status st = set_cap(v, (size_t)v->n, err);
    char *pool;

    if (st == LLM_OK) v->cap = (size_t)v->n;
    if (st != LLM_OK || v->pool.len == 0) return st;
    if ((pool = realloc(v->pool.data, v->pool.len + 8)) == NULL) return llm_fail_memory(err, v->pool.len, "the vocabulary");
    memset(pool + v->pool.len, 0, 8);
    v->pool.data = pool, v->pool.cap = v->pool.len + 8;
    return LLM_OK;
}

static llm_status too_many(llm_error *err)
{
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: more than %d tokens share one place of the index; no real vocabulary does", MAX_PROBES);
}

/* One more token. */
static llm_status index_one(llm_vocab *v, int32_t id, bool strict, llm_error *err)
{
    size_t len, home, i;
    const char *s = vocab_bytes(v, id, &len);
    uint64_t key = vocab_key_padded(s, len);
    vocab_line *p;
    int k;

    if (len == 0) return LLM_OK;
    home = vocab_home(key), i = vocab_place(v, home);
    for (int probes = 0; (k = vocab_in_line(v, p = &v->line[i], s, len, key)) < 0 && p->n == VOCAB_LINE; i = vocab_after(v, i))
        if (++probes == MAX_PROBES) return too_many(err);
    if (k >= 0 && strict)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: tokens %d and %d are the same, \"%.*s\"", p->id[k], id, (int)(len < 40 ? len : 40), s);
    if (k >= 0) p->id[k] = id, v->n_same++;
    else p->key[p->n] = key, p->id[p->n++] = id;
    if (len == 2) v->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]] = id;
    if (len > v->longest) v->longest = len;
    v->filter[home >> 34] |= (uint64_t)1 << (home >> 28 & 63);
    return LLM_OK;
}

static void index_soon(const llm_vocab *v, int32_t id)
{
    size_t len;
    const char *s = vocab_bytes(v, id, &len);

    vocab_soon(v, vocab_key_padded(s, len));
}

llm_status vocab_index(llm_vocab *v, unsigned types, bool strict, llm_error *err)
{
    size_t n = 0;
    llm_status st = v->n > 0 ? trim(v, err) : LLM_OK;

    if (st != LLM_OK) return st;
    for (int i = 0; i < v->n; i++) n += types >> v->type[i] & 1;
    free(v->line), free(v->filter), free(v->two);
    v->line = NULL, v->filter = NULL, v->n_same = v->longest = 0;
    if ((v->two = malloc(65536 * sizeof *v->two)) == NULL) return llm_fail_memory(err, 65536 * sizeof *v->two, "the token index");
    memset(v->two, 0xff, 65536 * sizeof *v->two);
    if ((v->filter = calloc(VOCAB_FILTER_BITS / 64, sizeof *v->filter)) == NULL)
        return llm_fail_memory(err, VOCAB_FILTER_BITS / 8, "the token index");
    v->n_line = 3 * n / (2 * VOCAB_LINE) + 4;               /* two places of three are taken */
    if ((v->line = aligned_alloc(sizeof *v->line, v->n_line * sizeof *v->line)) == NULL)
        return llm_fail_memory(err, v->n_line * sizeof *v->line, "the token index");
    memset(v->line, 0, v->n_line * sizeof *v->line);
    for (int i = 0; i < v->n; i++) {
        if (i + INDEX_AHEAD < v->n) index_soon(v, i + INDEX_AHEAD);
        if ((types >> v->type[i] & 1) && (st = index_one(v, i, strict, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}
