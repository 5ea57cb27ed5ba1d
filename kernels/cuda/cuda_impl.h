/* cuda_impl.h - what the files of the CUDA backend share: a weight on the device, a backend, its scratch. */
#ifndef LLM_CUDA_IMPL_H
#define LLM_CUDA_IMPL_H
#include "clock.h"
#include "device.h"
extern "C" {
#include "cuda.h"
#include "checked.h"
}

/* A weight on the device. Blocks are taken apart into two planes, so that codes lie on multiples of 16 bytes: plane a has the
 * codes of every block of a row one after the other, plane b the scales (blocks.h says what is in each). Values that are not
 * in blocks are plane a alone; their rows are filled up to 16 bytes with zeros. Experts follow each other: matrix e begins at row
 * e * rows. */
typedef struct {
    int dtype;
    int64_t n, rows, cols;              /* n matrices, 1 for a plain one */
    const uint8_t *a, *b;
    int64_t a_row, b_row;               /* bytes of a row */
    float shrink;                       /* BF16: a power of two that brings every value into a half's range; else 1 */
    const float *scale;                 /* FP8: [n][scale_rows][scale_cols], or NULL */
    int64_t tile_rows, tile_cols, scale_rows, scale_cols;
    const int32_t *perm;                /* column k multiplies x[perm[k]]; NULL: k */
    const float *values;                /* a vector, or a bias [n, rows], as floats; NULL: too long to be one */
} cuda_weight;

static inline const cuda_weight *weight_of(const llm_tensor *t) { return (const cuda_weight *)t->packed; }

/* Rows of x as 8-bit codes (kernels/cpu/quantize_act.h has the rule): d for each 32 values, sums of each 16 codes as two int16. */
typedef struct { int8_t *q; float *d; uint32_t *sum; int64_t blocks; } x_codes;    /* row i at i * 32 * blocks, i * blocks */
/* Rows of x as halves, each divided by a power of two, mul. */
typedef struct { uint16_t *h; float *mul; int64_t stride; } x_halves;

enum { GRAPH_MAX = 16 };                /* steps of different shape that are kept as graphs */
enum { FREQ_TABLES = 4 };

typedef enum { STEP_NONE, STEP_EAGER, STEP_CAPTURE, STEP_REPLAY } step_mode;

/* One shape of a step, recorded: a graph for each stretch up to a download or the end, NULL where nothing was launched. */
typedef struct { uint64_t key, used; cudaGraphExec_t *exec; int n, cap; bool complete; } step_graph;     /* used: the number of the step that last was of it */

typedef struct {
    llm_device *device;
    cudaStream_t stream, side;          /* side: what must be there before a recorded step runs */
    llm_limits limits;
    int n_sm;
    uint8_t *scratch;                   /* device: the areas below */
    size_t scratch_bytes;
    uint8_t *pinned;                    /* host: token, pos, seq and spans on their way to the device */
    uint8_t *top, *top_pinned;          /* device and host: what top.cu works with */
    int32_t *token, *pos, *seq;         /* device: of the step */
    llm_span *span;
    const llm_batch *batch;             /* host: the step that begin was given, or NULL */
    int8_t *code; float *code_d; uint32_t *code_sum;        /* x as codes */
    struct { const float *data; int n, width, group; } coded;   /* rows whose codes are there, made by the norm that made them; data NULL: none */
    uint16_t *half; float *half_mul;                        /* x as halves */
    float *row;                         /* x as floats in aligned rows */
    float *pair_up, *pair_h, *pair_y;   /* experts: [n_pair, d_ff] twice, [n_pair, d_model] */
    int32_t *moe_index;                 /* experts: counts, places, tiles (moe.cu) */
    int32_t *head_count;                /* matvec.h: [3 n_head], 0 between launches */
    float *partial;                     /* attention: results of parts of the keys; cuBLAS's workspace; outside steps top.cu's */
    size_t partial_bytes;
    size_t code_bytes, half_bytes, row_bytes;
    step_mode mode;
    step_graph graph[GRAPH_MAX];
    int n_graph, graph_now, stretch;    /* of the step: its graph, and which stretch of it is next */
    uint64_t n_step;
    bool no_graphs;                     /* recording failed, of memory for instance */
    cuda_clock clock;                   /* of the step, where the backend is timed */
    struct { float *host, *device; int n; } freq[FREQ_TABLES];  /* tables of frequencies met so far; n 0: none yet */
} cuda_impl;

static inline cuda_impl *cuda_of(llm_backend *be) { return (cuda_impl *)be->impl; }

/* True when an op has something to do now: no failure so far, and the step is not being replayed. */
static inline bool cuda_go(llm_backend *be) { return be->err.status == LLM_OK && cuda_of(be)->mode != STEP_REPLAY; }

/* Keeps the first failure. */
#define cuda_fail(be, ...) ((be)->err.status == LLM_OK ? (void)llm_fail(&(be)->err, __VA_ARGS__) : (void)0)
/* Reports e, or what the last launch left, naming the op, the layer and the shape. False on failure. */
bool cuda_check(llm_backend *be, cudaError_t e, const char *op, int64_t n, int64_t rows, int64_t cols);

/* The op writes rows at p, of which codes may have been made. */
static inline void cuda_writes(llm_backend *be, const float *p) { if (cuda_of(be)->coded.data == p) cuda_of(be)->coded.data = NULL; }

/* Most dynamic shared memory a block may ask for. */
enum { CUDA_SHARED_MAX = 99 << 10 };

/* ---- one file each: fill their entries of the table ---- */
void cuda_elementwise_ops(llm_ops *op, llm_blocks *block);  /* embed norm rope_table rope copy_heads scale_rows glu add add_gated softcap, add_norm */
void cuda_route_ops(llm_ops *op);
void cuda_kv_ops(llm_ops *op, llm_blocks *block);           /* and rope_store */
void cuda_attend_ops(llm_ops *op);
void cuda_linear_ops(llm_ops *op, llm_blocks *block);       /* linear absorb moe, gated, qkv_store */

/* top.cu: llm_remote.top; bytes of impl->top and as many of impl->top_pinned, and what a row of n logits needs at most of impl->partial. */
void cuda_top(llm_backend *be, llm_top *t, int n);
size_t cuda_top_bytes(void);
size_t cuda_top_keys(int n);

/* The step's arrays on the device; else (tests of single ops) host is brought into scratch. */
const int32_t *cuda_ints(llm_backend *be, const int32_t *host, int n, int32_t *scratch);

/* n frequencies of a rotation on the device; they are kept. NULL after a failure. */
const float *cuda_frequencies(llm_backend *be, const float *host, int n);

/* weights.cu: bytes of t on the device, and the planes a and b of each type. False for a type that has none. */
typedef struct { int block, a_at, a_bytes, b_bytes, b_stride; } cuda_planes;
bool cuda_planes_of(int dtype, cuda_planes *p);

/* Experts, one column for each pair p (row p / n_used of x, or p itself where by_pair): matrix expert[p]. A launch takes those from first on. */
enum { GRID_Y_MOST = 65535 };
typedef struct { const int32_t *expert; int n_pair, n_used; bool by_pair; int heads, first; } pairs;

typedef struct cuda_blas cuda_blas;
cuda_blas *cuda_device_blas(const llm_device *d);   /* blas.h; NULL: not there, or no weights for it */
int cuda_code_group(const llm_device *d);   /* of most of the weights' bytes: 32, 256, or 0 where most are no blocks */
bool type_has_codes(int dtype);             /* x must be codes; else floats or halves */
int type_code_group(int dtype);             /* 32 or 256 values of x share a scale */
#endif
