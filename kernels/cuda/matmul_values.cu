/* matmul_values.cu - matmul.h for F16, BF16 and FP8 weights times x as halves. BF16 becomes a half after a power of two (w.shrink) that
 * keeps its largest value in range: values 2^-38 of it and larger keep all their bits. */
#include "matmul.h"

template <int DT> static __device__ __forceinline__ uint16_t half_of(const uint8_t *p, float shrink)
{
    if (DT == DT_F16) return (uint16_t)load2(p);
    return float_f16(DT == DT_BF16 ? value_of<DT>::at(p, 1) * shrink : value_of<DT>::at(p, 1));
}

/* 16 values for each row and tile. Rows of plane a are filled up with zeros to 16 bytes; beyond that tiles are zeros. */
template <int DT> static __device__ __forceinline__ void fill_weight(mm_shared *sh, const mm_job &g, const mm_place &p, int first)
{
    enum { BYTES = value_of<DT>::BYTES };

    for (int i = (int)threadIdx.x; i < MM_ROWS * MM_STEP; i += MM_THREADS) {
        int r = i / MM_STEP, t = i % MM_STEP;
        int64_t row = p.row0 + r < g.w.rows ? p.row0 + r : g.w.rows - 1, col = 16 * (int64_t)(first + t);
        const uint8_t *a = g.w.a + (p.matrix * g.w.rows + row) * g.w.a_row + col * BYTES;
        uint32_t in[4 * BYTES], w[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
        UNROLL for (int h = 0; h < BYTES; h++)
            if (col * BYTES + 16 * h < g.w.a_row) {
                words_of(load16(a + 16 * h), in + 4 * h);
                UNROLL for (int k = 0; k < 16 / BYTES; k++) {
                    int at = h * (16 / BYTES) + k;
                    uint32_t bits = in[at * BYTES / 4] >> 8 * (at * BYTES % 4);
                    w[at / 2] |= (uint32_t)half_of<DT>((const uint8_t *)&bits, g.w.shrink) << 16 * (at % 2);
                }
            }
        put32(&sh->a[r][32 * t], w);
        if (BYTES == 1) sh->s[t][0][r] = g.w.scale == NULL || col >= g.w.cols ? 1.0f
            : g.w.scale[(p.matrix * g.w.scale_rows + row / g.w.tile_rows) * g.w.scale_cols + col / g.w.tile_cols];
    }
}

static __device__ __forceinline__ void fill_x(mm_shared *sh, const mm_job &g, const mm_place &p, int first)
{
    for (int i = (int)threadIdx.x; i < MM_COLS * MM_STEP; i += MM_THREADS) {
        int c = i / MM_STEP, t = i % MM_STEP;
        uint32_t w[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
        if (16 * (int64_t)(first + t) < g.h.stride) {
            const uint4 *x = (const uint4 *)(const void *)(g.h.h + mm_x_row(g, p, c) * g.h.stride + 16 * (first + t));
            words_of(x[0], w), words_of(x[1], w + 4);
        }
        put32(&sh->b[c][32 * t], w);
    }
}

template <int DT> static __device__ __forceinline__ void add_tile(const mm_shared *sh, int t, float acc[2][4][4])
{
    int row = warp_id() / 2 * 32 + lane_id() / 4;
    uint32_t a[2][4], b[4][2];

    mm_fragments(sh, t, a, b);
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) {
        if (value_of<DT>::BYTES > 1) { mma_f16(acc[i][j], a[i], b[j]); continue; }
        float sum[4] = { 0, 0, 0, 0 };
        mma_f16(sum, a[i], b[j]);
        UNROLL for (int k = 0; k < 4; k++) acc[i][j][k] = fmaf(sh->s[t][0][row + 16 * i + 8 * (k / 2)], sum[k], acc[i][j][k]);
    }
}

template <int DT> static __global__ void __launch_bounds__(MM_THREADS) matmul_values(mm_job g)
{
    DYNAMIC_SHARED(raw);
    mm_shared *sh = (mm_shared *)(void *)raw;
    int tiles = (int)((g.w.cols + 15) / 16);
    float acc[2][4][4];
    mm_place p;

    if (!mm_find(g, &p)) return;
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) UNROLL for (int k = 0; k < 4; k++) acc[i][j][k] = 0;
    for (int first = 0; first < tiles; first += MM_STEP) {
        fill_weight<DT>(sh, g, p, first);
        fill_x(sh, g, p, first);
        __syncthreads();
        UNROLL for (int t = 0; t < MM_STEP; t++) if (first + t < tiles) add_tile<DT>(sh, t, acc);
        __syncthreads();
    }
    mm_store(g, p, acc, g.w.shrink);
}

/* F32 keeps its precision in matvec.h; scales of FP8 must not change within a tile. */
bool matmul_has(const cuda_weight *w)
{
    return w->dtype != DT_F32 && (w->scale == NULL || w->tile_cols % 16 == 0 || w->tile_cols >= w->cols);
}

cudaError_t matmul_values_launch(const mm_job *g, dim3 grid, cudaStream_t s)
{
    mm_job j = *g;

    switch (j.w.dtype) {
#define CASE(dt) case dt: { auto fn = matmul_values<dt>; LAUNCH(fn, grid, dim3(MM_THREADS), sizeof(mm_shared), s, j); break; }
    CASE(DT_F16) CASE(DT_BF16) CASE(DT_F8_E4M3) CASE(DT_F8_E5M2)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}
