/* names.h - strings kept in one place, and an index that finds them by content. */
#ifndef LLM_NAMES_H
#define LLM_NAMES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies of strings that stay where they are until the pool is closed. All zero is an empty pool. */
typedef struct name_block name_block;
typedef struct { name_block *block; } name_pool;
const char *name_pool_add(name_pool *p, const char *s, size_t len);    /* NUL-terminated copy; NULL: out of memory */
void name_pool_close(name_pool *p);

/* Open addressing, at most half full. Names are borrowed. A run of occupied slots longer than NAME_MAX_PROBE does not
 * happen by chance at that load (the longest of a million names is below 100): such names were made to collide, and are
 * refused instead of spending quadratic time on them. */
enum { NAME_MAX_PROBE = 1024 };
typedef enum { NAME_ADDED, NAME_TWICE, NAME_CROWDED } name_result;
typedef struct { const char *name; uint32_t hash, id; } name_slot;
typedef struct { name_slot *slot; size_t mask; } name_index;
uint32_t name_hash(const char *name);
bool name_index_open(name_index *x, size_t n);          /* room for n names (below 2^31); false: out of memory */
name_result name_index_add(name_index *x, const char *name, uint32_t id);
bool name_index_find(const name_index *x, const char *name, uint32_t *id);     /* an index never opened is empty */
void name_index_close(name_index *x);

/* Every byte sequence is a well-formed UTF-8 character (RFC 3629). */
bool utf8_valid(const char *s, size_t len);
#endif
