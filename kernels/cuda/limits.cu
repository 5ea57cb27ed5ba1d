/* limits.cu - what a device can do at best, measured on it: the yardstick of the benches. */
#include "blas.h"

extern int cuda_n_sm(const llm_device *d);

#ifdef __CUDACC__
enum { READ_BYTES = 1 << 30, LEAST_BYTES = 256 << 20, LOOPS = 20000, ROUNDS = 5, SIDE = 8192 };
#else
enum { READ_BYTES = 1 << 16, LEAST_BYTES = 1 << 12, LOOPS = 2, ROUNDS = 1, SIDE = 16 };    /* the shim only shows that it runs */
#endif
enum { BLOCK = 256, CHAINS = 8, WORK_BYTES = 32 << 20 };    /* WORK: cuBLAS's, as much as its documentation recommends for Hopper */

/* Pairs of BF16 values of either sign, 1 to 2: a card multiplies zeros faster than what there is in use. */
static __global__ void fill_words(uint32_t *p, size_t n)
{
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 0x9e3779b9u;
        p[i] = 0x3f803f80u | ((h ^ h >> 15) * 0x85ebca6bu & 0x807f807fu);
    }
}

/* Bound by memory: every word once, four loads of 16 bytes under way in each thread. */
static __global__ void read_words(const uint4 *p, size_t n, unsigned *sink)
{
    size_t step = (size_t)gridDim.x * blockDim.x, i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned x = 0;

    for (; i + 3 * step < n; i += 4 * step) {
        uint4 a = p[i], b = p[i + step], c = p[i + 2 * step], d = p[i + 3 * step];
        x ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    }
    for (; i < n; i += step) x ^= p[i].x ^ p[i].y ^ p[i].z ^ p[i].w;
    if (x == 0x9e3779b9u) *sink = x;                        /* never, but the compiler does not know */
}

/* Bound by the matrix units: CHAINS independent tiles in each warp, all in registers. */
static __global__ void multiply_s8(int loops, unsigned *sink)
{
    uint32_t a[4] = { threadIdx.x, threadIdx.x + 1, threadIdx.x + 2, threadIdx.x + 3 }, b[2] = { threadIdx.x, threadIdx.x + 5 };
    int d[CHAINS][4] = {}, sum = 0;

    for (int k = 0; k < loops; k++) UNROLL for (int i = 0; i < CHAINS; i++) mma_s8_k32(d[i], a, b);
    UNROLL for (int i = 0; i < CHAINS; i++) sum ^= d[i][0] ^ d[i][1] ^ d[i][2] ^ d[i][3];
    if (sum == 0x1e3779b9) *sink = 1;
}

static __global__ void multiply_f16(int loops, unsigned *sink)
{
    uint32_t a[4] = { threadIdx.x, threadIdx.x + 1, threadIdx.x + 2, threadIdx.x + 3 }, b[2] = { threadIdx.x, threadIdx.x + 5 };
    float d[CHAINS][4] = {}, sum = 0;

    for (int k = 0; k < loops; k++) UNROLL for (int i = 0; i < CHAINS; i++) mma_f16(d[i], a, b);
    UNROLL for (int i = 0; i < CHAINS; i++) sum += d[i][0] + d[i][1] + d[i][2] + d[i][3];
    if (sum == -12345.0f) *sink = 1;
}

typedef struct { cudaStream_t stream; cuda_clock clock; int n_sm; uint4 *mem; size_t bytes; unsigned *sink; cuda_blas *blas; void *work; int side, status; } probe;
typedef enum { READ, INT8, FLOAT, LIBRARY } probe_kind;

static cudaError_t launch(probe *p, probe_kind kind)
{
    dim3 grid((unsigned)(p->n_sm * (kind == READ ? 8 : 4)));

    if (kind == READ) LAUNCH(read_words, grid, BLOCK, 0, p->stream, p->mem, p->bytes / sizeof(uint4), p->sink);
    else if (kind == INT8) LAUNCH(multiply_s8, grid, BLOCK, 0, p->stream, (int)LOOPS, p->sink);
    else if (kind == FLOAT) LAUNCH(multiply_f16, grid, BLOCK, 0, p->stream, (int)LOOPS, p->sink);
    else if ((p->status = blas_square(p->blas, p->stream, p->mem, p->side, p->work, WORK_BYTES)) != 0) return cudaErrorInvalidValue;
    return cudaGetLastError();
}

/* Least seconds of a launch, the first of which does not count. */
static cudaError_t measure(probe *p, probe_kind kind, double *best)
{
    cudaError_t e = cudaSuccess;
    double t = 0;

    *best = 1e30;
    for (int i = -1; i < ROUNDS && e == cudaSuccess; i++) {
        if ((e = clock_start(&p->clock, p->stream)) == cudaSuccess) e = launch(p, kind);
        if (e == cudaSuccess && (e = clock_stop(&p->clock, p->stream)) == cudaSuccess) e = clock_seconds(&p->clock, &t);
        if (i >= 0 && t < *best) *best = t;
    }
    return e;
}

/* Multiplications and additions of one launch: a tile of 16 x 8 outputs along k in every warp. */
static double matrix_ops(const probe *p, int k) { return 4.0 * p->n_sm * (BLOCK / WARP_SIZE) * LOOPS * CHAINS * 2 * 16 * 8 * k; }

/* What cuBLAS does with BF16, where it is there and does more: on some cards it has instructions that a warp alone cannot give (Hopper's wgmma). */
static cudaError_t measure_library(probe *p, llm_device_limits *out)
{
    char why[160] = "";
    double seconds = 1, gflops;
    cudaError_t e;

    for (p->side = SIDE; p->side > 8 && (size_t)p->side * (size_t)p->side * 8 > p->bytes;) p->side /= 2;
    if ((p->blas = blas_open(why, sizeof why)) == NULL) return cudaSuccess;
    if ((e = cudaMalloc(&p->work, WORK_BYTES)) != cudaSuccess || (e = measure(p, LIBRARY, &seconds)) != cudaSuccess) return e;
    gflops = 2.0 * p->side * p->side * p->side / seconds / 1e9;
    if (gflops > out->float_gflops) out->float_gflops = gflops;
    return cudaSuccess;
}

static cudaError_t measure_all(probe *p, llm_device_limits *out)
{
    double read = 1, int8 = 1, floats = 1;
    cudaError_t e;

    if ((e = cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking)) != cudaSuccess || (e = clock_open(&p->clock)) != cudaSuccess) return e;
    if ((e = cudaMalloc((void **)&p->mem, p->bytes)) != cudaSuccess || (e = cudaMalloc((void **)&p->sink, sizeof *p->sink)) != cudaSuccess) return e;
    LAUNCH(fill_words, dim3((unsigned)(p->n_sm * 8)), BLOCK, 0, p->stream, (uint32_t *)p->mem, p->bytes / sizeof(uint32_t));
    if ((e = cudaGetLastError()) != cudaSuccess) return e;
    if ((e = measure(p, READ, &read)) != cudaSuccess || (e = measure(p, INT8, &int8)) != cudaSuccess || (e = measure(p, FLOAT, &floats)) != cudaSuccess) return e;
    *out = llm_device_limits{ (double)p->bytes / read / 1e9, matrix_ops(p, 32) / int8 / 1e9, matrix_ops(p, 16) / floats / 1e9 };
    return measure_library(p, out);
}

extern "C" llm_status cuda_limits(llm_device *d, llm_device_limits *out, llm_error *err)
{
    uint64_t half = cuda_available(d) / 2;
    probe p = { NULL, {}, cuda_n_sm(d), NULL, READ_BYTES, NULL, NULL, NULL, 0, 0 };
    cudaError_t e;

    if (half < p.bytes) p.bytes = (size_t)(half / 4096 * 4096);
    if (p.bytes < LEAST_BYTES)                              /* less may be in a cache when it is read again */
        return llm_fail(err, LLM_ERR_MEMORY, "limits of the device: %.1f MiB of its memory are free, %.1f MiB are needed to measure them", (double)half / 524288, LEAST_BYTES / 524288.0);
    e = measure_all(&p, out);
    (void)cudaFree(p.sink), (void)cudaFree(p.mem), (void)cudaFree(p.work), clock_close(&p.clock), blas_close(p.blas);
    if (p.stream) (void)cudaStreamDestroy(p.stream);
    if (p.status != 0) return llm_fail(err, LLM_ERR_INTERNAL, "limits of the device: cuBLAS: a product of %d by %d: status %d", p.side, p.side, p.status);
    return e == cudaSuccess ? LLM_OK : llm_fail(err, e == cudaErrorMemoryAllocation ? LLM_ERR_MEMORY : LLM_ERR_INTERNAL, "limits of the device: %s", cudaGetErrorString(e));
}
