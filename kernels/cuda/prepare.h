/* prepare.h - rows of x in the forms that products take (prepare.cu). */
#ifndef LLM_CUDA_PREPARE_H
#define LLM_CUDA_PREPARE_H
#include "cuda_impl.h"

/* Rows of x as they come: row i has `parts` vectors of cols values, part_step apart (parts 1: the row itself); vector v = i * parts + part.
 * perm [cols] or NULL chooses columns. */
typedef struct { llm_rows x; int parts; int64_t part_step, cols; const int32_t *perm; } x_source;

/* The codes of values first .. first + group - 1 of vector v, x [cols], by one warp. */
static __device__ __forceinline__ void put_codes(const float *x, int64_t cols, const int32_t *perm, const x_codes &out, int64_t v, int64_t first, int group)
{
    int rounds = group / 32, lane = lane_id();
    float value[8], most = 0;
    bool odd = false;

    UNROLL for (int r = 0; r < 8; r++) {
        int64_t k = first + 32 * r + lane;
        value[r] = r < rounds && k < cols ? x[perm ? perm[k] : k] : 0.0f;
        odd |= !(fabsf(value[r]) <= 3.402823466e38f);
        most = fmaxf(most, fabsf(value[r]));
    }
    most = warp_max(most);
    odd = __ballot_sync(FULL_WARP, odd) != 0;
    float d = most < 0x1p-118f ? 0.0f : most / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    if (odd) d = __uint_as_float(0x7fc00000u), inverse = 0;
    UNROLL for (int r = 0; r < 8; r++) {
        if (r >= rounds) break;
        int64_t k = first + 32 * r + lane, block = v * out.blocks + first / 32 + r;
        int q = inverse == 0 ? 0 : (int)rintf(value[r] * inverse), sum = q;
        UNROLL for (int m = 8; m > 0; m >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, m);
        int other = __shfl_sync(FULL_WARP, sum, 16);
        out.q[v * out.blocks * 32 + k] = (int8_t)q;
        if (lane == 0) out.d[block] = d, out.sum[block] = ((uint32_t)sum & 0xffff) | (uint32_t)other << 16;
    }
}

/* Each fills the backend's scratch and returns false after a failure: more vectors than it was opened for. */
bool prepare_codes(llm_backend *be, const x_source *s, int group, x_codes *out);
bool prepare_halves(llm_backend *be, const x_source *s, x_halves *out);
/* Floats in rows of multiples of 16 bytes: x itself where it lies so, else a copy filled up with zeros. */
bool prepare_floats(llm_backend *be, const x_source *s, const float **out, int64_t *stride);
#endif
