#include "safetensors.h"
#include "file.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *data;                /* the buffer behind the header */
    size_t size;
    int file;
    const char *label;
    llm_error *err;
} reader;

/* A JSON integer that is not negative. */
static bool get_size(const json_t *j, size_t *out)
{
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *out = (size_t)json_integer_value(j);
    return true;
}

static llm_status get_dtype(const reader *r, const char *name, const json_t *j, llm_dtype *out)
{
    static const struct { const char *name; llm_dtype dtype; } known[] = {
        { "F64", DT_F64 }, { "F32", DT_F32 }, { "F16", DT_F16 }, { "BF16", DT_BF16 },
        { "F8_E4M3", DT_F8_E4M3 }, { "F8_E5M2", DT_F8_E5M2 }, { "F8_E8M0", DT_U8 },   /* a bare exponent: read as its byte */
        { "I64", DT_I64 }, { "I32", DT_I32 }, { "I16", DT_I16 }, { "I8", DT_I8 },
        { "U64", DT_U64 }, { "U32", DT_U32 }, { "U16", DT_U16 }, { "U8", DT_U8 }, { "BOOL", DT_BOOL },
    };
    static const char *const others[] = { "C64", "F4", "F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ" };
    const char *got = json_string_value(j);

    if (got == NULL) return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': has no dtype text", r->label, name);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(got, known[i].name) == 0) {
            *out = known[i].dtype;
            return LLM_OK;
        }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(got, others[i]) == 0)
            return llm_fail(r->err, LLM_ERR_UNSUPPORTED, "%s: tensor '%.120s': dtype %s is not supported", r->label, name, got);
    return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got unknown dtype '%.40s'", r->label, name, got);
}

/* More than four dimensions: the innermost are merged into dim[3]. *n: number of values. */
static llm_status get_shape(const reader *r, store_tensor *t, const json_t *j, int64_t *n)
{
    size_t rank = json_array_size(j), d;

    if (!json_is_array(j) || rank > SAFETENSORS_MAX_RANK)
        return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got %s, wanted a shape of at most %d dimensions", r->label, t->name,
                        json_is_array(j) ? "more" : "no list", SAFETENSORS_MAX_RANK);
    *n = 1;
    t->n_dim = rank > 4 ? 4 : (int)rank;
    for (size_t i = 0; i < rank; i++) {
        if (!get_size(json_array_get(j, i), &d))
            return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': dimension %zu is not an integer of 0 or more", r->label, t->name, i);
        if (__builtin_mul_overflow(*n, (int64_t)d, n) || (i > 3 && __builtin_mul_overflow(t->dim[3], (int64_t)d, &t->dim[3])))
            return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': the shape's product does not fit 63 bits", r->label, t->name);
        if (i <= 3) t->dim[i] = (int64_t)d;
    }
    return LLM_OK;
}

static llm_status get_range(const reader *r, store_tensor *t, const json_t *j)
{
    size_t begin, end;

    if (!json_is_array(j) || json_array_size(j) != 2 || !get_size(json_array_get(j, 0), &begin) || !get_size(json_array_get(j, 1), &end))
        return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': data_offsets must be two integers of 0 or more", r->label, t->name);
    if (begin > end || end > r->size)
        return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got data_offsets %zu to %zu, the file has %zu bytes of data",
                        r->label, t->name, begin, end, r->size);
    if (end - begin != t->bytes)
        return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': data_offsets give %zu bytes, its shape and dtype %s take %zu",
                        r->label, t->name, end - begin, dtype_name(t->dtype), t->bytes);
    t->data = r->data + begin;
    return LLM_OK;
}

static llm_status add_tensor(const reader *r, tensor_list *list, const char *name, const json_t *j)
{
    store_tensor t = { .file = r->file };
    int64_t n = 0;
    llm_status s;

    t.name = name_pool_add(&list->text, name, strlen(name));
    if (t.name == NULL) return llm_fail_memory(r->err, strlen(name), "a tensor's name");
    if (!json_is_object(j)) return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': wanted an object", r->label, name);
    if ((s = get_dtype(r, name, json_object_get(j, "dtype"), &t.dtype)) != LLM_OK) return s;
    if ((s = get_shape(r, &t, json_object_get(j, "shape"), &n)) != LLM_OK) return s;
    if (!dtype_bytes(t.dtype, n, &t.bytes))
        return llm_fail(r->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': %" PRId64 " values are too many", r->label, name, n);
    if ((s = get_range(r, &t, json_object_get(j, "data_offsets"))) != LLM_OK) return s;
    list->t[list->n++] = t;
    return LLM_OK;
}

static llm_status check_metadata(const reader *r, json_t *j)
{
    const char *key;
    json_t *value;

    if (!json_is_object(j)) return llm_fail(r->err, LLM_ERR_FORMAT, "%s: __metadata__ is not an object", r->label);
    json_object_foreach(j, key, value)
        if (!json_is_string(value)) return llm_fail(r->err, LLM_ERR_FORMAT, "%s: __metadata__ '%.120s' is not text", r->label, key);
    return LLM_OK;
}

static llm_status add_all(const reader *r, tensor_list *list, json_t *root)
{
    size_t first = list->n;
    const char *name;
    json_t *value;
    llm_status s = tensors_reserve(list, json_object_size(root), r->label, r->err);

    if (s != LLM_OK) return s;
    json_object_foreach(root, name, value) {
        s = strcmp(name, "__metadata__") == 0 ? check_metadata(r, value) : add_tensor(r, list, name, value);
        if (s != LLM_OK) return s;
    }
    return tensors_check_ranges(list, first, r->data, r->size, true, r->label, r->err);
}

llm_status safetensors_parse(tensor_list *list, const uint8_t *data, size_t size, int file, const char *label, llm_error *err)
{
    reader r = { .file = file, .label = label, .err = err };
    uint64_t n;
    json_t *root;
    llm_status s;

    if (size < 8) return llm_fail(err, LLM_ERR_FORMAT, "%s: got %zu bytes, a safetensors file has at least 8", label, size);
    memcpy(&n, data, 8);
    if (n > SAFETENSORS_MAX_HEADER || n > size - 8)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: got a header of %" PRIu64 " bytes, wanted at most %zu: damaged, or not a safetensors file",
                        label, n, size - 8 < SAFETENSORS_MAX_HEADER ? size - 8 : (size_t)SAFETENSORS_MAX_HEADER);
    if (n < 2 || data[8] != '{') return llm_fail(err, LLM_ERR_FORMAT, "%s: the header does not begin with '{'", label);
    r.data = data + 8 + n, r.size = size - 8 - (size_t)n;
    if ((s = json_read_text(&root, (const char *)data + 8, (size_t)n, label, err)) != LLM_OK) return s;
    s = add_all(&r, list, root);
    json_decref(root);
    return s;
}

/* ---- shard index ------------------------------------------------------------ */

/* A name in the model's own folder: nothing that could lead out of it. */
static bool plain_name(const char *s)
{
    size_t n = strlen(s);

    return n > 12 && n < 256 && s[0] != '.' && strpbrk(s, "/\\") == NULL && strcmp(s + n - 12, ".safetensors") == 0;
}

static llm_status add_shard(shard_index *x, const char *tensor, const json_t *value, const char *label, llm_error *err)
{
    const char *shard = json_string_value(value);
    uint32_t i;

    if (shard == NULL || strlen(shard) != json_string_length(value))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: weight_map '%.100s' is not the name of a file", label, tensor);
    if (name_index_find(&x->by_name, shard, &i)) return LLM_OK;
    if (!plain_name(shard))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: weight_map '%.100s': got '%.100s', wanted the name of a .safetensors file in the same folder",
                        label, tensor, shard);
    if (x->n_shard == SAFETENSORS_MAX_SHARDS)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: got more than %d shards", label, SAFETENSORS_MAX_SHARDS);
    x->shard[x->n_shard] = shard;
    if (name_index_add(&x->by_name, shard, (uint32_t)x->n_shard++) == NAME_ADDED) return LLM_OK;
    return llm_fail(err, LLM_ERR_FORMAT, "%s: the shard names were chosen to collide", label);
}

static llm_status take_index(shard_index *x, const char *label, llm_error *err)
{
    const char *tensor;
    json_t *value;
    llm_status s;

    x->map = json_object_get(x->root, "weight_map");
    if (!json_is_object(x->map)) return llm_fail(err, LLM_ERR_FORMAT, "%s: has no object 'weight_map'", label);
    x->shard = calloc(SAFETENSORS_MAX_SHARDS, sizeof *x->shard);
    if (x->shard == NULL || !name_index_open(&x->by_name, SAFETENSORS_MAX_SHARDS))
        return llm_fail_memory(err, SAFETENSORS_MAX_SHARDS * sizeof *x->shard, "the shard index");
    json_object_foreach(x->map, tensor, value)
        if ((s = add_shard(x, tensor, value, label, err)) != LLM_OK) return s;
    return LLM_OK;
}

static llm_status finish_index(shard_index *x, llm_status s, const char *label, llm_error *err)
{
    if (s == LLM_OK) s = take_index(x, label, err);
    if (s != LLM_OK) shard_index_close(x);
    return s;
}

llm_status shard_index_parse(shard_index *x, const char *text, size_t len, const char *label, llm_error *err)
{
    *x = (shard_index){ 0 };
    return finish_index(x, json_read_text(&x->root, text, len, label, err), label, err);
}

llm_status shard_index_read(shard_index *x, const char *path, llm_error *err)
{
    *x = (shard_index){ 0 };
    return finish_index(x, json_read_file(&x->root, path, SAFETENSORS_MAX_HEADER, err), file_label(path), err);
}

void shard_index_close(shard_index *x)
{
    json_decref(x->root);
    free(x->shard);
    name_index_close(&x->by_name);
    *x = (shard_index){ 0 };
}
