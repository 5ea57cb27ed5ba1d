/* kv.c - writes keys and values into their cells (kv.h), and moves them out and in as plain rows. */
#include "kv.h"
#include "checked.h"
#include "half.h"
#include "ops.h"
#include <string.h>

enum { KV_MAX_D = 1 << 20 };

static bool kv_size(llm_kv_layer *kv)
{
    size_t blocks;

    if (kv->d_k < 1 || kv->d_v < 1 || kv->d_k > KV_MAX_D || kv->d_v > KV_MAX_D || kv->n_kv_head < 1) return false;
    if (kv->n_cell < 1 || kv->n_cell % KV_BLOCK != 0) return false;
    if (kv->dtype != DT_F16 && kv->dtype != DT_F32 && kv->dtype != DT_Q8_0 && kv->dtype != DT_F8_E4M3) return false;
    if (kv->dtype == DT_F8_E4M3 && kv->latent) return false;
    if (kv->dtype == DT_Q8_0 && (kv->latent || kv->d_k % KV_GROUP != 0 || kv->d_v % KV_GROUP != 0)) return false;
    if (kv->latent && (kv->n_kv_head != 1 || kv->d_v > kv->d_k)) return false;
    kv->v_seq_bytes = 0;
    return ck_mul((size_t)kv->n_kv_head, (size_t)(kv->n_cell / KV_BLOCK), &blocks) && ck_mul(blocks, kv_k_bytes(kv), &kv->k_seq_bytes)
        && (kv->latent || ck_mul(blocks, kv_v_bytes(kv), &kv->v_seq_bytes));
}

/* Codes of 32 values, side by side at q, to their places in a block: a key's lie in fours. */
static void place_codes(int8_t *cell, const int8_t *q, bool value)
{
    if (value) memcpy(cell, q, KV_GROUP);
    else for (int i = 0; i < KV_GROUP; i += 4) memcpy(cell + i * KV_BLOCK, q + i, 4);
}

/* A position's key or value of one head. */
static void put_q8(const cpu_rows *row, const llm_kv_layer *kv, uint8_t *block, int cell, const float *x, bool value)
{
    uint16_t *scale;
    int8_t *q, code[KV_GROUP];

    for (int d = 0; d < (value ? kv->d_v : kv->d_k); d += KV_GROUP) {
        if (value) kv_q8_value(kv, block, cell, d, &scale, &q);
        else kv_q8_key(block, cell, d, &scale, &q);
        row->to_q8(scale, code, x + d, KV_GROUP);
        place_codes(q, code, value);
    }
}

/* n values at x to every step-th element of dst. */
static void put(const llm_kv_layer *kv, uint8_t *dst, const float *x, int n, int step)
{
    uint16_t *h = (uint16_t *)(void *)dst;
    float *f = (float *)(void *)dst;

    if (kv->dtype == DT_F16)          for (int i = 0; i < n; i++) h[(size_t)i * (size_t)step] = float_to_f16(x[i]);
    else if (kv->dtype == DT_F8_E4M3) for (int i = 0; i < n; i++) dst[(size_t)i * (size_t)step] = f32_to_e4m3(x[i]);
    else                              for (int i = 0; i < n; i++) f[(size_t)i * (size_t)step] = x[i];
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
        else put(kv, dst, x + i * stride, width, 1);
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
            if (kv->dtype == DT_Q8_0) {
                for (int m = 0; m < n; m++) {
                    put_q8(j->row, kv, kb, cell + m, k + m * j->k.stride, false);
                    put_q8(j->row, kv, kv_v_block(kv, s->seq, head, pos), cell + m, row_at(j->v, s->row0 + i + m) + (size_t)head * (size_t)kv->d_v, true);
                }
                continue;
            }
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

/* The same for rows of Q8_0 blocks { half d; int8 q[32]; }. */
static void copy_q8(const llm_kv_layer *kv, uint8_t *block, int cell, uint8_t *row, bool value, bool out)
{
    uint16_t *scale;
    int8_t *q;

    for (int d = 0; d < (value ? kv->d_v : kv->d_k); d += KV_GROUP, row += 2 + KV_GROUP) {
        if (value) kv_q8_value(kv, block, cell, d, &scale, &q);
        else kv_q8_key(block, cell, d, &scale, &q);
        if (out) memcpy(row, scale, 2);
        else     memcpy(scale, row, 2), place_codes(q, (int8_t *)row + 2, value);
        for (int i = 0; i < KV_GROUP && out; i++) row[2 + i] = (uint8_t)q[value ? i : i / 4 * (KV_BLOCK * 4) + i % 4];
    }
}

/* The key of position pos and one head between its cell and a plain row. */
static void copy_key(const llm_kv_layer *kv, int seq, int head, int64_t pos, uint8_t *row, bool out)
{
    uint8_t *block = kv_k_block(kv, seq, head, pos), *cell;
    size_t e = kv_element(kv), at = (size_t)(pos % KV_BLOCK), step = kv->latent ? 1 : KV_BLOCK;

    if (kv->dtype == DT_Q8_0) { copy_q8(kv, block, (int)at, row, false, out); return; }
    cell = block + (kv->latent ? at * (size_t)kv_v_stride(kv) : at) * e;
    if (out) copy_out(row, cell, kv->d_k, step, e);
    else copy_in(cell, row, kv->d_k, step, e);
}

static void copy_value(const llm_kv_layer *kv, int seq, int head, int64_t pos, uint8_t *row, bool out)
{
    uint8_t *block = kv_v_block(kv, seq, head, pos), *cell;
    size_t e = kv_element(kv), at = (size_t)(pos % KV_BLOCK);

    if (kv->dtype == DT_Q8_0) { copy_q8(kv, block, (int)at, row, true, out); return; }
    cell = block + at * (size_t)kv_v_stride(kv) * e;
    if (out) memcpy(row, cell, (size_t)kv->d_v * e);
    else memcpy(cell, row, (size_t)kv->d_v * e);
}

static void copy_rows(const llm_kv_layer *kv, int seq, int pos, int n, uint8_t *k, uint8_t *v, bool out)
{
    size_t k_bytes = 0, v_bytes = 0;

    dtype_bytes((int)kv->dtype, kv->d_k, &k_bytes), dtype_bytes((int)kv->dtype, kv->d_v, &v_bytes);
    for (int i = 0; i < n; i++)
        for (int h = 0; h < kv->n_kv_head; h++, k += k_bytes) {
            copy_key(kv, seq, h, (int64_t)pos + i, k, out);
            if (kv->latent) continue;
            copy_value(kv, seq, h, (int64_t)pos + i, v, out);
            v += v_bytes;
        }
}

static bool kv_get(const llm_kv_layer *kv, int seq, int pos, int n, void *k, void *v)
{
    copy_rows(kv, seq, pos, n, k, v, true);
    return true;
}

static bool kv_put(llm_kv_layer *kv, int seq, int pos, int n, const void *k, const void *v)
{
    copy_rows(kv, seq, pos, n, (uint8_t *)(uintptr_t)k, (uint8_t *)(uintptr_t)v, false);
    return true;
}

void kv_ops(llm_ops *op)
{
    op->store = store, op->kv_size = kv_size, op->kv_get = kv_get, op->kv_put = kv_put;
}

const llm_ops *backend_cpu_cell_ops(void)
{
    static const llm_ops cells = { .kv_size = kv_size, .kv_get = kv_get, .kv_put = kv_put };
    return &cells;
}
