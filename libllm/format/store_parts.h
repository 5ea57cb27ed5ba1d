/* store_parts.h - the inside of a store, for store.c, meta.c and quant/quantize.c. */
#ifndef LLM_STORE_PARTS_H
#define LLM_STORE_PARTS_H
#include "file.h"
#include "gguf.h"

struct llm_store {
    llm_store_kind kind;
    bool vocab_only;
    char *path, *dir;
    file_map *file;                     /* [n_file] */
    gguf **gguf;                        /* [n_file], each NULL for safetensors; the first holds the metadata */
    size_t n_file;
    tensor_list list;
    name_index by_name;
};
#endif
