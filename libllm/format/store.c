#include "store_parts.h"
#include "safetensors.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_SPLIT = 4096 };

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void close_files(llm_store *s)
{
    for (size_t i = 0; i < s->n_file; i++) {
        gguf_close(s->gguf[i]);
        file_map_close(&s->file[i]);
    }
    free(s->gguf), free(s->file);
    s->gguf = NULL, s->file = NULL, s->n_file = 0;
    tensors_close(&s->list);
    name_index_close(&s->by_name);
}

void store_close(llm_store *s)
{
    if (s == NULL) return;
    close_files(s);
    free(s->path), free(s->dir);
    free(s);
}

static bool looks_like_gguf(const file_map *m) { return m->size >= 4 && memcmp(m->data, "GGUF", 4) == 0; }

/* Without one of the two names the content decides: files of a download cache are named by their hash. */
static bool is_safetensors(const file_map *m)
{
    if (ends_with(m->path, ".safetensors")) return true;
    return !ends_with(m->path, ".gguf") && !looks_like_gguf(m) && m->size > 8 && m->data[8] == '{';
}

/* Makes room for n files in all; open_file fills them one by one. */
static llm_status reserve_files(llm_store *s, size_t n, llm_error *err)
{
    s->file = calloc(n, sizeof *s->file);
    s->gguf = calloc(n, sizeof *s->gguf);
    return s->file && s->gguf ? LLM_OK : llm_fail_memory(err, n * sizeof *s->file, "the list of files");
}

/* The next file: mapped and parsed. */
static llm_status open_file(llm_store *s, const char *path, llm_error *err)
{
    file_map *m = &s->file[s->n_file];
    llm_status status = file_map_open(m, path, err);
    int file = (int)s->n_file;

    if (status != LLM_OK) return status;
    s->n_file++;
    s->kind = is_safetensors(m) ? STORE_HF : STORE_GGUF;
    if (s->kind == STORE_HF) return safetensors_parse(&s->list, m->data, m->size, file, file_label(path), err);
    return gguf_parse(&s->gguf[file], &s->list, m->data, m->size, file, file_label(path), err);
}

static llm_status index_names(llm_store *s, llm_error *err)
{
    if (!name_index_open(&s->by_name, s->list.n)) return llm_fail_memory(err, s->list.n * sizeof(name_slot), "the tensor names");
    for (size_t i = 0; i < s->list.n; i++) {
        const store_tensor *t = &s->list.t[i], *other;
        switch (name_index_add(&s->by_name, t->name, (uint32_t)i)) {
        case NAME_ADDED: continue;
        case NAME_CROWDED: return llm_fail(err, LLM_ERR_FORMAT, "%s: the tensor names were chosen to collide", file_label(s->path));
        case NAME_TWICE: break;
        }
        other = store_find(s, t->name);
        if (other->file == t->file)
            return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.120s' appears twice", file_label(store_file_name(s, t->file)), t->name);
        return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.80s' is also in %s", file_label(store_file_name(s, t->file)), t->name,
                        file_label(store_file_name(s, other->file)));
    }
    return LLM_OK;
}

/* ---- split GGUF ------------------------------------------------------------- */

static bool read_split(const gguf *g, const char *key, int64_t *out)
{
    const gguf_kv *kv = gguf_find(g, key);
    return kv && !kv->array && gguf_int(kv, 0, out);
}

static bool five_digits(const char *s, int64_t *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        *out = 10 * *out + (s[i] - '0');
    }
    return true;
}

enum { SPLIT_TAIL = 20 };               /* strlen("-00001-of-00009.gguf") */

/* "PREFIX-00001-of-00009.gguf": *no counts from 0, *prefix is its length. */
static bool split_name(const char *path, size_t *prefix, int64_t *no, int64_t *count)
{
    size_t len = strlen(path);
    const char *s;

    if (len < SPLIT_TAIL) return false;
    s = path + (*prefix = len - SPLIT_TAIL);
    if (s[0] != '-' || !five_digits(s + 1, no) || memcmp(s + 6, "-of-", 4) != 0 || !five_digits(s + 10, count)
        || strcmp(s + 15, ".gguf") != 0) return false;
    return --*no >= 0;
}

/* What a part says about itself must be what its name says. */
static llm_status check_part(const llm_store *s, size_t i, int64_t count, llm_error *err)
{
    int64_t got_no = -1, got_count = -1;
    const gguf *g = s->gguf[i];

    if (g == NULL) return llm_fail(err, LLM_ERR_FORMAT, "%s: is not a GGUF file", file_label(s->file[i].path));
    read_split(g, "split.no", &got_no);
    read_split(g, "split.count", &got_count);
    if (got_no == (int64_t)i && got_count == count) return LLM_OK;
    return llm_fail(err, LLM_ERR_FORMAT, "%s: got split.no %lld and split.count %lld (-1: none), wanted %zu and %lld",
                    file_label(s->file[i].path), (long long)got_no, (long long)got_count, i, (long long)count);
}

static llm_status open_parts(llm_store *s, const char *path, size_t prefix, int64_t count, llm_error *err)
{
    int64_t total, n = s->vocab_only ? 1 : count;
    llm_status status = reserve_files(s, (size_t)n, err);
    char *name = malloc(prefix + SPLIT_TAIL + 24);

    if (name == NULL && status == LLM_OK) status = llm_fail_memory(err, prefix + SPLIT_TAIL + 24, "a path");
    for (int64_t i = 0; i < n && status == LLM_OK; i++) {
        memcpy(name, path, prefix);
        snprintf(name + prefix, SPLIT_TAIL + 24, "-%05d-of-%05d.gguf", (int)i + 1, (int)count);
        status = open_file(s, name, err);
        if (status == LLM_OK) status = check_part(s, (size_t)i, count, err);
    }
    free(name);
    if (status != LLM_OK || s->vocab_only) return status;
    if (!read_split(s->gguf[0], "split.tensors.count", &total))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: has no integer 'split.tensors.count'", file_label(s->file[0].path));
    if (total < 0 || (uint64_t)total != s->list.n)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: got split.tensors.count %lld, its %lld files hold %zu tensors",
                        file_label(s->file[0].path), (long long)total, (long long)count, s->list.n);
    return LLM_OK;
}

/* The one file is open: if it is part of a split model, start again from the first part. */
static llm_status follow_split(llm_store *s, const char *path, llm_error *err)
{
    int64_t count, name_no, name_count;
    size_t prefix;

    if (gguf_find(s->gguf[0], "split.count") == NULL) return LLM_OK;
    if (!read_split(s->gguf[0], "split.count", &count) || count < 0 || count > MAX_SPLIT)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: key 'split.count': wanted an integer from 0 to %d", file_label(path), MAX_SPLIT);
    if (count <= 1) return LLM_OK;
    if (!split_name(path, &prefix, &name_no, &name_count) || name_count != count)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: is part of a model of %lld files, so its name should end in \"-00001-of-%05d.gguf\" "
                        "and the others should lie beside it", file_label(path), (long long)count, (int)count);
    close_files(s);
    return open_parts(s, path, prefix, count, err);
}

/* ---- safetensors -------------------------------------------------------------- */

/* Each tensor of the index is in the shard it names, and the shards hold no others. */
static llm_status check_map(const llm_store *s, const shard_index *x, const char *label, llm_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(x->map, name, value) {
        const store_tensor *t = store_find(s, name);
        const char *shard = json_string_value(value);
        uint32_t i;
        if (t == NULL)
            return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.100s' should be in %.100s, which lacks it", label, name, shard);
        if (!name_index_find(&x->by_name, shard, &i) || t->file != (int)i)
            return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.100s' should be in %.100s, but is in %.100s", label, name, shard,
                            x->shard[t->file]);
    }
    for (size_t i = 0; i < s->list.n && s->list.n != json_object_size(x->map); i++)
        if (json_object_get(x->map, s->list.t[i].name) == NULL)
            return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.100s' of %.100s is not in the weight_map", label, s->list.t[i].name,
                            x->shard[s->list.t[i].file]);
    return LLM_OK;
}

static llm_status open_in_dir(llm_store *s, const char *name, llm_error *err)
{
    char *path = file_join(s->dir, name);
    llm_status status;

    if (path == NULL) return llm_fail_memory(err, strlen(s->dir) + strlen(name) + 2, "a path");
    status = open_file(s, path, err);
    if (status == LLM_OK && s->kind != STORE_HF) status = llm_fail(err, LLM_ERR_FORMAT, "%s: is not a safetensors file", file_label(path));
    free(path);
    return status;
}

static llm_status open_sharded(llm_store *s, const char *index, llm_error *err)
{
    shard_index x;
    llm_status status = shard_index_read(&x, index, err);

    if (status != LLM_OK) return status;
    if (x.n_shard > 0) status = reserve_files(s, x.n_shard, err);
    for (size_t i = 0; i < x.n_shard && status == LLM_OK; i++) status = open_in_dir(s, x.shard[i], err);
    if (status == LLM_OK) status = index_names(s, err);
    if (status == LLM_OK) status = check_map(s, &x, file_label(index), err);
    shard_index_close(&x);
    return status;
}

static const char single_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json";

/* ---- folders -------------------------------------------------------------------- */

typedef struct {
    char *gguf, *safetensors;           /* the first by name; owned */
    size_t n_gguf, n_safetensors;
    bool one_split;                     /* every .gguf is a part of the same split model */
    bool single, index;                 /* model.safetensors and the index of shards are there */
    char names[200];                    /* of the .gguf files, for the message */
} listing;

static bool note(char **first, const char *name)
{
    char *copy;

    if (*first && strcmp(*first, name) <= 0) return true;
    if ((copy = strdup(name)) == NULL) return false;
    free(*first);
    *first = copy;
    return true;
}

static bool same_split(const char *a, const char *b)
{
    size_t pa, pb;
    int64_t na, nb, ca, cb;

    return split_name(a, &pa, &na, &ca) && split_name(b, &pb, &nb, &cb) && pa == pb && ca == cb && memcmp(a, b, pa) == 0;
}

static bool note_gguf(listing *l, const char *name)
{
    size_t used = strlen(l->names);

    if (strncmp(name, "mmproj", 6) == 0) return true;
    if (l->gguf && !same_split(l->gguf, name)) l->one_split = false;
    snprintf(l->names + used, sizeof l->names - used, "%s%s", l->n_gguf ? ", " : "", name);
    l->n_gguf++;
    return note(&l->gguf, name);
}

static llm_status list_dir(const char *dir, listing *l, llm_error *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    bool ok = true;
    char text[128];

    *l = (listing){ .one_split = true };
    if (d == NULL)
        return llm_fail(err, errno == ENOMEM ? LLM_ERR_MEMORY : LLM_ERR_IO, "%s: the folder cannot be read: %s", file_label(dir),
                        strerror_r(errno, text, sizeof text));
    while (ok && (e = readdir(d)) != NULL) {
        if (ends_with(e->d_name, ".gguf")) ok = note_gguf(l, e->d_name);
        else if (ends_with(e->d_name, ".safetensors")) l->n_safetensors++, ok = note(&l->safetensors, e->d_name);
        l->single = l->single || strcmp(e->d_name, single_name) == 0;
        l->index = l->index || strcmp(e->d_name, index_name) == 0;
    }
    closedir(d);
    return ok ? LLM_OK : llm_fail_memory(err, 256, "a file name");
}

static llm_status open_gguf(llm_store *s, const char *path, llm_error *err)
{
    llm_status status = reserve_files(s, 1, err);

    if (status == LLM_OK) status = open_file(s, path, err);
    if (status == LLM_OK && s->kind == STORE_GGUF) status = follow_split(s, path, err);
    if (status == LLM_OK) status = index_names(s, err);
    return status;
}

static llm_status open_one_safetensors(llm_store *s, const char *name, llm_error *err)
{
    llm_status status = reserve_files(s, 1, err);

    if (status == LLM_OK) status = open_in_dir(s, name, err);
    if (status == LLM_OK) status = index_names(s, err);
    return status;
}

/* As transformers looks for them: the single file first, then the index. */
static llm_status open_weights(llm_store *s, const listing *l, llm_error *err)
{
    llm_status status;
    char *path;

    if (l->single) return open_one_safetensors(s, single_name, err);
    if (l->index) {
        if ((path = file_join(s->dir, index_name)) == NULL) return llm_fail_memory(err, strlen(s->dir) + 32, "a path");
        status = open_sharded(s, path, err);
        free(path);
        return status;
    }
    if (l->n_safetensors == 1) return open_one_safetensors(s, l->safetensors, err);
    if (l->n_safetensors > 1)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: holds %zu .safetensors files, but no %s", file_label(s->dir), l->n_safetensors, index_name);
    return llm_fail(err, LLM_ERR_FORMAT, "%s: holds no weights: wanted model.safetensors, %s or a .gguf file", file_label(s->dir), index_name);
}

static llm_status open_listed(llm_store *s, const listing *l, llm_error *err)
{
    bool hf = l->n_safetensors > 0 || l->index;
    llm_status status;
    char *path;

    s->kind = STORE_HF;
    if (!hf && l->n_gguf > 0) {
        if (l->n_gguf > 1 && !l->one_split)
            return llm_fail(err, LLM_ERR_FORMAT, "%s: holds %zu .gguf files, name one of them: %s", file_label(s->dir), l->n_gguf, l->names);
        if ((path = file_join(s->dir, l->gguf)) == NULL) return llm_fail_memory(err, strlen(s->dir) + strlen(l->gguf), "a path");
        status = open_gguf(s, path, err);
        free(path);
        return status;
    }
    if (s->vocab_only) return LLM_OK;
    return open_weights(s, l, err);
}

static llm_status open_dir(llm_store *s, llm_error *err)
{
    listing l;
    llm_status status = list_dir(s->dir, &l, err);

    if (status == LLM_OK) status = open_listed(s, &l, err);
    free(l.gguf), free(l.safetensors);
    return status;
}

/* ---- the whole -------------------------------------------------------------------- */

/* The folder of a file: what stands before the last slash. */
static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

llm_status store_open(llm_store **out, const char *path, bool vocab_only, llm_error *err)
{
    llm_store *s;
    llm_status status;
    bool is_dir;

    *out = NULL;
    if (path == NULL || path[0] == '\0') return llm_fail(err, LLM_ERR_ARG, "no path of a model was given");
    if ((s = calloc(1, sizeof *s)) == NULL) return llm_fail_memory(err, sizeof *s, "a store");
    is_dir = file_is_dir(path);
    s->vocab_only = vocab_only;
    s->path = strdup(path);
    s->dir = is_dir ? strdup(path) : dir_of(path);
    if (s->path == NULL || s->dir == NULL) status = llm_fail_memory(err, strlen(path) + 1, "a path");
    else status = is_dir ? open_dir(s, err) : open_gguf(s, path, err);
    if (status != LLM_OK) {
        store_close(s);
        return status;
    }
    *out = s;
    return LLM_OK;
}

llm_store_kind store_kind(const llm_store *s) { return s->kind; }
const char *store_path(const llm_store *s) { return s->path; }
const char *store_dir(const llm_store *s) { return s->dir; }
size_t store_n_tensor(const llm_store *s) { return s->list.n; }
size_t store_n_file(const llm_store *s) { return s->n_file; }
const store_tensor *store_tensor_at(const llm_store *s, size_t i) { return i < s->list.n ? &s->list.t[i] : NULL; }

const store_tensor *store_find(const llm_store *s, const char *name)
{
    uint32_t i;
    return name_index_find(&s->by_name, name, &i) ? &s->list.t[i] : NULL;
}

const char *store_file_name(const llm_store *s, int file)
{
    return file >= 0 && (size_t)file < s->n_file ? s->file[file].path : NULL;
}

/* The mapping around addr, or NULL. */
static const file_map *map_of(const llm_store *s, const void *addr)
{
    uintptr_t at = (uintptr_t)addr;

    for (size_t i = 0; i < s->n_file; i++) {
        uintptr_t begin = (uintptr_t)s->file[i].data;
        if (begin && at >= begin && at - begin < s->file[i].size) return &s->file[i];
    }
    return NULL;
}

const char *store_file_of(const llm_store *s, const void *addr)
{
    const file_map *m = map_of(s, addr);
    return m ? m->path : NULL;
}

/* Whole pages: all that touch the range, or only those inside it. */
static void advise(const llm_store *s, const void *data, size_t bytes, bool touch, int advice)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const file_map *m = map_of(s, data);
    uintptr_t begin = (uintptr_t)data, end;

    if (m == NULL || bytes == 0 || bytes > m->size - (begin - (uintptr_t)m->data)) return;
    end = begin + bytes;
    if (touch) begin &= ~(page - 1);
    else begin = (begin + page - 1) & ~(page - 1), end &= ~(page - 1);
    if (begin < end) (void)madvise((void *)begin, end - begin, advice);
}

void store_will_need(const llm_store *s, const void *data, size_t bytes) { advise(s, data, bytes, true, MADV_WILLNEED); }
void store_release(const llm_store *s, const void *data, size_t bytes) { advise(s, data, bytes, false, MADV_DONTNEED); }
