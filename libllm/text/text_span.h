/* text_span.h - a part of a text. */
#ifndef LLM_TEXT_SPAN_H
#define LLM_TEXT_SPAN_H
#include <stddef.h>

typedef struct { size_t begin, end; } text_span;        /* bytes begin .. end - 1 */
#endif
