/* matmul_codes.cu - matmul.h for weights in blocks times x as 8-bit codes, on the int8 matrix units. */
#include "matmul.h"

/* The weight's groups first .. first + 3 of 32 into shared memory: signed codes and scales; zeros beyond the last. */
template <int DT> static __device__ __forceinline__ void fill_weight(mm_shared *sh, const mm_job &g, const mm_place &p, int first, int groups)
{
    typedef block_of<DT> block;

    for (int i = (int)threadIdx.x; i < MM_ROWS * MM_STEP; i += MM_THREADS) {
        int r = i / MM_STEP, t = i % MM_STEP;
        int64_t row = p.row0 + r < g.w.rows ? p.row0 + r : g.w.rows - 1;
        const uint8_t *a = g.w.a + (p.matrix * g.w.rows + row) * g.w.a_row, *b = g.w.b + (p.matrix * g.w.rows + row) * g.w.b_row;
        uint32_t w[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
        float s[2] = { 0, 0 }, m[2] = { 0, 0 };
        if (first + t < groups) {
            block::codes(a, b, first + t, w);
            block::scales(a, b, first + t, s, m);
            UNROLL for (int k = 0; k < 8; k++) if (block::OFF != 0) w[k] = less4(w[k], block::OFF);
        }
        put32(&sh->a[r][32 * t], w);
        sh->s[t][0][r] = s[0];
        if (block::SUB16) sh->s[t][1][r] = s[1];
        if (block::MIN) sh->m[t][0][r] = m[0];
        if (block::MIN && block::SUB16) sh->m[t][1][r] = m[1];
    }
}

template <int DT> static __device__ __forceinline__ void fill_x(mm_shared *sh, const mm_job &g, const mm_place &p, int first, int groups)
{
    for (int i = (int)threadIdx.x; i < MM_COLS * MM_STEP; i += MM_THREADS) {
        int c = i / MM_STEP, t = i % MM_STEP;
        int64_t at = mm_x_row(g, p, c) * g.x.blocks + first + t;
        uint32_t w[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
        float d = 0;
        uint32_t sum = 0;
        if (first + t < groups) {
            const uint4 *q = (const uint4 *)(const void *)(g.x.q + 32 * at);
            words_of(q[0], w), words_of(q[1], w + 4);
            d = g.x.d[at], sum = g.x.sum[at];
        }
        put32(&sh->b[c][32 * t], w);
        sh->d[t][c] = d;
        if (!block_of<DT>::MIN) continue;
        int low = (int16_t)sum, high = (int16_t)(sum >> 16);
        sh->sum[t][0][c] = d * (float)(block_of<DT>::SUB16 ? low : low + high), sh->sum[t][1][c] = d * (float)high;
    }
}

/* One tile: exact sums, then the scales. */
template <int DT> static __device__ __forceinline__ void add_tile(const mm_shared *sh, int t, float acc[2][4][4])
{
    typedef block_of<DT> block;
    int lane = lane_id(), row = warp_id() / 2 * 32 + lane / 4, col = warp_id() % 2 * 32 + lane % 4 * 2;
    uint32_t a[2][4], b[4][2];

    mm_fragments(sh, t, a, b);
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) {
        int low[4] = { 0, 0, 0, 0 }, high[4] = { 0, 0, 0, 0 };
        if (block::SUB16) mma_s8_k16(low, &a[i][0], b[j][0]), mma_s8_k16(high, &a[i][2], b[j][1]);
        else mma_s8_k32(low, a[i], b[j]);
        UNROLL for (int k = 0; k < 4; k++) {
            int r = row + 16 * i + 8 * (k / 2), c = col + 8 * j + k % 2;
            acc[i][j][k] = fmaf(sh->s[t][0][r] * sh->d[t][c], (float)low[k], acc[i][j][k]);
            if (block::SUB16) acc[i][j][k] = fmaf(sh->s[t][1][r] * sh->d[t][c], (float)high[k], acc[i][j][k]);
            if (block::MIN) acc[i][j][k] = fmaf(sh->m[t][0][r], sh->sum[t][0][c], acc[i][j][k]);
            if (block::MIN && block::SUB16) acc[i][j][k] = fmaf(sh->m[t][1][r], sh->sum[t][1][c], acc[i][j][k]);
        }
    }
}

template <int DT> static __global__ void __launch_bounds__(MM_THREADS) matmul_codes(mm_job g)
{
    DYNAMIC_SHARED(raw);
    mm_shared *sh = (mm_shared *)(void *)raw;
    int groups = (int)((g.w.cols + 31) / 32);
    float acc[2][4][4];
    mm_place p;

    if (!mm_find(g, &p)) return;
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) UNROLL for (int k = 0; k < 4; k++) acc[i][j][k] = 0;
    for (int first = 0; first < groups; first += MM_STEP) {
        fill_weight<DT>(sh, g, p, first, groups);
        fill_x<DT>(sh, g, p, first, groups);
        __syncthreads();
        UNROLL for (int t = 0; t < MM_STEP; t++) if (first + t < groups) add_tile<DT>(sh, t, acc);
        __syncthreads();
    }
    mm_store(g, p, acc, 1);
}

cudaError_t matmul_codes_launch(const mm_job *g, dim3 grid, cudaStream_t s)
{
    mm_job j = *g;

    switch (j.w.dtype) {
#define CASE(dt) case dt: { auto fn = matmul_codes<dt>; LAUNCH(fn, grid, dim3(MM_THREADS), sizeof(mm_shared), s, j); break; }
    BLOCK_TYPES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}
