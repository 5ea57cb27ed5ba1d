/* kv.c - writes keys and values into their cells (kv.h), and moves them out and in as plain rows. */
#include "kv.h"
#include "checked.h"
#include "half.h"
#include "ops.h"

static bool kv_size(llm_kv_layer *kv)
{
    size_t cells, k = (size_t)(kv->latent ? kv_round16(kv->d_k) : kv->d_k), v = (size_t)kv_v_stride(kv);

    if (kv->d_k < 1 || kv->d_v < 1 || kv->n_kv_head < 1 || kv->n_cell < 1 || kv->n_cell % KV_BLOCK != 0) return false;
    if (kv->dtype != DT_F16 && kv->dtype != DT_F32) return false;
    if (kv->latent && (kv->n_kv_head != 1 || kv->d_v > kv->d_k)) return false;
    kv->v_seq_bytes = 0;
    if (!ck_mul((size_t)kv->n_kv_head, (size_t)kv->n_cell, &cells) || !ck_mul(cells, kv_element(kv), &cells)) return false;
    return ck_mul(cells, k, &kv->k_seq_bytes) && (kv->latent || ck_mul(cells, v, &kv->v_seq_bytes));
}

/* n values at x to every step-th element of dst. */
static void put(const llm_kv_layer *kv, uint8_t *dst, const float *x, int n, int step)
{
    uint16_t *h = (uint16_t *)(void *)dst;
    float *f = (float *)(void *)dst;

    if (kv->dtype == DT_F16) for (int i = 0; i < n; i++) h[(size_t)i * (size_t)step] = float_to_f16(x[i]);
    else                     for (int i = 0; i < n; i++) f[(size_t)i * (size_t)step] = x[i];
}

/* Keys of n <= 64 consecutive positions of one block, [n] rows `stride` apart, into columns at `cell`. Rows are converted in
 * groups of 8, so that a cache line of the block takes several positions at a time. */
static void put_keys(const cpu_rows *row, const llm_kv_layer *kv, uint8_t *block, int cell, const float *x, int64_t stride, int n)
{
    enum { GROUP = 8, WIDTH = 512 };
    uint16_t h[GROUP][WIDTH];
    uint16_t *dst = (uint16_t *)(void *)block;

    if (kv->dtype != DT_F16) {
        for (int i = 0; i < n; i++) put(kv, block + (size_t)(cell + i) * kv_element(kv), x + i * stride, kv->d_k, KV_BLOCK);
        return;
    }
    for (int i0 = 0; i0 < n; i0 += GROUP)
        for (int d0 = 0; d0 < kv->d_k; d0 += WIDTH) {
            int m = n - i0 < GROUP ? n - i0 : GROUP, w = kv->d_k - d0 < WIDTH ? kv->d_k - d0 : WIDTH;
            for (int i = 0; i < m; i++) row->to_f16(h[i], x + (i0 + i) * stride + d0, w);
            for (int d = 0; d < w; d++)
                for (int i = 0; i < m; i++) dst[(d0 + d) * KV_BLOCK + cell + i0 + i] = h[i][d];
        }
}

/* n rows of width values into rows of a block, beginning at row `cell`. */
static void put_rows(const cpu_rows *row, const llm_kv_layer *kv, uint8_t *block, int cell, const float *x, int64_t stride, int n, int width)
{
    size_t bytes = (size_t)kv_v_stride(kv) * kv_element(kv);

    for (int i = 0; i < n; i++) {
        uint8_t *dst = block + (size_t)(cell + i) * bytes;
        if (kv->dtype == DT_F16) row->to_f16((uint16_t *)(void *)dst, x + i * stride, width);
        else memcpy(dst, x + i * stride, (size_t)width * sizeof(float));
    }
}

typedef struct { const cpu_rows *row; llm_kv_layer *kv; llm_rows k, v; const llm_batch *b; } job;

/* Item i: head i % n_kv_head of span i / n_kv_head. */
static void store_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const job *j = arg;
    const llm_kv_layer *kv = j->kv;

    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        const llm_span *s = &j->b->span[item / kv->n_kv_head];
        int head = (int)(item % kv->n_kv_head), n;
        for (int i = 0; i < s->n; i += n) {
            int64_t pos = (int64_t)s->pos0 + i;
            int cell = (int)(pos % KV_BLOCK);
            uint8_t *kb = kv_k_block(kv, s->seq, head, pos);
            const float *k = row_at(j->k, s->row0 + i) + (size_t)head * (size_t)kv->d_k;
            n = s->n - i < KV_BLOCK - cell ? s->n - i : KV_BLOCK - cell;
            if (kv->latent) { put_rows(j->row, kv, kb, cell, k, j->k.stride, n, kv->d_k); continue; }
            put_keys(j->row, kv, kb, cell, k, j->k.stride, n);
            put_rows(j->row, kv, kv_v_block(kv, s->seq, head, pos), cell,
                     row_at(j->v, s->row0 + i) + (size_t)head * (size_t)kv->d_v, j->v.stride, n, kv->d_v);
        }
    }
}

static void store(llm_backend *be, llm_kv_layer *kv, llm_rows k, llm_rows v, const llm_batch *b)
{
    job j = { cpu_of(be)->row, kv, k, v, b };

    if (!backend_ok(be)) return;
    pool_run(cpu_of(be)->pool, (int64_t)b->n_span * kv->n_kv_head, 1, store_items, &j);
}

/* Width values of element size e between a plain row and every step-th element at cells. */
static void copy_out(uint8_t *row, const uint8_t *cells, int width, size_t step, size_t e)
{
    for (int d = 0; d < width; d++) memcpy(row + (size_t)d * e, cells + (size_t)d * step * e, e);
}

static void copy_in(uint8_t *cells, const uint8_t *row, int width, size_t step, size_t e)
{
    for (int d = 0; d < width; d++) memcpy(cells + (size_t)d * step * e, row + (size_t)d * e, e);
}

static void kv_get(const llm_kv_layer *kv, int seq, int pos, int n, void *k, void *v)
{
    size_t e = kv_element(kv), dk = (size_t)kv->d_k, dv = (size_t)kv->d_v, heads = (size_t)kv->n_kv_head;

    for (int i = 0; i < n; i++)
        for (int h = 0; h < kv->n_kv_head; h++) {
            int64_t p = (int64_t)pos + i;
            size_t cell = (size_t)(p % KV_BLOCK), stride = (size_t)kv_v_stride(kv);
            uint8_t *to = (uint8_t *)k + ((size_t)i * heads + (size_t)h) * dk * e;
            const uint8_t *from = kv_k_block(kv, seq, h, p);
            if (kv->latent) { memcpy(to, from + cell * stride * e, dk * e); continue; }
            copy_out(to, from + cell * e, kv->d_k, KV_BLOCK, e);
            memcpy((uint8_t *)v + ((size_t)i * heads + (size_t)h) * dv * e, kv_v_block(kv, seq, h, p) + cell * stride * e, dv * e);
        }
}

static void kv_put(llm_kv_layer *kv, int seq, int pos, int n, const void *k, const void *v)
{
    size_t e = kv_element(kv), dk = (size_t)kv->d_k, dv = (size_t)kv->d_v, heads = (size_t)kv->n_kv_head;

    for (int i = 0; i < n; i++)
        for (int h = 0; h < kv->n_kv_head; h++) {
            int64_t p = (int64_t)pos + i;
            size_t cell = (size_t)(p % KV_BLOCK), stride = (size_t)kv_v_stride(kv);
            const uint8_t *from = (const uint8_t *)k + ((size_t)i * heads + (size_t)h) * dk * e;
            uint8_t *to = kv_k_block(kv, seq, h, p);
            if (kv->latent) { memcpy(to + cell * stride * e, from, dk * e); continue; }
            copy_in(to + cell * e, from, kv->d_k, KV_BLOCK, e);
            memcpy(kv_v_block(kv, seq, h, p) + cell * stride * e, (const uint8_t *)v + ((size_t)i * heads + (size_t)h) * dv * e, dv * e);
        }
}

void kv_ops(llm_ops *op)
{
    op->store = store, op->kv_size = kv_size, op->kv_get = kv_get, op->kv_put = kv_put;
}
