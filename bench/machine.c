#include "machine.h"
#include "machine_loops.h"
#include "machine_neon.h"
#include "cpu.h"
#include "memory.h"
#include "threads.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Every thread reads STREAM_BYTES, and all together at least STREAM_ALL: more than a cache holds. */
enum { STREAM_BYTES = 96 << 20, STREAM_ALL = 512 << 20, ROUNDS = 3, CALC_LOOPS = 400000 };

double machine_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int limits_cores(void) { return threads_available(); }

llm_status limits_of_device(llm_device *d, machine_limits *out, llm_error *err)
{
    llm_device_limits l = { 0, 0, 0 };
    llm_status st = device_limits(d, &l, err);

    *out = (machine_limits){ l.read_gbs, l.int8_gops, l.float_gflops };
    return st;
}

/* Each returns something that depends on all it did, so that nothing is optimised away. */
static uint64_t read_plain(const uint64_t *p, size_t n)
{
    uint64_t sum[8] = { 0 };

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] ^= p[i + k];
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

#if defined(__x86_64__)
__attribute__((target("avx2")))
static uint64_t read_avx2(const uint64_t *p, size_t n)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    uint64_t out[4];

    for (size_t i = 0; i + 16 <= n; i += 16) {
        a = _mm256_xor_si256(a, _mm256_load_si256((const __m256i *)(p + i)));
        b = _mm256_xor_si256(b, _mm256_load_si256((const __m256i *)(p + i + 4)));
        c = _mm256_xor_si256(c, _mm256_load_si256((const __m256i *)(p + i + 8)));
        d = _mm256_xor_si256(d, _mm256_load_si256((const __m256i *)(p + i + 12)));
    }
    _mm256_storeu_si256((__m256i *)out, _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}

#define DOT_512(i) a##i = _mm512_dpbusd_epi32(a##i, x, y); __asm__("" : "+v"(a##i));
__attribute__((target("avx512f,avx512bw,avx512vnni")))
static PRODUCT_LOOP(int8_avx512, __m512i, __m512i, _mm512_set1_epi8(3), _mm512_set1_epi8(5), DOT_512)

/* As if y changed every time: else the products, always the same, would be computed once, before the loop. */
#define PAIRS(i) \
    a##i = _mm256_add_epi32(a##i, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), _mm256_set1_epi16(1))); \
    __asm__("" : "+x"(y), "+x"(a##i));
__attribute__((target("avx2")))
static PRODUCT_LOOP(int8_avx2, __m256i, __m256i, _mm256_set1_epi8(3), _mm256_set1_epi8(5), PAIRS)

#define DOT_256(i) a##i = _mm256_dpbusd_avx_epi32(a##i, x, y); __asm__("" : "+x"(a##i));
__attribute__((target("avx2,avxvnni")))
static PRODUCT_LOOP(int8_avxvnni, __m256i, __m256i, _mm256_set1_epi8(3), _mm256_set1_epi8(5), DOT_256)

#define FMA_256(i) a##i = _mm256_fmadd_ps(a##i, x, y); __asm__("" : "+x"(a##i));
__attribute__((target("avx2,fma")))
static PRODUCT_LOOP(f32_avx2, __m256, __m256, _mm256_set1_ps(0.5f), _mm256_set1_ps(0.25f), FMA_256)

#define FMA_512(i) a##i = _mm512_fmadd_ps(a##i, x, y); __asm__("" : "+v"(a##i));
__attribute__((target("avx512f")))
static PRODUCT_LOOP(f32_avx512, __m512, __m512, _mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f), FMA_512)
#endif

static uint64_t f32_plain(int loops)
{
    float a[12];
    uint64_t sum = 0;

    for (int i = 0; i < 12; i++) a[i] = (float)i;
    for (int k = 0; k < loops; k++)
        for (int i = 0; i < 12; i++) a[i] = a[i] * 0.5f + 0.25f;
    for (int i = 0; i < 12; i++) sum += (uint64_t)(a[i] * 16);
    return sum;
}

static uint64_t int8_plain(int loops)
{
    int32_t a[16] = { 0 };
    uint64_t sum = 0;

    for (int k = 0; k < loops; k++)
        for (int i = 0; i < 16; i++) a[i] += (int8_t)(k + i) * (int8_t)i;
    for (int i = 0; i < 16; i++) sum += (uint64_t)a[i];
    return sum;
}

typedef struct {
    uint64_t (*read)(const uint64_t *, size_t), (*int8)(int), (*f32)(int);
    double int8_ops, f32_ops;           /* per loop */
} probe;

static probe choose(void)
{
    probe p = { read_plain, int8_plain, f32_plain, 32, 24 };
#if defined(__x86_64__)
    if (cpu_has_isa(ISA_AVX2)) p = (probe){ read_avx2, int8_avx2, f32_avx2, 12 * 64, 12 * 16 };
    if (cpu_has_isa(ISA_AVXVNNI)) p.int8 = int8_avxvnni, p.int8_ops = 12 * 64;
    if (cpu_has_isa(ISA_AVX512)) p.int8 = int8_avx512, p.f32 = f32_avx512, p.int8_ops = 12 * 128, p.f32_ops = 12 * 32;
#elif defined(__aarch64__)
    if (cpu_has_isa(ISA_NEON)) p = (probe){ read_neon, int8_neon, f32_neon, 12 * 32, 12 * 8 };
    if (cpu_has_isa(ISA_I8MM)) p.int8 = int8_i8mm, p.int8_ops = 12 * 64;
#endif
    return p;
}

typedef struct { const probe *p; const uint64_t *mem; size_t words; int what; volatile uint64_t sink; } job;

static void run_job(void *arg, int64_t begin, int64_t end, int thread)
{
    job *j = arg;
    uint64_t x = 0;

    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        if (j->what == 0) x ^= j->p->read(j->mem + (size_t)i * j->words, j->words);
        else x ^= j->what == 1 ? j->p->int8(CALC_LOOPS) : j->p->f32(CALC_LOOPS);
    }
    j->sink = x;
}

static double best_seconds(llm_pool *pool, job *j, int n_thread)
{
    double best = 1e30;

    for (int r = 0; r < ROUNDS; r++) {
        double start = machine_seconds(), t;
        pool_run(pool, n_thread, 1, run_job, j);
        t = machine_seconds() - start;
        if (t < best) best = t;
    }
    return best;
}

/* Bytes that each thread reads; less where memory is short. */
static size_t stream_bytes(int n_thread)
{
    size_t each = (size_t)n_thread * STREAM_BYTES > STREAM_ALL ? STREAM_BYTES : STREAM_ALL / (size_t)n_thread;

    while (each > 4 << 20 && each * (size_t)n_thread > memory_available() / 2) each /= 2;
    return each / 128 * 128;
}

machine_limits limits_measure(int n_thread)
{
    machine_limits out = { 0, 0, 0 };
    size_t each = stream_bytes(n_thread), bytes = (size_t)n_thread * each;
    probe p = choose();
    job j = { .p = &p, .words = each / 8 };
    llm_pool *pool;
    void *mem;

    if (pool_open(&pool, n_thread, NULL) != LLM_OK) return out;
    mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) { pool_close(pool); return out; }
    madvise(mem, bytes, MADV_HUGEPAGE);
    memset(mem, 1, bytes);
    j.mem = mem;
    out.read_gbs = (double)bytes / best_seconds(pool, &j, n_thread) / 1e9;
    munmap(mem, bytes);
    j.what = 1, out.int8_gops = n_thread * p.int8_ops * CALC_LOOPS / best_seconds(pool, &j, n_thread) / 1e9;
    j.what = 2, out.f32_gflops = n_thread * p.f32_ops * CALC_LOOPS / best_seconds(pool, &j, n_thread) / 1e9;
    pool_close(pool);
    return out;
}
