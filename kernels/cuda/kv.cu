/* kv.cu - keys and values on the device: the cell of position p is row p % n_cell of its sequence, all kv heads side by side, so that a
 * row of the cache is a row of the batch in another type. F16 and F32: plain. Q8_0: the codes of the row, then one half for each 32
 * of them (kernels/cpu/kv.h has the rule). Rows begin at multiples of 16 bytes. Bound by memory: each value is read and written once. */
#include "cuda_impl.h"
#include "kv_row.h"
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128, KV_MAX_D = 1 << 20 };

static bool kv_size(llm_kv_layer *kv)
{
    if (kv->d_k < 1 || kv->d_v < 1 || kv->d_k > KV_MAX_D || kv->d_v > KV_MAX_D || kv->n_kv_head < 1 || kv->n_kv_head > 1 << 16) return false;
    if (kv->n_cell < 1 || kv->n_cell % KV_BLOCK != 0) return false;
    if (kv->dtype != DT_F16 && kv->dtype != DT_F32 && kv->dtype != DT_Q8_0) return false;
    if (kv->dtype == DT_Q8_0 && (kv->latent || kv->d_k % 32 != 0 || kv->d_v % 32 != 0)) return false;
    if (kv->latent && (kv->n_kv_head != 1 || kv->d_v > kv->d_k)) return false;
    kv->v_seq_bytes = 0;
    return ck_mul((size_t)kv->n_cell, (size_t)kv_row_size(kv->dtype, kv->n_kv_head * (int64_t)kv->d_k), &kv->k_seq_bytes)
        && (kv->latent || ck_mul((size_t)kv->n_cell, (size_t)kv_row_size(kv->dtype, kv->n_kv_head * (int64_t)kv->d_v), &kv->v_seq_bytes));
}

/* One warp takes 32 values of a row; blockIdx.x is the row, blockIdx.z 1 for values. */
static __global__ void store_kernel(llm_kv_layer kv, llm_rows k, llm_rows v, const int32_t *pos, const int32_t *seq)
{
    bool value = blockIdx.z == 1;
    int width = kv.n_kv_head * (value ? kv.d_v : kv.d_k), i = (int)(blockIdx.y * blockDim.x + threadIdx.x);
    llm_rows from = value ? v : k;
    uint8_t *row = (value ? (uint8_t *)kv.v + (size_t)seq[blockIdx.x] * kv.v_seq_bytes : (uint8_t *)kv.k + (size_t)seq[blockIdx.x] * kv.k_seq_bytes)
                 + (size_t)(pos[blockIdx.x] % kv.n_cell) * (size_t)kv_row_size(kv.dtype, width);
    float x = i < width ? from.data[(int64_t)blockIdx.x * from.stride + i] : 0.0f;

    if (kv.dtype == DT_Q8_0) {
        float top = warp_max(fabsf(x)), d = top / 127;
        uint16_t scale = float_f16(d < 65504 ? d : 65504);
        d = f16_float(scale);
        float q = d > 0 ? x * (1.0f / d) : 0.0f;
        if (i >= width) return;
        q = q > -127 ? q : -127, q = q < 127 ? q : 127;
        ((int8_t *)row)[i] = (int8_t)(int)rintf(q);
        if (i % 32 == 0) ((uint16_t *)(void *)(row + width))[i / 32] = scale;
    } else if (i < width) {
        if (kv.dtype == DT_F16) ((uint16_t *)(void *)row)[i] = float_f16(x);
        else ((float *)(void *)row)[i] = x;
    }
}

static void store(llm_backend *be, llm_kv_layer *kv, llm_rows k, llm_rows v, const llm_batch *b)
{
    cuda_impl *impl = cuda_of(be);
    int width = kv->n_kv_head * (kv->d_k > kv->d_v ? kv->d_k : kv->d_v);

    if (!cuda_go(be) || b->n == 0) return;
    const int32_t *pos = cuda_ints(be, b->pos, b->n, impl->pos), *seq = cuda_ints(be, b->seq, b->n, impl->seq);
    LAUNCH(store_kernel, dim3((unsigned)b->n, (unsigned)((width + BLOCK - 1) / BLOCK), kv->latent ? 1 : 2), dim3(BLOCK), 0, impl->stream, *kv, k, v, pos, seq);
    cuda_check(be, cudaSuccess, "store", b->n, kv->n_kv_head, kv->d_k);
}

/* Between a row of the device's form and { half d; int8 q[32]; } blocks. */
static void q8_row(uint8_t *cell, uint8_t *row, int64_t width, bool out)
{
    for (int64_t g = 0; g < width / 32; g++, row += 34) {
        if (out) memcpy(row, cell + width + 2 * g, 2), memcpy(row + 2, cell + 32 * g, 32);
        else     memcpy(cell + width + 2 * g, row, 2), memcpy(cell + 32 * g, row + 2, 32);
    }
}

/* Positions pos..pos+n-1 of one sequence between the device and plain rows. What cannot be copied reads as zeros; the next op of
 * the session reports why. */
static void move(const llm_kv_layer *kv, int seq, int pos, int n, uint8_t *rows, bool value, bool out)
{
    int64_t width = kv->n_kv_head * (int64_t)(value ? kv->d_v : kv->d_k), size = kv_row_size(kv->dtype, width);
    size_t plain = kv->dtype == DT_Q8_0 ? (size_t)(width / 32 * 34) : (size_t)width * (kv->dtype == DT_F16 ? 2 : 4);
    uint8_t *base = value ? (uint8_t *)kv->v + (size_t)seq * kv->v_seq_bytes : (uint8_t *)kv->k + (size_t)seq * kv->k_seq_bytes;
    uint8_t *cell = (uint8_t *)malloc((size_t)n * (size_t)size);

    if (cell == NULL) { if (out) memset(rows, 0, (size_t)n * plain); return; }
    for (int i = 0, m; i < n; i += m) {
        int first = (pos + i) % kv->n_cell;
        size_t bytes = (size_t)(m = n - i < kv->n_cell - first ? n - i : kv->n_cell - first) * (size_t)size;
        if (out && cudaMemcpy(cell, base + (size_t)first * (size_t)size, bytes, cudaMemcpyDeviceToHost) != cudaSuccess) memset(cell, 0, bytes);
        if (!out) memset(cell, 0, bytes);
        for (int j = 0; j < m; j++) {
            uint8_t *row = rows + (size_t)(i + j) * plain, *c = cell + j * size;
            if (kv->dtype == DT_Q8_0) q8_row(c, row, width, out);
            else if (out) memcpy(row, c, plain);
            else memcpy(c, row, plain);
        }
        if (!out) (void)cudaMemcpy(base + (size_t)first * (size_t)size, cell, bytes, cudaMemcpyHostToDevice);
    }
    free(cell);
}

static void kv_get(const llm_kv_layer *kv, int seq, int pos, int n, void *k, void *v)
{
    move(kv, seq, pos, n, (uint8_t *)k, false, true);
    if (!kv->latent) move(kv, seq, pos, n, (uint8_t *)v, true, true);
}

static void kv_put(llm_kv_layer *kv, int seq, int pos, int n, const void *k, const void *v)
{
    move(kv, seq, pos, n, (uint8_t *)(uintptr_t)k, false, false);
    if (!kv->latent) move(kv, seq, pos, n, (uint8_t *)(uintptr_t)v, true, false);
}

void cuda_kv_ops(llm_ops *op) { op->kv_size = kv_size, op->store = store, op->kv_get = kv_get, op->kv_put = kv_put; }
