/* vocab.h - the table of tokens: id -> bytes and type, bytes -> id. */
#ifndef LLM_VOCAB_H
#define LLM_VOCAB_H
#include "status.h"
#include "text_buf.h"

enum {
    VOCAB_MAX = 4 << 20,                /* ids */
    TOKEN_MAX_BYTES = 65535
};
/* Numbers as in GGUF and SentencePiece; 0 is an id that no token has. */
typedef enum { TOK_HOLE, TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL, TOK_USER, TOK_UNUSED, TOK_BYTE } tok_type;

/* The index is what encoding reads at random: a line of the processor's cache holds five places, and a token mostly lies in the first one that is
 * looked at. tag: id | length << 22, lengths from 1023 on as 1023; 0: empty, and so are those behind it. */
enum { VOCAB_LINE = 5 };
typedef struct { uint32_t key[2], tag; } vocab_slot;
typedef struct { vocab_slot slot[VOCAB_LINE]; uint32_t unused; } vocab_line;

typedef struct {
    int n;                              /* highest id + 1 */
    size_t cap;                         /* of the arrays below */
    uint32_t *off;                      /* [n] where the bytes of a token begin in pool */
    uint16_t *len;                      /* [n] and how many they are */
    uint8_t *type;                      /* [n] tok_type */
    text_buf pool;
    vocab_line *line;                   /* [n_line] open addressing; tokens that text can turn into */
    size_t n_line, n_index, n_same;     /* n_same: tokens that are not found, since a later one has the same bytes */
    size_t longest;                     /* bytes of the longest token in the index */
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

enum { VOCAB_FILTER_BITS = 1 << 21, VOCAB_TAG_LEN = 1023 };

/* The first line of the index for bytes whose home this is, and the one after i. */
static inline size_t vocab_place(const llm_vocab *v, size_t home) { return (size_t)((uint64_t)(uint32_t)home * v->n_line >> 32); }
static inline size_t vocab_after(const llm_vocab *v, size_t i) { return i + 1 < v->n_line ? i + 1 : 0; }
static inline uint32_t vocab_tag_len(size_t len) { return len < VOCAB_TAG_LEN ? (uint32_t)len : VOCAB_TAG_LEN; }
static inline int32_t vocab_slot_id(const vocab_slot *p) { return (int32_t)(p->tag & (VOCAB_MAX - 1)); }

/* Asks the memory for the place of these bytes in the index. */
static inline void vocab_soon(const llm_vocab *v, uint64_t key, size_t len) { __builtin_prefetch(&v->line[vocab_place(v, vocab_home(key, len))]); }

/* Does this place hold bytes of this key and length? Up to eight are their own key. */
static inline bool vocab_slot_like(const vocab_slot *p, size_t len, uint64_t key)
{
    uint64_t k;

    memcpy(&k, p->key, sizeof k);
    return (k == key) & (p->tag >> 22 == vocab_tag_len(len));
}

static inline bool vocab_slot_is(const llm_vocab *v, const vocab_slot *p, const char *s, size_t len, uint64_t key)
{
    int32_t id = vocab_slot_id(p);

    return vocab_slot_like(p, len, key) && (len <= 8 || (v->len[id] == len && memcmp(v->pool.data + v->off[id], s, len) == 0));
}

static inline int32_t vocab_find_key(const llm_vocab *v, const char *s, size_t len, uint64_t key)
{
    size_t home = vocab_home(key, len);

    if (!(v->filter[home >> 34] >> (home >> 28 & 63) & 1)) return -1;
    for (size_t i = vocab_place(v, home);; i = vocab_after(v, i)) {
        const vocab_slot *p = v->line[i].slot;

        for (int k = 0; k < VOCAB_LINE; k++) {
            if (p[k].tag == 0) return -1;
            if (vocab_slot_is(v, &p[k], s, len, key)) return vocab_slot_id(&p[k]);
        }
    }
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
