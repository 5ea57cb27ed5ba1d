/* matvec.h - the products of a few columns: a warp takes R rows of the weight and reads each once, 16 bytes a lane at a time, for up
 * to NC columns of x. Bound by the bytes of the weight: x comes from the caches. Included by matvec_codes.cu and matvec_values.cu. */
#ifndef LLM_CUDA_MATVEC_H
#define LLM_CUDA_MATVEC_H
#include "activate.h"
#include "blocks.h"
#include "heads.h"

enum { MV_WARPS = 4, MV_JOINED = 4 };

/* Up to MV_JOINED weights of one type and one x: block b works on matrix i with first[i] <= b < first[i+1]. */
typedef struct {
    struct { cuda_weight w; const float *bias; float *y; int64_t y_stride; } m[MV_JOINED];
    int first[MV_JOINED + 1], n_matrix;
    x_codes x;
    const float *f; int64_t f_stride;
    int n;                              /* columns; blockIdx.y takes NC of them, or one pair */
    pairs e;                            /* e.expert or e.heads set: pair blockIdx.y */
    bool glu;                           /* m[1] is up: y = activate(m[0] x, m[1] x) */
    int act;
    float limit;
    /* m[0..2] are queries, keys and values, and heads whole numbers of blocks: the last block of a head to be done finishes it. count [heads] is
     * 0 before and after; NULL: no heads. */
    int *count;
    head_job h;
} mv_job;

/* What one warp works on. */
template <int R> struct mv_place {
    const uint8_t *a[R], *b[R];
    const float *scale[R];
    int matrix;
    int64_t row0, base, column;         /* first row, first row of the matrix (expert), first row of x */
    float *y;
};

/* Finds the place of this warp; false when its rows are beyond the end. With glu rows 2j and 2j + 1 are gate and up of one output. */
template <int R> static __device__ __forceinline__ bool mv_find(const mv_job &g, mv_place<R> *p, int n_column)
{
    int i = 0, outputs = g.glu ? R / 2 : R;
    int64_t pair = (int64_t)g.e.first + blockIdx.y;

    while (i + 1 < g.n_matrix && (int)blockIdx.x >= g.first[i + 1]) i++;
    const cuda_weight &w = g.m[i].w;
    p->matrix = i, p->base = 0, p->column = pair * n_column;
    p->y = g.m[i].y + pair * n_column * g.m[i].y_stride;
    if (g.e.expert) {
        p->base = g.e.expert[pair] * w.rows, p->column = g.e.by_pair ? pair : pair / g.e.n_used;
    } else if (g.e.heads) {
        p->base = pair % g.e.heads * w.rows, p->column = pair;
        p->y = g.m[i].y + pair / g.e.heads * g.m[i].y_stride + pair % g.e.heads * g.e.n_used;
    }
    p->row0 = ((int64_t)((int)blockIdx.x - g.first[i]) * MV_WARPS + warp_id()) * outputs;
    if (p->row0 >= w.rows) return false;
    UNROLL for (int r = 0; r < R; r++) {
        const cuda_weight &t = g.glu && r % 2 ? g.m[1].w : w;
        int64_t row = p->row0 + (g.glu ? r / 2 : r);
        row = p->base + (row < w.rows ? row : w.rows - 1);
        p->a[r] = t.a + row * t.a_row, p->b[r] = t.b + row * t.b_row;
        p->scale[r] = t.scale ? t.scale + (p->base / t.rows * t.scale_rows + row % t.rows / t.tile_rows) * t.scale_cols : NULL;
    }
    return true;
}

/* Adds the lanes up; lane c writes the outputs of column c, their bias added. Each sum moves to its lane first, so that the code of the activation is
 * there once for a row and not for every column: it was most of what the compiler had to do. */
template <int NC, int R> static __device__ __forceinline__ void mv_finish(const mv_job &g, const mv_place<R> &p, float acc[R][NC], int n_column)
{
    const float *bias = g.m[p.matrix].bias, *up_bias = g.m[1].bias;
    int64_t rows = g.m[p.matrix].w.rows;
    float own[R];
    int c = lane_id();

    UNROLL for (int r = 0; r < R; r++) UNROLL for (int i = 0; i < NC; i++) {
        float sum = warp_sum(acc[r][i]);
        own[r] = i == 0 || c == i ? sum : own[r];
    }
    if (c >= n_column) return;
    UNROLL for (int r = 0; r < R; r++) {
        int64_t row = p.row0 + (g.glu ? r / 2 : r);
        if (row >= rows || (g.glu && r % 2)) continue;
        float v = own[r] + (bias ? bias[p.base + row] : 0.0f);
        if (g.glu) v = activate(v, own[r + 1 < R ? r + 1 : r] + (up_bias ? up_bias[p.base + row] : 0.0f), g.act, g.limit);
        p.y[c * g.m[p.matrix].y_stride + row] = v;
    }
}

/* This block's rows are there: if all of their head are, the block takes the columns of that head one a warp. */
static __device__ NO_INLINE void mv_heads(const mv_job &g)
{
    DYNAMIC_SHARED(raw);
    __shared__ int last;
    int i = 0, h;

    while (i < 2 && (int)blockIdx.x >= g.first[i + 1]) i++;
    int blocks = g.h.d / (int)(g.m[i].w.rows / (g.first[i + 1] - g.first[i]));          /* of a head */
    h = ((int)blockIdx.x - g.first[i]) / blocks + (i == 0 ? 0 : i == 1 ? g.h.n_head : g.h.n_head + g.h.kv.n_kv_head);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(&g.count[h], 1) == blocks - 1;
        if (last) g.count[h] = 0;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int c = warp_id(); c < g.n; c += MV_WARPS) finish_head(g.h, c, h, (float *)(void *)raw + warp_id() * HEAD_MAX);
}

/* Dynamic shared memory of a launch. */
static inline size_t mv_shared(const mv_job *g) { return g->count ? MV_WARPS * HEAD_MAX * sizeof(float) : 0; }

static __device__ __forceinline__ int mv_columns(const mv_job &g, int nc)
{
    int left = g.n - (int)blockIdx.y * nc;
    return g.e.expert || g.e.heads ? 1 : left < nc ? left : nc;
}

cudaError_t matvec_codes_launch(const mv_job *g, dim3 grid, int nc, cudaStream_t s);
cudaError_t matvec_values_launch(const mv_job *g, dim3 grid, int nc, cudaStream_t s);
static __host__ __device__ constexpr int mv_rows(int nc) { return nc == 1 ? 2 : 4; }
#endif
