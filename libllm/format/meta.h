/* meta.h - metadata of a model: GGUF key-values, or config.json and its companions, asked the same way.
 *
 * Each accessor takes both spellings. gguf: the key without the "ARCH." prefix; keys that start with
 * "general.", "tokenizer." or "split." are taken whole. hf: a path into config.json with dots between levels
 * ("rope_scaling.factor"); looked up in "text_config" first where the file has one; a path starting with
 * "generation:" is looked up in generation_config.json, with "tokenizer:" in tokenizer_config.json. NULL: the
 * format has no such key. Each returns true and sets *out if the key is there; false and leaves *out alone if not (JSON
 * null counts as absent). A key that is there with the wrong type or out of range sticks as an error: meta_error. */
#ifndef LLM_META_H
#define LLM_META_H
#include "store.h"

typedef struct llm_meta llm_meta;

llm_status meta_open(llm_meta **out, llm_store *s, llm_error *err);     /* borrows s */
void meta_close(llm_meta *m);
llm_store_kind meta_kind(const llm_meta *m);
const char *meta_arch(const llm_meta *m);           /* general.architecture, or model_type (of text_config where there is one) */

bool meta_int(llm_meta *m, const char *gguf, const char *hf, int *out);        /* any integer type that fits */
bool meta_f32(llm_meta *m, const char *gguf, const char *hf, float *out);      /* integers too */
bool meta_bool(llm_meta *m, const char *gguf, const char *hf, bool *out);
bool meta_str(llm_meta *m, const char *gguf, const char *hf, const char **out);  /* owned by m; NUL-terminated, no NUL inside */
/* Arrays: at most cap values to out; *n the number there are (a scalar counts as 1). */
bool meta_ints(llm_meta *m, const char *gguf, const char *hf, int *out, size_t cap, size_t *n);   /* bools count as 0/1 */
bool meta_f32s(llm_meta *m, const char *gguf, const char *hf, float *out, size_t cap, size_t *n);
/* Array of strings, one at a time (may hold any bytes, not NUL-terminated). */
bool meta_strs(llm_meta *m, const char *gguf, const char *hf, size_t *n);
bool meta_str_at(llm_meta *m, const char *gguf, const char *hf, size_t i, const char **s, size_t *len);
/* Up to cap of them from index i on, for lists too long to ask one by one; how many were read, 0 past the end or on an error. */
size_t meta_strs_at(llm_meta *m, const char *gguf, const char *hf, size_t i, const char **s, size_t *len, size_t cap);
/* A hint that the bytes of a GGUF array need not stay in memory: they can still be read, from the file. */
void meta_release(const llm_meta *m, const char *gguf);
bool meta_has(llm_meta *m, const char *gguf, const char *hf);

/* The first error of any accessor (wrong type, out of range), or LLM_OK. */
llm_status meta_error(const llm_meta *m, llm_error *err);
/* Walks all pairs as text for inspection; false past the end. *n: full length of the value. */
bool meta_at(llm_meta *m, size_t index, const char **key, char *value, size_t cap, size_t *n);
#endif
