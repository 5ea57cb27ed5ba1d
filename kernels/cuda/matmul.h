/* matmul.h - the products of many columns on the matrix units.
 *
 * A block of 8 warps computes MM_ROWS outputs of MM_COLS columns; a warp 32 by 32. Along K it goes in steps of MM_STEP tiles of 32 bytes:
 * 32 codes, or 16 halves. The weight's blocks are unpacked into shared memory as they come from memory; for codes a tile's int32 sums are
 * exact and meet the scales in float, one fma for each, K ascending; FP8 is exact as halves and meets its scale likewise; F16 and BF16
 * add up in the matrix unit. Bound by the matrix units for hundreds of columns, by the bytes of the weight for tens.
 * Rows in shared memory are 16 bytes longer than their data, so that the eight rows of a tile lie in different banks. */
#ifndef LLM_CUDA_MATMUL_H
#define LLM_CUDA_MATMUL_H
#include "blocks.h"
#include "cuda_impl.h"

enum { MM_ROWS = 128, MM_COLS = 64, MM_STEP = 4, MM_PITCH = 32 * MM_STEP + 16, MM_THREADS = 256 };

/* Column c of the launch is row x_of(c) of x and row c of y. With tiles blockIdx.y is one of them; with heads blockIdx.z is the head. */
typedef struct {
    cuda_weight w;
    const float *bias;
    x_codes x; x_halves h;
    float *y; int64_t y_stride, y_step; /* head z at y + z * y_step */
    int n;
    const int32_t *tile, *index;        /* { expert, first column, columns, 0 } for each blockIdx.y, or NULL; row of x of a column, or NULL */
    int heads;                          /* 0: none; else row of x is c * heads + blockIdx.z, matrix blockIdx.z */
} mm_job;

/* Shared memory of a step: tiles of the weight and of x, scales s [tile][2] and m of each row, d and sums of each column. */
typedef struct {
    uint8_t a[MM_ROWS][MM_PITCH], b[MM_COLS][MM_PITCH];
    float s[MM_STEP][2][MM_ROWS], m[MM_STEP][2][MM_ROWS], d[MM_STEP][MM_COLS], sum[MM_STEP][2][MM_COLS];
} mm_shared;

/* Where a block works. */
typedef struct { int64_t matrix, row0; int column0, columns; } mm_place;

static __device__ __forceinline__ bool mm_find(const mm_job &g, mm_place *p)
{
    p->row0 = (int64_t)blockIdx.x * MM_ROWS, p->matrix = g.heads ? blockIdx.z : 0;
    p->column0 = (int)blockIdx.y * MM_COLS, p->columns = g.n - p->column0 < MM_COLS ? g.n - p->column0 : MM_COLS;
    if (g.tile) p->matrix = g.tile[4 * blockIdx.y], p->column0 = g.tile[4 * blockIdx.y + 1], p->columns = g.tile[4 * blockIdx.y + 2];
    return p->columns > 0;
}

/* Row of x of column c of the block; columns beyond the last repeat it. */
static __device__ __forceinline__ int64_t mm_x_row(const mm_job &g, const mm_place &p, int c)
{
    int column = p.column0 + (c < p.columns ? c : p.columns - 1);
    return g.index ? g.index[column] : g.heads ? (int64_t)column * g.heads + blockIdx.z : column;
}

static __device__ __forceinline__ void put32(uint8_t *to, const uint32_t w[8])
{
    *(uint4 *)(void *)to = uint4{ w[0], w[1], w[2], w[3] }, *(uint4 *)(void *)(to + 16) = uint4{ w[4], w[5], w[6], w[7] };
}

/* acc [2][4][4]: rows 16 i of the warp's 32, columns 8 j of its 32. */
static __device__ __forceinline__ void mm_store(const mm_job &g, const mm_place &p, float acc[2][4][4], float shrink)
{
    int lane = lane_id(), warp = warp_id();

    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 4; j++) UNROLL for (int k = 0; k < 4; k++) {
        int64_t row = p.row0 + warp / 2 * 32 + 16 * i + lane / 4 + 8 * (k / 2);
        int c = warp % 2 * 32 + 8 * j + lane % 4 * 2 + k % 2;
        if (row >= g.w.rows || c >= p.columns) continue;
        float v = acc[i][j][k];
        if (g.h.mul) v *= g.h.mul[mm_x_row(g, p, c)] / shrink;
        if (g.bias) v += g.bias[p.matrix * g.w.rows + row];
        g.y[(int64_t)(p.column0 + c) * g.y_stride + (g.heads ? blockIdx.z * g.y_step : 0) + row] = v;
    }
}

/* The tile t of the step: fragments of the warp's rows and columns. */
static __device__ __forceinline__ void mm_fragments(const mm_shared *sh, int t, uint32_t a[2][4], uint32_t b[4][2])
{
    int lane = lane_id(), warp = warp_id();
    uint32_t two[4];

    UNROLL for (int i = 0; i < 2; i++) load_tiles(a[i], &sh->a[warp / 2 * 32 + 16 * i + lane % 16][32 * t + lane / 16 * 16]);
    UNROLL for (int j = 0; j < 4; j += 2) {
        load_tiles(two, &sh->b[warp % 2 * 32 + 8 * j + lane / 16 * 8 + lane % 8][32 * t + lane / 8 % 2 * 16]);
        b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
    }
}

cudaError_t matmul_codes_launch(const mm_job *g, dim3 grid, cudaStream_t s);
cudaError_t matmul_values_launch(const mm_job *g, dim3 grid, cudaStream_t s);
bool matmul_has(const cuda_weight *w);
#endif
