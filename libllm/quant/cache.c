/* cache.c - quantized files kept beside a record of what they were made from.
 *
 * FOLDER/NAME-TYPE-KEY.gguf, .json (the record) and .lock; KEY is of the source's real path and the options, so that one model
 * quantized in one way has one place. The record holds a fingerprint of the source - name, size, time and bytes of its files,
 * those above 64 MiB in samples - and of the options and the importance matrix, and the size, time and SHA-256 of the file.
 * A file is used when the fingerprint is the source's as it is now and the file is the one that was written: same size and
 * same bytes in samples, and where its time is another one (a copy), the same SHA-256. Else it is made again. Whoever makes or
 * judges it holds the lock; the others wait. */
#include "cache.h"
#include "file.h"
#include "gguf_write.h"
#include "json.h"
#include "mix.h"
#include "quantize.h"
#include "sha256.h"
#include "store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_VERSION = 1, WHOLE_BYTES = 64 << 20, SAMPLES = 64, SAMPLE_BYTES = 64 << 10, MAX_NAME = 4096 };

typedef struct {
    const llm_quantize_options *opt;
    const char *folder;
    char source[PATH_MAX];              /* real path */
    char gguf[MAX_NAME], record[MAX_NAME], lock[MAX_NAME];
    char fingerprint[65];
    int fd;                             /* of the lock, -1: none */
    llm_error *err;
} cache;

static void hex_of(const uint8_t digest[32], char text[65])
{
    for (int i = 0; i < 32; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

static void add_text(llm_sha256 *h, const char *s) { sha256_add(h, s ? s : "", s ? strlen(s) + 1 : 1); }

/* ---- bytes of files ----------------------------------------------------------------- */

/* All of a small file; of a large one its beginning, its end and places between them. */
static llm_status add_file(llm_sha256 *h, const char *path, bool with_time, llm_error *err)
{
    const char *name = strrchr(path, '/');
    struct stat st;
    file_map m;
    int64_t about[3];
    llm_status status = file_map_open(&m, path, err);

    if (status != LLM_OK) return status;
    if (stat(path, &st) != 0) memset(&st, 0, sizeof st);
    about[0] = (int64_t)m.size, about[1] = with_time ? (int64_t)st.st_mtim.tv_sec : 0, about[2] = with_time ? (int64_t)st.st_mtim.tv_nsec : 0;
    if (with_time) add_text(h, name ? name + 1 : path);
    sha256_add(h, about, sizeof about);
    if (m.size <= WHOLE_BYTES) sha256_add(h, m.data, m.size);
    for (size_t i = 0; m.size > WHOLE_BYTES && i < SAMPLES; i++) sha256_add(h, m.data + (m.size - SAMPLE_BYTES) / (SAMPLES - 1) * i, SAMPLE_BYTES);
    file_map_close(&m);
    return LLM_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool matters(const char *name)
{
    static const char *const ends[] = { ".safetensors", ".json", ".model", ".txt", ".tiktoken", ".jinja", ".gguf" };
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && strcmp(name + n - strlen(ends[i]), ends[i]) == 0) return *name != '.';
    return false;
}

/* Every file of a folder that a model may be made of, in the order of their names. */
static llm_status add_folder(llm_sha256 *h, const char *dir, llm_error *err)
{
    char **name = NULL, path[PATH_MAX + 300];
    size_t n = 0, cap = 0;
    DIR *d = opendir(dir);
    llm_status st = LLM_OK;

    if (d == NULL) return llm_fail(err, LLM_ERR_IO, "%s: the folder cannot be read", file_label(dir));
    for (struct dirent *e; st == LLM_OK && (e = readdir(d)) != NULL;) {
        if (!matters(e->d_name)) continue;
        if (n == cap) {
            char **more = realloc(name, (cap = cap ? 2 * cap : 64) * sizeof *name);
            if (more == NULL) { st = llm_fail_memory(err, cap * sizeof *name, "names of files"); break; }
            name = more;
        }
        if ((name[n] = strdup(e->d_name)) == NULL) st = llm_fail_memory(err, 256, "names of files");
        else n++;
    }
    closedir(d);
    if (n > 0) qsort(name, n, sizeof *name, by_name);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        if (st == LLM_OK && !file_is_dir(path)) st = add_file(h, path, true, err);
        free(name[i]);
    }
    free(name);
    return st;
}

static llm_status add_parts(llm_sha256 *h, const char *path, llm_error *err)
{
    llm_store *s;
    llm_status st = store_open(&s, path, false, err);

    if (st != LLM_OK) return st;
    for (size_t i = 0; i < store_n_file(s) && st == LLM_OK; i++) st = add_file(h, store_file_name(s, (int)i), true, err);
    store_close(s);
    return st;
}

static llm_status take_fingerprint(cache *c)
{
    const llm_quantize_options *o = c->opt;
    llm_sha256 h;
    uint8_t digest[32];
    llm_mix mix;
    llm_status st;

    sha256_begin(&h);
    add_text(&h, "libllm " LLM_VERSION), add_text(&h, mix_find(o->type, &mix) ? mix_info(mix)->name : o->type), add_text(&h, c->source);
    for (size_t i = 0; i < o->n_tensor; i++) add_text(&h, o->tensor[i]);
    st = file_is_dir(c->source) ? add_folder(&h, c->source, c->err) : add_parts(&h, c->source, c->err);
    if (st == LLM_OK && o->imatrix) st = add_file(&h, o->imatrix, false, c->err);
    sha256_end(&h, digest);
    hex_of(digest, c->fingerprint);
    return st;
}

/* ---- places --------------------------------------------------------------------------- */

static llm_status make_folders(const char *path, llm_error *err)
{
    char part[MAX_NAME], text[128];

    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return llm_fail(err, LLM_ERR_ARG, "the path of the cache is too long");
    for (char *p = part + 1;; p++) {
        char c = *p;
        if (c != '/' && c != '\0') continue;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST && !file_is_dir(part))
            return llm_fail(err, LLM_ERR_IO, "%s: the folder cannot be made: %s", file_label(part), strerror_r(errno, text, sizeof text));
        if (c == '\0') return LLM_OK;
        *p = c;
    }
}

static llm_status find_places(cache *c)
{
    const llm_quantize_options *o = c->opt;
    const char *name, *end;
    char key[65], stem[MAX_NAME], text[128];
    uint8_t digest[32];
    llm_sha256 h;
    llm_mix mix;
    llm_status st;
    int n;

    if (realpath(o->in, c->source) == NULL) return llm_fail(c->err, LLM_ERR_IO, "%s: %s", file_label(o->in), strerror_r(errno, text, sizeof text));
    if ((st = quantize_mix(o->type, &mix, c->err)) != LLM_OK) return st;
    sha256_begin(&h);
    add_text(&h, c->source), add_text(&h, mix_info(mix)->name), add_text(&h, o->imatrix);
    for (size_t i = 0; i < o->n_tensor; i++) add_text(&h, o->tensor[i]);
    sha256_end(&h, digest);
    hex_of(digest, key);
    name = strrchr(c->source, '/'), name = name ? name + 1 : c->source;
    end = name + strlen(name);
    if (end - name > 5 && strcmp(end - 5, ".gguf") == 0) end -= 5;
    n = snprintf(stem, sizeof stem, "%s/%.*s-%s-%.12s", c->folder, end - name < 100 ? (int)(end - name) : 100, name, mix_info(mix)->name, key);
    if (n < 0 || n + 8 > (int)sizeof stem) return llm_fail(c->err, LLM_ERR_ARG, "the path of the cache is too long");
    snprintf(c->gguf, sizeof c->gguf, "%.4080s.gguf", stem), snprintf(c->record, sizeof c->record, "%.4080s.json", stem);
    snprintf(c->lock, sizeof c->lock, "%.4080s.lock", stem);
    return make_folders(c->folder, c->err);
}

/* Waits for whoever holds it; progress is asked whether to go on. */
static llm_status take_lock(cache *c)
{
    const struct timespec nap = { 0, 200000000 };
    char text[128];

    if ((c->fd = open(c->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0)
        return llm_fail(c->err, LLM_ERR_IO, "%s: cannot be written: %s", file_label(c->lock), strerror_r(errno, text, sizeof text));
    while (flock(c->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return llm_fail(c->err, LLM_ERR_IO, "%s: cannot be locked: %s", file_label(c->lock), strerror_r(errno, text, sizeof text));
        if (c->opt->progress && c->opt->progress(c->opt->user, "waiting for another program that quantizes this", 0, 1))
            return llm_fail(c->err, LLM_ERR_CANCELLED, "%s: stopped", file_label(c->gguf));
        nanosleep(&nap, NULL);
    }
    return LLM_OK;
}

/* ---- records ----------------------------------------------------------------------------- */

static llm_status digest_file(const char *path, bool whole, char text[65], llm_error *err)
{
    uint8_t digest[32];
    llm_sha256 h;
    llm_status st;

    sha256_begin(&h);
    if (whole) st = llm_sha256_file(path, NULL, NULL, digest, err);
    else if ((st = add_file(&h, path, false, err)) == LLM_OK) sha256_end(&h, digest);
    if (st == LLM_OK) hex_of(digest, text);
    return st;
}

static bool text_is(const json_t *j, const char *key, const char *want)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s && strcmp(s, want) == 0;
}

/* Why the file that is there cannot be used, or NULL. */
static const char *stale(const cache *c, const json_t *j, const struct stat *file)
{
    int64_t when = (int64_t)file->st_mtim.tv_sec * 1000000000 + file->st_mtim.tv_nsec;
    char text[65];

    if (json_integer_value(json_object_get(j, "version")) != RECORD_VERSION) return "its record is of another version";
    if (!text_is(j, "fingerprint", c->fingerprint)) return "the source or the options have changed";
    if (json_integer_value(json_object_get(j, "bytes")) != (json_int_t)file->st_size) return "it has another size than when it was written";
    if (digest_file(c->gguf, false, text, NULL) != LLM_OK || !text_is(j, "samples", text)) return "it is damaged";
    if (json_integer_value(json_object_get(j, "modified")) == when) return NULL;
    return digest_file(c->gguf, true, text, NULL) == LLM_OK && text_is(j, "sha256", text) ? NULL : "it was changed after it was written";
}

static bool usable(const cache *c)
{
    struct stat file;
    json_t *j = NULL;
    const char *why;
    char line[400];
    llm_error unused;

    if (stat(c->gguf, &file) != 0) return false;
    if (json_read_file(&j, c->record, 1 << 20, &unused) != LLM_OK) why = "it has no record that can be read";
    else why = stale(c, j, &file);
    json_decref(j);
    if (why == NULL) return true;
    snprintf(line, sizeof line, "the quantized copy is made again: %s (%s)", why, file_label(c->gguf));
    if (c->opt->log) c->opt->log(c->opt->user, LLM_LOG_INFO, line);
    return false;
}

static llm_status write_record(const cache *c)
{
    char samples[65], whole[65], *text = NULL;
    struct stat file;
    json_t *j = NULL;
    llm_mix mix;
    llm_status st;

    if (stat(c->gguf, &file) != 0 || !mix_find(c->opt->type, &mix)) return llm_fail(c->err, LLM_ERR_IO, "%s: vanished", file_label(c->gguf));
    if ((st = digest_file(c->gguf, false, samples, c->err)) != LLM_OK || (st = digest_file(c->gguf, true, whole, c->err)) != LLM_OK) return st;
    j = json_pack("{s:i, s:s, s:s, s:s, s:s*, s:s, s:I, s:I, s:s, s:s}", "version", RECORD_VERSION, "made_by", "libllm " LLM_VERSION, "source", c->source,
                  "type", mix_info(mix)->name, "imatrix", c->opt->imatrix, "fingerprint", c->fingerprint, "bytes", (json_int_t)file.st_size,
                  "modified", (json_int_t)file.st_mtim.tv_sec * 1000000000 + (json_int_t)file.st_mtim.tv_nsec, "samples", samples, "sha256", whole);
    if (j) text = json_dumps(j, JSON_INDENT(1));
    st = text ? file_replace(c->record, text, strlen(text), c->err) : llm_fail_memory(c->err, 1024, "a record");
    free(text), json_decref(j);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static llm_status make(cache *c, llm_quantize_result *result)
{
    llm_quantize_options o = *c->opt;
    llm_status st;

    unlink(c->record);
    o.in = c->source, o.out = c->gguf;
    if ((st = quantize_run(&o, result, c->err)) != LLM_OK) return st;
    return write_record(c);
}

static llm_status find_or_make(cache *c, llm_quantize_result *result)
{
    llm_status st;

    if ((st = find_places(c)) != LLM_OK || (st = take_fingerprint(c)) != LLM_OK) return st;
    if ((st = take_lock(c)) != LLM_OK) return usable(c) ? LLM_OK : st;          /* a cache that cannot be written may still be read */
    return usable(c) ? LLM_OK : make(c, result);
}

llm_status quant_cached(const llm_quantize_options *opt, const char *folder, char *path, size_t cap, llm_quantize_result *result, llm_error *err)
{
    llm_error mine;
    cache *c = calloc(1, sizeof *c);
    llm_status st;

    if (c == NULL) return llm_fail_memory(err, sizeof *c, "a cache");
    c->opt = opt, c->folder = folder, c->err = err ? err : &mine, c->fd = -1;
    *result = (llm_quantize_result){ .size = sizeof *result };
    st = find_or_make(c, result);
    if (st == LLM_OK && strlen(c->gguf) >= cap) st = llm_fail(err, LLM_ERR_ARG, "the path takes %zu bytes, room for %zu", strlen(c->gguf) + 1, cap);
    if (st == LLM_OK) strcpy(path, c->gguf);
    if (c->fd >= 0) close(c->fd);
    free(c);
    return st;
}
