/* verify_model.c - files against the names of a content-addressed store, or against a list of checksums. */
#include "verify_model.h"
#include "common.h"
#include "find_model.h"
#include "sha1.h"
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL_FILE = 64 << 20, MANIFEST_BYTES = 16 << 20 };

typedef struct { char *real, *name; char hex[65]; } sum;     /* a line of the manifest; real: NULL where no such file is */
typedef struct {
    sum *list;                  /* [n]; NULL without a manifest */
    size_t n;
    int ok, bad, unknown;
} checking;

static int on_hash(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    if (isatty(STDERR_FILENO)) fprintf(stderr, done < total ? "\r%s %3d %%" : "\r\033[K", (const char *)user, (int)(100.0 * (double)done / (double)total));
    return 0;
}

static void to_hex(const uint8_t *d, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) sprintf(out + 2 * i, "%02x", d[i]);
}

/* git's name of a file: SHA-1 of "blob SIZE", a NUL and the bytes. */
static bool git_hash(const char *path, char *hex, char **why)
{
    size_t len;
    char *text = stores_read(path, SMALL_FILE, &len, why), *head;
    uint8_t d[20];
    sha1 h;

    if (text == NULL) return false;
    head = stores_text("blob %zu", len);
    sha1_begin(&h);
    sha1_add(&h, head, strlen(head) + 1), sha1_add(&h, text, len);
    sha1_end(&h, d);
    to_hex(d, sizeof d, hex);
    free(head), free(text);
    return true;
}

static bool sha256_hash(const char *path, const char *name, char *hex, char **why)
{
    uint8_t d[32];
    llm_error err;

    if (llm_sha256_file(path, on_hash, (void *)(uintptr_t)name, d, &err) != LLM_OK) {
        *why = stores_text("%s", err.text);
        return false;
    }
    to_hex(d, sizeof d, hex);
    return true;
}

static void check(checking *c, const char *path, const char *name, const char *want)
{
    char hex[65] = "", *why = NULL;
    bool read = strlen(want) == 40 ? git_hash(path, hex, &why) : sha256_hash(path, name, hex, &why);

    if (read && strcmp(hex, want) == 0) printf("ok           %s\n", name), c->ok++;
    else if (read) printf("BAD          %s: its bytes give %s, wanted %s\n", name, hex, want), c->bad++;
    else printf("BAD          %s: %s\n", name, why), c->bad++;
    fflush(stdout);
    free(why);
}

/* What the manifest says about a file: the same file, or else the only line of that base name. */
static sum *line_of(checking *c, const char *real, const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    sum *found = NULL;

    for (size_t i = 0; i < c->n; i++)
        if (c->list[i].real && strcmp(c->list[i].real, real) == 0) return &c->list[i];
    for (size_t i = 0; i < c->n; i++) {
        slash = strrchr(c->list[i].name, '/');
        if (strcmp(slash ? slash + 1 : c->list[i].name, base) != 0) continue;
        if (found) return NULL;
        found = &c->list[i];
    }
    return found;
}

/* weights: what cannot be checked is a failure. */
static void check_file(checking *c, const char *path, const char *name, bool weights)
{
    char *real = realpath(path, NULL), *base;
    sum *s;

    if (real == NULL) {
        printf("BAD          %s: cannot be found\n", name), c->bad++;
        return;
    }
    base = strrchr(real, '/') + 1;
    if (c->list) {
        if ((s = line_of(c, real, name)) != NULL) { check(c, path, name, s->hex); free(real); return; }
    } else {
        if (strncmp(base, "sha256-", 7) == 0 || strncmp(base, "sha256:", 7) == 0) base += 7;
        if (stores_is_hex(base, 64) || stores_is_hex(base, 40)) { check(c, path, name, base); free(real); return; }
    }
    printf("not checked  %s: %s\n", name, c->list ? "not in the list of checksums" : "its name is no checksum; give a list with --manifest");
    if (weights) c->unknown++;
    free(real);
}

static bool is_weights(const char *name)
{
    size_t n = strlen(name);
    return (n > 12 && strcasecmp(name + n - 12, ".safetensors") == 0) || (n > 5 && strcasecmp(name + n - 5, ".gguf") == 0);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The files of a folder, in order of their names; those below it are not part of a model of safetensors. */
static void check_folder(checking *c, const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char **name = NULL;
    size_t n = 0;

    if (d == NULL) tool_die_text(EXIT_MODEL, "%s: the folder cannot be read", dir);
    while ((e = readdir(d)) != NULL) {
        char *path = stores_text("%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && !stores_is_dir(path)) {
            name = realloc(name, (n + 1) * sizeof *name);
            if (name == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory for a list of files");
            name[n++] = stores_text("%s", e->d_name);
        }
        free(path);
    }
    closedir(d);
    if (n > 0) qsort(name, n, sizeof *name, by_text);
    for (size_t i = 0; i < c->n; i++)
        if (c->list[i].real == NULL) printf("BAD          %s: is in the list of checksums, but not here\n", c->list[i].name), c->bad++;
    for (size_t i = 0; i < n; i++) {
        char *path = stores_text("%s/%s", dir, name[i]);
        check_file(c, path, name[i], is_weights(name[i]));
        free(path), free(name[i]);
    }
    free(name);
}

/* A GGUF file and, where its name says that it is one of several, the others. */
static void check_gguf(checking *c, const char *path)
{
    size_t n = strlen(path);
    int no, count;
    const char *slash = strrchr(path, '/');

    if (n > 20 && sscanf(path + n - 20, "-%5d-of-%5d.gguf", &no, &count) == 2 && count > 0) {
        for (int i = 1; i <= count; i++) {
            char *part = stores_text("%.*s-%05d-of-%05d.gguf", (int)(n - 20), path, i, count);
            check_file(c, part, slash ? part + (slash + 1 - path) : part, true);
            free(part);
        }
        return;
    }
    check_file(c, path, slash ? slash + 1 : path, true);
}

/* Every blob that the manifest names. */
static void check_ollama(checking *c, const store_entry *e)
{
    char *why = NULL, *root = stores_text("%s", e->manifest), *path;
    json_t *manifest = stores_ollama_manifest(e->manifest, &why), *layers, *layer;
    size_t i;

    if (manifest == NULL) tool_die_text(EXIT_MODEL, "%s", why);
    for (int k = 0; k < 5; k++) *strrchr(root, '/') = '\0';         /* manifests/HOST/NAMESPACE/NAME/TAG */
    layers = json_deep_copy(json_object_get(manifest, "layers"));
    if (json_is_object(json_object_get(manifest, "config"))) json_array_append(layers, json_object_get(manifest, "config"));
    json_array_foreach(layers, i, layer) {
        const char *digest = json_string_value(json_object_get(layer, "digest")), *media = json_string_value(json_object_get(layer, "mediaType"));
        char *name = stores_text("%.80s (%.80s)", digest ? digest : "a layer without a digest", media ? media : "no type");
        if ((path = stores_ollama_blob(root, digest ? digest : "", &why)) != NULL) check(c, path, name, digest + 7);
        else printf("BAD          %s: %s\n", name, why), c->bad++, free(why), why = NULL;
        free(name), free(path);
    }
    json_decref(layers), json_decref(manifest);
    free(root);
}

/* "HEX  name" or "HEX *name", one on a line, names relative to the folder of the list. */
static void read_manifest(checking *c, const char *path)
{
    size_t len, dir_len = strrchr(path, '/') ? (size_t)(strrchr(path, '/') - path) + 1 : 0;
    char *why = NULL, *text = stores_read(path, MANIFEST_BYTES, &len, &why), *line, *next;
    int no = 0;

    if (text == NULL) tool_die_text(EXIT_FAILED, "%s", why);
    for (line = text; *line; line = next) {
        size_t n = strcspn(line, "\n");
        char *joined;
        next = line + n + (line[n] == '\n'), no++;
        line[n] = '\0';
        if (n > 0 && line[n - 1] == '\r') line[--n] = '\0';
        if (n == 0 || *line == '#') continue;
        for (size_t i = 0; i < n && i < 64; i++)
            if (line[i] >= 'A' && line[i] <= 'F') line[i] = (char)(line[i] - 'A' + 'a');
        if (n < 67 || strspn(line, "0123456789abcdef") != 64 || line[64] != ' ' || (line[65] != ' ' && line[65] != '*'))
            tool_die_text(EXIT_FAILED, "%s:%d: wanted 64 hex digits, two blanks and a name, as sha256sum writes them", path, no);
        c->list = realloc(c->list, (c->n + 1) * sizeof *c->list);
        if (c->list == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory for a list of checksums");
        c->list[c->n] = (sum){ .name = stores_text("%s", line + 66) };
        memcpy(c->list[c->n].hex, line, 64);
        joined = line[66] == '/' ? stores_text("%s", line + 66) : stores_text("%.*s%s", (int)dir_len, path, line + 66);
        c->list[c->n++].real = realpath(joined, NULL);
        free(joined);
    }
    if (c->n == 0) tool_die_text(EXIT_FAILED, "%s: holds no checksums", path);
    free(text);
}

int verify_model(const store_entry *e, const char *manifest)
{
    checking c = { 0 };

    if (manifest) read_manifest(&c, manifest);
    if (e->manifest && !manifest) check_ollama(&c, e);
    else if (stores_is_dir(e->path)) check_folder(&c, e->path);
    else check_gguf(&c, e->path);
    for (size_t i = 0; i < c.n; i++) free(c.list[i].name), free(c.list[i].real);
    free(c.list);
    if (c.bad > 0) fprintf(stderr, "%s: %d of %d files are not what they should be\n", tool_name, c.bad, c.bad + c.ok + c.unknown);
    else if (c.unknown > 0 || c.ok == 0) fprintf(stderr, "%s: nothing says what the weights should be: give a list with --manifest\n", tool_name);
    return c.bad > 0 || c.unknown > 0 || c.ok == 0 ? EXIT_MODEL : EXIT_OK;
}

int verify_named(const char *model, const char *manifest)
{
    const store_entry *e;
    store_list list;
    int code;

    find_model(model, &list, &e);
    code = verify_model(e, manifest);
    stores_free(&list);
    return code;
}
