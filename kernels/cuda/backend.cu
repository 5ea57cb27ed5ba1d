/* backend.cu - a session's share of the device: its stream, its scratch, its step. */
#include "cuda_impl.h"
#include <stdlib.h>
#include <string.h>

extern int cuda_n_sm(const llm_device *d);

/* Attention: enough for 64 rows of 64 heads in 16 parts. cuBLAS: the 32 MiB that its documentation recommends for Hopper, 4 elsewhere. */
enum { PARTIAL_FLOATS = 8 << 20 };

typedef struct { size_t ints, span, code, code_d, code_sum, half, half_mul, row, pair_ff, pair_y, index, heads, partial, top, freq, total; } areas;

static int freq_most(const llm_limits *l) { return (l->max_d_head + 1) / 2; }

static bool area(size_t *total, size_t *out, size_t count, size_t size)
{
    return ck_mul(count, size, out) && ck_align(*out, 256, out) && ck_add(*total, *out, total);
}

/* Values of x that a product may have at once, and the bytes of every area. False when a size wraps. */
static bool measure(areas *a, const llm_limits *l)
{
    size_t n = (size_t)l->n_batch, cols = (size_t)(l->max_cols > l->d_model ? l->max_cols : l->d_model) + 255, values, pairs, pair_values, partial;

    memset(a, 0, sizeof *a);
    if (l->n_batch < 1 || l->max_cols < 1 || l->max_rows < 1 || l->max_d_head < 0) return false;
    if ((partial = cuda_top_keys(l->max_rows) / sizeof(float)) < PARTIAL_FLOATS) partial = PARTIAL_FLOATS;
    if (!ck_mul(n, (size_t)l->n_expert_used, &pairs) || !ck_mul(n, cols & ~(size_t)255, &values) || !ck_mul(pairs, ((size_t)l->d_ff_expert + 255) & ~(size_t)255, &pair_values)) return false;
    if (pair_values > values) values = pair_values;
    return area(&a->total, &a->ints, 3 * n, sizeof(int32_t)) && area(&a->total, &a->span, n, sizeof(llm_span))
        && area(&a->total, &a->code, values, 1) && area(&a->total, &a->code_d, values / 32, sizeof(float)) && area(&a->total, &a->code_sum, values / 32, sizeof(uint32_t))
        && area(&a->total, &a->half, values, sizeof(uint16_t)) && area(&a->total, &a->half_mul, values / 16, sizeof(float))
        && area(&a->total, &a->row, values, sizeof(float))
        && area(&a->total, &a->pair_ff, 2 * pairs, (size_t)l->d_ff_expert * sizeof(float)) && area(&a->total, &a->pair_y, pairs, (size_t)l->d_model * sizeof(float))
        && area(&a->total, &a->index, 6 * pairs + 8 * (size_t)l->n_expert + 16, sizeof(int32_t))
        && area(&a->total, &a->heads, 3 * (size_t)l->n_head, sizeof(int32_t))
        && area(&a->total, &a->partial, partial, sizeof(float)) && area(&a->total, &a->top, cuda_top_bytes(), 1)
        && area(&a->total, &a->freq, FREQ_TABLES * (size_t)freq_most(l), sizeof(float));
}

/* Pinned: the step's arrays and, behind them, the tables of frequencies and what top.cu sends and brings back. */
static size_t pinned_bytes(const areas *a) { return a->ints + a->span + a->freq + a->top; }

bool backend_cuda_scratch(const llm_limits *limits, uint64_t bytes[N_SITE])
{
    areas a;

    if (!measure(&a, limits)) return false;
    bytes[SITE_DEVICE] = a.total, bytes[SITE_HOST] = sizeof(cuda_impl) + pinned_bytes(&a);
    return true;
}

bool cuda_check(llm_backend *be, cudaError_t e, const char *op, int64_t n, int64_t rows, int64_t cols)
{
    if (e == cudaSuccess) e = cudaGetLastError();
    if (e == cudaSuccess) return true;
    cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: %s of layer %d (%lld rows, %lld by %lld): %s", op, be->layer, (long long)n, (long long)rows, (long long)cols, cudaGetErrorString(e));
    return false;
}

/* ---- memory ---- */

static void *device_alloc(llm_backend *be, size_t n)
{
    cuda_impl *impl = cuda_of(be);
    void *p = NULL;

    if (cudaMalloc(&p, n) != cudaSuccess) { (void)cudaGetLastError(); return NULL; }
    if (cudaMemsetAsync(p, 0, n, impl->stream) == cudaSuccess && cudaStreamSynchronize(impl->stream) == cudaSuccess) return p;
    (void)cudaFree(p);
    return NULL;
}

static void device_release(llm_backend *be, void *p)
{
    (void)cudaStreamSynchronize(cuda_of(be)->stream);
    (void)cudaFree(p);
}

static void device_upload(llm_backend *be, void *to, const void *from, size_t n)
{
    cuda_impl *impl = cuda_of(be);

    if (be->err.status != LLM_OK) return;
    cuda_writes(be, (const float *)to);
    /* what is being recorded, or replayed, runs after this */
    cudaStream_t s = impl->mode == STEP_CAPTURE || impl->mode == STEP_REPLAY ? impl->side : impl->stream;
    if (cuda_check(be, cudaMemcpyAsync(to, from, n, cudaMemcpyHostToDevice, s), "upload", (int64_t)n, 0, 0)) cuda_check(be, cudaStreamSynchronize(s), "upload", (int64_t)n, 0, 0);
}

/* ---- steps: the first of a shape runs as it comes, the second is recorded, further ones are replayed ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* What the launches of a decoding step depend on: how many rows, which are wanted, how long the sequences are (to a power of two).
 * 0: the step is not of that kind. */
static uint64_t shape_of(const llm_batch *b, const uint8_t *want)
{
    uint64_t h = mix(1, (uint64_t)b->n);
    int length = 256;

    if (want == NULL || b->n != b->n_span || b->n > 64) return 0;
    for (int i = 0; i < b->n; i++) {
        h = mix(h, want[i] != 0);
        while (b->pos[i] >= length) length *= 2;
    }
    return mix(h, (uint64_t)length) | 1;
}

static void graph_clear(step_graph *s)
{
    for (int i = 0; i < s->n; i++) if (s->exec[i]) (void)cudaGraphExecDestroy(s->exec[i]);
    s->n = 0, s->complete = false;
}

static void graphs_clear(cuda_impl *impl)
{
    for (int i = 0; i < impl->n_graph; i++) {
        graph_clear(&impl->graph[i]);
        free(impl->graph[i].exec), impl->graph[i].exec = NULL, impl->graph[i].cap = 0;
    }
    impl->n_graph = 0;
}

/* A place for a shape that is new: a free one, or that of the shape which has not come for longest. */
static int graph_place(cuda_impl *impl)
{
    int oldest = 0;

    if (impl->n_graph < GRAPH_MAX) {
        impl->graph[impl->n_graph] = step_graph{ 0, 0, NULL, 0, 0, false };
        return impl->n_graph++;
    }
    for (int i = 1; i < GRAPH_MAX; i++) if (impl->graph[i].used < impl->graph[oldest].used) oldest = i;
    graph_clear(&impl->graph[oldest]);
    return oldest;
}

static step_mode choose_mode(cuda_impl *impl, uint64_t key)
{
    int i = 0;
    bool known;

    if (key == 0 || impl->no_graphs) return STEP_EAGER;
    while (i < impl->n_graph && impl->graph[i].key != key) i++;
    if (!(known = i < impl->n_graph)) i = graph_place(impl);
    impl->graph_now = i;
    impl->graph[i].key = key, impl->graph[i].used = ++impl->n_step;
    return !known ? STEP_EAGER : impl->graph[i].complete ? STEP_REPLAY : STEP_CAPTURE;
}

/* Ends a recording that was given up: a step that failed or was stopped. */
static void drop_capture(cuda_impl *impl)
{
    cudaGraph_t g = NULL;

    if (impl->mode == STEP_CAPTURE) {
        if (cudaStreamEndCapture(impl->stream, &g) == cudaSuccess && g) (void)cudaGraphDestroy(g);
        graph_clear(&impl->graph[impl->graph_now]);
    }
    (void)cudaGetLastError();
    impl->mode = STEP_NONE;
}

/* What is launched from here on is recorded, where the step is. Relaxed: while this thread records, it also copies on another stream (device_upload), and
 * other threads' sessions allocate. */
static void begin_stretch(cuda_impl *impl)
{
    if (impl->mode != STEP_CAPTURE || cudaStreamBeginCapture(impl->stream, cudaStreamCaptureModeRelaxed) == cudaSuccess) return;
    (void)cudaGetLastError();
    graph_clear(&impl->graph[impl->graph_now]);
    impl->mode = STEP_EAGER;
}

/* The step's arrays on their way to the device. */
static void send_batch(llm_backend *be, const llm_batch *b)
{
    cuda_impl *impl = cuda_of(be);
    size_t n = (size_t)b->n, ints = n * sizeof(int32_t);
    uint8_t *p = impl->pinned;
    const struct { void *to; const void *from; size_t bytes; } part[] = {
        { impl->token, b->token, ints }, { impl->pos, b->pos, ints }, { impl->seq, b->seq, ints }, { impl->span, b->span, (size_t)b->n_span * sizeof *b->span },
    };

    cuda_check(be, cudaStreamSynchronize(impl->stream), "begin", b->n, 0, 0);    /* the pinned bytes are free again */
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        memcpy(p, part[i].from, part[i].bytes);
        cuda_check(be, cudaMemcpyAsync(part[i].to, p, part[i].bytes, cudaMemcpyHostToDevice, impl->stream), "begin", b->n, 0, 0);
        p += part[i].bytes;
    }
}

static void step_begin(llm_backend *be, const llm_batch *b, const uint8_t *want)
{
    cuda_impl *impl = cuda_of(be);

    drop_capture(impl);
    impl->batch = b, impl->coded.data = NULL;
    send_batch(be, b);
    if (be->timed) cuda_check(be, clock_start(&impl->clock, impl->stream), "begin", b->n, 0, 0);
    impl->mode = choose_mode(impl, shape_of(b, want)), impl->stretch = 0;
    begin_stretch(impl);
}

static bool keep_stretch(step_graph *s, cudaGraphExec_t exec)
{
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 4;
        cudaGraphExec_t *more = (cudaGraphExec_t *)realloc(s->exec, (size_t)cap * sizeof *more);
        if (more == NULL) return false;
        s->exec = more, s->cap = cap;
    }
    s->exec[s->n++] = exec;
    return true;
}

/* The end of a recording, as a graph that can be launched; *exec is NULL where nothing was recorded. */
static cudaError_t end_recording(cuda_impl *impl, cudaGraphExec_t *exec)
{
    cudaGraph_t g = NULL;
    size_t n = 0;
    cudaError_t e = cudaStreamEndCapture(impl->stream, &g);

    *exec = NULL;
    if (e == cudaSuccess) e = cudaGraphGetNodes(g, NULL, &n);
    if (e == cudaSuccess && n > 0) e = cudaGraphInstantiate(exec, g, 0);
    if (g) (void)cudaGraphDestroy(g);
    return e;
}

/* Whatever waits to be run since the last stretch is given to the stream. The recording is over then. */
static void launch_stretch(llm_backend *be)
{
    cuda_impl *impl = cuda_of(be);
    step_graph *s = &impl->graph[impl->graph_now];
    cudaGraphExec_t exec = NULL;
    cudaError_t e = cudaSuccess;

    if (impl->mode == STEP_CAPTURE) {
        e = end_recording(impl, &exec);
        if (e == cudaSuccess && !keep_stretch(s, exec)) e = cudaErrorMemoryAllocation;
        if (e != cudaSuccess) {
            if (exec) (void)cudaGraphExecDestroy(exec);
            graph_clear(s), impl->mode = STEP_EAGER, impl->no_graphs = true;    /* this step is lost; it can be tried again */
        }
    } else if (impl->mode == STEP_REPLAY && impl->stretch < s->n) {
        exec = s->exec[impl->stretch++];
    }
    if (e == cudaSuccess && exec) e = cudaGraphLaunch(exec, impl->stream);
    cuda_check(be, e, "launch of a recorded step", impl->batch ? impl->batch->n : 0, 0, 0);
}

static void device_download(llm_backend *be, void *to, const void *from, size_t n)
{
    cuda_impl *impl = cuda_of(be);

    if (be->err.status != LLM_OK) return;
    launch_stretch(be);
    if (be->err.status == LLM_OK && cuda_check(be, cudaMemcpyAsync(to, from, n, cudaMemcpyDeviceToHost, impl->stream), "download", (int64_t)n, 0, 0))
        cuda_check(be, cudaStreamSynchronize(impl->stream), "download", (int64_t)n, 0, 0);
    begin_stretch(impl);
}

/* What passed on the device since the step began is added to what it took so far. */
static void stop_clock(llm_backend *be)
{
    cuda_impl *impl = cuda_of(be);
    double seconds = 0;

    if (cuda_check(be, clock_stop(&impl->clock, impl->stream), "end", 0, 0, 0) && cuda_check(be, clock_seconds(&impl->clock, &seconds), "end", 0, 0, 0)) be->seconds += seconds;
}

static void step_end(llm_backend *be)
{
    cuda_impl *impl = cuda_of(be);

    if (be->err.status == LLM_OK && impl->mode != STEP_NONE) {
        launch_stretch(be);
        if (be->timed) stop_clock(be);
        cuda_check(be, cudaStreamSynchronize(impl->stream), "end", impl->batch ? impl->batch->n : 0, 0, 0);
        if (be->err.status == LLM_OK && impl->mode == STEP_CAPTURE) impl->graph[impl->graph_now].complete = true;
        impl->mode = STEP_NONE;
    }
    drop_capture(impl);
    impl->batch = NULL;
}

const int32_t *cuda_ints(llm_backend *be, const int32_t *host, int n, int32_t *scratch)
{
    cuda_impl *impl = cuda_of(be);

    if (impl->batch != NULL && host == impl->batch->token) return impl->token;
    if (impl->batch != NULL && host == impl->batch->pos) return impl->pos;
    if (impl->batch != NULL && host == impl->batch->seq) return impl->seq;
    device_upload(be, scratch, host, (size_t)n * sizeof *host);
    return scratch;
}

const float *cuda_frequencies(llm_backend *be, const float *host, int n)
{
    cuda_impl *impl = cuda_of(be);
    size_t bytes = (size_t)n * sizeof *host;
    int i = 0;

    for (; i < FREQ_TABLES && impl->freq[i].n > 0; i++)
        if (impl->freq[i].n == n && memcmp(impl->freq[i].host, host, bytes) == 0) return impl->freq[i].device;
    if (i == FREQ_TABLES || n > freq_most(&impl->limits)) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: more than %d tables of rotation frequencies, or one of %d", (int)FREQ_TABLES, n);
        return NULL;
    }
    memcpy(impl->freq[i].host, host, bytes), impl->freq[i].n = n;
    device_upload(be, impl->freq[i].device, host, bytes);
    return impl->freq[i].device;
}

/* ---- opening ---- */

static const llm_remote remote = { device_alloc, device_release, device_upload, device_download, step_begin, step_end, cuda_top };

static void place(cuda_impl *impl, const areas *a)
{
    uint8_t *at = impl->scratch;
    size_t n = (size_t)impl->limits.n_batch;

    impl->token = (int32_t *)(void *)at, impl->pos = impl->token + n, impl->seq = impl->pos + n, at += a->ints;
    impl->span = (llm_span *)(void *)at, at += a->span;
    impl->code = (int8_t *)at, at += a->code;
    impl->code_d = (float *)(void *)at, at += a->code_d;
    impl->code_sum = (uint32_t *)(void *)at, at += a->code_sum;
    impl->half = (uint16_t *)(void *)at, at += a->half;
    impl->half_mul = (float *)(void *)at, at += a->half_mul;
    impl->row = (float *)(void *)at, at += a->row;
    impl->pair_h = (float *)(void *)at, impl->pair_up = impl->pair_h + a->pair_ff / 2 / sizeof(float), at += a->pair_ff;
    impl->pair_y = (float *)(void *)at, at += a->pair_y;
    impl->moe_index = (int32_t *)(void *)at, at += a->index;
    impl->head_count = (int32_t *)(void *)at, at += a->heads;
    impl->partial = (float *)(void *)at, at += a->partial;
    impl->top = at, at += a->top;
    for (int i = 0; i < FREQ_TABLES; i++) {
        impl->freq[i].device = (float *)(void *)at + i * freq_most(&impl->limits);
        impl->freq[i].host = (float *)(void *)(impl->pinned + a->ints + a->span) + i * freq_most(&impl->limits);
    }
    impl->top_pinned = impl->pinned + a->ints + a->span + a->freq;
    impl->code_bytes = a->code, impl->half_bytes = a->half, impl->row_bytes = a->row, impl->partial_bytes = a->partial;
}

llm_status backend_cuda_open(llm_backend *be, llm_device *d, const llm_limits *limits, llm_error *err)
{
    cuda_impl *impl;
    areas a;

    memset(be, 0, sizeof *be);
    if (!measure(&a, limits)) return llm_fail(err, LLM_ERR_MEMORY, "device cuda: scratch for %d rows: the size does not fit", limits->n_batch);
    if ((impl = (cuda_impl *)calloc(1, sizeof *impl)) == NULL) return llm_fail_memory(err, sizeof *impl, "the cuda backend");
    be->impl = impl, be->remote = &remote;
    impl->device = d, impl->limits = *limits, impl->n_sm = cuda_n_sm(d), impl->scratch_bytes = a.total;
    if (cudaSetDevice(0) != cudaSuccess || cudaStreamCreateWithFlags(&impl->stream, cudaStreamNonBlocking) != cudaSuccess
        || cudaStreamCreateWithFlags(&impl->side, cudaStreamNonBlocking) != cudaSuccess || clock_open(&impl->clock) != cudaSuccess) {
        backend_cuda_close(be);
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: no stream: %s", cudaGetErrorString(cudaGetLastError()));
    }
    if (cudaMallocHost((void **)&impl->pinned, pinned_bytes(&a)) != cudaSuccess || cudaMalloc((void **)&impl->scratch, a.total) != cudaSuccess) {
        (void)cudaGetLastError();
        backend_cuda_close(be);
        return llm_fail(err, LLM_ERR_MEMORY, "device cuda: scratch needs %.1f MiB, %.1f MiB are free: a smaller n_batch (now %d) needs less",
                        (double)a.total / 1048576, (double)cuda_available(d) / 1048576, limits->n_batch);
    }
    place(impl, &a);
    if (cudaMemsetAsync(impl->head_count, 0, a.heads, impl->stream) != cudaSuccess || cudaStreamSynchronize(impl->stream) != cudaSuccess) {
        backend_cuda_close(be);
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: its memory cannot be written: %s", cudaGetErrorString(cudaGetLastError()));
    }
    cuda_elementwise_ops(&be->op, &be->block), cuda_route_ops(&be->op), cuda_kv_ops(&be->op, &be->block), cuda_attend_ops(&be->op), cuda_linear_ops(&be->op, &be->block);
    return LLM_OK;
}

void backend_cuda_close(llm_backend *be)
{
    cuda_impl *impl = cuda_of(be);

    if (impl != NULL) {
        if (impl->stream) drop_capture(impl), (void)cudaStreamSynchronize(impl->stream), (void)cudaStreamDestroy(impl->stream);
        if (impl->side) (void)cudaStreamDestroy(impl->side);
        graphs_clear(impl), clock_close(&impl->clock);
        (void)cudaFree(impl->scratch), (void)cudaFreeHost(impl->pinned);
        free(impl);
    }
    memset(be, 0, sizeof *be);
}
