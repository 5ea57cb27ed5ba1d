/* text_buf.h - a growing byte buffer; a failed allocation sticks in it and is reported once, at the end. */
#ifndef LLM_TEXT_BUF_H
#define LLM_TEXT_BUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char *data; size_t len, cap; bool failed; } text_buf;      /* all zero: empty */

/* Room for n more bytes; false (and failed set) when there is none. */
static inline bool buf_room(text_buf *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 64;
    char *data;

    if (b->failed) return false;
    if (n <= b->cap - b->len) return true;
    if (n > SIZE_MAX / 4 - b->len) return b->failed = true, false;
    while (cap < b->len + n) cap *= 2;
    data = realloc(b->data, cap);
    if (data == NULL) return b->failed = true, false;
    b->data = data, b->cap = cap;
    return true;
}

static inline void buf_add(text_buf *b, const void *s, size_t n)
{
    if (n == 0 || !buf_room(b, n)) return;
    memcpy(b->data + b->len, s, n);
    b->len += n;
}

static inline void buf_byte(text_buf *b, char c)
{
    if (buf_room(b, 1)) b->data[b->len++] = c;
}

static inline void buf_free(text_buf *b)
{
    free(b->data);
    *b = (text_buf){ 0 };
}
#endif
