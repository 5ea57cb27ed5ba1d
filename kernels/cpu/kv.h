/* kv.h - how keys and values lie in memory.
 *
 * Position p is in block b = p / 64, which lies at b % (n_cell / 64) of its sequence and head. Within a block, keys are
 * [d_k][64]: 64 positions side by side for each of the d_k values, so that a vector's lanes are positions. Values are
 * rows, [64][v_stride]. A latent cache (MLA) has one head and rows only, [64][k_stride], its first d_v values being the
 * value. Strides are rounded up to 16 so that whole vectors may be read; elements are F16, F32, or where it is not latent F8_E4M3: to
 * nearest even and at most 448 (narrow.h), without a scale, as vLLM keeps them where a model comes with none.
 *
 * Q8_0: groups of 32 values of one position share a scale d = half(max |x| / 127), at most 65504; a value is d * q with
 * q = x * (1 / d) rounded to nearest even, within +-127, and all 0 where d is 0. d * q is exact as a float. A block of keys is d_k / 32 times
 * { half d[64]; int8 q[8][64][4]; }, four codes of a position side by side; one of values is half d[64][d_v / 32], then int8
 * q[64][d_v]. Widths are multiples of 32; a latent cache cannot be Q8_0. */
#ifndef LLM_CPU_KV_H
#define LLM_CPU_KV_H
#include "backend.h"
#include "half.h"
#include "narrow.h"

enum { KV_GROUP = 32, KV_GROUP_BYTES = KV_BLOCK * (2 + KV_GROUP) };

static inline int kv_round16(int d) { return (d + 15) & ~15; }
static inline int kv_v_stride(const llm_kv_layer *kv) { return kv_round16(kv->latent ? kv->d_k : kv->d_v); }
static inline size_t kv_element(const llm_kv_layer *kv) { return kv->dtype == DT_F16 ? 2 : kv->dtype == DT_F8_E4M3 ? 1 : 4; }

/* Bytes of one block of one head. */
static inline size_t kv_k_bytes(const llm_kv_layer *kv)
{
    if (kv->dtype == DT_Q8_0) return (size_t)(kv->d_k / KV_GROUP) * KV_GROUP_BYTES;
    return (size_t)KV_BLOCK * (size_t)(kv->latent ? kv_round16(kv->d_k) : kv->d_k) * kv_element(kv);
}

static inline size_t kv_v_bytes(const llm_kv_layer *kv)
{
    if (kv->dtype == DT_Q8_0) return (size_t)(kv->d_v / KV_GROUP) * KV_GROUP_BYTES;
    return (size_t)KV_BLOCK * (size_t)kv_v_stride(kv) * kv_element(kv);
}

static inline size_t kv_block_index(const llm_kv_layer *kv, int head, int64_t pos)
{
    int64_t n_block = kv->n_cell / KV_BLOCK;
    return (size_t)(head * n_block + pos / KV_BLOCK % n_block);
}

/* Start of the block of keys (of rows when latent) that position pos is in. */
static inline uint8_t *kv_k_block(const llm_kv_layer *kv, int seq, int head, int64_t pos)
{
    return (uint8_t *)kv->k + (size_t)seq * kv->k_seq_bytes + kv_block_index(kv, head, pos) * kv_k_bytes(kv);
}

/* The same of values; of the latent rows, again, when latent. */
static inline uint8_t *kv_v_block(const llm_kv_layer *kv, int seq, int head, int64_t pos)
{
    if (kv->latent) return kv_k_block(kv, seq, head, pos);
    return (uint8_t *)kv->v + (size_t)seq * kv->v_seq_bytes + kv_block_index(kv, head, pos) * kv_v_bytes(kv);
}

/* Scale and value of a Q8_0 block: value d of position `cell` is (float)*q * f16_to_float(*scale). */
static inline void kv_q8_key(uint8_t *block, int cell, int d, uint16_t **scale, int8_t **q)
{
    uint8_t *group = block + (size_t)(d / KV_GROUP) * KV_GROUP_BYTES;
    *scale = (uint16_t *)(void *)group + cell;
    *q = (int8_t *)(group + KV_BLOCK * 2 + d % KV_GROUP / 4 * (KV_BLOCK * 4) + cell * 4 + d % 4);
}

static inline void kv_q8_value(const llm_kv_layer *kv, uint8_t *block, int cell, int d, uint16_t **scale, int8_t **q)
{
    int groups = kv->d_v / KV_GROUP;
    *scale = (uint16_t *)(void *)block + cell * groups + d / KV_GROUP;
    *q = (int8_t *)(block + (size_t)(KV_BLOCK * 2 * groups) + (size_t)cell * (size_t)kv->d_v + d);
}

/* Value d of the key, or of the value, of position `cell` of a block, as a float. */
static inline float kv_element_at(const llm_kv_layer *kv, uint8_t *block, int cell, int d, bool value)
{
    size_t at = value || kv->latent ? (size_t)(cell * kv_v_stride(kv) + d) : (size_t)(d * KV_BLOCK + cell);
    uint16_t *scale;
    int8_t *q;

    if (kv->dtype == DT_F16) return f16_to_float(((uint16_t *)(void *)block)[at]);
    if (kv->dtype == DT_F32) return ((float *)(void *)block)[at];
    if (kv->dtype == DT_F8_E4M3) return e4m3_to_f32(block[at]);
    if (value) kv_q8_value(kv, block, cell, d, &scale, &q);
    else kv_q8_key(block, cell, d, &scale, &q);
    return (float)*q * f16_to_float(*scale);
}
#endif
