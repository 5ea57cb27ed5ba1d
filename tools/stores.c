/* stores.c - the Hugging Face cache (huggingface_hub, "Understand caching") and LM Studio's folders. */
#include "stores.h"
#include "common.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 4, MAX_ENTRIES = 20000 };        /* of a walk through one repository */

static const struct { const char *name, *prefix; } place_text[N_PLACE] = {
    { "path", "path" }, { "Hugging Face cache", "hf" }, { "LM Studio", "lmstudio" }, { "Ollama", "ollama" },
};

const char *place_name(model_place p) { return place_text[p].name; }
const char *place_prefix(model_place p) { return place_text[p].prefix; }

/* ---- small things ---- */

char *stores_text(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0) tool_die_text(EXIT_NO_MEMORY, "out of memory for a path");
    return text;
}

bool stores_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool stores_is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") == n && s[n] == '\0';
}

/* O_NONBLOCK: a pipe by that name must not be waited for. */
char *stores_read(const char *path, size_t limit, size_t *len, char **why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    char *text = NULL;
    ssize_t n = 0;

    *len = 0;
    if (fd < 0) {
        *why = stores_text("%s: cannot be opened: %s", path, strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        *why = stores_text("%s: is not a regular file", path);
    } else if ((uintmax_t)st.st_size > limit) {
        *why = stores_text("%s: has %ju bytes, wanted at most %zu", path, (uintmax_t)st.st_size, limit);
    } else {
        text = tool_alloc((size_t)st.st_size + 1, 1);
        while (*len < (size_t)st.st_size && ((n = read(fd, text + *len, (size_t)st.st_size - *len)) > 0 || (n < 0 && errno == EINTR)))
            if (n > 0) *len += (size_t)n;
        if (n < 0) {
            *why = stores_text("%s: cannot be read: %s", path, strerror(errno));
            free(text), text = NULL;
        }
    }
    close(fd);
    return text;
}

store_entry *stores_add(store_list *list, model_place place, const char *name, const char *tag)
{
    store_entry *e;

    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 16;
        list->item = realloc(list->item, list->cap * sizeof *list->item);
        if (list->item == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory for a list of models");
    }
    e = &list->item[list->n++];
    *e = (store_entry){ .place = place };
    e->name = stores_text("%s", name), e->full = stores_text("%s", name), e->tag = stores_text("%s", tag), e->file = stores_text("%s", "");
    return e;
}

void stores_free(store_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        store_entry *e = &list->item[i];
        free(e->name), free(e->full), free(e->tag), free(e->file), free(e->path), free(e->fault), free(e->manifest);
    }
    free(list->item), free(list->looked);
    *list = (store_list){ 0 };
}

void stores_look(store_list *list, model_place place, const char *dir)
{
    char *line = stores_text("  %s: %s%s\n", place_name(place), dir, stores_is_dir(dir) ? "" : " (no such folder)");
    size_t n = strlen(line);
    char *more = realloc(list->looked, list->looked_len + n + 1);

    if (more == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory for a list of folders");
    memcpy(more + list->looked_len, line, n + 1);
    list->looked = more, list->looked_len += n;
    free(line);
}

bool stores_wanted(const store_query *q, const char *name)
{
    size_t n = strlen(name);

    if (q->name == NULL) return true;
    return strncasecmp(q->name, name, n) == 0 && (q->name[n] == '\0' || q->name[n] == '/');
}

/* ---- one repository ---- */

typedef struct {
    store_list *list;
    model_place place;
    const char *name, *inside;      /* inside: real path of the folder that links stay in, or NULL */
    size_t first, n_entry;
    bool safetensors, config;
    char *fault;                    /* of the folder as a model of safetensors */
    uint64_t bytes;                 /* of safetensors */
} walk;

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

/* Q4_K_M, IQ2_XXS, UD-Q4_K_XL (the UD is taken up by the caller), F16, MXFP4, TQ1_0 ... */
static bool is_label(const char *s, size_t n)
{
    static const char *const word[] = { "f16", "f32", "bf16", "fp16", "fp32", "fp8", "mxfp4", "mxfp4_moe", "nvfp4", "int4", "int8" };

    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++)
        if (n == strlen(word[i]) && strncasecmp(s, word[i], n) == 0) return true;
    if (n > 0 && strchr("iItT", *s)) s++, n--;
    return n >= 2 && (*s == 'q' || *s == 'Q') && isdigit((unsigned char)s[1]);
}

/* The part of a GGUF file's name that says how it is quantized, else the name without its end. malloc'ed. */
static char *label_of(const char *file)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    size_t n = strlen(base) - 5;                                 /* ".gguf" */

    if (n > 15 && strncmp(base + n - 9, "-of-", 4) == 0 && base[n - 15] == '-') n -= 15;     /* "-00001-of-00002" */
    for (size_t end = n; end > 0;) {
        size_t begin = end;
        while (begin > 0 && base[begin - 1] != '-' && base[begin - 1] != '.') begin--;
        if (is_label(base + begin, end - begin)) {
            if (begin >= 3 && strncasecmp(base + begin - 3, "UD-", 3) == 0) begin -= 3;
            return stores_text("%.*s", (int)(end - begin), base + begin);
        }
        end = begin > 0 ? begin - 1 : 0;
    }
    return stores_text("%.*s", (int)n, base);
}

/* Part 2 and up of a split file: "-00002-of-00003.gguf". */
static bool is_later_part(const char *file)
{
    size_t n = strlen(file);
    return n > 20 && strncmp(file + n - 14, "-of-", 4) == 0 && file[n - 20] == '-' && strncmp(file + n - 19, "00001", 5) != 0
        && strspn(file + n - 19, "0123456789") == 5;
}

/* "x-00001-of-00003.gguf" and "x-00002-of-00003.gguf" are of one model. */
static bool same_model(const char *first, const char *part)
{
    size_t n = strlen(first);
    return n == strlen(part) && n > 20 && strncmp(first, part, n - 19) == 0 && strcmp(first + n - 14, part + n - 14) == 0;
}

static void add_part(walk *w, const char *file, uint64_t bytes)
{
    for (size_t i = w->first; i < w->list->n; i++)
        if (same_model(w->list->item[i].file, file)) w->list->item[i].bytes += bytes;
}

static void add_gguf(walk *w, const char *path, const char *file, uint64_t bytes)
{
    char *label = label_of(file);
    store_entry *e = stores_add(w->list, w->place, w->name, label);

    free(e->file);
    e->file = stores_text("%s", file), e->path = stores_text("%s", path), e->bytes = bytes;
    free(label);
}

/* NULL, or what is wrong with where a link leads; malloc'ed. */
static char *link_fault(const walk *w, const char *path)
{
    char *real = realpath(path, NULL), *fault = NULL;
    size_t n = w->inside ? strlen(w->inside) : 0;

    if (real == NULL) fault = stores_text("%s: is a link that leads nowhere (%s)", path, strerror(errno));
    else if (w->inside && (strncmp(real, w->inside, n) != 0 || real[n] != '/'))
        fault = stores_text("%s: is a link that leads out of %s, to %s", path, w->inside, real);
    free(real);
    return fault;
}

/* A link that cannot be followed: of a GGUF file the fault is its own, beside a config.json it is the whole folder's. */
static void add_bad_link(walk *w, const char *file, int depth, char *fault)
{
    if (ends_with(file, ".gguf") && strlen(file) > 5) {
        add_gguf(w, "", file, 0);
        free(w->list->item[w->list->n - 1].path);
        w->list->item[w->list->n - 1].path = NULL, w->list->item[w->list->n - 1].fault = fault;
    } else if (depth == 0 && w->fault == NULL && (ends_with(file, ".safetensors") || ends_with(file, ".json"))) {
        w->fault = fault;
    } else {
        free(fault);
    }
}

static void walk_file(walk *w, const char *path, const char *file, const struct stat *st, int depth, int pass)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;

    if (!S_ISREG(st->st_mode)) return;
    if (ends_with(base, ".gguf") && strlen(base) > 5) {
        if (strncasecmp(base, "mmproj", 6) == 0 || strstr(base, "imatrix") != NULL) return;
        if (pass == 0 && !is_later_part(file)) add_gguf(w, path, file, (uint64_t)st->st_size);
        if (pass == 1 && is_later_part(file)) add_part(w, file, (uint64_t)st->st_size);
    } else if (depth == 0 && pass == 0) {
        if (strcmp(base, "config.json") == 0) w->config = true;
        if (ends_with(base, ".safetensors")) w->safetensors = true, w->bytes += (uint64_t)st->st_size;
    }
}

/* pass 0: files that stand for a model; pass 1: sizes of the further parts of split ones. */
static void walk_dir(walk *w, const char *dir, const char *below, int depth, int pass)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    if (d == NULL) {
        if (w->fault == NULL) w->fault = stores_text("%s: the folder cannot be read: %s", dir, strerror(errno));
        return;
    }
    while ((e = readdir(d)) != NULL && w->n_entry++ < MAX_ENTRIES) {
        char *path, *file, *fault;
        struct stat st, own;
        if (e->d_name[0] == '.') continue;
        path = stores_text("%s/%s", dir, e->d_name), file = stores_text("%s%s", below, e->d_name);
        if (lstat(path, &own) == 0) {
            if (S_ISLNK(own.st_mode) && (fault = link_fault(w, path)) != NULL) {
                if (pass == 0) add_bad_link(w, file, depth, fault); else free(fault);
            } else if (S_ISDIR(own.st_mode) && depth < MAX_DEPTH) {
                char *deeper = stores_text("%s/", file);
                walk_dir(w, path, deeper, depth + 1, pass);
                free(deeper);
            } else if (stat(path, &st) == 0) {
                walk_file(w, path, file, &st, depth, pass);
            }
        }
        free(path), free(file);
    }
    closedir(d);
}

void stores_folder(store_list *list, model_place place, const char *name, const char *dir, const char *inside)
{
    char *real = inside ? realpath(inside, NULL) : NULL;
    walk w = { .list = list, .place = place, .name = name, .inside = real, .first = list->n };

    walk_dir(&w, dir, "", 0, 0);
    w.n_entry = 0;
    walk_dir(&w, dir, "", 0, 1);
    if (w.fault != NULL || (w.safetensors && w.config)) {
        store_entry *e = stores_add(list, place, name, "");
        e->bytes = w.bytes, e->fault = w.fault, e->path = w.fault ? NULL : stores_text("%s", dir);
    }
    free(real);
}

/* ---- Hugging Face ---- */

/* Value of an environment variable with a leading "~/" replaced; NULL: not set or empty. */
static char *env_path(const char *name)
{
    const char *v = getenv(name), *home = getenv("HOME");

    if (v == NULL || *v == '\0') return NULL;
    if (v[0] == '~' && (v[1] == '/' || v[1] == '\0') && home) return stores_text("%s%s", home, v + 1);
    return stores_text("%s", v);
}

/* The order of huggingface_hub's constants.py. */
static char *hub_folder(void)
{
    char *dir, *base;

    if ((dir = env_path("HF_HUB_CACHE")) != NULL || (dir = env_path("HUGGINGFACE_HUB_CACHE")) != NULL) return dir;
    if ((base = env_path("HF_HOME")) != NULL) dir = stores_text("%s/hub", base);
    else if ((base = env_path("XDG_CACHE_HOME")) != NULL) dir = stores_text("%s/huggingface/hub", base);
    else if ((base = env_path("HOME")) != NULL) dir = stores_text("%s/.cache/huggingface/hub", base);
    free(base);
    return dir;
}

/* The only folder in snapshots, for a repository without the ref "main"; NULL: none or several. */
static char *only_snapshot(const char *repo)
{
    char *dir = stores_text("%s/snapshots", repo), *found = NULL;
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.') continue;
        if (n++ == 0) found = stores_text("%s", e->d_name);
    }
    if (d) closedir(d);
    free(dir);
    if (n == 1 && stores_is_hex(found, 40)) return found;
    free(found);
    return NULL;
}

static bool is_ref_name(const char *s)
{
    return *s != '/' && *s != '\0' && strstr(s, "..") == NULL
        && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == strlen(s);
}

/* Commit of a revision (a ref, or the 40 digits themselves), malloc'ed; NULL: *why. */
static char *commit_of(const char *repo, const char *revision, char **why)
{
    const char *ref = revision ? revision : "main";
    char *path, *text, *only;
    size_t len;

    if (stores_is_hex(ref, 40)) return stores_text("%s", ref);
    if (!is_ref_name(ref)) { *why = stores_text("'%s' cannot be the name of a revision", ref); return NULL; }
    path = stores_text("%s/refs/%s", repo, ref);
    if (access(path, F_OK) != 0 && revision == NULL && (only = only_snapshot(repo)) != NULL) { free(path); return only; }
    text = stores_read(path, 1024, &len, why);
    if (text != NULL) {
        text[strcspn(text, "\r\n \t")] = '\0';
        if (!stores_is_hex(text, 40)) {
            *why = stores_text("%s: holds '%.60s', wanted the 40 hex digits of a commit", path, text);
            free(text), text = NULL;
        }
    }
    free(path);
    return text;
}

static void add_fault(store_list *list, model_place place, const char *name, char *fault)
{
    store_entry *e = stores_add(list, place, name, "");
    e->fault = fault;
}

static void hf_repo(store_list *list, const store_query *q, const char *repo, const char *name)
{
    char *why = NULL, *commit = commit_of(repo, q->revision, &why), *dir;

    if (commit == NULL) { add_fault(list, PLACE_HF, name, why); return; }
    dir = stores_text("%s/snapshots/%s", repo, commit);
    if (stores_is_dir(dir)) stores_folder(list, PLACE_HF, name, dir, repo);
    else add_fault(list, PLACE_HF, name, stores_text("%s: no such folder, the download is not complete", dir));
    free(dir), free(commit);
}

/* "models--org--name" -> "org/name", malloc'ed; NULL: something else. */
static char *repo_name(const char *folder)
{
    char *name, *to;

    if (strncmp(folder, "models--", 8) != 0 || folder[8] == '\0') return NULL;
    name = to = stores_text("%s", folder + 8);
    for (const char *s = name; *s; s++) {
        if (s[0] == '-' && s[1] == '-') *to++ = '/', s++;
        else *to++ = *s;
    }
    *to = '\0';
    return name;
}

static void search_hf(store_list *list, const store_query *q)
{
    char *hub = hub_folder();
    DIR *d = hub ? opendir(hub) : NULL;
    struct dirent *e;

    if (hub == NULL) return;
    stores_look(list, PLACE_HF, hub);
    while (d && (e = readdir(d)) != NULL) {
        char *name = repo_name(e->d_name), *repo;
        if (name != NULL && stores_wanted(q, name)) {
            repo = stores_text("%s/%s", hub, e->d_name);
            hf_repo(list, q, repo, name);
            free(repo);
        }
        free(name);
    }
    if (d) closedir(d);
    free(hub);
}

/* ---- LM Studio ---- */

/* FOLDER/org/repo/file.gguf. Links to folders are common here; the depth is fixed, so that they cannot lead in circles. */
static void lm_studio_models(store_list *list, const store_query *q, const char *root)
{
    DIR *d = opendir(root), *sub;
    struct dirent *org, *repo;

    while (d && (org = readdir(d)) != NULL) {
        char *dir = stores_text("%s/%s", root, org->d_name);
        sub = org->d_name[0] == '.' ? NULL : opendir(dir);
        while (sub && (repo = readdir(sub)) != NULL) {
            char *name = stores_text("%s/%s", org->d_name, repo->d_name), *path = stores_text("%s/%s", dir, repo->d_name);
            if (repo->d_name[0] != '.' && stores_wanted(q, name) && stores_is_dir(path)) stores_folder(list, PLACE_LM_STUDIO, name, path, NULL);
            free(name), free(path);
        }
        if (sub) closedir(sub);
        free(dir);
    }
    if (d) closedir(d);
}

static void search_lm_studio(store_list *list, const store_query *q)
{
    char *home = env_path("HOME"), *pointer, *text = NULL, *why = NULL, *root[3] = { NULL };
    size_t len;

    if (home == NULL) return;
    pointer = stores_text("%s/.lmstudio-home-pointer", home);
    if (access(pointer, F_OK) == 0 && (text = stores_read(pointer, PATH_MAX, &len, &why)) != NULL) {
        text[strcspn(text, "\r\n")] = '\0';
        if (*text == '/') root[0] = stores_text("%s/models", text);
    }
    root[1] = stores_text("%s/.lmstudio/models", home), root[2] = stores_text("%s/.cache/lm-studio/models", home);
    for (int i = 0; i < 3; i++) {
        if (root[i] == NULL || (i > 0 && root[0] && strcmp(root[i], root[0]) == 0)) continue;
        stores_look(list, PLACE_LM_STUDIO, root[i]);
        lm_studio_models(list, q, root[i]);
    }
    free(root[0]), free(root[1]), free(root[2]), free(pointer), free(text), free(why), free(home);
}

void stores_search(store_list *list, const store_query *q)
{
    if (q->only == PLACE_PATH || q->only == PLACE_HF) search_hf(list, q);
    if (q->only == PLACE_PATH || q->only == PLACE_LM_STUDIO) search_lm_studio(list, q);
    if (q->only == PLACE_PATH || q->only == PLACE_OLLAMA) stores_ollama(list, q);
}
