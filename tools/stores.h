/* stores.h - models that other programs have put on this machine: the Hugging Face cache, LM Studio's folders, Ollama's store.
 * Only folders and small text files are read. What is found there is hostile input: names in manifests never become paths
 * unless they have the one form that is expected, links must stay inside their store, and every walk has an end. */
#ifndef TOOL_STORES_H
#define TOOL_STORES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { PLACE_PATH, PLACE_HF, PLACE_LM_STUDIO, PLACE_OLLAMA, N_PLACE } model_place;

typedef struct {
    model_place place;
    char *name;                 /* "org/name"; Ollama: "name" or "namespace/name" */
    char *full;                 /* Ollama: with the host in front; else as name */
    char *tag;                  /* Ollama's tag, the label of a GGUF file ("Q4_K_M"), "" for a folder of safetensors */
    char *file;                 /* the GGUF file's name inside the repository, or "" */
    char *path;                 /* for llm_model_open; NULL where fault says why there is none */
    char *fault;                /* NULL, or why this one cannot be used */
    char *manifest;             /* Ollama: its manifest; else NULL */
    uint64_t bytes;             /* of the files of weights */
} store_entry;

typedef struct {
    store_entry *item;          /* [n] */
    size_t n, cap;
    char *looked;               /* one line for each place that was looked at: "  Ollama: FOLDER (no such folder)\n" */
    size_t looked_len;
} store_list;

/* What is looked for: NULL everywhere means anything. name is compared without regard to case, and may go on with "/FILE". */
typedef struct { const char *name, *revision; model_place only; } store_query;      /* only: PLACE_PATH means every store */

/* Appends what the stores hold to list (zeroed by the caller at first). Memory failures end the program. */
void stores_search(store_list *list, const store_query *q);
/* Appends the models of one folder: its GGUF files (in folders below too), or its safetensors. inside: folder that links must not
 * lead out of; NULL: they may lead anywhere. */
void stores_folder(store_list *list, model_place place, const char *name, const char *dir, const char *inside);
void stores_free(store_list *list);

const char *place_name(model_place p);      /* "Hugging Face cache" */
const char *place_prefix(model_place p);    /* "hf": what may stand before a name, with a colon */

/* ---- shared by the files stores*.c and verify_model.c ---- */
store_entry *stores_add(store_list *list, model_place place, const char *name, const char *tag);
void stores_look(store_list *list, model_place place, const char *dir);     /* notes a place, and whether it is there */
bool stores_wanted(const store_query *q, const char *name);     /* could an entry of this name be the one? */
char *stores_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));     /* malloc'ed; ends the program without memory */
/* A regular file of at most limit bytes, with a NUL behind it; NULL: *why (malloc'ed) says why not. */
char *stores_read(const char *path, size_t limit, size_t *len, char **why);
bool stores_is_hex(const char *s, size_t n);        /* exactly n lower-case hex digits, then the end */
bool stores_is_dir(const char *path);
void stores_ollama(store_list *list, const store_query *q);
/* "sha256:HEX" or "sha256-HEX" -> path of the blob beside the manifests; NULL: not of that form, or not there (*why). */
char *stores_ollama_blob(const char *root, const char *digest, char **why);
/* The parsed manifest (json_t *), NULL: *why. */
void *stores_ollama_manifest(const char *path, char **why);
#endif
