/* top.cu - the greatest of a row of logits, so that a pick need not bring all of them to the host. Rounds of sorting: every block orders
 * CHUNK values in shared memory (bitonic; Batcher, AFIPS 1968) and passes its k first on, until one block is left; for k = 1 a maximum in place
 * of the sort. The first round also adds up exp(value - greatest of the chunk). No atomics: every run gives the same bits. Bound by the latency
 * of the sorts: the row is read once. */
#include "cuda_impl.h"
#include <string.h>

enum { CHUNK = 2048, THREADS = 256, EACH = CHUNK / THREADS };

/* Ascending as the logits are, equal ones by descending place; a NaN and +infinity are above all. 0 is below every value. */
static __device__ __forceinline__ uint64_t key_of(float v, int id)
{
    unsigned b = __float_as_uint(v == 0 ? 0.0f : v), up = b & 0x80000000u ? ~b : b | 0x80000000u;

    if (!(v < INFINITY)) up = 0xffffffffu;
    return (uint64_t)up << 32 | (unsigned)~id;
}

static __device__ __forceinline__ int id_of(uint64_t key) { return (int)~(unsigned)key; }

/* Greater keys first; all threads of the block. */
static __device__ void sort_chunk(uint64_t *key)
{
    for (int size = 2; size <= CHUNK; size *= 2)
        for (int step = size / 2; step > 0; step /= 2) {
            for (int i = (int)threadIdx.x; i < CHUNK / 2; i += THREADS) {
                int a = i / step * 2 * step + i % step, b = a + step;
                uint64_t x = key[a], y = key[b];
                if (((a & size) == 0) == (x < y)) key[a] = y, key[b] = x;
            }
            __syncthreads();
        }
}

/* The greatest key of the block in key[0]. */
static __device__ void best_of_chunk(uint64_t *key)
{
    uint64_t best = 0;

    UNROLL for (int i = 0; i < EACH; i++) { uint64_t x = key[i * THREADS + threadIdx.x]; best = x > best ? x : best; }
    UNROLL for (int m = 16; m > 0; m >>= 1) { uint64_t x = __shfl_xor_sync(FULL_WARP, best, m); best = x > best ? x : best; }
    __syncthreads();
    if (lane_id() == 0) key[warp_id()] = best;
    __syncthreads();
    best = key[lane_id() % (THREADS / 32)];
    UNROLL for (int m = 16; m > 0; m >>= 1) { uint64_t x = __shfl_xor_sync(FULL_WARP, best, m); best = x > best ? x : best; }
    __syncthreads();
    if (threadIdx.x == 0) key[0] = best;
    __syncthreads();
}

typedef struct {
    const float *x;                     /* the row */
    const uint64_t *in;                 /* keys that a round has passed on, or NULL: the row itself */
    int n, k;                           /* values of the row, or keys; how many each block passes on */
    uint64_t *out;                      /* [block][k] */
    float2 *part;                       /* [block] greatest value and sum, or NULL */
} top_round;

/* x: the greatest value of the chunk; y: sum of exp(value - x). Threads add 8 values each, then a tree. */
static __device__ void sum_chunk(const top_round &g, float top, float *shared)
{
    float sum = 0;

    for (int i = 0; i < EACH; i++) {
        int at = (int)blockIdx.x * CHUNK + i * THREADS + (int)threadIdx.x;
        if (at < g.n && g.x[at] > -INFINITY) sum += expf(g.x[at] - top);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) g.part[blockIdx.x] = float2{ top, sum };
}

static __global__ void __launch_bounds__(THREADS) round_kernel(top_round g)
{
    __shared__ uint64_t key[CHUNK];
    __shared__ float shared[32];

    for (int i = (int)threadIdx.x; i < CHUNK; i += THREADS) {
        int at = (int)blockIdx.x * CHUNK + i;
        key[i] = at >= g.n ? 0 : g.in ? g.in[at] : key_of(g.x[at], at);
    }
    __syncthreads();
    if (g.k == 1) best_of_chunk(key);
    else sort_chunk(key);
    for (int i = (int)threadIdx.x; i < g.k; i += THREADS) g.out[(int64_t)blockIdx.x * g.k + i] = key[i];
    if (g.part) sum_chunk(g, g.x[id_of(key[0])], shared);
}

/* What the host gets: k candidates, then the values at the places that were asked for, then the sum over all chunks. */
typedef struct { float sum, none; llm_candidate best[TOP_MOST]; float value[TOP_ASKED]; } top_result;

static __global__ void finish_kernel(top_result *r, const float *x, const uint64_t *key, int k, const int32_t *asked, int n_asked, const float2 *part, int n_part)
{
    for (int i = (int)threadIdx.x; i < k; i += THREADS) r->best[i].id = id_of(key[i]), r->best[i].value = x[id_of(key[i])];
    for (int i = (int)threadIdx.x; i < n_asked; i += THREADS) r->value[i] = x[asked[i]];
    if (threadIdx.x != 0) return;
    float top = x[id_of(key[0])], sum = 0;
    for (int i = 0; i < n_part; i++) if (part[i].x > -INFINITY) sum = fmaf(part[i].y, expf(part[i].x - top), sum);
    r->sum = sum;
}

static size_t chunks_of(size_t n) { return (n + CHUNK - 1) / CHUNK; }
static size_t round16(size_t n) { return (n + 15) & ~(size_t)15; }

size_t cuda_top_result_bytes(void) { return sizeof(top_result); }
size_t cuda_top_bytes(int n) { return round16(2 * chunks_of((size_t)n) * TOP_MOST * sizeof(uint64_t)) + round16(chunks_of((size_t)n) * sizeof(float2)) + TOP_ASKED * sizeof(int32_t) + sizeof(top_result); }

void cuda_top(llm_backend *be, const float *x, llm_top *t)
{
    cuda_impl *impl = cuda_of(be);
    size_t half = chunks_of((size_t)t->n) * TOP_MOST;
    uint64_t *keys = (uint64_t *)(void *)impl->top, *to = keys;
    float2 *part = (float2 *)(void *)(impl->top + round16(2 * half * sizeof *keys));
    int32_t *asked = (int32_t *)(void *)((uint8_t *)part + round16(chunks_of((size_t)t->n) * sizeof *part));
    top_result *r = (top_result *)(void *)(asked + TOP_ASKED);
    top_round g = { x, NULL, t->n, t->k, NULL, t->k > 1 ? part : NULL };

    if (be->err.status != LLM_OK) return;
    if (t->n < 1 || t->n > impl->limits.max_rows || t->k < 1 || t->k > TOP_MOST || t->k > t->n || t->n_asked < 0 || t->n_asked > TOP_ASKED) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: the %d greatest of %d values, and %d others", t->k, t->n, t->n_asked);
        return;
    }
    if (t->n_asked > 0) be->remote->upload(be, asked, t->asked, (size_t)t->n_asked * sizeof *asked);
    for (unsigned blocks = 0; blocks != 1; to = to == keys ? keys + half : keys) {
        blocks = (unsigned)chunks_of((size_t)g.n), g.out = to;
        LAUNCH(round_kernel, dim3(blocks), dim3(THREADS), 0, impl->stream, g);
        g.in = to, g.part = NULL, g.n = (int)blocks * t->k;
    }
    LAUNCH(finish_kernel, dim3(1), dim3(THREADS), 0, impl->stream, r, x, g.in, t->k, asked, t->n_asked, part, t->k > 1 ? (int)chunks_of((size_t)t->n) : 0);
    if (!cuda_check(be, cudaSuccess, "greatest logits", 1, t->k, t->n)) return;
    top_result *host = (top_result *)(void *)impl->top_pinned;
    be->remote->download(be, host, r, sizeof *host);
    memcpy(t->best, host->best, (size_t)t->k * sizeof *t->best), memcpy(t->value, host->value, (size_t)t->n_asked * sizeof *t->value);
    t->sum = host->sum;
}
