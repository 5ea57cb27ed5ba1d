#include "meta.h"
#include "json.h"
#include "meta_chat.h"
#include "store_parts.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A found value of either format. */
typedef struct { const gguf_kv *kv; json_t *json; } item;

/* One scalar of it. */
typedef enum { VAL_INT, VAL_BIG, VAL_REAL, VAL_BOOL, VAL_TEXT, VAL_OTHER } value_kind;
typedef struct {
    value_kind kind;
    int64_t i;                          /* VAL_INT, VAL_BOOL */
    double f;                           /* VAL_REAL */
    const char *s;                      /* VAL_TEXT [len] */
    size_t len;
} value;

typedef struct { const char *key; item it; } pair;

struct llm_meta {
    llm_store *store;
    const gguf *g;                      /* NULL: safetensors */
    json_t *config, *text, *generation, *tokenizer;     /* objects or NULL; text is part of config */
    const char *arch;
    pair *pair;                         /* [n_pair] for meta_at */
    size_t n_pair, cap_pair;
    name_pool pool;
    llm_error error;                    /* the first one */
};

/* ---- looking up ------------------------------------------------------------- */

/* Follows path, with dots between levels, from object root; NULL: not there, or null. */
static json_t *follow(json_t *root, const char *path)
{
    char name[256];

    while (root) {
        size_t len = strcspn(path, ".");
        if (len >= sizeof name || !json_is_object(root)) return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        root = json_object_get(root, name);
        if (path[len] == '\0') return json_is_null(root) ? NULL : root;
        path += len + 1;
    }
    return NULL;
}

/* AddedToken objects of tokenizer_config.json stand for their content. */
static json_t *added_token(json_t *j)
{
    json_t *content = json_object_get(j, "content");
    return json_is_string(content) ? content : j;
}

static json_t *find_json(const llm_meta *m, const char *path)
{
    json_t *j;

    if (strncmp(path, "generation:", 11) == 0) return follow(m->generation, path + 11);
    if (strncmp(path, "tokenizer:", 10) == 0) return added_token(follow(m->tokenizer, path + 10));
    j = follow(m->text, path);
    return j ? j : follow(m->config, path);
}

static const gguf_kv *find_kv(const llm_meta *m, const char *key)
{
    char full[512];
    int n;

    if (strncmp(key, "general.", 8) == 0 || strncmp(key, "tokenizer.", 10) == 0 || strncmp(key, "split.", 6) == 0)
        return gguf_find(m->g, key);
    n = snprintf(full, sizeof full, "%s.%s", m->arch, key);
    return n > 0 && (size_t)n < sizeof full ? gguf_find(m->g, full) : NULL;
}

static bool find(const llm_meta *m, const char *gguf_key, const char *hf_path, item *it)
{
    *it = (item){ 0 };
    if (m->g) it->kv = gguf_key ? find_kv(m, gguf_key) : NULL;
    else it->json = hf_path ? find_json(m, hf_path) : NULL;
    return it->kv || it->json;
}

static bool is_array(const item *it) { return it->kv ? it->kv->array : json_is_array(it->json); }
static size_t item_count(const item *it) { return it->kv ? it->kv->count : is_array(it) ? json_array_size(it->json) : 1; }

static value json_value(const json_t *j)
{
    switch (j ? json_typeof(j) : JSON_NULL) {
    case JSON_INTEGER: return (value){ .kind = VAL_INT, .i = json_integer_value(j) };
    case JSON_REAL: return (value){ .kind = VAL_REAL, .f = json_real_value(j) };
    case JSON_TRUE: return (value){ .kind = VAL_BOOL, .i = 1 };
    case JSON_FALSE: return (value){ .kind = VAL_BOOL };
    case JSON_STRING: return (value){ .kind = VAL_TEXT, .s = json_string_value(j), .len = json_string_length(j) };
    default: return (value){ .kind = VAL_OTHER };
    }
}

static value kv_value(const llm_meta *m, const gguf_kv *kv, size_t i)
{
    value v = { .kind = VAL_OTHER };

    if (gguf_string(m->g, kv, i, &v.s, &v.len)) v.kind = VAL_TEXT;
    else if (gguf_real(kv, i, &v.f)) v.kind = VAL_REAL;
    else if (kv->type == GGUF_BOOL && i < kv->count) v.kind = VAL_BOOL, v.i = kv->data[i];
    else if (gguf_int(kv, i, &v.i)) v.kind = VAL_INT;
    else if (kv->type == GGUF_U64) v.kind = VAL_BIG;
    return v;
}

static value item_at(const llm_meta *m, const item *it, size_t i)
{
    if (it->kv) return kv_value(m, it->kv, i);
    return json_value(is_array(it) ? json_array_get(it->json, i) : it->json);
}

/* ---- text form ------------------------------------------------------------------ */

/* Collects text like snprintf: what fits is kept, all of it is counted. */
typedef struct { char *buf; size_t cap, n; } writer;

static void put(writer *w, const char *s, size_t len)
{
    for (size_t i = 0; i < len && w->n + i + 1 < w->cap; i++) w->buf[w->n + i] = s[i];
    w->n += len;
}

static int put_chunk(const char *s, size_t len, void *w)
{
    put(w, s, len);
    return 0;
}

/* The fewest of 6, 9 or 17 digits that give the number again. */
static void print_real(char *text, size_t cap, double f)
{
    static const int digits[] = { 6, 9, 17 };
    bool single = fabs(f) <= FLT_MAX && (double)(float)f == f;

    for (size_t i = 0; i < sizeof digits / sizeof digits[0]; i++) {
        snprintf(text, cap, "%.*g", digits[i], f);
        if (single ? strtof(text, NULL) == (float)f : strtod(text, NULL) == f) return;
    }
}

static void put_value(writer *w, const value *v)
{
    char text[64] = "";

    switch (v->kind) {
    case VAL_TEXT: put(w, v->s, v->len); return;
    case VAL_INT: snprintf(text, sizeof text, "%" PRId64, v->i); break;
    case VAL_REAL: print_real(text, sizeof text, v->f); break;
    case VAL_BOOL: snprintf(text, sizeof text, "%s", v->i ? "true" : "false"); break;
    case VAL_BIG: snprintf(text, sizeof text, "above 2^63"); break;
    case VAL_OTHER: snprintf(text, sizeof text, "..."); break;
    }
    put(w, text, strlen(text));
}

/* Arrays as "[a, b, c]"; JSON below the first level as JSON. */
static void put_item(const llm_meta *m, writer *w, const item *it)
{
    size_t n = item_count(it);
    bool list = is_array(it);

    if (list) put(w, "[", 1);
    for (size_t i = 0; i < n; i++) {
        value v = item_at(m, it, i);
        json_t *j = it->kv ? NULL : list ? json_array_get(it->json, i) : it->json;
        if (i) put(w, ", ", 2);
        if (v.kind == VAL_OTHER && j) json_dump_callback(j, put_chunk, w, JSON_ENCODE_ANY | JSON_COMPACT);
        else put_value(w, &v);
    }
    if (list) put(w, "]", 1);
}

static void finish(writer *w)
{
    if (w->cap) w->buf[w->n < w->cap ? w->n : w->cap - 1] = '\0';
}

/* ---- errors --------------------------------------------------------------------------- */

static const char *file_of(const llm_meta *m, const char *hf_path)
{
    if (m->g) return file_label(store_file_name(m->store, 0));
    if (strncmp(hf_path, "generation:", 11) == 0) return "generation_config.json";
    if (strncmp(hf_path, "tokenizer:", 10) == 0) return "tokenizer_config.json";
    return "config.json";
}

/* Keeps the first error. i: which element; got: the value it has. Always false. */
static bool fail(llm_meta *m, const char *gguf_key, const char *hf_path, size_t i, const value *got, const char *wanted)
{
    static const char *const kinds[] = { "integer ", "integer ", "number ", "bool ", "text '", "a list or object" };
    char text[48], place[32] = "";
    writer w = { text, sizeof text, 0 };

    if (m->error.status != LLM_OK) return false;
    if (got->kind != VAL_OTHER) put_value(&w, got);
    for (size_t k = 0; k < w.n && k < sizeof text; k++)
        if (text[k] == '\0') text[k] = '?';
    finish(&w);
    if (i > 0) snprintf(place, sizeof place, "[%zu]", i);
    llm_fail(&m->error, LLM_ERR_FORMAT, "%s: key '%.100s'%s: got %s%s%s, wanted %s", file_of(m, hf_path), m->g ? gguf_key : hf_path,
             place, kinds[got->kind], text, got->kind == VAL_TEXT ? "'" : "", wanted);
    return false;
}

static bool fail_list(llm_meta *m, const char *gguf_key, const char *hf_path, const char *wanted)
{
    if (m->error.status == LLM_OK)
        llm_fail(&m->error, LLM_ERR_FORMAT, "%s: key '%.100s': got a list, wanted %s", file_of(m, hf_path), m->g ? gguf_key : hf_path, wanted);
    return false;
}

llm_status meta_error(const llm_meta *m, llm_error *err)
{
    if (m->error.status != LLM_OK && err) *err = m->error;
    return m->error.status;
}

/* ---- accessors -------------------------------------------------------------------------- */

static bool to_int(const value *v, int *out)
{
    if (v->kind != VAL_INT || v->i < INT32_MIN || v->i > INT32_MAX) return false;
    *out = (int)v->i;
    return true;
}

static bool to_f32(const value *v, float *out)
{
    double f = v->kind == VAL_INT ? (double)v->i : v->kind == VAL_REAL ? v->f : NAN;

    if (!(fabs(f) <= FLT_MAX)) return false;            /* NaN is refused too */
    *out = v->kind == VAL_INT ? (float)v->i : (float)f;
    return true;
}

/* The one scalar of a key; false: absent, or a list (which sticks). */
static bool scalar(llm_meta *m, const char *gk, const char *hp, value *v, const char *wanted)
{
    item it;

    if (!find(m, gk, hp, &it)) return false;
    if (is_array(&it)) return fail_list(m, gk, hp, wanted);
    *v = item_at(m, &it, 0);
    return true;
}

bool meta_int(llm_meta *m, const char *gk, const char *hp, int *out)
{
    static const char *const wanted = "an integer from -2^31 to 2^31-1";
    value v;

    if (!scalar(m, gk, hp, &v, wanted)) return false;
    return to_int(&v, out) || fail(m, gk, hp, 0, &v, wanted);
}

bool meta_f32(llm_meta *m, const char *gk, const char *hp, float *out)
{
    static const char *const wanted = "a finite number";
    value v;

    if (!scalar(m, gk, hp, &v, wanted)) return false;
    return to_f32(&v, out) || fail(m, gk, hp, 0, &v, wanted);
}

bool meta_bool(llm_meta *m, const char *gk, const char *hp, bool *out)
{
    value v;

    if (!scalar(m, gk, hp, &v, "a bool")) return false;
    if (v.kind != VAL_BOOL) return fail(m, gk, hp, 0, &v, "a bool");
    *out = v.i != 0;
    return true;
}

bool meta_str(llm_meta *m, const char *gk, const char *hp, const char **out)
{
    static const char *const wanted = "UTF-8 text without NUL";
    const char *copy;
    value v;

    if (!scalar(m, gk, hp, &v, wanted)) return false;
    if (v.kind != VAL_TEXT || (v.len && memchr(v.s, 0, v.len)) || !utf8_valid(v.s, v.len)) return fail(m, gk, hp, 0, &v, wanted);
    copy = m->g ? name_pool_add(&m->pool, v.s, v.len) : v.s;
    if (copy == NULL) {
        if (m->error.status == LLM_OK) llm_fail_memory(&m->error, v.len, "a metadata text");
        return false;
    }
    *out = copy;
    return true;
}

bool meta_ints(llm_meta *m, const char *gk, const char *hp, int *out, size_t cap, size_t *n)
{
    item it;

    if (!find(m, gk, hp, &it)) return false;
    for (size_t i = 0, count = item_count(&it); i < count; i++) {
        value v = item_at(m, &it, i);
        int x;
        if (v.kind == VAL_BOOL) v.kind = VAL_INT;
        if (!to_int(&v, &x)) return fail(m, gk, hp, i, &v, "an integer from -2^31 to 2^31-1");
        if (i < cap) out[i] = x;
    }
    *n = item_count(&it);
    return true;
}

bool meta_f32s(llm_meta *m, const char *gk, const char *hp, float *out, size_t cap, size_t *n)
{
    item it;

    if (!find(m, gk, hp, &it)) return false;
    for (size_t i = 0, count = item_count(&it); i < count; i++) {
        value v = item_at(m, &it, i);
        float x;
        if (!to_f32(&v, &x)) return fail(m, gk, hp, i, &v, "a finite number");
        if (i < cap) out[i] = x;
    }
    *n = item_count(&it);
    return true;
}

bool meta_strs(llm_meta *m, const char *gk, const char *hp, size_t *n)
{
    item it;

    if (!find(m, gk, hp, &it)) return false;
    for (size_t i = 0, count = item_count(&it); i < count; i++) {
        value v = item_at(m, &it, i);
        if (v.kind != VAL_TEXT) return fail(m, gk, hp, i, &v, "text");
        if (it.kv) break;                               /* all elements of a GGUF array have one type */
    }
    if (it.kv && it.kv->type != GGUF_STRING) return fail_list(m, gk, hp, "a list of texts");
    *n = item_count(&it);
    return true;
}

bool meta_str_at(llm_meta *m, const char *gk, const char *hp, size_t i, const char **s, size_t *len)
{
    item it;
    value v;

    if (!find(m, gk, hp, &it) || i >= item_count(&it)) return false;
    v = item_at(m, &it, i);
    if (v.kind != VAL_TEXT) return fail(m, gk, hp, i, &v, "text");
    *s = v.s, *len = v.len;
    return true;
}

size_t meta_strs_at(llm_meta *m, const char *gk, const char *hp, size_t i, const char **s, size_t *len, size_t cap)
{
    item it;
    size_t n = 0, count;

    if (!find(m, gk, hp, &it)) return 0;
    for (count = item_count(&it); n < cap && i + n < count; n++) {
        value v = item_at(m, &it, i + n);

        if (v.kind != VAL_TEXT) return fail(m, gk, hp, i + n, &v, "text"), 0;
        s[n] = v.s, len[n] = v.len;
    }
    return n;
}

void meta_release(const llm_meta *m, const char *gk)
{
    item it;

    if (m->g && find(m, gk, NULL, &it) && it.kv->array) store_release(m->store, it.kv->data, it.kv->bytes);
}

bool meta_has(llm_meta *m, const char *gk, const char *hp)
{
    item it;
    return find(m, gk, hp, &it);
}

bool meta_at(llm_meta *m, size_t index, const char **key, char *text, size_t cap, size_t *n)
{
    writer w = { text, cap, 0 };
    item it = { 0 };

    if (m->g) {
        const gguf_kv *kv = gguf_kv_at(m->g, index);
        if (kv == NULL) return false;
        *key = kv->key, it.kv = kv;
    }
    else {
        if (index >= m->n_pair) return false;
        *key = m->pair[index].key, it = m->pair[index].it;
    }
    put_item(m, &w, &it);
    finish(&w);
    *n = w.n;
    return true;
}

/* ---- opening -------------------------------------------------------------------------------- */

static llm_status add_pair(llm_meta *m, const char *key, json_t *j, llm_error *err)
{
    if (m->n_pair == m->cap_pair) {
        size_t cap = m->cap_pair ? 2 * m->cap_pair : 64;
        pair *p = realloc(m->pair, cap * sizeof *p);
        if (p == NULL) return llm_fail_memory(err, cap * sizeof *p, "metadata");
        m->pair = p, m->cap_pair = cap;
    }
    if ((key = name_pool_add(&m->pool, key, strlen(key))) == NULL) return llm_fail_memory(err, 256, "a metadata key");
    m->pair[m->n_pair++] = (pair){ key, { .json = j } };
    return LLM_OK;
}

/* Every value below object j that is not an object itself, under its dotted path. Keys too long for a path are left out. */
static llm_status list_pairs(llm_meta *m, json_t *j, const char *prefix, llm_error *err)
{
    char path[512];
    const char *key;
    json_t *v;
    llm_status s = LLM_OK;

    json_object_foreach(j, key, v) {
        int n = snprintf(path, sizeof path, "%s%s", prefix, key);
        if (n < 0 || (size_t)n + 2 > sizeof path) continue;
        if (!json_is_object(v)) s = add_pair(m, path, v, err);
        else {
            memcpy(path + n, ".", 2);
            s = list_pairs(m, v, path, err);
        }
        if (s != LLM_OK) return s;
    }
    return s;
}

/* One of the JSON files beside the weights; *out stays NULL where it is absent. */
static llm_status read_object(llm_meta *m, json_t **out, const char *name, llm_error *err)
{
    char *path = file_join(store_dir(m->store), name);
    llm_status s = LLM_OK;

    if (path == NULL) return llm_fail_memory(err, 256, "a path");
    if (file_exists(path)) s = json_read_file(out, path, JSON_MAX_BYTES, err);
    if (s == LLM_OK && *out && !json_is_object(*out)) s = llm_fail(err, LLM_ERR_FORMAT, "%s: wanted an object", file_label(path));
    free(path);
    return s;
}

static llm_status open_hf(llm_meta *m, llm_error *err)
{
    llm_status s;

    if ((s = read_object(m, &m->config, "config.json", err)) != LLM_OK) return s;
    if ((s = read_object(m, &m->generation, "generation_config.json", err)) != LLM_OK) return s;
    if ((s = read_object(m, &m->tokenizer, "tokenizer_config.json", err)) != LLM_OK) return s;
    if ((s = meta_chat_templates(&m->tokenizer, store_dir(m->store), err)) != LLM_OK) return s;
    if (m->config == NULL && !m->store->vocab_only)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: has no config.json", file_label(store_dir(m->store)));
    m->text = json_object_get(m->config, "text_config");
    if (m->text && !json_is_object(m->text)) {
        if (!json_is_null(m->text)) return llm_fail(err, LLM_ERR_FORMAT, "config.json: key 'text_config': wanted an object");
        m->text = NULL;
    }
    if ((s = list_pairs(m, m->config, "", err)) != LLM_OK) return s;
    if ((s = list_pairs(m, m->generation, "generation:", err)) != LLM_OK) return s;
    if ((s = list_pairs(m, m->tokenizer, "tokenizer:", err)) != LLM_OK) return s;
    meta_str(m, NULL, "model_type", &m->arch);
    return meta_error(m, err);
}

static llm_status open_gguf(llm_meta *m, llm_error *err)
{
    m->g = m->store->gguf[0];
    if (!meta_str(m, "general.architecture", NULL, &m->arch) && m->error.status == LLM_OK)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: has no key 'general.architecture'", file_label(store_file_name(m->store, 0)));
    return meta_error(m, err);
}

llm_status meta_open(llm_meta **out, llm_store *s, llm_error *err)
{
    llm_meta *m = calloc(1, sizeof *m);
    llm_status status;

    *out = NULL;
    if (m == NULL) return llm_fail_memory(err, sizeof *m, "metadata");
    m->store = s, m->arch = "";
    status = store_kind(s) == STORE_GGUF ? open_gguf(m, err) : open_hf(m, err);
    if (status != LLM_OK) {
        meta_close(m);
        return status;
    }
    *out = m;
    return LLM_OK;
}

void meta_close(llm_meta *m)
{
    if (m == NULL) return;
    json_decref(m->config);
    json_decref(m->generation);
    json_decref(m->tokenizer);
    free(m->pair);
    name_pool_close(&m->pool);
    free(m);
}

llm_store_kind meta_kind(const llm_meta *m) { return store_kind(m->store); }
const char *meta_arch(const llm_meta *m) { return m->arch; }
