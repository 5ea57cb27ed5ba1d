/* heads.h - how a value gets into the cache (kv.cu says how its rows lie), and what becomes of a head's values between the product that made them
 * and attention: norm, rotation, the cache. On their own (rope_store) or at the end of that product (matvec.h). */
#ifndef LLM_CUDA_HEADS_H
#define LLM_CUDA_HEADS_H
#include "kv_row.h"

enum { HEAD_MAX = 256 };

/* Value i of a row of the cache that has width of them; a warp has 32 neighbours, of which those from width on are not there. */
static __device__ __forceinline__ void put_value(uint8_t *row, int dtype, int width, int i, float x)
{
    if (dtype == DT_Q8_0) {
        float top = warp_max(fabsf(x)), d = top / 127;
        uint16_t scale = float_f16(d < 65504 ? d : 65504);
        d = f16_float(scale);
        float q = d > 0 ? x * (1.0f / d) : 0.0f;
        if (i >= width) return;
        q = q > -127 ? q : -127, q = q < 127 ? q : 127;
        ((int8_t *)row)[i] = (int8_t)(int)rintf(q);
        if (i % 32 == 0) ((uint16_t *)(void *)(row + width))[i / 32] = scale;
    } else if (i < width) {
        if (dtype == DT_F16) ((uint16_t *)(void *)row)[i] = float_f16(x);
        else if (dtype == DT_F8_E4M3) row[i] = float_e4m3(x);
        else ((float *)(void *)row)[i] = x;
    }
}

static __device__ __forceinline__ uint8_t *cell_of(const llm_kv_layer &kv, bool value, int seq, int pos)
{
    uint8_t *base = value ? (uint8_t *)kv.v + (size_t)seq * kv.v_seq_bytes : (uint8_t *)kv.k + (size_t)seq * kv.k_seq_bytes;
    return base + (size_t)(pos % kv.n_cell) * (size_t)kv_row_size(kv.dtype, kv.n_kv_head * (int64_t)(value ? kv.d_v : kv.d_k));
}

/* Heads of d values of the rows q, k and v; row i is at pos[i] of sequence seq[i]. */
typedef struct {
    llm_rows q, k, v, cs;
    llm_kv_layer kv;
    const float *q_norm, *k_norm;       /* NULL: none */
    const int32_t *pos, *seq;
    int n_head, d, pairs;
    float eps, offset;
} head_job;

/* Head h of a row, by one warp: queries, then keys, then values. x [HEAD_MAX] is shared memory of the warp's own. Values come from the second cache,
 * for other blocks of the same launch may have written them. */
static __device__ __forceinline__ void finish_head(const head_job &g, int64_t row, int h, float *x)
{
    int lane = lane_id(), half = g.cs.width / 2, kv = h - g.n_head, d = g.d;
    bool query = kv < 0, value = kv >= g.kv.n_kv_head;
    float *y;

    if (value) kv -= g.kv.n_kv_head;
    y = query ? g.q.data + row * g.q.stride + (int64_t)h * d : value ? g.v.data + row * g.v.stride + (int64_t)kv * d : g.k.data + row * g.k.stride + (int64_t)kv * d;
    for (int i = lane; i < d; i += 32) x[i] = __ldcg(y + i);
    const float *w = query ? g.q_norm : g.k_norm;
    if (!value && w != NULL) {
        float sum = 0;
        for (int i = lane; i < d; i += 32) sum = fmaf(x[i], x[i], sum);
        float r = 1.0f / sqrtf(warp_sum(sum) / (float)d + g.eps);
        for (int i = lane; i < d; i += 32) x[i] = x[i] * r * (w[i] + g.offset);
    }
    __syncwarp();
    const float *c = g.cs.data + row * g.cs.stride;
    for (int i = lane; i < half && !value; i += 32) {
        int ia = g.pairs ? 2 * i : i, ib = g.pairs ? ia + 1 : half + i;
        float a = x[ia], b = x[ib];
        x[ia] = fmaf(-b, c[half + i], a * c[i]), x[ib] = fmaf(a, c[half + i], b * c[i]);
    }
    __syncwarp();
    for (int i = lane; i < d && !value; i += 32) y[i] = x[i];
    if (!query) {
        uint8_t *cell = cell_of(g.kv, value, g.seq[row], g.pos[row]);
        for (int i = lane; i < ((d + 31) & ~31); i += 32)       /* whole warps: Q8_0 is of heads of multiples of 32 */
            put_value(cell, g.kv.dtype, i < d ? g.kv.n_kv_head * d : 0, kv * d + i, i < d ? x[i] : 0.0f);
    }
    __syncwarp();                       /* x is free again */
}

/* Checks and collects; false after a failure. */
bool head_job_of(llm_backend *be, llm_rows q, llm_rows k, llm_rows v, llm_rows cs, const llm_rope_store_args *a, const llm_kv_layer *kv, const llm_batch *b, head_job *out);
#endif
