/* store.h - one face for GGUF files and safetensors folders: tensors and metadata, mapped and checked. */
#ifndef LLM_STORE_H
#define LLM_STORE_H
#include "dtype.h"
#include "status.h"

typedef struct llm_store llm_store;
typedef enum { STORE_GGUF, STORE_HF } llm_store_kind;

/* dim [n_dim], outermost first in both kinds (GGUF's order is turned round). data lies in a
 * mapping owned by the store; bytes were checked to be inside the file. */
typedef struct {
    const char *name;
    llm_dtype dtype;
    int n_dim;
    int64_t dim[4];
    size_t bytes;
    const void *data;
    int file;                           /* which file of the store */
} store_tensor;

/* path: a GGUF file (part of a split one: its siblings are opened too), a .safetensors file, or a folder
 * with config.json and safetensors (single, or sharded with model.safetensors.index.json). vocab_only: the weights may
 * be missing. Everything the two formats promise is checked here. */
llm_status store_open(llm_store **out, const char *path, bool vocab_only, llm_error *err);
void store_close(llm_store *s);

llm_store_kind store_kind(const llm_store *s);
const char *store_path(const llm_store *s);         /* as given */
const char *store_dir(const llm_store *s);          /* folder that holds the files */
size_t store_n_tensor(const llm_store *s);
const store_tensor *store_tensor_at(const llm_store *s, size_t i);      /* NULL past the end */
const store_tensor *store_find(const llm_store *s, const char *name);   /* NULL: absent; hashed */
const char *store_file_name(const llm_store *s, int file);

/* Hints to the system about tensor bytes: needed soon, or no longer needed in memory. */
void store_will_need(const llm_store *s, const void *data, size_t bytes);
void store_release(const llm_store *s, const void *data, size_t bytes);
#endif
