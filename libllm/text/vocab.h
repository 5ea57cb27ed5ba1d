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
 * looked at. Key 0: an empty place, and so are those behind it. */
enum { VOCAB_LINE = 5 };
typedef struct { uint64_t key[VOCAB_LINE]; int32_t id[VOCAB_LINE]; uint32_t n; } vocab_line;

typedef struct {
    int n;                              /* highest id + 1 */
    size_t cap;                         /* of the arrays below */
    uint32_t *off;                      /* [n] where the bytes of a token begin in pool */
    uint16_t *len;                      /* [n] and how many they are */
    uint8_t *type;                      /* [n] tok_type */
    text_buf pool;                      /* with an index, eight more bytes can be read behind it */
    vocab_line *line;                   /* [n_line] open addressing; tokens that text can turn into */
    size_t n_line, n_same;              /* n_same: tokens that are not found, since a later one has the same bytes */
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

/* Up to seven bytes and their number are their own key; longer ones are hashed, with the first bit set, and compared. */
enum { VOCAB_OWN_KEY = 7 };
static inline uint64_t vocab_key(const char *s, size_t len)
{
    uint64_t h = (uint64_t)len << 56, w;

    if (len > VOCAB_OWN_KEY) {
        h = len * 0xff51afd7ed558ccdu;
        for (size_t i = 0; i + 8 <= len; i += 8) {
            memcpy(&w, s + i, 8);
            h = vocab_mix(h ^ w) * 0xc4ceb9fe1a85ec53u;
        }
        memcpy(&w, s + len - 8, 8);
        h = vocab_mix(h ^ w);
        return (h ^ h >> 32) | (uint64_t)1 << 63;
    }
    if (len >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4), memcpy(&b, s + len - 4, 4);
        return h | a | (uint64_t)b >> (8 * (8 - len)) << 32;
    }
    for (size_t i = 0; i < len; i++) h |= (uint64_t)(uint8_t)s[i] << 8 * i;
    return h;
}

/* The same where eight bytes can be read at s, whatever len is. */
static inline uint64_t vocab_key_padded(const char *s, size_t len)
{
    uint64_t w;

    if (len - 1 >= VOCAB_OWN_KEY) return vocab_key(s, len);
    memcpy(&w, s, 8);
    return (w & ~(uint64_t)0 >> (64 - 8 * len)) | (uint64_t)len << 56;
}

static inline size_t vocab_home(uint64_t key) { return (size_t)(vocab_mix(key) * 0xd6e8feb86659fd93u >> 15); }     /* 49 bits */

enum { VOCAB_FILTER_BITS = 1 << 21 };

/* The first line of the index for bytes whose home this is, and the one after i. */
static inline size_t vocab_place(const llm_vocab *v, size_t home) { return (size_t)((uint64_t)(uint32_t)home * v->n_line >> 32); }
static inline size_t vocab_after(const llm_vocab *v, size_t i) { return i + 1 < v->n_line ? i + 1 : 0; }

/* Asks the memory for the line of the index in which the bytes with this key are looked for first, and returns it. */
static inline size_t vocab_soon(const llm_vocab *v, uint64_t key)
{
    size_t i = vocab_place(v, vocab_home(key));

    __builtin_prefetch(&v->line[i]);
    return i;
}

/* Bit k: place k of the line has this key. All are looked at, since which one it is cannot be predicted. */
static inline unsigned vocab_like(const vocab_line *p, uint64_t key)
{
    _Static_assert(VOCAB_LINE == 5, "the places of a line");
    return (unsigned)(p->key[0] == key) | (unsigned)(p->key[1] == key) << 1 | (unsigned)(p->key[2] == key) << 2 | (unsigned)(p->key[3] == key) << 3
        | (unsigned)(p->key[4] == key) << 4;
}

/* The place in line p of the token with these bytes, or -1. */
static inline int vocab_in_line(const llm_vocab *v, const vocab_line *p, const char *s, size_t len, uint64_t key)
{
    for (unsigned like = vocab_like(p, key); like; like &= like - 1) {
        int k = __builtin_ctz(like);
        int32_t id = p->id[k];

        if (len <= VOCAB_OWN_KEY || (v->len[id] == len && memcmp(v->pool.data + v->off[id], s, len) == 0)) return k;
    }
    return -1;
}

/* The id of these bytes, looked for from line i on, or -1. */
static inline int32_t vocab_find_from(const llm_vocab *v, size_t i, const char *s, size_t len, uint64_t key)
{
    for (;; i = vocab_after(v, i)) {
        const vocab_line *p = &v->line[i];
        int k = vocab_in_line(v, p, s, len, key);

        if (k >= 0) return p->id[k];
        if (p->n < VOCAB_LINE) return -1;
    }
}

/* The id of these bytes, 0 < len, or -1. */
static inline int32_t vocab_find_key(const llm_vocab *v, const char *s, size_t len, uint64_t key)
{
    size_t home = vocab_home(key);

    return v->filter[home >> 34] >> (home >> 28 & 63) & 1 ? vocab_find_from(v, vocab_place(v, home), s, len, key) : -1;
}

/* The id of these bytes, or -1. */
static inline int32_t vocab_find(const llm_vocab *v, const char *s, size_t len)
{
    return len - 1 >= v->longest ? -1 : vocab_find_key(v, s, len, vocab_key(s, len));
}

/* The same where eight bytes can be read at s, whatever len is. Two bytes are looked up directly. */
static inline int32_t vocab_find_padded(const llm_vocab *v, const char *s, size_t len)
{
    if (len == 2) return v->two[(uint8_t)s[0] << 8 | (uint8_t)s[1]];
    return len - 1 >= v->longest ? -1 : vocab_find_key(v, s, len, vocab_key_padded(s, len));
}
#endif
