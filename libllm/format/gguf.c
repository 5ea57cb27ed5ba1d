#include "gguf.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as they lie in the file");

struct gguf {
    gguf_kv *kv;                        /* [n_kv] */
    size_t n_kv;
    name_pool text;
    name_index index;
    size_t len_bytes;                   /* of a count or a string's length: 4 in version 1, 8 after it */
};

/* What is being read, and where. Every step forward goes through take(). */
typedef struct {
    gguf *g;
    const uint8_t *data;
    size_t pos, size;
    const char *label;
    llm_error *err;
} cursor;

static const char *type_names[] = {
#define X(id, number, bytes) [number] = #id,
    GGUF_TYPE_LIST(X)
#undef X
};
static const uint8_t type_bytes[] = {
#define X(id, number, bytes) [number] = bytes,
    GGUF_TYPE_LIST(X)
#undef X
};

const char *gguf_type_name(gguf_type type)
{
    return (size_t)type < sizeof type_names / sizeof type_names[0] ? type_names[type] : "?";
}

static llm_status take(cursor *c, size_t n, const uint8_t **p, const char *what)
{
    if (n > c->size - c->pos)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: %s at byte %zu needs %zu bytes, the file has %zu left: cut off or damaged",
                        c->label, what, c->pos, n, c->size - c->pos);
    *p = c->data + c->pos;
    c->pos += n;
    return LLM_OK;
}

static llm_status take_u32(cursor *c, uint32_t *out, const char *what)
{
    const uint8_t *p = NULL;
    llm_status s = take(c, 4, &p, what);

    if (s == LLM_OK) memcpy(out, p, 4);
    return s;
}

static llm_status take_u64(cursor *c, uint64_t *out, const char *what)
{
    const uint8_t *p = NULL;
    llm_status s = take(c, 8, &p, what);

    if (s == LLM_OK) memcpy(out, p, 8);
    return s;
}

/* A count or length, whose width depends on the version. */
static llm_status take_len(cursor *c, uint64_t *out, const char *what)
{
    uint32_t small;
    llm_status s;

    if (c->g->len_bytes == 8) return take_u64(c, out, what);
    if ((s = take_u32(c, &small, what)) == LLM_OK) *out = small;
    return s;
}

/* count records of at least min bytes each must fit into what is left: before anything is allocated for them. */
static llm_status check_count(const cursor *c, uint64_t count, size_t min, uint64_t limit, const char *what)
{
    if (count > limit)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: got %" PRIu64 " %s, wanted at most %" PRIu64, c->label, count, what, limit);
    if (count > (c->size - c->pos) / min)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: got %" PRIu64 " %s, but only %zu bytes are left at byte %zu: cut off or damaged",
                        c->label, count, what, c->size - c->pos, c->pos);
    return LLM_OK;
}

static llm_status take_string(cursor *c, const uint8_t **s, size_t *len, const char *what)
{
    uint64_t n;
    llm_status status = take_len(c, &n, what);

    if (status != LLM_OK) return status;
    if (n > c->size - c->pos)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: %s at byte %zu: got a length of %" PRIu64 ", the file has %zu bytes left",
                        c->label, what, c->pos, n, c->size - c->pos);
    *len = (size_t)n;
    return take(c, *len, s, what);
}

/* A key or tensor name: 1..max bytes of UTF-8 without NUL, copied into pool. */
static llm_status take_name(cursor *c, name_pool *pool, size_t max, const char **name, const char *what)
{
    const uint8_t *s;
    size_t len, at = c->pos;
    llm_status status = take_string(c, &s, &len, what);

    if (status != LLM_OK) return status;
    if (len == 0 || len > max)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: %s at byte %zu: got %zu bytes, wanted 1 to %zu", c->label, what, at, len, max);
    if (memchr(s, 0, len) || !utf8_valid((const char *)s, len))
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: %s at byte %zu: '%.*s' is not UTF-8 text without NUL", c->label, what, at,
                        len < 80 ? (int)len : 80, (const char *)s);
    *name = name_pool_add(pool, (const char *)s, len);
    return *name ? LLM_OK : llm_fail_memory(c->err, len, what);
}

/* ---- key-values ---------------------------------------------------------- */

/* Notes where strings of an array begin, not each, for there can be hundreds of thousands. */
static llm_status take_string_array(cursor *c, gguf_kv *kv)
{
    size_t begin = c->pos;
    llm_status s = check_count(c, kv->count, c->g->len_bytes, SIZE_MAX / 16, "strings in an array");

    if (s != LLM_OK) return s;
    kv->at = malloc((kv->count / GGUF_STRIDE + 2) * sizeof *kv->at);
    if (kv->at == NULL) return llm_fail_memory(c->err, (kv->count / GGUF_STRIDE + 2) * sizeof *kv->at, "an array of strings");
    kv->data = c->data + begin;
    for (size_t i = 0; i < kv->count; i++) {
        const uint8_t *text;
        size_t len;
        if (i % GGUF_STRIDE == 0) kv->at[i / GGUF_STRIDE] = c->pos - begin;
        if ((s = take_string(c, &text, &len, "a string of an array")) != LLM_OK) return s;
    }
    kv->bytes = c->pos - begin;
    kv->at[(kv->count + GGUF_STRIDE - 1) / GGUF_STRIDE] = kv->bytes;
    return LLM_OK;
}

static llm_status check_bools(const cursor *c, const gguf_kv *kv)
{
    for (size_t i = 0; i < kv->count; i++)
        if (kv->data[i] > 1)
            return llm_fail(c->err, LLM_ERR_FORMAT, "%s: key '%.120s': got a bool of %d, wanted 0 or 1", c->label, kv->key, kv->data[i]);
    return LLM_OK;
}

/* The numbers of a scalar or an array. */
static llm_status take_numbers(cursor *c, gguf_kv *kv)
{
    size_t one = type_bytes[kv->type];
    llm_status s = check_count(c, kv->count, one, SIZE_MAX / 16, "values in an array");

    if (s != LLM_OK) return s;
    kv->bytes = kv->count * one;
    if ((s = take(c, kv->bytes, &kv->data, "a value")) != LLM_OK) return s;
    return kv->type == GGUF_BOOL ? check_bools(c, kv) : LLM_OK;
}

static llm_status take_type(cursor *c, gguf_kv *kv, bool element)
{
    uint32_t type;
    llm_status s = take_u32(c, &type, "a value's type");

    if (s != LLM_OK) return s;
    if (element && type == GGUF_ARRAY)
        return llm_fail(c->err, LLM_ERR_UNSUPPORTED, "%s: key '%.120s': an array of arrays is not supported", c->label, kv->key);
    if (type > GGUF_F64)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: key '%.120s': got value type %" PRIu32 ", wanted 0 to %d", c->label, kv->key,
                        type, GGUF_F64);
    kv->type = (gguf_type)type;
    return LLM_OK;
}

static llm_status take_kv(cursor *c, gguf_kv *kv)
{
    uint64_t count = 1;
    llm_status s = take_name(c, &c->g->text, GGUF_MAX_KEY, &kv->key, "a key");

    if (s != LLM_OK || (s = take_type(c, kv, false)) != LLM_OK) return s;
    kv->array = kv->type == GGUF_ARRAY;
    if (kv->array) {
        if ((s = take_type(c, kv, true)) != LLM_OK) return s;
        if ((s = take_len(c, &count, "an array's length")) != LLM_OK) return s;
        if ((s = check_count(c, count, 1, SIZE_MAX / 16, "values in an array")) != LLM_OK) return s;
    }
    kv->count = (size_t)count;
    if (kv->type != GGUF_STRING) return take_numbers(c, kv);
    return kv->array ? take_string_array(c, kv) : take_string(c, &kv->data, &kv->bytes, "a string");
}

static llm_status take_kvs(cursor *c, uint64_t n)
{
    gguf *g = c->g;
    llm_status s = check_count(c, n, g->len_bytes + 1 + 4 + 1, GGUF_MAX_KV, "keys");

    if (s != LLM_OK) return s;
    if ((g->kv = calloc((size_t)n + 1, sizeof *g->kv)) == NULL) return llm_fail_memory(c->err, (size_t)n * sizeof *g->kv, "keys");
    if (!name_index_open(&g->index, (size_t)n)) return llm_fail_memory(c->err, (size_t)n * sizeof(name_slot), "keys");
    while (g->n_kv < n) {
        gguf_kv *kv = &g->kv[g->n_kv++];
        if ((s = take_kv(c, kv)) != LLM_OK) return s;
        switch (name_index_add(&g->index, kv->key, (uint32_t)(g->n_kv - 1))) {
        case NAME_ADDED: break;
        case NAME_TWICE: return llm_fail(c->err, LLM_ERR_FORMAT, "%s: key '%.120s' appears twice", c->label, kv->key);
        case NAME_CROWDED: return llm_fail(c->err, LLM_ERR_FORMAT, "%s: the keys were chosen to collide", c->label);
        }
    }
    return LLM_OK;
}

/* ---- tensors ------------------------------------------------------------- */

static llm_status find_alignment(const cursor *c, size_t *out)
{
    const gguf_kv *kv = gguf_find(c->g, "general.alignment");
    uint32_t a;

    *out = 32;
    if (kv == NULL) return LLM_OK;
    if (kv->array || kv->type != GGUF_U32)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: key 'general.alignment': got %s%s, wanted U32", c->label,
                        kv->array ? "an array of " : "", gguf_type_name(kv->type));
    memcpy(&a, kv->data, 4);
    if (a < 8 || a > GGUF_MAX_ALIGN || (a & (a - 1)))
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: key 'general.alignment': got %" PRIu32 ", wanted a power of two from 8 to %d",
                        c->label, a, GGUF_MAX_ALIGN);
    *out = a;
    return LLM_OK;
}

/* Dimensions come innermost first and are turned round; *n is their product. */
static llm_status take_dims(cursor *c, store_tensor *t, int64_t *n)
{
    uint32_t n_dim;
    llm_status s = take_u32(c, &n_dim, "a tensor's number of dimensions");

    if (s != LLM_OK) return s;
    if (n_dim > 4)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got %" PRIu32 " dimensions, wanted at most 4", c->label,
                        t->name, n_dim);
    t->n_dim = (int)n_dim, *n = 1;
    for (int i = t->n_dim - 1; i >= 0; i--) {
        uint64_t d;
        if ((s = take_len(c, &d, "a dimension")) != LLM_OK) return s;
        if (d == 0 || d > INT64_MAX || __builtin_mul_overflow(*n, (int64_t)d, n))
            return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got dimension %d of %" PRIu64
                            ", wanted at least 1 and a product below 2^63", c->label, t->name, t->n_dim - 1 - i, d);
        t->dim[i] = (int64_t)d;
    }
    return LLM_OK;
}

/* Types that exist or existed, but that this build does not read. */
static llm_status fail_type(const cursor *c, const char *name, uint32_t type)
{
    static const struct { uint32_t type; const char *name; llm_status status; } known[] = {
        { 4, "Q4_2, removed in 2023", LLM_ERR_FORMAT }, { 5, "Q4_3, removed in 2023", LLM_ERR_FORMAT },
        { 9, "Q8_1, never stored", LLM_ERR_FORMAT },
        { 31, "Q4_0_4_4, removed: convert to Q4_0", LLM_ERR_UNSUPPORTED }, { 32, "Q4_0_4_8, removed: convert to Q4_0", LLM_ERR_UNSUPPORTED },
        { 33, "Q4_0_8_8, removed: convert to Q4_0", LLM_ERR_UNSUPPORTED }, { 36, "IQ4_NL_4_4, removed", LLM_ERR_UNSUPPORTED },
        { 37, "IQ4_NL_4_8, removed", LLM_ERR_UNSUPPORTED }, { 38, "IQ4_NL_8_8, removed", LLM_ERR_UNSUPPORTED },
        { 40, "NVFP4", LLM_ERR_UNSUPPORTED }, { 41, "Q1_0", LLM_ERR_UNSUPPORTED }, { 42, "Q2_0", LLM_ERR_UNSUPPORTED },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].type == type)
            return llm_fail(c->err, known[i].status, "%s: tensor '%.120s': type %" PRIu32 " (%s) cannot be read", c->label, name,
                            type, known[i].name);
    return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got unknown type %" PRIu32, c->label, name, type);
}

/* One record; offset is left in *offset until the start of the data is known. */
static llm_status take_tensor(cursor *c, tensor_list *list, store_tensor *t, size_t align, uint64_t *offset)
{
    uint32_t type;
    int64_t n = 0;
    const llm_dtype_info *info;
    llm_status s = take_name(c, &list->text, GGUF_MAX_NAME, &t->name, "a tensor's name");

    if (s != LLM_OK || (s = take_dims(c, t, &n)) != LLM_OK || (s = take_u32(c, &type, "a tensor's type")) != LLM_OK) return s;
    info = type < 64 ? dtype_info((int)type) : NULL;            /* from 64 on the numbers are our own */
    if (info == NULL) return fail_type(c, t->name, type);
    t->dtype = info->dtype;
    if ((t->n_dim ? t->dim[t->n_dim - 1] : 1) % info->block != 0)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got rows of %" PRId64 " values, %s wants a multiple of %d",
                        c->label, t->name, t->n_dim ? t->dim[t->n_dim - 1] : 1, info->name, info->block);
    if (!dtype_bytes(t->dtype, n, &t->bytes))
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': %" PRId64 " values of %s are too many", c->label, t->name, n, info->name);
    if ((s = take_u64(c, offset, "a tensor's offset")) != LLM_OK) return s;
    if (*offset % align != 0)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s': got offset %" PRIu64 ", wanted a multiple of %zu", c->label,
                        t->name, *offset, align);
    return LLM_OK;
}

/* The offsets [n] of the tensors from first on become places in the file. */
static llm_status place_tensors(cursor *c, tensor_list *list, size_t first, const uint64_t *offset, size_t align)
{
    size_t start;

    if (list->n == first) return LLM_OK;                /* no tensors: no data section, no padding */
    if (!ck_align(c->pos, align, &start) || start > c->size)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: the data begins behind the end of the file (%zu bytes): cut off", c->label, c->size);
    for (size_t i = first; i < list->n; i++) {
        store_tensor *t = &list->t[i];
        uint64_t at = offset[i - first];
        if (at > c->size - start || t->bytes > c->size - start - at)
            return llm_fail(c->err, LLM_ERR_FORMAT, "%s: tensor '%.120s' needs bytes %" PRIu64 " to +%zu of the data, the file has %zu: cut off or damaged",
                            c->label, t->name, at, t->bytes, c->size - start);
        t->data = c->data + start + at;
    }
    return tensors_check_ranges(list, first, c->data + start, c->size - start, false, c->label, c->err);
}

static llm_status take_tensors(cursor *c, tensor_list *list, uint64_t n, int file)
{
    size_t align, first = list->n;
    uint64_t *offset;
    llm_status s = check_count(c, n, c->g->len_bytes == 8 ? 25 : 21, TENSORS_MAX, "tensors");

    if (s != LLM_OK || (s = find_alignment(c, &align)) != LLM_OK || (s = tensors_reserve(list, (size_t)n, c->label, c->err)) != LLM_OK) return s;
    if ((offset = malloc(((size_t)n + 1) * sizeof *offset)) == NULL)
        return llm_fail_memory(c->err, (size_t)n * sizeof *offset, "tensor offsets");
    for (size_t i = 0; i < n && s == LLM_OK; i++) {
        store_tensor *t = &list->t[list->n];
        *t = (store_tensor){ .file = file };
        s = take_tensor(c, list, t, align, &offset[i]);
        if (s == LLM_OK) list->n++;
    }
    if (s == LLM_OK) s = place_tensors(c, list, first, offset, align);
    free(offset);
    return s;
}

/* ---- the whole ------------------------------------------------------------ */

static llm_status take_header(cursor *c, uint64_t *n_tensor, uint64_t *n_kv)
{
    const uint8_t *magic;
    uint32_t version;
    llm_status s;

    if (c->size == 0) return llm_fail(c->err, LLM_ERR_FORMAT, "%s: the file is empty", c->label);
    if (c->size < 4 || (s = take(c, 4, &magic, "the magic")) != LLM_OK || memcmp(magic, "GGUF", 4) != 0)
        return llm_fail(c->err, LLM_ERR_FORMAT, "%s: not a GGUF file: it does not begin with \"GGUF\"", c->label);
    if ((s = take_u32(c, &version, "the version")) != LLM_OK) return s;
    if (version != 0 && (version & 0xffff) == 0)
        return llm_fail(c->err, LLM_ERR_UNSUPPORTED, "%s: a big-endian GGUF file; this build reads little-endian ones", c->label);
    if (version < 1 || version > 3)
        return llm_fail(c->err, version ? LLM_ERR_UNSUPPORTED : LLM_ERR_FORMAT, "%s: got GGUF version %" PRIu32 ", wanted 1, 2 or 3",
                        c->label, version);
    c->g->len_bytes = version == 1 ? 4 : 8;
    if ((s = take_len(c, n_tensor, "the number of tensors")) != LLM_OK) return s;
    return take_len(c, n_kv, "the number of keys");
}

llm_status gguf_parse(gguf **out, tensor_list *list, const uint8_t *data, size_t size, int file, const char *label, llm_error *err)
{
    cursor c = { .data = data, .size = size, .label = label, .err = err };
    uint64_t n_tensor, n_kv;
    llm_status s;

    *out = NULL;
    if ((c.g = calloc(1, sizeof *c.g)) == NULL) return llm_fail_memory(err, sizeof *c.g, "a GGUF file");
    if ((s = take_header(&c, &n_tensor, &n_kv)) != LLM_OK || (s = take_kvs(&c, n_kv)) != LLM_OK
        || (s = take_tensors(&c, list, n_tensor, file)) != LLM_OK) {
        gguf_close(c.g);
        return s;
    }
    *out = c.g;
    return LLM_OK;
}

void gguf_close(gguf *g)
{
    if (g == NULL) return;
    for (size_t i = 0; i < g->n_kv; i++) free(g->kv[i].at);
    free(g->kv);
    name_pool_close(&g->text);
    name_index_close(&g->index);
    free(g);
}

size_t gguf_n_kv(const gguf *g) { return g->n_kv; }
const gguf_kv *gguf_kv_at(const gguf *g, size_t i) { return i < g->n_kv ? &g->kv[i] : NULL; }

const gguf_kv *gguf_find(const gguf *g, const char *key)
{
    uint32_t i;
    return name_index_find(&g->index, key, &i) ? &g->kv[i] : NULL;
}

static size_t len_at(const gguf *g, const uint8_t *p)
{
    uint64_t n = 0;

    memcpy(&n, p, g->len_bytes);
    return n > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)n;
}

/* The file may have been written to since: lengths are held against the table. */
bool gguf_string(const gguf *g, const gguf_kv *kv, size_t i, const char **s, size_t *len)
{
    size_t at, end;

    if (kv->type != GGUF_STRING || i >= kv->count) return false;
    if (kv->at == NULL) {
        *s = (const char *)kv->data, *len = kv->bytes;
        return true;
    }
    at = kv->at[i / GGUF_STRIDE], end = kv->at[i / GGUF_STRIDE + 1];
    for (size_t k = i / GGUF_STRIDE * GGUF_STRIDE;; k++) {
        if (end - at < g->len_bytes) return false;
        *len = len_at(g, kv->data + at), at += g->len_bytes;
        if (*len > end - at) return false;
        if (k == i) return *s = (const char *)kv->data + at, true;
        at += *len;
    }
}

bool gguf_int(const gguf_kv *kv, size_t i, int64_t *out)
{
    union { uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; uint64_t u64; int64_t i64; } v;
    size_t one = type_bytes[kv->type];

    if (i >= kv->count || one == 0) return false;
    memcpy(&v, kv->data + i * one, one);
    switch (kv->type) {
    case GGUF_U8:  *out = v.u8; return true;
    case GGUF_I8:  *out = v.i8; return true;
    case GGUF_U16: *out = v.u16; return true;
    case GGUF_I16: *out = v.i16; return true;
    case GGUF_U32: *out = v.u32; return true;
    case GGUF_I32: *out = v.i32; return true;
    case GGUF_I64: *out = v.i64; return true;
    case GGUF_U64: *out = (int64_t)v.u64; return v.u64 <= INT64_MAX;
    default: return false;
    }
}

bool gguf_real(const gguf_kv *kv, size_t i, double *out)
{
    float f;

    if (i >= kv->count) return false;
    if (kv->type == GGUF_F64) {
        memcpy(out, kv->data + i * 8, 8);
        return true;
    }
    if (kv->type != GGUF_F32) return false;
    memcpy(&f, kv->data + i * 4, 4);
    *out = f;
    return true;
}
