/* safetensors.h - safetensors files and their shard index. The layout: safetensors README, "Format".
 *
 * Limits: header 100,000,000 bytes (the format's own), at most SAFETENSORS_MAX_RANK dimensions, shard names without folders. */
#ifndef LLM_SAFETENSORS_H
#define LLM_SAFETENSORS_H
#include "json.h"
#include "tensors.h"

enum { SAFETENSORS_MAX_HEADER = 100000000, SAFETENSORS_MAX_RANK = 16, SAFETENSORS_MAX_SHARDS = 4096 };

/* Adds the tensors of data [size], which must outlive them, to list, with file as their number. On failure list may hold some. */
llm_status safetensors_parse(tensor_list *list, const uint8_t *data, size_t size, int file, const char *label, llm_error *err);

/* model.safetensors.index.json: which shard holds each tensor. */
typedef struct {
    json_t *root, *map;                 /* map: tensor name -> shard name; part of root */
    const char **shard;                 /* [n_shard] names, in the order they first appear; part of root */
    size_t n_shard;
    name_index by_name;                 /* shard name -> place in shard */
} shard_index;
llm_status shard_index_parse(shard_index *x, const char *text, size_t len, const char *label, llm_error *err);
llm_status shard_index_read(shard_index *x, const char *path, llm_error *err);
void shard_index_close(shard_index *x);
#endif
