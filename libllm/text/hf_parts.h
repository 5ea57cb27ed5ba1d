/* hf_parts.h - shared by the readers of Hugging Face files. */
#ifndef LLM_HF_PARTS_H
#define LLM_HF_PARTS_H
#include <jansson.h>

/* special, lstrip, rstrip, single_word of an added token as ADDED_* flags. */
unsigned hf_token_flags(const json_t *o);
#endif
