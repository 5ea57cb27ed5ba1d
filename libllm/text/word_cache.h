/* word_cache.h - what the words of a text came to: most words of a text come again in it. */
#ifndef LLM_WORD_CACHE_H
#define LLM_WORD_CACHE_H
#include "vocab.h"

enum { CACHED_BYTES = 24, CACHED_TOKENS = 7 };

/* One line of the processor's cache. part: it was merged as a part of a word, which is not looked up as a token first. */
typedef struct {
    uint64_t key;                       /* vocab_key of the text */
    uint8_t len, n, part, unused;       /* len 0: empty */
    char text[CACHED_BYTES];
    int32_t id[CACHED_TOKENS];
} cached_word;

/* Each word has one place, where the last one stays: no text makes it slow. All zero: there is none, as for short texts. */
typedef struct { cached_word *slot; size_t mask; } word_cache;

void word_cache_free(word_cache *c);
/* With about n places; false: out of memory. */
bool word_cache_init(word_cache *c, size_t n);
/* Puts the tokens id [n] of s [len] at p. */
void word_cache_put(cached_word *p, uint64_t key, const char *s, size_t len, bool part, const int32_t *id, size_t n);

static inline cached_word *word_cache_at(const word_cache *c, uint64_t key) { return &c->slot[vocab_home(key) >> 4 & c->mask]; }

/* Are these the bytes at p? */
static inline bool word_cache_is(const cached_word *p, uint64_t key, const char *s, size_t len, bool part)
{
    uint64_t a, b;

    if (p->key != key || p->len != len || p->part != part) return false;
    if (len <= VOCAB_OWN_KEY) return true;
    for (size_t i = 0; i + 8 < len; i += 8) {
        memcpy(&a, s + i, 8), memcpy(&b, p->text + i, 8);
        if (a != b) return false;
    }
    memcpy(&a, s + len - 8, 8), memcpy(&b, p->text + len - 8, 8);
    return a == b;
}
#endif
