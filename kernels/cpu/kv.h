/* kv.h - how keys and values lie in memory.
 *
 * Position p is in block b = p / 64, which lies at b % (n_cell / 64) of its sequence and head. Within a block, keys are
 * [d_k][64]: 64 positions side by side for each of the d_k values, so that a vector's lanes are positions. Values are
 * rows, [64][v_stride]. A latent cache (MLA) has one head and rows only, [64][k_stride], its first d_v values being the
 * value. Strides are rounded up to 16 so that whole vectors may be read; elements are F16 or F32. */
#ifndef LLM_CPU_KV_H
#define LLM_CPU_KV_H
#include "backend.h"

static inline int kv_round16(int d) { return (d + 15) & ~15; }
static inline int kv_v_stride(const llm_kv_layer *kv) { return kv_round16(kv->latent ? kv->d_k : kv->d_v); }
static inline size_t kv_element(const llm_kv_layer *kv) { return kv->dtype == DT_F16 ? 2 : 4; }

/* Start of the block of keys (of rows when latent) that position pos is in. */
static inline uint8_t *kv_k_block(const llm_kv_layer *kv, int seq, int head, int64_t pos)
{
    int64_t n_block = kv->n_cell / KV_BLOCK, block = (int64_t)head * n_block + pos / KV_BLOCK % n_block;
    int64_t width = kv->latent ? kv_round16(kv->d_k) : kv->d_k;

    return (uint8_t *)kv->k + (size_t)seq * kv->k_seq_bytes + (size_t)(block * KV_BLOCK * width) * kv_element(kv);
}

/* The same of values; of the latent rows, again, when latent. */
static inline uint8_t *kv_v_block(const llm_kv_layer *kv, int seq, int head, int64_t pos)
{
    int64_t n_block = kv->n_cell / KV_BLOCK, block = (int64_t)head * n_block + pos / KV_BLOCK % n_block;

    if (kv->latent) return kv_k_block(kv, seq, head, pos);
    return (uint8_t *)kv->v + (size_t)seq * kv->v_seq_bytes + (size_t)(block * KV_BLOCK * kv_v_stride(kv)) * kv_element(kv);
}
#endif
