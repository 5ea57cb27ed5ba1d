#include "gguf_write.h"
#include "checked.h"
#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { ALIGN = 32 };

/* ---- bytes ---------------------------------------------------------------------- */

static void add(gguf_bytes *b, const void *data, size_t n)
{
    if (b->failed) return;
    if (b->cap - b->n < n) {
        size_t cap = b->cap < 4096 ? 4096 : b->cap;
        uint8_t *p;
        while (cap - b->n < n && cap < SIZE_MAX / 2) cap *= 2;
        p = cap - b->n < n ? NULL : realloc(b->data, cap);
        if (p == NULL) { b->failed = true; return; }
        b->data = p, b->cap = cap;
    }
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void add_u32(gguf_bytes *b, uint32_t v) { add(b, &v, sizeof v); }
static void add_u64(gguf_bytes *b, uint64_t v) { add(b, &v, sizeof v); }
static void add_str(gguf_bytes *b, const char *s, size_t n) { add_u64(b, n), add(b, s, n); }

/* ---- keys -------------------------------------------------------------------------- */

static void begin_key(gguf_out *o, const char *key, gguf_type type)
{
    if (gguf_out_has(o, key)) o->twice = true;
    if (o->n_kv == o->cap_key) {
        size_t cap = o->cap_key ? 2 * o->cap_key : 64;
        const char **p = realloc(o->key, cap * sizeof *p);
        if (p == NULL) { o->kv.failed = true; return; }
        o->key = p, o->cap_key = cap;
    }
    if ((o->key[o->n_kv] = name_pool_add(&o->text, key, strlen(key))) == NULL) { o->kv.failed = true; return; }
    o->n_kv++;
    add_str(&o->kv, key, strlen(key)), add_u32(&o->kv, type);
}

bool gguf_out_has(const gguf_out *o, const char *key)
{
    for (size_t i = 0; i < o->n_kv; i++)
        if (strcmp(o->key[i], key) == 0) return true;
    return false;
}

void gguf_out_u32(gguf_out *o, const char *key, uint32_t v) { begin_key(o, key, GGUF_U32), add_u32(&o->kv, v); }
void gguf_out_f32(gguf_out *o, const char *key, float v) { begin_key(o, key, GGUF_F32), add(&o->kv, &v, sizeof v); }

void gguf_out_bool(gguf_out *o, const char *key, bool v)
{
    uint8_t b = v;
    begin_key(o, key, GGUF_BOOL), add(&o->kv, &b, 1);
}

void gguf_out_str(gguf_out *o, const char *key, const char *s, size_t len) { begin_key(o, key, GGUF_STRING), add_str(&o->kv, s, len); }

static size_t width_of(gguf_type type)
{
    static const uint8_t bytes[] = {
#define X(id, number, bytes) [number] = bytes,
        GGUF_TYPE_LIST(X)
#undef X
    };
    return bytes[type];
}

void gguf_out_array(gguf_out *o, const char *key, gguf_type type, const void *data, size_t n)
{
    begin_key(o, key, GGUF_ARRAY);
    add_u32(&o->kv, type), add_u64(&o->kv, n), add(&o->kv, data, n * width_of(type));
}

void gguf_out_strings(gguf_out *o, const char *key, size_t n)
{
    begin_key(o, key, GGUF_ARRAY);
    add_u32(&o->kv, GGUF_STRING), add_u64(&o->kv, n);
}

void gguf_out_next(gguf_out *o, const char *s, size_t len) { add_str(&o->kv, s, len); }

void gguf_out_copy(gguf_out *o, const gguf *g, const gguf_kv *kv)
{
    const char *s;
    size_t len;

    if (kv->type != GGUF_STRING && kv->array) {
        gguf_out_array(o, kv->key, kv->type, kv->data, kv->count);
    } else if (kv->type != GGUF_STRING) {
        begin_key(o, kv->key, kv->type), add(&o->kv, kv->data, kv->bytes);
    } else if (!kv->array) {
        if (gguf_string(g, kv, 0, &s, &len)) gguf_out_str(o, kv->key, s, len);
    } else {
        gguf_out_strings(o, kv->key, kv->count);
        for (size_t i = 0; i < kv->count; i++)
            if (gguf_string(g, kv, i, &s, &len)) gguf_out_next(o, s, len);
    }
}

bool gguf_out_tensor(gguf_out *o, const char *name, llm_dtype dtype, const int64_t *dim, int n_dim)
{
    int64_t n = 1;
    size_t bytes, padded, total;

    for (int i = 0; i < n_dim; i++)
        if (dim[i] < 1 || __builtin_mul_overflow(n, dim[i], &n)) return false;
    if (n_dim < 1 || dim[n_dim - 1] % dtype_info(dtype)->block != 0 || !dtype_bytes(dtype, n, &bytes)) return false;
    if (!ck_align(bytes, ALIGN, &padded) || !ck_add((size_t)o->data_bytes, padded, &total)) return false;
    add_str(&o->info, name, strlen(name)), add_u32(&o->info, (uint32_t)n_dim);
    for (int i = n_dim - 1; i >= 0; i--) add_u64(&o->info, (uint64_t)dim[i]);
    add_u32(&o->info, (uint32_t)dtype), add_u64(&o->info, o->data_bytes);
    o->data_bytes = total, o->n_tensor++;
    return true;
}

void gguf_out_free(gguf_out *o)
{
    free(o->kv.data), free(o->info.data), free(o->key);
    name_pool_close(&o->text);
    *o = (gguf_out){ 0 };
}

/* ---- files ---------------------------------------------------------------------------- */

static llm_status fail_io(const gguf_writer *w, const char *what, int code)
{
    char text[128];
    return llm_fail(w->err, LLM_ERR_IO, "%s: %s: %s", file_label(w->path), what, strerror_r(code, text, sizeof text));
}

static llm_status write_all(gguf_writer *w, const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        ssize_t did = write(w->fd, p, n);
        if (did < 0 && errno == EINTR) continue;
        if (did <= 0) return fail_io(w, "cannot write", did < 0 ? errno : ENOSPC);
        p += did, n -= (size_t)did;
    }
    return LLM_OK;
}

/* The folder of path, into dir [cap]. */
static void folder_of(const char *path, char *dir, size_t cap)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    snprintf(dir, cap, "%.*s", slash ? (int)n : 1, slash ? path : ".");
}

/* What the file system would not take is not begun. */
static llm_status check_space(const gguf_writer *w, uint64_t bytes)
{
    char dir[4096];
    struct statvfs fs;
    uint64_t free_bytes;

    folder_of(w->path, dir, sizeof dir);
    if (statvfs(dir, &fs) != 0) return LLM_OK;                      /* opening says it better */
    free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    if (bytes <= free_bytes) return LLM_OK;
    return llm_fail(w->err, LLM_ERR_IO, "%s: needs %" PRIu64 " bytes, the disk has %" PRIu64 " left", file_label(w->path), bytes, free_bytes);
}

/* A name that no other writer has: the process and the time, until one is free. */
static llm_status open_temporary(gguf_writer *w)
{
    size_t cap = strlen(w->path) + 64;
    int code = EEXIST;

    if ((w->temporary = malloc(cap)) == NULL) return llm_fail_memory(w->err, cap, "a path");
    for (int i = 0; i < 100 && code == EEXIST; i++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(w->temporary, cap, "%s.part-%ld-%ld", w->path, (long)getpid(), (long)now.tv_nsec);
        if ((w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) >= 0) return LLM_OK;
        code = errno;
    }
    free(w->temporary);
    w->temporary = NULL;
    return fail_io(w, "cannot be written", code);
}

static llm_status begin_file(gguf_writer *w, const char *path, uint64_t bytes, llm_error *err)
{
    llm_status st;

    *w = (gguf_writer){ .fd = -1, .err = err };
    if ((w->path = strdup(path)) == NULL) return llm_fail_memory(err, strlen(path), "a path");
    if ((st = check_space(w, bytes)) != LLM_OK) return st;
    return open_temporary(w);
}

/* Data first, then the name, then the folder that holds the name. */
static llm_status into_place(gguf_writer *w)
{
    char dir[4096];
    int fd;

    if (fsync(w->fd) != 0) return fail_io(w, "cannot be brought to the disk", errno);
    fd = w->fd, w->fd = -1;
    if (close(fd) != 0) return fail_io(w, "cannot be brought to the disk", errno);
    if (rename(w->temporary, w->path) != 0) return fail_io(w, "cannot take its name", errno);
    free(w->temporary);
    w->temporary = NULL;
    folder_of(w->path, dir, sizeof dir);
    if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) (void)fsync(fd), close(fd);
    return LLM_OK;
}

static llm_status pad_to(gguf_writer *w, uint64_t n)
{
    static const uint8_t zero[ALIGN];
    return write_all(w, zero, (size_t)((ALIGN - n % ALIGN) % ALIGN));
}

static uint64_t head_bytes(const gguf_out *o) { return 24 + (uint64_t)o->kv.n + o->info.n; }

static llm_status check_out(const gguf_out *o, const char *label, llm_error *err)
{
    if (o->kv.failed || o->info.failed) return llm_fail_memory(err, o->kv.n + o->info.n, "the header of a GGUF file");
    return o->twice ? llm_fail(err, LLM_ERR_INTERNAL, "%s: a key would be written twice", file_label(label)) : LLM_OK;
}

static llm_status write_head(gguf_writer *w, const gguf_out *o)
{
    gguf_bytes b = { 0 };
    llm_status st;

    add(&b, "GGUF", 4), add_u32(&b, 3), add_u64(&b, o->n_tensor), add_u64(&b, o->n_kv);
    st = b.failed ? llm_fail_memory(w->err, 24, "the header of a GGUF file") : write_all(w, b.data, b.n);
    free(b.data);
    if (st == LLM_OK) st = write_all(w, o->kv.data, o->kv.n);
    if (st == LLM_OK) st = write_all(w, o->info.data, o->info.n);
    return st == LLM_OK ? pad_to(w, head_bytes(o)) : st;
}

llm_status gguf_writer_begin(gguf_writer *w, const gguf_out *o, const char *path, llm_error *err)
{
    llm_status st;

    *w = (gguf_writer){ .fd = -1, .err = err };
    if ((st = check_out(o, path, err)) != LLM_OK || (st = begin_file(w, path, head_bytes(o) + o->data_bytes + ALIGN, err)) != LLM_OK) return st;
    return write_head(w, o);
}

llm_status gguf_writer_into(gguf_writer *w, const gguf_out *o, int fd, const char *label, llm_error *err)
{
    llm_status st;

    *w = (gguf_writer){ .fd = -1, .err = err };
    if ((st = check_out(o, label, err)) != LLM_OK) return st;
    if ((w->path = strdup(label)) == NULL) return llm_fail_memory(err, strlen(label), "a label");
    if ((w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) return fail_io(w, "cannot be written", errno);
    return write_head(w, o);
}

llm_status gguf_writer_put(gguf_writer *w, const void *data, size_t n)
{
    llm_status st = write_all(w, data, n);
    if (st == LLM_OK) w->at += n;
    return st;
}

llm_status gguf_writer_pad(gguf_writer *w)
{
    llm_status st = pad_to(w, w->at);
    if (st == LLM_OK) w->at += (ALIGN - w->at % ALIGN) % ALIGN;
    return st;
}

llm_status gguf_writer_finish(gguf_writer *w, const gguf_out *o)
{
    if (w->at != o->data_bytes)
        return llm_fail(w->err, LLM_ERR_INTERNAL, "%s: %" PRIu64 " bytes of tensors written, %" PRIu64 " announced", file_label(w->path), w->at, o->data_bytes);
    return into_place(w);
}

void gguf_writer_close(gguf_writer *w)
{
    if (w->fd >= 0) close(w->fd);
    if (w->temporary) unlink(w->temporary);
    free(w->temporary), free(w->path);
    *w = (gguf_writer){ .fd = -1 };
}

llm_status file_replace(const char *path, const void *data, size_t n, llm_error *err)
{
    gguf_writer w;
    llm_status st = begin_file(&w, path, n, err);

    if (st == LLM_OK) st = write_all(&w, data, n);
    if (st == LLM_OK) st = into_place(&w);
    gguf_writer_close(&w);
    return st;
}
