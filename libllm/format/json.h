/* json.h - JSON files and texts through jansson, with limits.
 *
 * Any value may stand at the top. Beyond RFC 8259: a key that appears twice in one object is an error, and so are
 * nesting deeper than JSON_MAX_DEPTH, numbers beyond double, and a NUL (\u0000) inside a key (jansson holds keys as C
 * strings; inside values NUL is fine, use json_string_length). Integers that do not fit int64 become reals: Hugging Face
 * writes model_max_length as 10^30. */
#ifndef LLM_JSON_H
#define LLM_JSON_H
#include "status.h"
#include <jansson.h>

enum { JSON_MAX_DEPTH = 200 };
#define JSON_MAX_BYTES ((size_t)512 << 20)

/* *out is the caller's (json_decref). The message names the file, line and column. */
llm_status json_read_file(json_t **out, const char *path, size_t max_bytes, llm_error *err);
/* name: what to call the text in messages. */
llm_status json_read_text(json_t **out, const char *text, size_t len, const char *name, llm_error *err);

/* A copy of an object, one level deep; of any other value the value itself. NULL: out of memory (json_copy leaves out what it has no
 * memory for). The caller's (json_decref). */
json_t *json_copy_whole(const json_t *j);
/* A value as text, malloc'ed, NUL behind it; flags as json_dumps. NULL: out of memory (json_dumps may then leave out part of a key). */
char *json_text_of(const json_t *j, size_t flags);
#endif
