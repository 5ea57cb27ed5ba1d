/* vocab.c - filling and indexing the table of tokens. Vocabulary files are hostile: ids, lengths and the number of tokens
 * that fall on one place of the index are bounded. */
#include "vocab.h"

enum { MAX_PROBES = 8192 };             /* a real vocabulary needs a few dozen */

void vocab_free(llm_vocab *v)
{
    free(v->off), free(v->len), free(v->type), free(v->slot), free(v->filter), free(v->two);
    buf_free(&v->pool);
    *v = (llm_vocab){ 0 };
}

static llm_status grow(llm_vocab *v, size_t n, llm_error *err)
{
    size_t cap = v->cap ? v->cap : 1024;
    void *p;

    while (cap < n) cap *= 2;
    if (cap == v->cap) return LLM_OK;
    if ((p = realloc(v->off, cap * sizeof *v->off)) == NULL) return llm_fail_memory(err, cap * 4, "the vocabulary");
    v->off = p;
    if ((p = realloc(v->len, cap * sizeof *v->len)) == NULL) return llm_fail_memory(err, cap * 4, "the vocabulary");
    v->len = p;
    if ((p = realloc(v->type, cap)) == NULL) return llm_fail_memory(err, cap, "the vocabulary");
    v->type = p;
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

static llm_status resize(llm_vocab *v, size_t size, llm_error *err)
{
    vocab_slot *slot = calloc(size, sizeof *slot), *old = v->slot;
    size_t n_old = old ? v->mask + 1 : 0;

    if (slot == NULL) return llm_fail_memory(err, size * sizeof *slot, "the token index");
    v->slot = slot, v->mask = size - 1;
    for (size_t k = 0; k < n_old; k++) {
        size_t i;

        if (old[k].len == 0) continue;
        for (i = vocab_home(old[k].key, old[k].len) & v->mask; slot[i].len; i = (i + 1) & v->mask) { }
        slot[i] = old[k];
    }
    free(old);
    return LLM_OK;
}

llm_status vocab_index_one(llm_vocab *v, int32_t id, bool strict, llm_error *err)
{
    size_t len, i, home, probes = 0;
    const char *s = vocab_bytes(v, id, &len);
    uint64_t key = vocab_key(s, len);
    llm_status st;

    if (len == 0) return LLM_OK;
    if (len == 2) v->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]] = id;
    if (2 * v->n_index > v->mask && (st = resize(v, 2 * (v->mask + 1), err)) != LLM_OK) return st;
    home = vocab_home(key, len);
    for (i = home & v->mask; v->slot[i].len; i = (i + 1) & v->mask) {
        vocab_slot *p = &v->slot[i];

        if (p->key == key && p->len == len && memcmp(v->pool.data + v->off[p->id], s, len) == 0) {
            if (strict)
                return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: tokens %d and %d are the same, \"%.*s\"", p->id, id,
                                (int)(len < 40 ? len : 40), s);
            p->id = id;
            return LLM_OK;
        }
        if (++probes > MAX_PROBES)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer: more than %d tokens share one place of the index; "
                            "no real vocabulary does", MAX_PROBES);
    }
    v->slot[i] = (vocab_slot){ key, (uint32_t)len, id };
    if (len > v->longest) v->longest = len;
    v->filter[home >> 34] |= (uint64_t)1 << (home >> 28 & 63);
    v->n_index++;
    return LLM_OK;
}

llm_status vocab_index(llm_vocab *v, unsigned types, bool strict, llm_error *err)
{
    size_t n = 0, size = 16;
    llm_status st;

    for (int i = 0; i < v->n; i++) n += types >> v->type[i] & 1;
    while (size < 2 * n + 2) size *= 2;
    free(v->slot), free(v->filter), free(v->two);
    v->slot = NULL, v->filter = NULL, v->n_index = v->longest = 0;
    if ((v->two = malloc(65536 * sizeof *v->two)) == NULL) return llm_fail_memory(err, 65536 * sizeof *v->two, "the token index");
    memset(v->two, 0xff, 65536 * sizeof *v->two);
    if ((v->filter = calloc(VOCAB_FILTER_BITS / 64, sizeof *v->filter)) == NULL)
        return llm_fail_memory(err, VOCAB_FILTER_BITS / 8, "the token index");
    if ((st = resize(v, size, err)) != LLM_OK) return st;
    for (int i = 0; i < v->n; i++) {
        if (i + 8 < v->n) vocab_soon(v, v->pool.data + v->off[i + 8], v->len[i + 8]);
        if ((types >> v->type[i] & 1) && (st = vocab_index_one(v, i, strict, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}
