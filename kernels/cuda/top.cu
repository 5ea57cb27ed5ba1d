/* top.cu - the greatest of rows of logits, so that picks need not bring all of them to the host. Rounds of sorting: every block orders
 * CHUNK values in shared memory (bitonic; Batcher, AFIPS 1968) and passes its k first on, until one block is left; for k = 1 a maximum in place
 * of the sort. The first round also adds up exp(value - greatest of the chunk). No atomics: every run gives the same bits, and a row's do not depend
 * on the other rows. All rows share each launch, one copy that brings what is asked and one that takes the answers back. Bound by the latency
 * of the sorts: a row is read once. */
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

/* A row, where its rounds pass keys on, and where its answer goes. */
typedef struct {
    const float *x;
    uint64_t *key[2];                   /* [chunks][k], in turn */
    float2 *part;                       /* [chunks] greatest value and sum; NULL where k is 1 */
    float *sum;
    llm_candidate *best;                /* [k] */
    float *value;                       /* [n_asked] */
    const int32_t *asked;
    int n, k, n_asked;
} top_row;

static __host__ __device__ __forceinline__ int chunks_of(int n) { return (n + CHUNK - 1) / CHUNK; }

/* How many keys round r begins with; 0 where the one before it was the last. */
static __host__ __device__ __forceinline__ int keys_of(int n, int k, int r)
{
    for (; r > 0; r--) {
        if (n <= CHUNK) return 0;
        n = chunks_of(n) * k;
    }
    return n;
}

static __host__ __device__ __forceinline__ int rounds_of(int n, int k)
{
    int r = 1;

    while (keys_of(n, k, r) > 0) r++;
    return r;
}

/* x: the greatest value of the chunk; y: sum of exp(value - x). Threads add 8 values each, then a tree. */
static __device__ void sum_chunk(const top_row &g, float top, float *shared)
{
    float sum = 0;

    for (int i = 0; i < EACH; i++) {
        int at = (int)blockIdx.x * CHUNK + i * THREADS + (int)threadIdx.x;
        if (at < g.n && g.x[at] > -INFINITY) sum += expf(g.x[at] - top);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) g.part[blockIdx.x] = float2{ top, sum };
}

/* Round r of row blockIdx.y: chunk blockIdx.x, where it has so many. */
static __global__ void __launch_bounds__(THREADS) round_kernel(const top_row *row, int r)
{
    __shared__ uint64_t key[CHUNK];
    __shared__ float shared[32];
    const top_row g = row[blockIdx.y];
    const uint64_t *in = g.key[(r + 1) & 1];
    uint64_t *out = g.key[r & 1] + (int64_t)blockIdx.x * g.k;
    int n = keys_of(g.n, g.k, r);

    if ((int)blockIdx.x >= chunks_of(n)) return;
    for (int i = (int)threadIdx.x; i < CHUNK; i += THREADS) {
        int at = (int)blockIdx.x * CHUNK + i;
        key[i] = at >= n ? 0 : r > 0 ? in[at] : key_of(g.x[at], at);
    }
    __syncthreads();
    if (g.k == 1) best_of_chunk(key);
    else sort_chunk(key);
    for (int i = (int)threadIdx.x; i < g.k; i += THREADS) out[i] = key[i];
    if (r == 0 && g.part) sum_chunk(g, g.x[id_of(key[0])], shared);
}

/* The answer of row blockIdx.x. */
static __global__ void finish_kernel(const top_row *row)
{
    const top_row g = row[blockIdx.x];
    const uint64_t *key = g.key[(rounds_of(g.n, g.k) + 1) & 1];

    for (int i = (int)threadIdx.x; i < g.k; i += THREADS) g.best[i] = llm_candidate{ g.x[id_of(key[i])], id_of(key[i]) };
    for (int i = (int)threadIdx.x; i < g.n_asked; i += THREADS) g.value[i] = g.x[g.asked[i]];
    if (threadIdx.x != 0) return;
    float top = g.x[id_of(key[0])], sum = 0;
    for (int i = 0; g.part && i < chunks_of(g.n); i++) if (g.part[i].x > -INFINITY) sum = fmaf(g.part[i].y, expf(g.part[i].x - top), sum);
    *g.sum = sum;
}

/* ---- on the host ----
 *
 * impl->top and impl->top_pinned: what goes to the device, the rows and then the places asked for, and behind it what comes back: of each row its sum
 * (8 bytes), the candidates, the values asked for. Keys and parts lie in impl->partial, which is attention's while a step runs. */

static size_t round16(size_t n) { return (n + 15) & ~(size_t)15; }
static size_t answer_bytes(int k, int n_asked) { return round16(8 + (size_t)k * sizeof(llm_candidate) + (size_t)n_asked * sizeof(float)); }
static size_t asking_bytes() { return round16(TOP_ROWS * sizeof(top_row)) + TOP_ROWS * TOP_ASKED * sizeof(int32_t); }
static size_t keys_bytes(int n, int k) { return 2 * round16((size_t)chunks_of(n) * (size_t)k * sizeof(uint64_t)) + round16((size_t)chunks_of(n) * sizeof(float2)); }

size_t cuda_top_bytes(void) { return asking_bytes() + TOP_ROWS * answer_bytes(TOP_MOST, TOP_ASKED); }
size_t cuda_top_keys(int n) { return keys_bytes(n, TOP_MOST); }

static bool top_good(llm_backend *be, const llm_top *t, int n)
{
    for (int i = 0; i < n; i++)
        if (t[i].n < 1 || t[i].n > cuda_of(be)->limits.max_rows || t[i].k < 1 || t[i].k > TOP_MOST || t[i].k > t[i].n || t[i].n_asked < 0 || t[i].n_asked > TOP_ASKED) {
            cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: the %d greatest of %d values, and %d others", t[i].k, t[i].n, t[i].n_asked);
            return false;
        }
    if (n >= 1 && n <= TOP_ROWS) return true;
    cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: the greatest of %d rows at once; at most %d", n, (int)TOP_ROWS);
    return false;
}

/* Row g of t, its answer from `answer` on, its keys at `keys`. */
static void lay_out(const llm_top *t, top_row *g, uint8_t *answer, uint8_t *keys, const int32_t *asked)
{
    size_t half = round16((size_t)chunks_of(t->n) * (size_t)t->k * sizeof(uint64_t));

    g->x = t->x, g->n = t->n, g->k = t->k, g->n_asked = t->n_asked, g->asked = asked;
    g->key[0] = (uint64_t *)(void *)keys, g->key[1] = (uint64_t *)(void *)(keys + half);
    g->part = t->k > 1 ? (float2 *)(void *)(keys + 2 * half) : NULL;
    g->sum = (float *)(void *)answer, g->best = (llm_candidate *)(void *)(answer + 8), g->value = (float *)(void *)(g->best + t->k);
}

/* Rows first .. first + n - 1, whose keys have room beside each other. */
static bool run_rounds(llm_backend *be, const llm_top *t, int first, int n)
{
    const top_row *row = (const top_row *)(const void *)cuda_of(be)->top + first;
    cudaStream_t s = cuda_of(be)->stream;

    for (int r = 0, most; ; r++) {
        most = 0;
        for (int i = first; i < first + n; i++) {
            int chunks = chunks_of(keys_of(t[i].n, t[i].k, r));
            most = chunks > most ? chunks : most;
        }
        if (most == 0) break;
        LAUNCH(round_kernel, dim3((unsigned)most, (unsigned)n), dim3(THREADS), 0, s, row, r);
    }
    LAUNCH(finish_kernel, dim3((unsigned)n), dim3(THREADS), 0, s, row);
    return cuda_check(be, cudaSuccess, "greatest logits", n, t[first].k, t[first].n);
}

/* What is asked goes to the device; from here on its bytes are not touched until the answer is back. Returns the bytes of the answer. */
static size_t send_rows(llm_backend *be, const llm_top *t, int n)
{
    cuda_impl *impl = cuda_of(be);
    size_t asked_at = round16((size_t)n * sizeof(top_row)), answer = 0, keys = 0;
    top_row *row = (top_row *)(void *)impl->top_pinned;

    for (int i = 0; i < n; i++) {
        if (keys + keys_bytes(t[i].n, t[i].k) > impl->partial_bytes) keys = 0;
        lay_out(&t[i], &row[i], impl->top + asking_bytes() + answer, (uint8_t *)impl->partial + keys, (const int32_t *)(const void *)(impl->top + asked_at));
        memcpy(impl->top_pinned + asked_at, t[i].asked, (size_t)t[i].n_asked * sizeof *t[i].asked);
        asked_at += (size_t)t[i].n_asked * sizeof *t[i].asked, answer += answer_bytes(t[i].k, t[i].n_asked), keys += keys_bytes(t[i].n, t[i].k);
    }
    cuda_check(be, cudaMemcpyAsync(impl->top, impl->top_pinned, asked_at, cudaMemcpyHostToDevice, impl->stream), "greatest logits", n, 0, 0);
    return answer;
}

static void take_answers(const cuda_impl *impl, llm_top *t, int n)
{
    const uint8_t *p = impl->top_pinned + asking_bytes();
    float sum;

    for (int i = 0; i < n; p += answer_bytes(t[i].k, t[i].n_asked), i++) {
        size_t best = (size_t)t[i].k * sizeof *t[i].best;
        memcpy(&sum, p, sizeof sum), memcpy(t[i].best, p + 8, best), memcpy(t[i].value, p + 8 + best, (size_t)t[i].n_asked * sizeof *t[i].value);
        t[i].sum = sum;
    }
}

void cuda_top(llm_backend *be, llm_top *t, int n)
{
    cuda_impl *impl = cuda_of(be);
    size_t answer, keys = 0;
    int first = 0;

    if (be->err.status != LLM_OK || !top_good(be, t, n)) return;
    answer = send_rows(be, t, n);
    for (int i = 0; i < n && be->err.status == LLM_OK; i++) {
        if (keys + keys_bytes(t[i].n, t[i].k) > impl->partial_bytes) {
            if (!run_rounds(be, t, first, i - first)) return;
            first = i, keys = 0;
        }
        keys += keys_bytes(t[i].n, t[i].k);
    }
    if (be->err.status != LLM_OK || !run_rounds(be, t, first, n - first)) return;
    be->remote->download(be, impl->top_pinned + asking_bytes(), impl->top + asking_bytes(), answer);
    if (be->err.status == LLM_OK) take_answers(impl, t, n);
}
