/* weights.cu - opens the device and brings a model's weights to it: one arena for all, two pinned buffers through which pieces
 * go while the next one is read from the file. */
#include "blas.h"
extern "C" {
#include "half.h"
}
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 16 << 20, VECTOR_MAX = 1 << 20, ALIGN = 256 };
/* Of the free memory this much is left alone: kernels are loaded when they are first used, and allocations are rounded up. Before the
 * weights are there twice as much, so that the session they were chosen for is not refused for what their upload took beside them. */
enum { RESERVE = 64 << 20 };

struct llm_device {
    int n_sm, code_group;
    uint64_t planned;                   /* free bytes of a device that need not be here; 0: the device is here */
    uint8_t *arena;                     /* device */
    uint8_t *staging[2];                /* pinned, while weights are on their way */
    cudaStream_t stream[2];
    cuda_weight **weight;               /* [n_weight] distinct ones */
    size_t n_weight;
    int turn;                           /* which staging buffer is next */
    cuda_blas *blas;                    /* NULL: not there, or not wanted */
    char products[256];                 /* cuda_products */
};

bool cuda_planes_of(int dtype, cuda_planes *p)
{
    static const struct { int dtype; cuda_planes p; } table[] = {
        /*              block  codes at  bytes  scales  apart */
        { DT_Q8_0,    {  32,   2,  32,  2,  2 } },
        { DT_Q4_0,    {  32,   2,  16,  2,  2 } },
        { DT_IQ4_NL,  {  32,   2,  16,  2,  2 } },
        { DT_MXFP4,   {  32,   1,  16,  1,  1 } },
        { DT_Q4_1,    {  32,   4,  16,  4,  4 } },
        { DT_Q4_G,    {  32,   4,  16,  4,  4 } },
        { DT_Q5_0,    {  32,   6,  16,  6,  6 } },
        { DT_Q5_1,    {  32,   8,  16,  8,  8 } },
        { DT_Q4_K,    { 256,  16, 128, 16, 16 } },
        { DT_Q5_K,    { 256,  16, 160, 16, 16 } },
        { DT_Q6_K,    { 256,   0, 192, 18, 20 } },
        { DT_Q2_K,    { 256,  16,  64, 20, 20 } },
        { DT_Q3_K,    { 256,   0,  96, 14, 16 } },
        { DT_IQ4_XS,  { 256,   8, 128,  8,  8 } },
        { DT_IQ2_XXS, { 256,   2,  64,  2,  2 } },
        { DT_IQ2_XS,  { 256,   2,  64, 10, 10 } },
        { DT_IQ2_S,   { 256,   2,  64, 18, 18 } },
        { DT_IQ3_XXS, { 256,   2,  96,  2,  2 } },
        { DT_IQ3_S,   { 256,   2, 104,  6,  6 } },
        { DT_IQ1_S,   { 256,   2,  48,  2,  2 } },
        { DT_IQ1_M,   { 256,   0,  48,  8,  8 } },
        { DT_TQ1_0,   { 256,   0,  48,  6,  6 } },
        { DT_TQ2_0,   { 256,   0,  64,  2,  2 } },
        { DT_F32,     {   1,   0,   4,  0,  0 } },
        { DT_F16,     {   1,   0,   2,  0,  0 } },
        { DT_BF16,    {   1,   0,   2,  0,  0 } },
        { DT_F8_E4M3, {   1,   0,   1,  0,  0 } },
        { DT_F8_E5M2, {   1,   0,   1,  0,  0 } },
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].dtype == dtype) { *p = table[i].p; return true; }
    return false;
}

bool type_has_codes(int dtype)
{
    cuda_planes p;
    return cuda_planes_of(dtype, &p) && p.block > 1;
}

int type_code_group(int dtype)
{
    cuda_planes p;
    return cuda_planes_of(dtype, &p) ? p.block : 0;
}

/* ---- the device ---- */

static llm_status device_make(llm_device **out, uint64_t planned, int n_sm, llm_error *err)
{
    if ((*out = (llm_device *)calloc(1, sizeof **out)) == NULL) return llm_fail_memory(err, sizeof **out, "the device");
    (*out)->planned = planned, (*out)->n_sm = n_sm;
    return LLM_OK;
}

llm_status cuda_device_open(llm_device **out, uint64_t planned, llm_error *err)
{
    cudaDeviceProp prop;
    cudaError_t e;
    int n = 0;

    if (planned > 0) return device_make(out, planned, 0, err);
    if ((e = cudaGetDeviceCount(&n)) != cudaSuccess || n < 1)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: no NVIDIA GPU can be used here: %s (a plan needs none: device_memory)", e != cudaSuccess ? cudaGetErrorString(e) : "none found");
    if ((e = cudaSetDevice(0)) != cudaSuccess || (e = cudaGetDeviceProperties(&prop, 0)) != cudaSuccess)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: cannot use the first of %d GPUs: %s", n, cudaGetErrorString(e));
    if (prop.major < 8)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: %s has compute capability %d.%d, 8.0 (Ampere) or later is needed", prop.name, prop.major, prop.minor);
    return device_make(out, 0, prop.multiProcessorCount, err);
}

static void close_staging(llm_device *d)
{
    for (int i = 0; i < 2; i++) {
        if (d->stream[i]) (void)cudaStreamSynchronize(d->stream[i]), (void)cudaStreamDestroy(d->stream[i]);
        if (d->staging[i]) (void)cudaFreeHost(d->staging[i]);
        d->stream[i] = NULL, d->staging[i] = NULL;
    }
}

void cuda_device_close(llm_device *d)
{
    if (d == NULL) return;
    close_staging(d), blas_close(d->blas);
    for (size_t i = 0; i < d->n_weight; i++) free(d->weight[i]);
    free(d->weight);
    (void)cudaFree(d->arena);
    free(d);
}

int cuda_n_sm(const llm_device *d) { return d->n_sm; }
int cuda_code_group(const llm_device *d) { return d->code_group; }
cuda_blas *cuda_device_blas(const llm_device *d) { return d->blas; }
const char *cuda_products(const llm_device *d) { return d->products[0] ? d->products : NULL; }

uint64_t cuda_available(llm_device *d)
{
    size_t left = 0, all = 0, kept = (size_t)RESERVE * (d->arena ? 1 : 2);

    if (d->planned > 0) return d->planned;
    if (cudaSetDevice(0) != cudaSuccess || cudaMemGetInfo(&left, &all) != cudaSuccess) return 0;
    return left > kept ? left - kept : 0;
}

/* ---- what a weight takes ---- */

static bool is_vector(const llm_tensor *t) { return t->dim[1] == 1 && t->dim[2] == 1; }
static bool is_float(llm_dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16; }
static bool has_scale(const llm_tensor *t) { return t->scale.data != NULL || t->scale.part != NULL; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Offsets of its parts in the arena; -1 for what it has not. */
typedef struct { int64_t a, b, scale, perm, values; } places;

static int64_t take(size_t *at, size_t bytes)
{
    size_t start = *at;
    return ck_add(start, bytes, at) && ck_align(*at, ALIGN, at) ? (int64_t)start : -2;
}

/* Fills the shape of w and its places; false when a size wraps. */
static bool measure(cuda_weight *w, places *p, const llm_tensor *t, const cuda_planes *pl, size_t *at)
{
    bool three = t->dim[2] > 1;
    size_t rows, a, b, all = (size_t)(t->dim[0] * t->dim[1] * t->dim[2]);

    memset(w, 0, sizeof *w);
    w->dtype = (int)t->dtype, w->shrink = 1;
    w->n = three ? t->dim[0] : 1, w->rows = t->dim[three ? 1 : 0], w->cols = t->dim[three ? 2 : 1];
    w->a_row = (ceil_div(w->cols, pl->block) * pl->a_bytes + 15) & ~(int64_t)15, w->b_row = ceil_div(w->cols, pl->block) * pl->b_stride;
    *p = (places){ -1, -1, -1, -1, -1 };
    if (is_float(t->dtype) && all <= VECTOR_MAX) p->values = take(at, all * sizeof(float));
    if (is_vector(t)) return p->values >= 0;
    if (!ck_mul((size_t)w->n, (size_t)w->rows, &rows) || !ck_mul(rows, (size_t)w->a_row, &a) || !ck_mul(rows, (size_t)w->b_row, &b)) return false;
    p->a = take(at, a);
    if (b > 0) p->b = take(at, b + 16);
    if (has_scale(t)) {
        w->tile_rows = t->scale.tile_rows, w->tile_cols = t->scale.tile_cols;
        w->scale_rows = ceil_div(w->rows, w->tile_rows), w->scale_cols = ceil_div(w->cols, w->tile_cols);
        p->scale = take(at, (size_t)(w->n * w->scale_rows * w->scale_cols) * sizeof(float));
    }
    if (t->perm != NULL) p->perm = take(at, (size_t)w->cols * sizeof(int32_t));
    return p->a != -2 && p->b != -2 && p->scale != -2 && p->perm != -2 && p->values != -2;
}

/* ---- on their way ---- */

typedef struct { llm_device *d; llm_error *err; llm_progress_fn progress; void *user; uint64_t done, total; } upload;

/* The staging buffer that is free next, its copies done. */
static llm_status next_buffer(upload *u, uint8_t **out)
{
    llm_device *d = u->d;
    cudaError_t e;

    d->turn ^= 1;
    if ((e = cudaStreamSynchronize(d->stream[d->turn])) != cudaSuccess)
        return llm_fail(u->err, LLM_ERR_IO, "device cuda: uploading weights: %s", cudaGetErrorString(e));
    *out = d->staging[d->turn];
    return LLM_OK;
}

static llm_status send(upload *u, uint8_t *to, const uint8_t *from, size_t n)
{
    cudaError_t e = n ? cudaMemcpyAsync(to, from, n, cudaMemcpyHostToDevice, u->d->stream[u->d->turn]) : cudaSuccess;
    return e == cudaSuccess ? LLM_OK : llm_fail(u->err, LLM_ERR_IO, "device cuda: uploading weights: %s", cudaGetErrorString(e));
}

static const uint8_t *matrix_data(const void *data, const void *const *part, int64_t e, size_t bytes)
{
    return part != NULL ? (const uint8_t *)part[e] : (const uint8_t *)data + (size_t)e * bytes;
}

static void split_row(const cuda_planes *pl, const uint8_t *src, int64_t blocks, int bytes, uint8_t *a, uint8_t *b)
{
    int after = bytes - pl->a_at - pl->a_bytes;

    for (int64_t i = 0; i < blocks; i++, src += bytes, a += pl->a_bytes, b += pl->b_stride) {
        memcpy(a, src + pl->a_at, (size_t)pl->a_bytes);
        memcpy(b, src, (size_t)pl->a_at);
        memcpy(b + pl->a_at, src + pl->a_at + pl->a_bytes, (size_t)after);
        memset(b + pl->b_bytes, 0, (size_t)(pl->b_stride - pl->b_bytes));
    }
}

static llm_status send_matrix(upload *u, const llm_tensor *t, const cuda_weight *w, const cuda_planes *pl, int64_t e)
{
    const uint8_t *src = matrix_data(t->data, t->part, e, (size_t)w->rows * t->row_bytes);
    int64_t per = PIECE / (w->a_row + w->b_row), bytes = dtype_info((int)t->dtype)->block_bytes;
    uint8_t *a, *b;
    llm_status st;

    if (per < 1) return llm_fail(u->err, LLM_ERR_UNSUPPORTED, "device cuda: a weight of %lld columns", (long long)w->cols);
    for (int64_t r = 0, n; r < w->rows; r += n) {
        n = w->rows - r < per ? w->rows - r : per;
        if ((st = next_buffer(u, &a)) != LLM_OK) return st;
        b = a + n * w->a_row;
        for (int64_t i = 0; i < n; i++, src += t->row_bytes) {
            uint8_t *row = a + i * w->a_row;
            if (pl->block > 1) { split_row(pl, src, w->cols / pl->block, (int)bytes, row, b + i * w->b_row); continue; }
            memcpy(row, src, (size_t)(w->cols * bytes));
            memset(row + w->cols * bytes, 0, (size_t)(w->a_row - w->cols * bytes));
        }
        if ((st = send(u, (uint8_t *)(uintptr_t)w->a + (e * w->rows + r) * w->a_row, a, (size_t)(n * w->a_row))) != LLM_OK) return st;
        if ((st = send(u, (uint8_t *)(uintptr_t)w->b + (e * w->rows + r) * w->b_row, b, (size_t)(n * w->b_row))) != LLM_OK) return st;
        u->done += (uint64_t)n * t->row_bytes;
        if (u->progress && u->progress(u->user, "upload", u->done, u->total)) return llm_fail(u->err, LLM_ERR_CANCELLED, "stopped while weights were uploaded");
    }
    return LLM_OK;
}

static float float_at(llm_dtype t, const uint8_t *p, int64_t i)
{
    float f;
    uint16_t h;

    if (t == DT_F32) { memcpy(&f, p + 4 * i, 4); return f; }
    memcpy(&h, p + 2 * i, 2);
    return t == DT_F16 ? f16_to_float(h) : bf16_to_float(h);
}

/* n matrices of `per` values each, as floats, to `to`. */
static llm_status send_floats(upload *u, float *to, llm_dtype dtype, const void *data, const void *const *part, int64_t n, int64_t per)
{
    llm_status st = LLM_OK;
    uint8_t *buf;

    for (int64_t e = 0; e < n && st == LLM_OK; e++) {
        const uint8_t *src = matrix_data(data, part, e, (size_t)per * (dtype == DT_F32 ? 4 : 2));
        for (int64_t i = 0, k; i < per && st == LLM_OK; i += k) {
            k = per - i < PIECE / 4 ? per - i : PIECE / 4;
            if ((st = next_buffer(u, &buf)) != LLM_OK) return st;
            for (int64_t j = 0; j < k; j++) ((float *)(void *)buf)[j] = float_at(dtype, src, i + j);
            st = send(u, (uint8_t *)(to + e * per + i), buf, (size_t)k * sizeof(float));
        }
    }
    return st;
}

/* A power of two that brings the largest value of a BF16 weight to 2^14 at most. */
static float shrink_of(const llm_tensor *t, const cuda_weight *w)
{
    uint16_t most = 0, v;

    for (int64_t e = 0; e < w->n && t->dtype == DT_BF16; e++) {
        const uint8_t *src = matrix_data(t->data, t->part, e, (size_t)w->rows * t->row_bytes);
        for (int64_t i = 0; i < w->rows * w->cols; i++) {
            memcpy(&v, src + 2 * i, 2);
            if ((v & 0x7fff) > most && (v & 0x7f80) != 0x7f80) most = v & 0x7fff;
        }
    }
    int exponent = (most >> 7) - 127;
    return exponent > 14 ? ldexpf(1, 14 - exponent) : 1;
}

static llm_status send_weight(upload *u, const llm_tensor *t, cuda_weight *w, const places *p, const cuda_planes *pl)
{
    uint8_t *arena = u->d->arena, *buf;
    llm_status st;

    if (p->a >= 0) w->a = arena + p->a;
    if (p->b >= 0) w->b = arena + p->b;
    w->shrink = shrink_of(t, w);
    for (int64_t e = 0; e < w->n && p->a >= 0; e++)
        if ((st = send_matrix(u, t, w, pl, e)) != LLM_OK) return st;
    if (p->values >= 0) {
        int64_t parts = t->part ? t->dim[0] : 1;
        w->values = (const float *)(const void *)(arena + p->values);
        if ((st = send_floats(u, (float *)(void *)(arena + p->values), t->dtype, t->data, t->part, parts, t->dim[0] * t->dim[1] * t->dim[2] / parts)) != LLM_OK) return st;
    }
    if (p->scale >= 0) {
        w->scale = (const float *)(const void *)(arena + p->scale);
        if ((st = send_floats(u, (float *)(void *)(arena + p->scale), t->scale.dtype, t->scale.data, t->scale.part, w->n, w->scale_rows * w->scale_cols)) != LLM_OK) return st;
    }
    if (p->perm < 0) return LLM_OK;
    w->perm = (const int32_t *)(const void *)(arena + p->perm);
    if ((size_t)w->cols * sizeof(int32_t) > PIECE) return llm_fail(u->err, LLM_ERR_UNSUPPORTED, "device cuda: a permutation of %lld columns", (long long)w->cols);
    if ((st = next_buffer(u, &buf)) != LLM_OK) return st;
    memcpy(buf, t->perm, (size_t)w->cols * sizeof(int32_t));
    return send(u, arena + p->perm, buf, (size_t)w->cols * sizeof(int32_t));
}

static llm_status open_staging(llm_device *d, llm_error *err)
{
    for (int i = 0; i < 2; i++)
        if (cudaMallocHost((void **)&d->staging[i], PIECE) != cudaSuccess || cudaStreamCreate(&d->stream[i]) != cudaSuccess)
            return llm_fail_memory(err, PIECE, "a pinned buffer for uploading weights");
    return LLM_OK;
}

/* Weights of one storage are one: a tied head, a view. */
static size_t earlier(llm_tensor *const *w, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (w[j]->data == w[i]->data && w[j]->part == w[i]->part && w[j]->dim[0] == w[i]->dim[0] && w[j]->dim[1] == w[i]->dim[1] && w[j]->dim[2] == w[i]->dim[2]) return j;
    return i;
}

const char *cuda_refuses(const llm_tensor *w)
{
    cuda_planes pl;

    if (!cuda_planes_of((int)w->dtype, &pl)) return "the CUDA device has no kernels for that type";
    if (is_vector(w) && !is_float(w->dtype)) return "the CUDA device takes vectors of F32, F16 and BF16 only";
    if (is_vector(w) && w->dim[0] > VECTOR_MAX) return "the CUDA device takes vectors of up to 1048576 values only";
    return NULL;
}

static llm_status check_type(const llm_tensor *w, cuda_planes *pl, llm_error *err)
{
    const char *why = cuda_refuses(w);

    if (why != NULL)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: a weight [%lld, %lld, %lld] of type %s: %s", (long long)w->dim[0], (long long)w->dim[1], (long long)w->dim[2],
                        dtype_name((int)w->dtype), why);
    cuda_planes_of((int)w->dtype, pl);
    return LLM_OK;
}

llm_status cuda_weight_bytes(llm_tensor *const *w, size_t n, uint64_t bytes[N_SITE], llm_error *err)
{
    size_t all = 0;
    cuda_planes pl = {};
    cuda_weight one;
    places p;
    llm_status st;

    bytes[SITE_HOST] = sizeof(llm_device) + (n + 1) * sizeof(cuda_weight *);
    for (size_t i = 0; i < n; i++) {
        if (earlier(w, i) < i) continue;
        if ((st = check_type(w[i], &pl, err)) != LLM_OK) return st;
        if (!measure(&one, &p, w[i], &pl, &all)) return llm_fail(err, LLM_ERR_MEMORY, "device cuda: the size of the weights wraps");
        bytes[SITE_HOST] += sizeof(cuda_weight);
    }
    bytes[SITE_DEVICE] = all;
    return LLM_OK;
}

static llm_status plan(llm_device *d, llm_tensor *const *w, size_t n, places *place, size_t *bytes, uint64_t *source, llm_error *err)
{
    cuda_planes pl = {};
    llm_status st;

    for (size_t i = 0; i < n; i++) {
        size_t same = earlier(w, i);
        if (same < i) { w[i]->packed = w[same]->packed; continue; }
        if ((st = check_type(w[i], &pl, err)) != LLM_OK) return st;
        if ((w[i]->packed = d->weight[d->n_weight] = (cuda_weight *)calloc(1, sizeof(cuda_weight))) == NULL) return llm_fail_memory(err, sizeof(cuda_weight), "a weight");
        if (!measure(d->weight[d->n_weight], &place[d->n_weight], w[i], &pl, bytes)) return llm_fail(err, LLM_ERR_MEMORY, "device cuda: the size of the weights wraps");
        d->n_weight++;
        if (!is_vector(w[i])) *source += (uint64_t)w[i]->row_bytes * (uint64_t)(w[i]->dim[2] > 1 ? w[i]->dim[0] * w[i]->dim[1] : w[i]->dim[0]);
    }
    return LLM_OK;
}

/* The kind of codes that most bytes of the weights meet x in. */
static int common_group(const llm_device *d)
{
    uint64_t small = 0, large = 0, none = 0;

    for (size_t i = 0; i < d->n_weight; i++) {
        const cuda_weight *w = d->weight[i];
        uint64_t bytes = (uint64_t)w->n * (uint64_t)w->rows * (uint64_t)(w->a_row + w->b_row);
        *(type_code_group(w->dtype) == 256 ? &large : type_code_group(w->dtype) == 32 ? &small : &none) += bytes;
    }
    return none > small + large ? 0 : large > small ? 256 : small > 0 ? 32 : 0;
}

static llm_status send_all(llm_device *d, llm_tensor *const *w, size_t n, const places *place, upload *u)
{
    llm_status st = open_staging(d, u->err);
    cuda_planes pl = {};
    size_t k = 0;

    for (size_t i = 0; i < n && st == LLM_OK; i++) {
        if (k == d->n_weight || w[i]->packed != d->weight[k]) continue;
        cuda_planes_of((int)w[i]->dtype, &pl);
        st = send_weight(u, w[i], d->weight[k], &place[k], &pl), k++;
    }
    for (int i = 0; i < 2 && st == LLM_OK; i++) {
        cudaError_t e = cudaStreamSynchronize(d->stream[i]);
        if (e != cudaSuccess) st = llm_fail(u->err, LLM_ERR_IO, "device cuda: uploading weights: %s", cudaGetErrorString(e));
    }
    close_staging(d);
    return st;
}

/* cuBLAS, where there are weights for it: most of them, or a large one. A router alone is not worth loading it. */
static void find_blas(llm_device *d)
{
    char why[160] = "";
    bool wanted = false;

    for (size_t i = 0; i < d->n_weight; i++)
        wanted = wanted || (blas_has(d->weight[i]) && (d->code_group == 0 || d->weight[i]->rows * d->weight[i]->cols >= BLAS_LARGE));
    if (!wanted || d->blas != NULL) return;
    if ((d->blas = blas_open(why, sizeof why)) != NULL)
        snprintf(d->products, sizeof d->products, "products of F32, F16 and BF16 weights with %d rows or more: cuBLAS %d, but where results must not depend "
                 "on the batch; it keeps %.1f MiB of the device", (int)BLAS_FEWEST, blas_version(d->blas), (double)blas_own(d->blas) / 1048576);
    else snprintf(d->products, sizeof d->products, "products of F32, F16 and BF16 weights with %d rows or more: own kernels, cuBLAS is not there (%s)",
                  (int)BLAS_FEWEST, why);
}

llm_status cuda_import(llm_device *d, llm_tensor *const *w, size_t n, llm_progress_fn progress, void *user, llm_error *err)
{
    upload u = { d, err, progress, user, 0, 0 };
    places *place = (places *)calloc(n + 1, sizeof *place);
    size_t bytes = 0;
    llm_status st;

    d->weight = (cuda_weight **)calloc(n + 1, sizeof *d->weight);
    if (place == NULL || d->weight == NULL) st = llm_fail_memory(err, (n + 1) * sizeof *place, "the list of weights");
    else if ((st = plan(d, w, n, place, &bytes, &u.total, err)) == LLM_OK) {
        if (cudaSetDevice(0) != cudaSuccess || cudaMalloc((void **)&d->arena, bytes) != cudaSuccess)
            st = llm_fail(err, LLM_ERR_MEMORY, "device cuda: the weights need %.1f MiB of its memory, %.1f MiB are free: gpu_layers or cpu_moe may leave some of them on the CPU",
                          (double)bytes / 1048576, (double)cuda_available(d) / 1048576);
        else st = send_all(d, w, n, place, &u), d->code_group = common_group(d);
        if (st == LLM_OK) find_blas(d);
    }
    free(place);
    return st;
}
