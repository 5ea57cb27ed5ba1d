/* gguf_build.h - GGUF and safetensors bytes made in memory, and temporary files to hold them.
 *
 *     gguf_build b = gguf_begin(3);                     // version 1, 2 or 3
 *     gguf_str(&b, "general.architecture", "llama");
 *     gguf_u32(&b, "llama.block_count", 2);
 *     gguf_tensor(&b, "a", DT_F32, 2, (uint64_t[]){ 4, 3 }, data);    // innermost dimension first, as in the file
 *     buf f = gguf_end(&b);                             // f.data, f.size; buf_free
 *
 * Running out of memory ends the test program. */
#ifndef GGUF_BUILD_H
#define GGUF_BUILD_H
#include "../llm_test.h"
#include "dtype.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

typedef struct { uint8_t *data; size_t size, cap; } buf;

static inline void buf_put(buf *b, const void *p, size_t n)
{
    if (b->size + n > b->cap) {
        b->cap = 2 * b->cap + n + 64;
        b->data = realloc(b->data, b->cap);
        if (b->data == NULL) abort();
    }
    if (n && p) memcpy(b->data + b->size, p, n);
    else if (n) memset(b->data + b->size, 0, n);
    b->size += n;
}
static inline void buf_free(buf *b) { free(b->data); *b = (buf){ 0 }; }
static inline void buf_u32(buf *b, uint32_t v) { buf_put(b, &v, 4); }
static inline void buf_u64(buf *b, uint64_t v) { buf_put(b, &v, 8); }
static inline void buf_align(buf *b, size_t a) { buf_put(b, NULL, (a - b->size % a) % a); }

typedef struct { buf kv, info, data; uint32_t version, align; uint64_t n_kv, n_tensor; } gguf_build;

static inline gguf_build gguf_begin(uint32_t version) { return (gguf_build){ .version = version, .align = 32 }; }
static inline void gguf_len(const gguf_build *g, buf *b, uint64_t n) { if (g->version == 1) buf_u32(b, (uint32_t)n); else buf_u64(b, n); }
static inline void gguf_text(const gguf_build *g, buf *b, const char *s, size_t n) { gguf_len(g, b, n); buf_put(b, s, n); }

/* Any value: type as in the file, bytes as they shall lie there. */
static inline void gguf_raw(gguf_build *g, const char *key, uint32_t type, const void *p, size_t n)
{
    gguf_text(g, &g->kv, key, strlen(key));
    buf_u32(&g->kv, type);
    buf_put(&g->kv, p, n);
    g->n_kv++;
}
static inline void gguf_u32(gguf_build *g, const char *key, uint32_t v) { gguf_raw(g, key, 4, &v, 4); }
static inline void gguf_i32(gguf_build *g, const char *key, int32_t v) { gguf_raw(g, key, 5, &v, 4); }
static inline void gguf_u16(gguf_build *g, const char *key, uint16_t v) { gguf_raw(g, key, 2, &v, 2); }
static inline void gguf_u64(gguf_build *g, const char *key, uint64_t v) { gguf_raw(g, key, 10, &v, 8); }
static inline void gguf_f32(gguf_build *g, const char *key, float v) { gguf_raw(g, key, 6, &v, 4); }
static inline void gguf_flag(gguf_build *g, const char *key, uint8_t v) { gguf_raw(g, key, 7, &v, 1); }
static inline void gguf_strn(gguf_build *g, const char *key, const char *s, size_t n)
{
    gguf_raw(g, key, 8, NULL, 0);
    gguf_text(g, &g->kv, s, n);
}
static inline void gguf_str(gguf_build *g, const char *key, const char *s) { gguf_strn(g, key, s, strlen(s)); }
static inline void gguf_array(gguf_build *g, const char *key, uint32_t type, uint64_t count, const void *p, size_t n)
{
    gguf_raw(g, key, 9, NULL, 0);
    buf_u32(&g->kv, type);
    gguf_len(g, &g->kv, count);
    buf_put(&g->kv, p, n);
}
static inline void gguf_strs(gguf_build *g, const char *key, const char *const *s, size_t count)
{
    gguf_array(g, key, 8, count, NULL, 0);
    for (size_t i = 0; i < count; i++) gguf_text(g, &g->kv, s[i], strlen(s[i]));
}
/* The record alone, for broken ones; offset relative to the data. */
static inline void gguf_info(gguf_build *g, const char *name, uint32_t type, uint32_t n_dim, const uint64_t *dim, uint64_t offset)
{
    gguf_text(g, &g->info, name, strlen(name));
    buf_u32(&g->info, n_dim);
    for (uint32_t i = 0; i < n_dim; i++) gguf_len(g, &g->info, dim[i]);
    buf_u32(&g->info, type);
    buf_u64(&g->info, offset);
    g->n_tensor++;
}
/* data NULL: zeros. dtype one of GGUF's. */
static inline void gguf_tensor(gguf_build *g, const char *name, int dtype, uint32_t n_dim, const uint64_t *dim, const void *data)
{
    int64_t n = 1;
    size_t bytes = 0;
    for (uint32_t i = 0; i < n_dim; i++) n *= (int64_t)dim[i];
    ck_assert_msg(dtype_bytes(dtype, n, &bytes), "gguf_build: %s has no size", name);
    buf_align(&g->data, g->align);
    gguf_info(g, name, (uint32_t)dtype, n_dim, dim, g->data.size);
    buf_put(&g->data, data, bytes);
}
static inline buf gguf_end(gguf_build *g)
{
    buf f = { 0 };
    buf_put(&f, "GGUF", 4);
    buf_u32(&f, g->version);
    gguf_len(g, &f, g->n_tensor);
    gguf_len(g, &f, g->n_kv);
    buf_put(&f, g->kv.data, g->kv.size);
    buf_put(&f, g->info.data, g->info.size);
    if (g->n_tensor) buf_align(&f, g->align);
    buf_put(&f, g->data.data, g->data.size);
    buf_free(&g->kv), buf_free(&g->info), buf_free(&g->data);
    return f;
}

/* A safetensors file: header text (padded to 8 with spaces if pad), then n bytes of data (NULL: 0, 1, 2, ...). */
static inline buf safetensors_bytes(const char *header, bool pad, const void *data, size_t n)
{
    buf f = { 0 };
    size_t len = strlen(header), full = pad ? (len + 7) / 8 * 8 : len;
    buf_u64(&f, full);
    buf_put(&f, header, len);
    for (size_t i = len; i < full; i++) buf_put(&f, " ", 1);
    for (size_t i = 0; i < n; i++) buf_put(&f, data ? (const uint8_t *)data + i : &(uint8_t){ (uint8_t)i }, 1);
    return f;
}

/* ---- temporary folders ------------------------------------------------------ */

/* A new folder under TMPDIR; remove with temp_remove. */
static inline void temp_dir(char path[256])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 256, "%.200s/llm-test-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(path));
}
/* dir/name: as one static string, overwritten by the fourth call after it. */
static inline const char *temp_path(const char *dir, const char *name)
{
    static char path[4][1024];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%.500s/%.500s", dir, name);
    return path[at];
}
static inline const char *temp_file(const char *dir, const char *name, const void *data, size_t n)
{
    const char *path = temp_path(dir, name);
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f != NULL, "cannot write %s", path);
    ck_assert_uint_eq(n ? fwrite(data, 1, n, f) : 0, n);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}
static inline const char *temp_text(const char *dir, const char *name, const char *text) { return temp_file(dir, name, text, strlen(text)); }
/* Removes dir and the files in it (no subfolders). */
static inline void temp_remove(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) remove(temp_path(dir, e->d_name));
    if (d) closedir(d);
    rmdir(dir);
}
#endif
