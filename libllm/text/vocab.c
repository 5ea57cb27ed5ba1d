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
    if ((pool = realloc(v->pool.data, v->pool.len)) == NULL) return llm_fail_memory(err, v->pool.len, "the vocabulary");
    v->pool.data = pool, v->pool.cap = v->pool.len;
    return LLM_OK;
}

/* The place of these bytes, or the first empty one for them; NULL where that is too far away. */
static vocab_slot *find_slot(llm_vocab *v, const char *s, size_t len, uint64_t key, size_t home)
{
    size_t i = vocab_place(v, home);

    for (int probes = 0; probes < MAX_PROBES; probes++, i = vocab_after(v, i))
        for (int k = 0; k < VOCAB_LINE; k++) {
            vocab_slot *p = &v->line[i].slot[k];
            if (p->tag == 0 || vocab_slot_is(v, p, s, len, key)) return p;
        }
    return NULL;
}

static llm_status too_many(llm_error *err)
{
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: more than %d tokens share one place of the index; no real vocabulary does", MAX_PROBES);
}

/* Two places of three are taken at most. */
static llm_status resize(llm_vocab *v, size_t n, llm_error *err)
{
    vocab_line *line = aligned_alloc(sizeof *line, n * sizeof *line), *old = v->line;
    size_t n_old = old ? v->n_line : 0;
    bool ok = true;

    if (line == NULL) return llm_fail_memory(err, n * sizeof *line, "the token index");
    memset(line, 0, n * sizeof *line);
    v->line = line, v->n_line = n;
    for (size_t i = 0; i < VOCAB_LINE * n_old && ok; i++) {
        const vocab_slot *p = &old[i / VOCAB_LINE].slot[i % VOCAB_LINE];
        size_t len;
        const char *s;
        uint64_t key;
        vocab_slot *to;

        if (p->tag == 0) continue;
        s = vocab_bytes(v, vocab_slot_id(p), &len), key = vocab_key(s, len);
        ok = (to = find_slot(v, s, len, key, vocab_home(key, len))) != NULL;
        if (ok) *to = *p;
    }
    free(old);
    return ok ? LLM_OK : too_many(err);
}

llm_status vocab_index_one(llm_vocab *v, int32_t id, bool strict, llm_error *err)
{
    size_t len, home;
    const char *s = vocab_bytes(v, id, &len);
    uint64_t key = vocab_key(s, len);
    vocab_slot *p;
    llm_status st;

    if (len == 0) return LLM_OK;
    if (len == 2) v->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]] = id;
    if (3 * v->n_index + 3 > 2 * VOCAB_LINE * v->n_line && (st = resize(v, 2 * v->n_line, err)) != LLM_OK) return st;
    home = vocab_home(key, len);
    if ((p = find_slot(v, s, len, key, home)) == NULL) return too_many(err);
    if (p->tag && strict)
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: tokens %d and %d are the same, \"%.*s\"", vocab_slot_id(p), id, (int)(len < 40 ? len : 40), s);
    if (p->tag) v->n_same++;
    else v->n_index++;
    memcpy(p->key, &key, sizeof key);
    p->tag = (uint32_t)id | vocab_tag_len(len) << 22;
    if (len > v->longest) v->longest = len;
    v->filter[home >> 34] |= (uint64_t)1 << (home >> 28 & 63);
    return LLM_OK;
}

static void index_soon(const llm_vocab *v, int32_t id)
{
    size_t len;
    const char *s = vocab_bytes(v, id, &len);

    vocab_soon(v, vocab_key(s, len), len);
}

llm_status vocab_index(llm_vocab *v, unsigned types, bool strict, llm_error *err)
{
    size_t n = 0;
    llm_status st = v->n > 0 ? trim(v, err) : LLM_OK;

    if (st != LLM_OK) return st;
    for (int i = 0; i < v->n; i++) n += types >> v->type[i] & 1;
    free(v->line), free(v->filter), free(v->two);
    v->line = NULL, v->filter = NULL, v->n_line = v->n_index = v->n_same = v->longest = 0;
    if ((v->two = malloc(65536 * sizeof *v->two)) == NULL) return llm_fail_memory(err, 65536 * sizeof *v->two, "the token index");
    memset(v->two, 0xff, 65536 * sizeof *v->two);
    if ((v->filter = calloc(VOCAB_FILTER_BITS / 64, sizeof *v->filter)) == NULL)
        return llm_fail_memory(err, VOCAB_FILTER_BITS / 8, "the token index");
    if ((st = resize(v, 3 * n / (2 * VOCAB_LINE) + 4, err)) != LLM_OK) return st;
    for (int i = 0; i < v->n; i++) {
        if (i + INDEX_AHEAD < v->n) index_soon(v, i + INDEX_AHEAD);
        if ((types >> v->type[i] & 1) && (st = vocab_index_one(v, i, strict, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}
