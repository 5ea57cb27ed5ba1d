#include "imatrix.h"
#include "file.h"
#include "gguf_write.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRY = 1 << 20 };

void imatrix_free(imatrix *im)
{
    for (size_t i = 0; i < im->n; i++) free(im->entry[i].value);
    free(im->entry);
    name_pool_close(&im->text), name_index_close(&im->by_name);
    *im = (imatrix){ 0 };
}

const imatrix_entry *imatrix_find(const imatrix *im, const char *name)
{
    uint32_t i;
    return name_index_find(&im->by_name, name, &i) ? &im->entry[i] : NULL;
}

/* The values of one matrix, as means: checked, and none 0. */
static llm_status settle(float *v, int64_t n, const char *label, const char *name, llm_error *err)
{
    double sum = 0;
    float least;

    for (int64_t k = 0; k < n; k++) {
        if (!(v[k] >= 0) || isinf(v[k]))
            return llm_fail(err, LLM_ERR_FORMAT, "%s: importance %" PRId64 " of '%.120s' is %g, wanted 0 or more", label, k, name, (double)v[k]);
        sum += (double)v[k];
    }
    least = (float)(sum / (double)n * 1e-6);
    for (int64_t k = 0; k < n; k++)
        if (!(v[k] > least)) v[k] = sum > 0 ? least : 1;
    return LLM_OK;
}

/* Room for one more entry of matrices x cols; NULL with err filled. The values are 0. */
static imatrix_entry *add_entry(imatrix *im, const char *name, size_t len, int64_t matrices, int64_t cols, const char *label, llm_error *err)
{
    imatrix_entry *e = &im->entry[im->n];

    if (cols < 1 || matrices < 1 || cols > 1 << 24 || matrices > 1 << 16) {
        llm_fail(err, LLM_ERR_FORMAT, "%s: '%.*s' has %" PRId64 " x %" PRId64 " values", label, len < 120 ? (int)len : 120, name, matrices, cols);
        return NULL;
    }
    e->name = name_pool_add(&im->text, name, len), e->matrices = matrices, e->cols = cols;
    e->value = calloc((size_t)matrices * (size_t)cols, sizeof *e->value);
    if (e->name == NULL || e->value == NULL) {
        free(e->value);
        e->value = NULL;
        llm_fail_memory(err, (size_t)matrices * (size_t)cols * sizeof *e->value, "an importance matrix");
        return NULL;
    }
    im->n++;
    return e;
}

static llm_status reserve(imatrix *im, size_t n, const char *label, llm_error *err)
{
    if (n == 0 || n > MAX_ENTRY) return llm_fail(err, LLM_ERR_FORMAT, "%s: %zu weights, wanted 1 to %d", label, n, MAX_ENTRY);
    if ((im->entry = calloc(n, sizeof *im->entry)) == NULL) return llm_fail_memory(err, n * sizeof *im->entry, "an importance matrix");
    return LLM_OK;
}

/* ---- GGUF ------------------------------------------------------------------------ */

static float f32_at(const store_tensor *t, int64_t i)
{
    float f;
    memcpy(&f, (const char *)t->data + (size_t)i * sizeof f, sizeof f);
    return f;
}

static llm_status take_gguf(imatrix *im, const store_tensor *sum, size_t len, const store_tensor *count, const char *label, llm_error *err)
{
    int64_t cols = sum->n_dim ? sum->dim[sum->n_dim - 1] : 0, matrices = cols ? (int64_t)(sum->bytes / 4) / cols : 0, n_count = (int64_t)(count->bytes / 4);
    imatrix_entry *e;
    llm_status st = LLM_OK;

    if (sum->dtype != DT_F32 || count->dtype != DT_F32 || (n_count != matrices && n_count != 1))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.120s': its counts do not go with it", label, sum->name);
    if ((e = add_entry(im, sum->name, len, matrices, cols, label, err)) == NULL) return err ? err->status : LLM_ERR_FORMAT;
    for (int64_t m = 0; m < matrices && st == LLM_OK; m++) {
        float n = f32_at(count, n_count == 1 ? 0 : m), *v = e->value + m * cols;
        if (!(n >= 0) || isinf(n)) return llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.120s': a count is %g", label, count->name, (double)n);
        for (int64_t k = 0; k < cols; k++) v[k] = n > 0 ? f32_at(sum, m * cols + k) / n : 1;
        st = settle(v, cols, label, e->name, err);
    }
    return st;
}

/* The tensor NAME.counts beside NAME.in_sum2; len: of NAME. */
static const store_tensor *counts_of(const tensor_list *l, const name_index *x, const char *name, size_t len)
{
    char full[GGUF_MAX_NAME + 16];
    uint32_t i;

    snprintf(full, sizeof full, "%.*s.counts", (int)len, name);
    return name_index_find(x, full, &i) ? &l->t[i] : NULL;
}

static void read_about(imatrix *im, const gguf *g)
{
    const gguf_kv *kv = gguf_find(g, "imatrix.datasets");
    const char *s;
    size_t len;
    int64_t n;

    if (kv && gguf_string(g, kv, 0, &s, &len)) snprintf(im->dataset, sizeof im->dataset, "%.*s", len < 250 ? (int)len : 250, s);
    if ((kv = gguf_find(g, "imatrix.chunk_count")) && gguf_int(kv, 0, &n) && n >= 0 && n <= INT32_MAX) im->chunks = (int)n;
}

static llm_status read_gguf(imatrix *im, const file_map *m, const char *label, llm_error *err)
{
    static const char suffix[] = ".in_sum2";
    tensor_list l = { 0 };
    name_index x = { 0 };
    gguf *g = NULL;
    llm_status st = gguf_parse(&g, &l, m->data, m->size, 0, label, err);

    if (st == LLM_OK) st = reserve(im, l.n, label, err);
    if (st == LLM_OK && !name_index_open(&x, l.n)) st = llm_fail_memory(err, l.n * sizeof(name_slot), "an importance matrix");
    for (size_t i = 0; i < l.n && st == LLM_OK; i++)
        if (name_index_add(&x, l.t[i].name, (uint32_t)i) != NAME_ADDED) st = llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.120s' appears twice", label, l.t[i].name);
    for (size_t i = 0; i < l.n && st == LLM_OK; i++) {
        size_t n = strlen(l.t[i].name), k = sizeof suffix - 1;
        const store_tensor *count;
        if (n <= k || strcmp(l.t[i].name + n - k, suffix) != 0) continue;
        if ((count = counts_of(&l, &x, l.t[i].name, n - k)) == NULL) st = llm_fail(err, LLM_ERR_FORMAT, "%s: '%.120s' has no counts", label, l.t[i].name);
        else st = take_gguf(im, &l.t[i], n - k, count, label, err);
    }
    if (st == LLM_OK && im->n == 0) st = llm_fail(err, LLM_ERR_FORMAT, "%s: is a GGUF file, but holds no importance matrix", label);
    if (st == LLM_OK) read_about(im, g);
    name_index_close(&x);
    gguf_close(g);
    tensors_close(&l);
    return st;
}

/* ---- the older form --------------------------------------------------------------------- */

typedef struct { const uint8_t *p, *end; } cursor;

static bool take_i32(cursor *c, int32_t *v)
{
    if (c->end - c->p < 4) return false;
    memcpy(v, c->p, 4);
    c->p += 4;
    return true;
}

static llm_status cut(const char *label, const cursor *c, const file_map *m, llm_error *err)
{
    return llm_fail(err, LLM_ERR_FORMAT, "%s: is neither a GGUF file nor an importance matrix of the older form: it breaks off or goes wrong at byte %zu of %zu",
                    label, (size_t)(c->p - m->data), m->size);
}

static llm_status read_binary(imatrix *im, const file_map *m, const char *label, llm_error *err)
{
    cursor c = { m->data, m->data + m->size };
    int32_t n, len, calls, n_value;
    llm_status st;

    if (!take_i32(&c, &n) || n < 1 || (size_t)n > m->size / 16) return cut(label, &c, m, err);
    if ((st = reserve(im, (size_t)n, label, err)) != LLM_OK) return st;
    for (int32_t i = 0; i < n; i++) {
        imatrix_entry *e;
        const char *name;
        if (!take_i32(&c, &len) || len < 1 || len > GGUF_MAX_NAME || c.end - c.p < len) return cut(label, &c, m, err);
        name = (const char *)c.p, c.p += len;
        if (memchr(name, 0, (size_t)len) || !utf8_valid(name, (size_t)len)) return cut(label, &c, m, err);
        if (!take_i32(&c, &calls) || !take_i32(&c, &n_value) || n_value < 1 || (c.end - c.p) / 4 < n_value) return cut(label, &c, m, err);
        if ((e = add_entry(im, name, (size_t)len, 1, n_value, label, err)) == NULL) return err ? err->status : LLM_ERR_FORMAT;
        memcpy(e->value, c.p, (size_t)n_value * 4), c.p += (size_t)n_value * 4;
        for (int32_t k = 0; calls > 0 && k < n_value; k++) e->value[k] /= (float)calls;
        if ((st = settle(e->value, n_value, label, e->name, err)) != LLM_OK) return st;
    }
    if (take_i32(&c, &calls) && calls > 0) im->chunks = calls;
    if (take_i32(&c, &len) && len > 0 && len < 250 && c.end - c.p >= len) snprintf(im->dataset, sizeof im->dataset, "%.*s", (int)len, (const char *)c.p);
    return LLM_OK;
}

llm_status imatrix_read(imatrix *im, const char *path, llm_error *err)
{
    llm_error mine;
    file_map m;
    llm_status st;

    *im = (imatrix){ 0 };
    if (err == NULL) err = &mine;
    if ((st = file_map_open(&m, path, err)) != LLM_OK) return st;
    if (m.size >= 4 && memcmp(m.data, "GGUF", 4) == 0) st = read_gguf(im, &m, file_label(path), err);
    else st = read_binary(im, &m, file_label(path), err);
    if (st == LLM_OK && !name_index_open(&im->by_name, im->n)) st = llm_fail_memory(err, im->n * sizeof(name_slot), "an importance matrix");
    for (size_t i = 0; i < im->n && st == LLM_OK; i++)
        if (name_index_add(&im->by_name, im->entry[i].name, (uint32_t)i) != NAME_ADDED)
            st = llm_fail(err, LLM_ERR_FORMAT, "%s: '%.120s' appears twice", file_label(path), im->entry[i].name);
    file_map_close(&m);
    if (st != LLM_OK) imatrix_free(im);
    return st;
}

llm_status imatrix_write(const char *path, const imatrix_sums *s, size_t n, const char *dataset, int chunks, int chunk_size, llm_error *err)
{
    gguf_out o = { 0 };
    gguf_writer w = { .fd = -1 };
    llm_status st = LLM_OK;
    char name[GGUF_MAX_NAME + 1];

    gguf_out_str(&o, "general.type", "imatrix", 7);
    gguf_out_strings(&o, "imatrix.datasets", 1), gguf_out_next(&o, dataset, strlen(dataset));
    gguf_out_u32(&o, "imatrix.chunk_count", (uint32_t)chunks), gguf_out_u32(&o, "imatrix.chunk_size", (uint32_t)chunk_size);
    for (size_t i = 0; i < n; i++) {
        const int64_t sums[2] = { s[i].matrices, s[i].cols }, counts[2] = { s[i].matrices, 1 };
        snprintf(name, sizeof name, "%s.in_sum2", s[i].name), gguf_out_tensor(&o, name, DT_F32, sums, 2);
        snprintf(name, sizeof name, "%s.counts", s[i].name), gguf_out_tensor(&o, name, DT_F32, counts, 2);
    }
    st = gguf_writer_begin(&w, &o, path, err);
    for (size_t i = 0; i < n && st == LLM_OK; i++) {
        st = gguf_writer_put(&w, s[i].sum, (size_t)(s[i].matrices * s[i].cols) * sizeof(float));
        if (st == LLM_OK) st = gguf_writer_pad(&w);
        if (st == LLM_OK) st = gguf_writer_put(&w, s[i].count, (size_t)s[i].matrices * sizeof(float));
        if (st == LLM_OK) st = gguf_writer_pad(&w);
    }
    if (st == LLM_OK) st = gguf_writer_finish(&w, &o);
    gguf_writer_close(&w);
    gguf_out_free(&o);
    return st;
}
