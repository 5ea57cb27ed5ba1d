/* api_hash.c - the public functions that say what bytes something is made of. */
#include "file.h"
#include "sha256.h"
#include <string.h>

typedef struct { llm_sha256 hash; llm_progress_fn progress; void *user; } hashing;

static int add_piece(void *user, const uint8_t *data, size_t n, uint64_t done, uint64_t total)
{
    hashing *h = user;

    sha256_add(&h->hash, data, n);
    return h->progress ? h->progress(h->user, "hashing", done, total) : 0;
}

llm_status llm_sha256_file(const char *path, llm_progress_fn progress, void *user, uint8_t digest[32], llm_error *err)
{
    hashing h = { .progress = progress, .user = user };
    llm_status st;

    if (path == NULL || digest == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_sha256_file: path or digest is NULL");
    sha256_begin(&h.hash);
    if ((st = file_stream(path, add_piece, &h, err)) == LLM_OK) sha256_end(&h.hash, digest);
    return st;
}

void llm_sha256_bytes(const void *data, size_t len, uint8_t digest[32])
{
    llm_sha256 h;

    sha256_begin(&h);
    sha256_add(&h, data, len);
    sha256_end(&h, digest);
}
