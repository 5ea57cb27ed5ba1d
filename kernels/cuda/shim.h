/* shim.h - CUDA C++ on the host: what kernels/cuda needs of the language and of the runtime library, for machines without
 * either. An ordinary C++ compiler turns the .cu files into tests that run anywhere.
 *
 * A launch runs its blocks one after the other. The threads of a block are fibers: each runs until it meets a barrier or an
 * operation of its warp (shuffle, matrix tile) that others have not reached, then the next one goes on. A block in which all
 * wait for what cannot come ends the program and names the kernel: a barrier that not all threads reach is a bug on a GPU too.
 * Device memory is the process's own, filled with bytes that are NaN as float, as is dynamic shared memory. What CUDA forbids ends the program, too: more
 * than 48 KiB of dynamic shared memory that the kernel was not allowed, arguments beyond 4 KiB, waiting for a stream that records, or for the whole
 * device while one does, allocating while this thread records in a mode other than relaxed.
 * One launch at a time in a thread; any number of threads. */
#ifndef LLM_CUDA_SHIM_H
#define LLM_CUDA_SHIM_H
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __constant__ static const
#define __restrict__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 { unsigned x, y, z; constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) int4 { int x, y, z, w; };

/* ---- fibers ---- */

namespace shim {

enum { MAX_THREAD = 1024, WARP = 32, STACK = 256 << 10, SLOT = 16, TILE = 4096, SHARED = 232448, SHARED_FREELY = 48 << 10, ARGUMENTS = 4 << 10 };

struct fiber {
    ucontext_t context;
    jmp_buf env;
    char *stack;
    bool started, done;
    dim3 thread;
    int index, parity;
    const unsigned *gate;               /* waits while *gate == ticket */
    unsigned ticket;
};

/* A barrier of `alive` threads: the last one to arrive opens it. */
struct barrier { unsigned arrived, alive, generation; };
struct warp { barrier meet; unsigned char slot[2][WARP][SLOT]; alignas(16) unsigned char tile[2][TILE]; };

/* A thread's device. Its fibers are kept for the next launch, and go with the process. */
struct engine {
    fiber *f;
    warp *w;
    unsigned char *shared;
    fiber *now;
    jmp_buf main_env;
    barrier all;
    dim3 grid, block, at;
    const std::function<void()> *body;
    const char *name;
    const void *main_bottom;
    size_t main_size;
};

inline thread_local engine e = {};

inline void pass(barrier *b)
{
    b->arrived = 0;
    b->generation++;
}

inline void leave(barrier *b) { if (--b->alive > 0 && b->arrived == b->alive) pass(b); }

inline void to_main()
{
    fiber *f = e.now;
#if defined(__SANITIZE_ADDRESS__)
    void *fake;
    __sanitizer_start_switch_fiber(&fake, e.main_bottom, e.main_size);
    if (_setjmp(f->env) == 0) _longjmp(e.main_env, 1);
    __sanitizer_finish_switch_fiber(fake, &e.main_bottom, &e.main_size);
#else
    if (_setjmp(f->env) == 0) _longjmp(e.main_env, 1);
#endif
}

inline void entry()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &e.main_bottom, &e.main_size);
#endif
    for (;;) {
        fiber *f = e.now;
        (*e.body)();
        f->done = true;
        leave(&e.all), leave(&e.w[f->index / WARP].meet);
        to_main();
    }
}

inline void to_fiber(fiber *f)
{
    e.now = f;
#if defined(__SANITIZE_ADDRESS__)
    void *fake;
    __sanitizer_start_switch_fiber(&fake, f->stack, STACK);
#endif
    if (_setjmp(e.main_env) == 0) {
        if (f->started) _longjmp(f->env, 1);
        f->started = true;
        setcontext(&f->context);
    }
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

/* Waits for the others; the last one does `work` first. */
template <class F> inline void wait(barrier *b, F work)
{
    fiber *f = e.now;

    if (++b->arrived == b->alive) { work(), pass(b); return; }
    f->gate = &b->generation, f->ticket = b->generation;
    to_main();
}

inline void wait(barrier *b) { wait(b, [] {}); }

/* Every lane of the warp leaves n <= SLOT bytes; all of them, by lane, are there when it returns, until the lane's next call. */
inline unsigned char (*exchange(const void *mine, size_t n))[SLOT]
{
    fiber *f = e.now;
    warp *w = &e.w[f->index / WARP];
    unsigned char (*slot)[SLOT] = w->slot[f->parity ^= 1];

    memcpy(slot[f->index % WARP], mine, n);
    wait(&w->meet);
    return slot;
}

inline void fail(const char *what)
{
    fprintf(stderr, "shim: %s: %s, block (%u %u %u)\n", e.name, what, e.at.x, e.at.y, e.at.z);
    abort();
}

inline void prepare(int n)
{
    if (e.f == nullptr) {
        e.f = (fiber *)calloc(MAX_THREAD, sizeof *e.f), e.w = (warp *)calloc(MAX_THREAD / WARP, sizeof *e.w);
        e.shared = (unsigned char *)aligned_alloc(64, SHARED);
        if (!e.f || !e.w || !e.shared) fail("out of memory");
    }
    for (int i = 0; i < n; i++) {
        fiber *f = &e.f[i];
        if (f->stack) continue;
        f->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f->stack == MAP_FAILED) fail("no stack");
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack, f->context.uc_stack.ss_size = STACK, f->context.uc_link = nullptr;
        makecontext(&f->context, entry, 0);
    }
}

inline void run_block(int n, size_t shared)
{
    int left = n;

    memset(e.shared, 0xff, shared);
    e.all = { 0, (unsigned)n, 0 };
    for (int i = 0; i < n; i++) {
        fiber *f = &e.f[i];
        unsigned x = e.block.x, y = e.block.y;
        f->done = false, f->gate = nullptr, f->parity = 0, f->index = i;
        f->thread = dim3((unsigned)i % x, (unsigned)i / x % y, (unsigned)i / x / y);
        if (i % WARP == 0) e.w[i / WARP].meet = { 0, (unsigned)(n - i < WARP ? n - i : WARP), 0 };
    }
    while (left > 0) {
        bool any = false;
        for (int i = 0; i < n; i++) {
            fiber *f = &e.f[i];
            if (f->done || (f->gate && *f->gate == f->ticket)) continue;
            f->gate = nullptr, any = true;
            to_fiber(f);
            if (f->done) left--;
        }
        if (!any) fail("its threads wait at different barriers");
    }
}

inline void run(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &body)
{
    unsigned n = block.x * block.y * block.z;

    e.name = name, e.grid = grid, e.block = block, e.body = &body;
    if (n == 0 || n > MAX_THREAD || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) fail("not a launch");
    if (shared > SHARED) fail("too much shared memory");
    prepare((int)n);
    for (unsigned z = 0; z < grid.z; z++) for (unsigned y = 0; y < grid.y; y++) for (unsigned x = 0; x < grid.x; x++) {
        e.at = dim3(x, y, z);
        run_block((int)n, shared);
    }
}

}

#define threadIdx (shim::e.now->thread)
#define blockIdx (shim::e.at)
#define blockDim (shim::e.block)
#define gridDim (shim::e.grid)
static inline void __syncthreads() { shim::wait(&shim::e.all); }
static inline void __syncwarp() { shim::wait(&shim::e.w[shim::e.now->index / shim::WARP].meet); }

template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask)
{
    T out;
    memcpy(&out, shim::exchange(&v, sizeof v)[(shim::e.now->index % shim::WARP) ^ mask], sizeof out);
    return out;
}

template <class T> static inline T __shfl_sync(unsigned, T v, int lane)
{
    T out;
    memcpy(&out, shim::exchange(&v, sizeof v)[lane & 31], sizeof out);
    return out;
}

static inline unsigned __ballot_sync(unsigned, int v)
{
    unsigned char (*slot)[shim::SLOT] = shim::exchange(&v, sizeof v);
    unsigned out = 0;
    for (int i = 0; i < 32; i++) { int x; memcpy(&x, slot[i], sizeof x); out |= (unsigned)(x != 0) << i; }
    return out;
}

static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s)
{
    uint64_t all = (uint64_t)b << 32 | a;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) out |= (unsigned)(all >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
    return out;
}

static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++) c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}

template <class T> static inline T __ldcg(const T *p) { return *p; }
static inline void __threadfence() {}
static inline int atomicAdd(int *p, int v) { int old = *p; *p += v; return old; }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
static inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }

/* ---- the runtime library: one device whose work is done when a call returns ---- */

typedef enum { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 } cudaError_t;
typedef enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 } cudaMemcpyKind;
typedef enum { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;
typedef enum { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeThreadLocal = 1, cudaStreamCaptureModeRelaxed = 2 } cudaStreamCaptureMode;
struct cudaDeviceProp { char name[64]; int major, minor, multiProcessorCount; size_t sharedMemPerBlockOptin; };

/* A graph is the list of what was launched while a stream was captured. */
typedef std::vector<std::function<void()>> *cudaGraph_t, *cudaGraphExec_t;
struct shim_stream { cudaGraph_t graph; int strict; };
typedef shim_stream *cudaStream_t;

/* What is left on the device; tests lower it. Launches so far, recorded ones each time they run, bytes brought to the host, copies to the host and to the
 * device, how often the host waited, and how often a stream began to record. The shim_fail_in-th launch or copy to come fails; 0: none. */
extern "C" { inline size_t shim_memory_left = (size_t)8 << 30, shim_launches = 0, shim_downloaded = 0, shim_copies[2] = { 0, 0 }, shim_waits = 0, shim_records = 0, shim_fail_in = 0; }
/* The library that is taken for cuBLAS; NULL: there is none. */
extern "C" { inline const char *shim_cublas = nullptr; }

namespace shim {
/* Streams that record, in all threads and strictly in this one. */
inline std::atomic<int> recording{ 0 };
inline thread_local int strict = 0;

inline void forbidden(const char *call)
{
    fprintf(stderr, "shim: %s while a step is recorded\n", call);
    abort();
}

/* Kernels that may have more dynamic shared memory, and how much. */
inline std::mutex allowed_lock;
inline std::map<const void *, size_t> allowed;

inline bool shared_good(const void *kernel, size_t n)
{
    std::lock_guard<std::mutex> hold(allowed_lock);
    auto at = allowed.find(kernel);
    return n <= SHARED_FREELY || (at != allowed.end() && n <= at->second);
}

/* The error that cudaGetLastError has for this thread. */
inline thread_local cudaError_t last = cudaSuccess;

inline bool failing()
{
    if (shim_fail_in == 0 || --shim_fail_in > 0) return false;
    last = cudaErrorInvalidValue;
    return true;
}

inline void enqueue(cudaStream_t s, std::function<void()> work)
{
    if (s != nullptr && s->graph != nullptr) s->graph->push_back(work);
    else work();
}
}

namespace shim {
/* The arguments are taken now, as a launch does: the step may be recorded and run later. */
template <class... P, class... A> inline void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t s, const A &...arg)
{
    std::tuple<P...> all(arg...);

    static_assert(sizeof all <= ARGUMENTS, "the arguments of a kernel fit");
    e.name = name;
    if (!shared_good((const void *)kernel, shared)) fail("more dynamic shared memory than it is allowed");
    if (failing()) return;
    enqueue(s, [=] { shim_launches++, run(name, grid, block, shared, [&] { std::apply(kernel, all); }); });
}
}
#define LAUNCH(kernel, grid, block, shared, stream, ...) shim::launch(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__)

static inline cudaError_t cudaMalloc(void **p, size_t n)
{
    size_t *head;

    if (shim::strict > 0) shim::forbidden("cudaMalloc");
    *p = nullptr;
    if (n > shim_memory_left || (head = (size_t *)aligned_alloc(256, (n + 256 + 255) & ~(size_t)255)) == nullptr) return cudaErrorMemoryAllocation;
    *head = n, shim_memory_left -= n;
    *p = (char *)head + 256;
    memset(*p, 0xff, n);
    return cudaSuccess;
}

static inline cudaError_t cudaFree(void *p)
{
    if (p == nullptr) return cudaSuccess;
    size_t *head = (size_t *)((char *)p - 256);
    shim_memory_left += *head;
    free(head);
    return cudaSuccess;
}

static inline cudaError_t cudaMallocHost(void **p, size_t n) { return (*p = malloc(n)) ? cudaSuccess : cudaErrorMemoryAllocation; }
static inline cudaError_t cudaFreeHost(void *p) { free(p); return cudaSuccess; }
static inline cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind)
{
    if (shim::failing()) return shim::last;
    memcpy(to, from, n);
    return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t s)
{
    if (shim::failing()) return shim::last;
    shim::enqueue(s, [=] { memcpy(to, from, n), shim_downloaded += kind == cudaMemcpyDeviceToHost ? n : 0, shim_copies[kind == cudaMemcpyHostToDevice]++; });
    return cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t s)
{
    shim::enqueue(s, [=] { memset(p, v, n); });
    return cudaSuccess;
}
static inline cudaError_t cudaMemGetInfo(size_t *left, size_t *all) { *left = *all = shim_memory_left; return cudaSuccess; }
static inline cudaError_t cudaGetDeviceCount(int *n) { *n = 1; return cudaSuccess; }
static inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    *p = { "cuda-shim", 9, 0, 4, shim::SHARED };
    return cudaSuccess;
}
static inline cudaError_t cudaStreamCreate(cudaStream_t *s) { return (*s = (cudaStream_t)calloc(1, sizeof **s)) ? cudaSuccess : cudaErrorMemoryAllocation; }
enum { cudaStreamNonBlocking = 1 };
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return cudaStreamCreate(s); }
static inline cudaError_t cudaStreamDestroy(cudaStream_t s) { free(s); return cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (s != nullptr && s->graph != nullptr) shim::forbidden("cudaStreamSynchronize of it");
    shim_waits++;
    return cudaSuccess;
}
static inline cudaError_t cudaDeviceSynchronize()
{
    if (shim::recording > 0) shim::forbidden("cudaDeviceSynchronize");
    shim_waits++;
    return cudaSuccess;
}

/* An event is when the processor came to it: what was launched before is done by then. */
typedef struct shim_event { timespec at; } *cudaEvent_t;
static inline cudaError_t cudaEventCreate(cudaEvent_t *e) { return (*e = (cudaEvent_t)calloc(1, sizeof **e)) ? cudaSuccess : cudaErrorMemoryAllocation; }
static inline cudaError_t cudaEventDestroy(cudaEvent_t e) { free(e); return cudaSuccess; }
static inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    if (s != nullptr && s->graph != nullptr) shim::forbidden("cudaEventRecord of an event that is asked for its time");
    clock_gettime(CLOCK_MONOTONIC, &e->at);
    return cudaSuccess;
}
static inline cudaError_t cudaEventSynchronize(cudaEvent_t) { shim_waits++; return cudaSuccess; }
static inline cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = (float)((double)(to->at.tv_sec - from->at.tv_sec) * 1e3 + (double)(to->at.tv_nsec - from->at.tv_nsec) * 1e-6);
    return cudaSuccess;
}
static inline cudaError_t cudaGetLastError()
{
    cudaError_t e = shim::last;
    shim::last = cudaSuccess;
    return e;
}
static inline const char *cudaGetErrorString(cudaError_t s) { return s == cudaErrorMemoryAllocation ? "out of memory" : s ? "invalid argument" : "no error"; }
template <class F> static inline cudaError_t cudaFuncSetAttribute(F kernel, cudaFuncAttribute, int n)
{
    std::lock_guard<std::mutex> hold(shim::allowed_lock);
    if (n < 0 || n > shim::SHARED) return cudaErrorInvalidValue;
    shim::allowed[(const void *)kernel] = (size_t)n;
    return cudaSuccess;
}
static inline cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    s->graph = new std::vector<std::function<void()>>, s->strict = mode != cudaStreamCaptureModeRelaxed;
    shim::recording++, shim::strict += s->strict, shim_records++;
    return cudaSuccess;
}
static inline cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    *g = s->graph;
    if (*g == nullptr) return cudaErrorInvalidValue;
    s->graph = nullptr, shim::recording--, shim::strict -= s->strict;
    return cudaSuccess;
}
static inline cudaError_t cudaGraphGetNodes(cudaGraph_t g, void *, size_t *n) { *n = g->size(); return cudaSuccess; }
static inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long) { *x = new std::vector<std::function<void()>>(*g); return cudaSuccess; }
static inline cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t) { for (auto &f : *x) f(); return cudaSuccess; }
static inline cudaError_t cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }
static inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x) { delete x; return cudaSuccess; }
#endif
