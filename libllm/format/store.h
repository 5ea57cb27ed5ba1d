/* store.h - one face for GGUF files and safetensors folders: tensors and metadata, mapped and checked. */
#ifndef LLM_STORE_H
#define LLM_STORE_H
#include "dtype.h"
#include "status.h"

typedef struct llm_store llm_store;
typedef enum { STORE_GGUF, STORE_HF } llm_store_kind;

/* dim [n_dim], outermost first in both kinds (GGUF's order is turned round; a safetensors shape of more than four
 * dimensions has its innermost merged into dim[3]). data lies in a mapping owned by the store; bytes were checked to be
 * inside the file. GGUF aligns data to 8 bytes at least, safetensors not at all: read numbers with memcpy. */
typedef struct {
    const char *name;
    llm_dtype dtype;
    int n_dim;
    int64_t dim[4];
    size_t bytes;
    const void *data;
    int file;                           /* which file of the store */
} store_tensor;

/* path: a GGUF file (any part of a split one: its siblings are opened too), a .safetensors file, or a folder
 * with config.json and safetensors (single, or sharded with model.safetensors.index.json), or with one GGUF model (split
 * or not; files named "mmproj*" are passed over). A folder with both is taken as safetensors. vocab_only: the weights may
 * be missing; safetensors are not opened at all, and of a split GGUF only the first file. Everything the two formats promise
 * is checked here. On failure *out is NULL. */
llm_status store_open(llm_store **out, const char *path, bool vocab_only, llm_error *err);
void store_close(llm_store *s);

llm_store_kind store_kind(const llm_store *s);
const char *store_path(const llm_store *s);         /* as given */
const char *store_dir(const llm_store *s);          /* folder that holds the files */
size_t store_n_tensor(const llm_store *s);
const store_tensor *store_tensor_at(const llm_store *s, size_t i);      /* NULL past the end */
const store_tensor *store_find(const llm_store *s, const char *name);   /* NULL: absent; hashed */
size_t store_n_file(const llm_store *s);
const char *store_file_name(const llm_store *s, int file);              /* its path; NULL: no such file */

/* Which file's mapping holds addr, or NULL. Only reads memory that does not change between open and close, so a
 * signal handler may call it: when a mapped file is cut short by someone else, the kernel answers the next access with
 * SIGBUS and si_addr, and the program that owns the signal handlers can say which file it was. */
const char *store_file_of(const llm_store *s, const void *addr);

/* Hints to the system about tensor bytes: needed soon, or no longer needed in memory. */
void store_will_need(const llm_store *s, const void *data, size_t bytes);
void store_release(const llm_store *s, const void *data, size_t bytes);
#endif
