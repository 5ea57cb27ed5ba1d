/* fuzz_model.h - bytes as a file that has a path, and every question a model file can be asked. */
#ifndef LLM_FUZZ_MODEL_H
#define LLM_FUZZ_MODEL_H
#include "fuzz.h"
#include "meta.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file in memory with these bytes; path: 64 bytes for its name. Close the descriptor; -1: there is no such thing here. */
static inline int fuzz_file(const uint8_t *data, size_t size, char *path)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0) return -1;
    if (size && write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* All accessors on one key, in either spelling. */
static inline void fuzz_ask(llm_meta *m, const char *key)
{
    int i, list[4];
    float f, reals[4];
    bool b;
    const char *s;
    size_t n, len;

    meta_has(m, key, key), meta_int(m, key, key, &i), meta_f32(m, key, key, &f), meta_bool(m, key, key, &b);
    if (meta_str(m, key, key, &s) && strlen(s) == SIZE_MAX) abort();
    meta_ints(m, key, key, list, 4, &n), meta_f32s(m, key, key, reals, 4, &n);
    if (meta_strs(m, key, key, &n))
        for (size_t k = 0; k <= n; k++)
            if (meta_str_at(m, key, key, k, &s, &len) && len && s[len - 1] == s[0] && k == SIZE_MAX) abort();
}

static inline void fuzz_ask_all(llm_meta *m)
{
    const char *key;
    char text[96];
    size_t n, arch = strlen(meta_arch(m));

    for (size_t i = 0; meta_at(m, i, &key, text, sizeof text, &n); i++) {
        fuzz_ask(m, key);
        if (strncmp(key, meta_arch(m), arch) == 0 && key[arch] == '.') fuzz_ask(m, key + arch + 1);
    }
    meta_error(m, NULL);
}

/* Every byte of every tensor, and finding each by name. */
static inline void fuzz_read_all(const llm_store *s)
{
    volatile uint8_t seen;

    for (size_t i = 0; i < store_n_tensor(s); i++) {
        const store_tensor *t = store_tensor_at(s, i);
        if (store_find(s, t->name) != t) abort();
        for (size_t b = 0; b < t->bytes; b++) seen = ((const uint8_t *)t->data)[b];
    }
    (void)seen;
}

static inline void fuzz_open(const char *path, bool vocab_only)
{
    llm_error err;
    llm_store *s;
    llm_meta *m;

    if (store_open(&s, path, vocab_only, &err) != LLM_OK) return;
    fuzz_read_all(s);
    if (meta_open(&m, s, &err) == LLM_OK) fuzz_ask_all(m), meta_close(m);
    store_close(s);
}
#endif
