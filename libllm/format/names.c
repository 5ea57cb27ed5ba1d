#include "names.h"
#include <stdlib.h>
#include <string.h>

struct name_block { name_block *next; size_t used, size; char text[]; };

const char *name_pool_add(name_pool *p, const char *s, size_t len)
{
    name_block *b = p->block;
    char *copy;

    if (len >= SIZE_MAX / 4) return NULL;
    if (b == NULL || b->size - b->used <= len) {
        size_t size = b == NULL ? 1024 : b->size < 65536 ? 2 * b->size : b->size;
        if (size <= len) size = len + 1;
        if ((b = malloc(sizeof *b + size)) == NULL) return NULL;
        b->next = p->block, b->used = 0, b->size = size;
        p->block = b;
    }
    copy = b->text + b->used;
    if (len) memcpy(copy, s, len);
    copy[len] = '\0';
    b->used += len + 1;
    return copy;
}

void name_pool_close(name_pool *p)
{
    while (p->block) {
        name_block *next = p->block->next;
        free(p->block);
        p->block = next;
    }
}

/* FNV-1a with a final mix, since the table uses the low bits. */
uint32_t name_hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    h ^= h >> 32, h *= 0xd6e8feb86659fd93u, h ^= h >> 32;
    return (uint32_t)h;
}

bool name_index_open(name_index *x, size_t n)
{
    size_t n_slot = 8;

    while (n_slot < 2 * n) n_slot *= 2;
    x->mask = n_slot - 1;
    x->slot = calloc(n_slot, sizeof *x->slot);
    return x->slot != NULL;
}

void name_index_close(name_index *x)
{
    free(x->slot);
    x->slot = NULL, x->mask = 0;
}

name_result name_index_add(name_index *x, const char *name, uint32_t id)
{
    uint32_t h = name_hash(name);
    name_slot *s = &x->slot[h & x->mask];

    for (size_t i = h, probe = 0; s->name; s = &x->slot[++i & x->mask]) {
        if (s->hash == h && strcmp(s->name, name) == 0) return NAME_TWICE;
        if (++probe > NAME_MAX_PROBE) return NAME_CROWDED;
    }
    *s = (name_slot){ name, h, id };
    return NAME_ADDED;
}

bool name_index_find(const name_index *x, const char *name, uint32_t *id)
{
    uint32_t h = name_hash(name);

    if (x->slot == NULL) return false;
    for (size_t i = h, probe = 0; probe <= NAME_MAX_PROBE && x->slot[i & x->mask].name; i++, probe++) {
        const name_slot *s = &x->slot[i & x->mask];
        if (s->hash == h && strcmp(s->name, name) == 0) {
            *id = s->id;
            return true;
        }
    }
    return false;
}

bool utf8_valid(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + len;

    while (s < end) {
        uint32_t c = *s++;
        int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;
        if (more < 0 || end - s < more) return false;
        c &= 0x7fu >> (more ? more + 1 : 0);
        for (int i = 0; i < more; i++, s++) {
            if ((*s & 0xc0) != 0x80) return false;
            c = c << 6 | (*s & 0x3f);
        }
        if ((more == 2 && c < 0x800) || (more == 3 && (c < 0x10000 || c > 0x10ffff)) || (c >= 0xd800 && c < 0xe000)) return false;
    }
    return true;
}
