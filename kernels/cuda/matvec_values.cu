/* matvec_values.cu - matvec.h for weights of floats (F32, F16, BF16, FP8) times x in float: each lane takes every 32nd stretch of 16
 * bytes. Rows of the weight and of x are filled up with zeros to whole stretches. */
#include "matvec.h"

template <int DT, int NC, int R> static __global__ void __launch_bounds__(MV_WARPS * 32) matvec_values(const __grid_constant__ mv_job g)
{
    enum { BYTES = value_of<DT>::BYTES, N = 16 / BYTES };
    const cuda_weight &t = g.m[0].w;
    mv_place<R> p;
    int n = mv_columns(g, NC), stretches = (int)(t.a_row / 16);
    float acc[R][NC];

    if (!mv_find<R>(g, &p, NC == 1 && (g.e.expert || g.e.heads) ? 1 : NC)) return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < NC; c++) acc[r][c] = 0;
    for (int i = lane_id(); i < stretches; i += 32) {
        uint4 raw[R];
        UNROLL for (int r = 0; r < R; r++) raw[r] = load16(p.a[r] + 16 * (int64_t)i);
        UNROLL for (int h = 0; h < N / 4; h++) {
            float w[R][4];
            UNROLL for (int r = 0; r < R; r++) UNROLL for (int k = 0; k < 4; k++) {
                uint32_t word[4];
                words_of(raw[r], word);
                int at = (4 * h + k) * BYTES, col = N * i + 4 * h + k;
                uint32_t bits = word[at / 4] >> 8 * (at % 4);
                w[r][k] = value_of<DT>::at((const uint8_t *)&bits, 1);
                if (BYTES == 1 && p.scale[r]) w[r][k] *= p.scale[r][col < t.cols ? col / t.tile_cols : 0];
            }
            UNROLL for (int c = 0; c < NC; c++) {
                const float4 x = *(const float4 *)(const void *)(g.f + (p.column + (c < n ? c : n - 1)) * g.f_stride + N * i + 4 * h);
                UNROLL for (int r = 0; r < R; r++) {
                    acc[r][c] = fmaf(w[r][0], x.x, acc[r][c]), acc[r][c] = fmaf(w[r][1], x.y, acc[r][c]);
                    acc[r][c] = fmaf(w[r][2], x.z, acc[r][c]), acc[r][c] = fmaf(w[r][3], x.w, acc[r][c]);
                }
            }
        }
    }
    mv_finish<NC, R>(g, p, acc, n);
    if (g.count) mv_heads(g);
}

cudaError_t matvec_values_launch(const mv_job *g, dim3 grid, int nc, cudaStream_t s)
{
    mv_job j = *g;

    switch (j.m[0].w.dtype) {
#define LAUNCH_NC(dt, nc) { auto fn = matvec_values<dt, nc, mv_rows(nc)>; LAUNCH(fn, grid, dim3(MV_WARPS * 32), mv_shared(&j), s, j); break; }
#define CASE(dt) case dt: if (nc == 1) LAUNCH_NC(dt, 1) if (nc == 2) LAUNCH_NC(dt, 2) if (nc == 4) LAUNCH_NC(dt, 4) LAUNCH_NC(dt, 8)
    VALUE_TYPES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}
