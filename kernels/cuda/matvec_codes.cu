/* matvec_codes.cu - matvec.h for weights in blocks times x as 8-bit codes: four products an instruction (dp4a), one step in float
 * for each 16 or 32 of them. A lane takes every 32nd group of 32 values. */
#include "matvec.h"

template <int DT> static __device__ __forceinline__ float group_product(const uint32_t w[8], const float s[2], const float m[2], const uint32_t x[8], float d, uint32_t sums, float acc)
{
    typedef block_of<DT> block;
    int low = 0, high = 0, sum0 = (int16_t)sums, sum1 = (int16_t)(sums >> 16);

    UNROLL for (int k = 0; k < 4; k++) low = __dp4a((int)w[k], (int)x[k], low), high = __dp4a((int)w[4 + k], (int)x[4 + k], high);
    if (block::OFF != 0) low -= block::OFF * sum0, high -= block::OFF * sum1;
    if (block::SUB16) acc = fmaf(s[0] * d, (float)low, acc), acc = fmaf(s[1] * d, (float)high, acc);
    else acc = fmaf(s[0] * d, (float)(low + high), acc);
    if (block::MIN && block::SUB16) acc = fmaf(m[0], d * (float)sum0, acc), acc = fmaf(m[1], d * (float)sum1, acc);
    else if (block::MIN) acc = fmaf(m[0], d * (float)(sum0 + sum1), acc);
    return acc;
}

template <int DT, int NC, int R> static __global__ void __launch_bounds__(MV_WARPS * 32) matvec_codes(const __grid_constant__ mv_job g)
{
    mv_place<R> p;
    int n = mv_columns(g, NC), groups = (int)((g.m[0].w.cols + 31) / 32);
    float acc[R][NC];

    if (!mv_find<R>(g, &p, NC == 1 && (g.e.expert || g.e.heads) ? 1 : NC)) return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < NC; c++) acc[r][c] = 0;
    for (int i = lane_id(); i < groups; i += 32) {
        uint32_t w[R][8];
        float s[R][2], m[R][2];
        UNROLL for (int r = 0; r < R; r++) {
            block_of<DT>::codes(p.a[r], p.b[r], i, w[r]);
            block_of<DT>::scales(p.a[r], p.b[r], i, s[r], m[r]);
        }
        UNROLL for (int c = 0; c < NC; c++) {
            int64_t at = (p.column + (c < n ? c : n - 1)) * g.x.blocks + i;
            const uint4 *q = (const uint4 *)(const void *)(g.x.q + 32 * at);
            uint32_t x[8];
            words_of(q[0], x), words_of(q[1], x + 4);
            UNROLL for (int r = 0; r < R; r++) acc[r][c] = group_product<DT>(w[r], s[r], m[r], x, g.x.d[at], g.x.sum[at], acc[r][c]);
        }
    }
    mv_finish<NC, R>(g, p, acc, n);
    if (g.count) mv_heads(g);
}

cudaError_t matvec_codes_launch(const mv_job *g, dim3 grid, int nc, cudaStream_t s)
{
    mv_job j = *g;

    switch (j.m[0].w.dtype) {
#define LAUNCH_NC(dt, nc) { auto fn = matvec_codes<dt, nc, mv_rows(nc)>; LAUNCH(fn, grid, dim3(MV_WARPS * 32), mv_shared(&j), s, j); break; }
#define CASE(dt) case dt: if (nc == 1) LAUNCH_NC(dt, 1) if (nc == 2) LAUNCH_NC(dt, 2) if (nc == 4) LAUNCH_NC(dt, 4) LAUNCH_NC(dt, 8)
    PLAIN_BLOCK_TYPES(CASE)
#undef CASE
    /* bound by unpacking their blocks, not by columns: two columns take the kernel of four */
#define CASE(dt) case dt: if (nc == 1) LAUNCH_NC(dt, 1) if (nc <= 4) LAUNCH_NC(dt, 4) LAUNCH_NC(dt, 8)
    GRID_BLOCK_TYPES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}
