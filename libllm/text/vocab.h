/* vocab.h - the table of tokens: id -> bytes and type, bytes -> id. */
#ifndef LLM_VOCAB_H
#define LLM_VOCAB_H
#include "status.h"
#include "text_buf.h"

enum {
    VOCAB_MAX = 4 << 20,                /* ids */
    TOKEN_MAX_BYTES = 65536
};
/* Numbers as in GGUF and SentencePiece; 0 is an id that no token has. */
typedef enum { TOK_HOLE, TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL, TOK_USER, TOK_UNUSED, TOK_BYTE } tok_type;

typedef struct { uint64_t key; uint32_t len; int32_t id; } vocab_slot;     /* len 0: empty */

typedef struct {
    int n;                              /* highest id + 1 */
    size_t cap;                         /* of the arrays below */
    uint32_t *off, *len;                /* [n] bytes of a token in pool */
    uint8_t *type;                      /* [n] tok_type */
    text_buf pool;
    vocab_slot *slot;                   /* [mask + 1] open addressing; tokens that text can turn into */
    size_t mask, n_index, longest;      /* longest: bytes of the longest token in the index */
    int32_t *two;                       /* [65536] the tokens of two bytes, or -1 */
    uint64_t *filter;                   /* bits of what may be in the index; most text that is asked for is not */
} llm_vocab;

void vocab_free(llm_vocab *v);
/* Puts a token in; ids may come in any order. Same id twice: the bytes must be the same (FORMAT); the type is replaced. */
llm_status vocab_set(llm_vocab *v, int64_t id, const char *s, size_t len, tok_type type, llm_error *err);
/* Makes id a hole again; before the index is made. */
void vocab_forget(llm_vocab *v, int32_t id);
/* Makes the index over tokens whose type is in types (bit mask 1 << tok_type). Where two have the same bytes: an error if
 * strict, else the higher id is found. */
llm_status vocab_index(llm_vocab *v, unsigned types, bool strict, llm_error *err);
llm_status vocab_index_one(llm_vocab *v, int32_t id, bool strict, llm_error *err);      /* one more token */

static inline const char *vocab_bytes(const llm_vocab *v, int32_t id, size_t *len)
{
    *len = v->len[id];
    return v->pool.data + v->off[id];
}

static inline uint64_t vocab_mix(uint64_t x)
{
    x *= 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

/* Asks the memory for the place of these bytes in the index. */
#define vocab_soon(v, s, len) __builtin_prefetch(&(v)->slot[vocab_home(vocab_key(s, len), len) & (v)->mask])

/* Up to eight bytes are their own key; longer ones are hashed and compared. */
static inline uint64_t vocab_key(const char *s, size_t len)
{
    uint64_t h = 0, w;

    if (len >= 8) {
        memcpy(&h, s, 8);
        if (len == 8) return h;
        h = len * 0xff51afd7ed558ccdu;
        for (size_t i = 0; i + 8 <= len; i += 8) {
            memcpy(&w, s + i, 8);
            h = vocab_mix(h ^ w) * 0xc4ceb9fe1a85ec53u;
        }
        memcpy(&w, s + len - 8, 8);
        h = vocab_mix(h ^ w);
        return h ^ h >> 32;
    }
    if (len >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4), memcpy(&b, s + len - 4, 4);
        return a | (uint64_t)b >> (8 * (8 - len)) << 32;
    }
    for (size_t i = 0; i < len; i++) h |= (uint64_t)(uint8_t)s[i] << 8 * i;
    return h;
}

static inline size_t vocab_home(uint64_t key, size_t len)
{
    return (size_t)(vocab_mix(key + len * 0x632be59bd9b4e019u) * 0xd6e8feb86659fd93u >> 15);   /* 49 bits */
}

enum { VOCAB_FILTER_BITS = 1 << 21 };

static inline int32_t vocab_find_key(const llm_vocab *v, const char *s, size_t len, uint64_t key)
{
    size_t home = vocab_home(key, len);

    if (!(v->filter[home >> 34] >> (home >> 28 & 63) & 1)) return -1;
    for (size_t i = home & v->mask; v->slot[i].len; i = (i + 1) & v->mask) {
        const vocab_slot *p = &v->slot[i];
        if (p->key == key && p->len == len && (len <= 8 || memcmp(v->pool.data + v->off[p->id], s, len) == 0))
            return p->id;
    }
    return -1;
}

/* The id of these bytes, or -1. */
static inline int32_t vocab_find(const llm_vocab *v, const char *s, size_t len)
{
    return len > v->longest ? -1 : vocab_find_key(v, s, len, vocab_key(s, len));
}

/* The same where eight bytes can be read at s, whatever len is. Two bytes are looked up directly. */
static inline int32_t vocab_find_padded(const llm_vocab *v, const char *s, size_t len)
{
    uint64_t key;

    if (len == 2) return v->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]];
    if (len > 8) return vocab_find(v, s, len);
    memcpy(&key, s, 8);
    return vocab_find_key(v, s, len, key & ~(uint64_t)0 >> (64 - 8 * len));
}
#endif
