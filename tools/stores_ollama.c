/* stores_ollama.c - Ollama's store: manifests/HOST/NAMESPACE/NAME/TAG are JSON whose layers are blobs/sha256-HEX. */
#include "stores.h"
#include "common.h"
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MANIFEST_BYTES = 1 << 20, MAX_MANIFESTS = 20000, LEVELS = 4 };
#define MEDIA "application/vnd.ollama.image."

char *stores_ollama_blob(const char *root, const char *digest, char **why)
{
    struct stat st;
    char *path;

    if (strncmp(digest, "sha256", 6) != 0 || (digest[6] != ':' && digest[6] != '-') || !stores_is_hex(digest + 7, 64)) {
        *why = stores_text("the digest '%.90s' is not \"sha256:\" and 64 hex digits", digest);
        return NULL;
    }
    for (int i = 0; i < 2; i++) {                       /* older versions kept the colon */
        path = stores_text("%s/blobs/sha256%c%s", root, "-:"[i], digest + 7);
        if (stat(path, &st) == 0) return path;
        free(path);
    }
    *why = stores_text("%s/blobs/sha256-%s: %s", root, digest + 7, strerror(errno));
    return NULL;
}

void *stores_ollama_manifest(const char *path, char **why)
{
    size_t len;
    char *text = stores_read(path, MANIFEST_BYTES, &len, why);
    json_t *root;
    json_error_t e;

    if (text == NULL) return NULL;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    free(text);
    if (root == NULL) *why = stores_text("%s:%d:%d: %s", path, e.line, e.column, e.text);
    else if (!json_is_array(json_object_get(root, "layers"))) {
        *why = stores_text("%s: has no list \"layers\"", path);
        json_decref(root), root = NULL;
    }
    return root;
}

/* The one layer of weights; NULL: *why. */
static json_t *model_layer(const json_t *manifest, const char *path, char **why)
{
    json_t *layer, *found = NULL;
    size_t i;

    json_array_foreach(json_object_get(manifest, "layers"), i, layer) {
        const char *media = json_string_value(json_object_get(layer, "mediaType"));
        if (media == NULL) continue;
        if (strcmp(media, MEDIA "adapter") == 0) {
            *why = stores_text("%s: has an adapter beside its weights, which is not supported", path);
            return NULL;
        }
        if (strcmp(media, MEDIA "model") != 0) continue;
        if (found != NULL) {
            *why = stores_text("%s: has weights in several layers, which is not supported", path);
            return NULL;
        }
        found = layer;
    }
    if (found == NULL) *why = stores_text("%s: has no layer of GGUF weights (" MEDIA "model)", path);
    return found;
}

/* Path and size of the weights; NULL: *why. */
static char *weights_of(const char *root, const char *path, uint64_t *bytes, char **why)
{
    json_t *manifest = stores_ollama_manifest(path, why), *layer = manifest ? model_layer(manifest, path, why) : NULL, *size;
    const char *digest = json_string_value(json_object_get(layer, "digest"));
    char *blob = NULL, *inner = NULL;
    struct stat st;

    if (layer != NULL && digest == NULL) *why = stores_text("%s: the layer of weights has no digest", path);
    if (digest != NULL && (blob = stores_ollama_blob(root, digest, &inner)) == NULL) *why = stores_text("%s: %s", path, inner);
    size = json_object_get(layer, "size");
    if (blob != NULL && stat(blob, &st) == 0) {
        *bytes = (uint64_t)st.st_size;
        if (json_is_integer(size) && json_integer_value(size) != (json_int_t)st.st_size) {
            *why = stores_text("%s: has %jd bytes, its manifest says %lld: the download is not complete", blob, (intmax_t)st.st_size,
                               (long long)json_integer_value(size));
            free(blob), blob = NULL;
        }
    }
    free(inner);
    json_decref(manifest);
    return blob;
}

/* part: host, namespace, name, tag */
static void add_manifest(store_list *list, const store_query *q, const char *root, const char *path, char *const part[LEVELS])
{
    bool library = strcmp(part[1], "library") == 0;
    char *name = library ? stores_text("%s", part[2]) : stores_text("%s/%s", part[1], part[2]);
    char *full = stores_text("%s/%s/%s", part[0], part[1], part[2]), *longer = stores_text("%s/%s", part[1], part[2]);

    if (q->name == NULL || strcasecmp(q->name, name) == 0 || strcasecmp(q->name, full) == 0 || strcasecmp(q->name, longer) == 0) {
        store_entry *e = stores_add(list, PLACE_OLLAMA, name, part[3]);
        free(e->full);
        e->full = full, full = NULL;
        e->manifest = stores_text("%s", path);
        e->path = weights_of(root, path, &e->bytes, &e->fault);
    }
    free(name), free(full), free(longer);
}

static void walk(store_list *list, const store_query *q, const char *root, const char *dir, char *part[LEVELS], int level, int *count)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d)) != NULL && *count < MAX_MANIFESTS) {
        char *path;
        if (e->d_name[0] == '.') continue;
        ++*count;
        path = stores_text("%s/%s", dir, e->d_name);
        part[level] = e->d_name;
        if (level + 1 < LEVELS) walk(list, q, root, path, part, level + 1, count);
        else if (!stores_is_dir(path)) add_manifest(list, q, root, path, part);
        free(path);
    }
    if (d) closedir(d);
}

static void search_root(store_list *list, const store_query *q, const char *root)
{
    char *dir = stores_text("%s/manifests", root), *part[LEVELS];
    int count = 0;

    stores_look(list, PLACE_OLLAMA, root);
    walk(list, q, root, dir, part, 0, &count);
    free(dir);
}

void stores_ollama(store_list *list, const store_query *q)
{
    const char *set = getenv("OLLAMA_MODELS"), *home = getenv("HOME");
    char *own;

    if (set && *set) { search_root(list, q, set); return; }
    if (home && *home) {
        own = stores_text("%s/.ollama/models", home);
        search_root(list, q, own);
        free(own);
    }
    search_root(list, q, "/usr/share/ollama/.ollama/models");
}
