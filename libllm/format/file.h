/* file.h - regular files: mapped whole, or read into memory up to a limit. Pipes, devices and folders are refused
 * without waiting on them. */
#ifndef LLM_FILE_H
#define LLM_FILE_H
#include "status.h"
#include <stdbool.h>

typedef struct {
    const uint8_t *data;                /* [size], read-only; NULL when size is 0 */
    size_t size;
    char *path;                         /* owned */
} file_map;

/* Maps the whole file. *out needs no earlier initialisation; on failure it is all zero. */
llm_status file_map_open(file_map *out, const char *path, llm_error *err);
void file_map_close(file_map *m);

/* The whole file as malloc'ed [*len] bytes with a NUL behind them, the caller's. More than limit bytes: LLM_ERR_FORMAT. */
llm_status file_read(char **text, size_t *len, const char *path, size_t limit, llm_error *err);

/* Hands all bytes to fn in order, in pieces of up to 1 MiB; done: of total, this piece included. fn nonzero stops: LLM_ERR_CANCELLED. */
typedef int (*file_fn)(void *user, const uint8_t *data, size_t n, uint64_t done, uint64_t total);
llm_status file_stream(const char *path, file_fn fn, void *user, llm_error *err);

bool file_exists(const char *path);             /* anything by that name that can be looked at */
bool file_is_dir(const char *path);
char *file_join(const char *dir, const char *name);     /* "dir/name", malloc'ed; NULL: out of memory */
/* The end of path, at most about 160 bytes: messages have little room. Points into path. */
const char *file_label(const char *path);
#endif
