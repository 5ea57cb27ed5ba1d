/* kv.cu - keys and values on the device: the cell of position p is row p % n_cell of its sequence, all kv heads side by side, so that a
 * row of the cache is a row of the batch in another type. F16, F32 and F8_E4M3: plain. Q8_0: the codes of the row, then one half for each 32
 * of them (kernels/cpu/kv.h has the rule). Rows begin at multiples of 16 bytes. Bound by memory: each value is read and written once. */
#include "cuda_impl.h"
#include "heads.h"
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128, KV_MAX_D = 1 << 20 };

static bool kv_size(llm_kv_layer *kv)
{
    if (kv->d_k < 1 || kv->d_v < 1 || kv->d_k > KV_MAX_D || kv->d_v > KV_MAX_D || kv->n_kv_head < 1 || kv->n_kv_head > 1 << 16) return false;
    if (kv->n_cell < 1 || kv->n_cell % KV_BLOCK != 0) return false;
    if (kv->dtype != DT_F16 && kv->dtype != DT_F32 && kv->dtype != DT_Q8_0 && kv->dtype != DT_F8_E4M3) return false;
    if (kv->dtype == DT_F8_E4M3 && kv->latent) return false;
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
    float x = i < width ? from.data[(int64_t)blockIdx.x * from.stride + i] : 0.0f;

    put_value(cell_of(kv, value, seq[blockIdx.x], pos[blockIdx.x]), kv.dtype, width, i, x);
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

enum { HEADS = 4 };                     /* a block of rope_store, a warp each */

/* Head blockIdx.y * HEADS + warp of row blockIdx.x. */
static __global__ void rope_store_kernel(head_job g)
{
    __shared__ float shared[HEADS][HEAD_MAX];
    int h = (int)blockIdx.y * HEADS + warp_id();

    if (h < g.n_head + 2 * g.kv.n_kv_head) finish_head(g, blockIdx.x, h, shared[warp_id()]);
}

bool head_job_of(llm_backend *be, llm_rows q, llm_rows k, llm_rows v, llm_rows cs, const llm_rope_store_args *a, const llm_kv_layer *kv, const llm_batch *b, head_job *out)
{
    cuda_impl *impl = cuda_of(be);
    head_job g = {};

    g.q = q, g.k = k, g.v = v, g.cs = cs, g.kv = *kv, g.d = a->d_head, g.n_head = q.width / a->d_head, g.pairs = a->style == ROPE_PAIRS, g.eps = a->eps, g.offset = a->offset;
    if (a->d_head > HEAD_MAX || kv->latent || kv->d_k != a->d_head || kv->d_v != a->d_head || cs.width > a->d_head) {
        cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: heads of %d values, %d and %d in the cache, %d rotated; at most %d", a->d_head, kv->d_k, kv->d_v, cs.width, (int)HEAD_MAX);
        return false;
    }
    if (a->q_norm && ((g.q_norm = weight_of(a->q_norm)->values) == NULL || (g.k_norm = weight_of(a->k_norm)->values) == NULL)) {
        cuda_fail(be, LLM_ERR_UNSUPPORTED, "device cuda: a norm of heads of %d values stored as %s", a->d_head, dtype_name((int)a->q_norm->dtype));
        return false;
    }
    g.pos = cuda_ints(be, b->pos, b->n, impl->pos), g.seq = cuda_ints(be, b->seq, b->n, impl->seq);
    *out = g;
    return true;
}

static void rope_store(llm_backend *be, llm_rows q, llm_rows k, llm_rows v, llm_rows cs, const llm_rope_store_args *a, llm_kv_layer *kv, const llm_batch *b)
{
    head_job g;

    if (!cuda_go(be) || b->n == 0) return;
    cuda_writes(be, q.data), cuda_writes(be, k.data);
    if (!head_job_of(be, q, k, v, cs, a, kv, b, &g)) return;
    LAUNCH(rope_store_kernel, dim3((unsigned)b->n, (unsigned)((g.n_head + 2 * kv->n_kv_head + HEADS - 1) / HEADS)), dim3(HEADS * 32), 0, cuda_of(be)->stream, g);
    cuda_check(be, cudaSuccess, "rope and store", b->n, g.n_head, a->d_head);
}

/* Between a row of the device's form and { half d; int8 q[32]; } blocks. */
static void q8_row(uint8_t *cell, uint8_t *row, int64_t width, bool out)
{
    for (int64_t g = 0; g < width / 32; g++, row += 34) {
        if (out) memcpy(row, cell + width + 2 * g, 2), memcpy(row + 2, cell + 32 * g, 32);
        else     memcpy(cell + width + 2 * g, row, 2), memcpy(cell + 32 * g, row + 2, 32);
    }
}

/* Positions pos..pos+n-1 of one sequence between the device and plain rows. */
static bool move(const llm_kv_layer *kv, int seq, int pos, int n, uint8_t *rows, bool value, bool out)
{
    int64_t width = kv->n_kv_head * (int64_t)(value ? kv->d_v : kv->d_k), size = kv_row_size(kv->dtype, width);
    size_t plain = kv->dtype == DT_Q8_0 ? (size_t)(width / 32 * 34) : (size_t)width * (kv->dtype == DT_F16 ? 2 : kv->dtype == DT_F8_E4M3 ? 1 : 4);
    uint8_t *base = value ? (uint8_t *)kv->v + (size_t)seq * kv->v_seq_bytes : (uint8_t *)kv->k + (size_t)seq * kv->k_seq_bytes;
    uint8_t *cell = (uint8_t *)malloc((size_t)n * (size_t)size);

    cudaError_t e = cell != NULL ? cudaSuccess : cudaErrorMemoryAllocation;

    for (int i = 0, m; i < n && e == cudaSuccess; i += m) {
        int first = (pos + i) % kv->n_cell;
        size_t bytes = (size_t)(m = n - i < kv->n_cell - first ? n - i : kv->n_cell - first) * (size_t)size;
        if (out) e = cudaMemcpy(cell, base + (size_t)first * (size_t)size, bytes, cudaMemcpyDeviceToHost);
        else memset(cell, 0, bytes);
        for (int j = 0; j < m && e == cudaSuccess; j++) {
            uint8_t *row = rows + (size_t)(i + j) * plain, *c = cell + j * size;
            if (kv->dtype == DT_Q8_0) q8_row(c, row, width, out);
            else if (out) memcpy(row, c, plain);
            else memcpy(c, row, plain);
        }
        if (!out) e = cudaMemcpy(base + (size_t)first * (size_t)size, cell, bytes, cudaMemcpyHostToDevice);
    }
    /* A copy from pageable memory may still be under way, and the session's stream does not wait for it. Not the whole device: another session may be
     * recording a step, which must not be waited for. */
    if (!out && e == cudaSuccess) e = cudaStreamSynchronize(0);
    if (e != cudaSuccess) (void)cudaGetLastError();
    free(cell);
    return e == cudaSuccess;
}

static bool kv_get(const llm_kv_layer *kv, int seq, int pos, int n, void *k, void *v)
{
    return move(kv, seq, pos, n, (uint8_t *)k, false, true) && (kv->latent || move(kv, seq, pos, n, (uint8_t *)v, true, true));
}

static bool kv_put(llm_kv_layer *kv, int seq, int pos, int n, const void *k, const void *v)
{
    return move(kv, seq, pos, n, (uint8_t *)(uintptr_t)k, false, false) && (kv->latent || move(kv, seq, pos, n, (uint8_t *)(uintptr_t)v, true, false));
}

void cuda_kv_ops(llm_ops *op, llm_blocks *block) { block->rope_store = rope_store, op->kv_size = kv_size, op->store = store, op->kv_get = kv_get, op->kv_put = kv_put; }

static llm_ops cell_ops()
{
    llm_ops op;
    memset(&op, 0, sizeof op);
    op.kv_size = kv_size, op.kv_get = kv_get, op.kv_put = kv_put;
    return op;
}

const llm_ops *cuda_cell_ops(void)
{
    static const llm_ops cells = cell_ops();
    return &cells;
}
