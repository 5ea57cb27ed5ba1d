/* added.h - finding added tokens in raw text, before anything else happens to it. */
#ifndef LLM_ADDED_H
#define LLM_ADDED_H
#include "status.h"
#include "text_buf.h"

enum { ADDED_CONTROL = 1, ADDED_LSTRIP = 2, ADDED_RSTRIP = 4, ADDED_SINGLE_WORD = 8 };
enum { ADDED_MAX_BYTES = 1024 };

typedef struct { int32_t child, sibling, id; uint8_t byte, flags; } added_node;     /* id -1: no token ends here */
typedef struct { added_node *node; size_t n, cap; uint8_t starts[256]; } llm_added; /* node[0] is the root; all zero: empty */

void added_free(llm_added *a);
/* The last of two tokens with the same text counts. An empty text is an error. */
llm_status added_put(llm_added *a, const char *s, size_t len, int32_t id, unsigned flags, llm_error *err);
/* The longest token at s, 0 bytes: none. Control tokens are passed over unless control is set. */
size_t added_match(const llm_added *a, const char *s, size_t n, bool control, int32_t *id, unsigned *flags);
/* The first token at or after from (leftmost, then longest): its place, or n. */
size_t added_next(const llm_added *a, const char *s, size_t n, size_t from, bool control, size_t *len, int32_t *id, unsigned *flags);
/* The token that is exactly s, or -1. */
int32_t added_find(const llm_added *a, const char *s, size_t n);
#endif
