/* word_cache.c - making and filling it. */
#include "word_cache.h"

enum { LINE = 64, MOST_PLACES = 16384 };

_Static_assert(sizeof(cached_word) == LINE, "a cached word is one line");

void word_cache_free(word_cache *c)
{
    free(c->slot);
    *c = (word_cache){ 0 };
}

bool word_cache_init(word_cache *c, size_t n)
{
    size_t size = 32;

    while (size < n && size < MOST_PLACES) size *= 2;
    if ((c->slot = aligned_alloc(LINE, size * LINE)) == NULL) return false;
    memset(c->slot, 0, size * LINE);
    c->mask = size - 1;
    return true;
}

void word_cache_put(cached_word *p, uint64_t key, const char *s, size_t len, bool part, const int32_t *id, size_t n)
{
    p->key = key, p->len = (uint8_t)len, p->n = (uint8_t)n, p->part = part;
    memcpy(p->text, s, len);
    memcpy(p->id, id, n * sizeof *id);
}
