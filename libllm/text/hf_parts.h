/* hf_parts.h - shared by the readers of Hugging Face files. */
#ifndef LLM_HF_PARTS_H
#define LLM_HF_PARTS_H
#include "json.h"
#include <stdbool.h>
#include <stdint.h>

/* special, lstrip, rstrip, single_word of an added token as ADDED_* flags. */
unsigned hf_token_flags(const json_t *o);
/* A number that is an integer, however it was read; false: it is none. */
bool hf_int(const json_t *v, int64_t *out);
#endif
