/* A loop's chunks are dealt to the threads in stretches, one each, published as a word each: the loop's number above, the
 * stretch's unclaimed chunks below. A thread works through its own stretch, so that it reads what it reads in sequence, then
 * helps with the others'. It claims a chunk by taking one off, and only then reads what the loop is: from there until the
 * chunk is counted as done the loop cannot end.
 * The caller waits for chunks, not for threads: one that is preempted, or has not woken up yet, holds up at most the chunk
 * it has. Idle threads spin for a moment, then sleep. */
#include "threads.h"
#include "cgroup.h"
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define cpu_relax() _mm_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() ((void)0)
#endif

enum {
    MAX_THREAD = 1024,
    SPIN = 2000,                        /* pauses: some 100 us, more than the serial steps between two loops take */
    SPIN_CROWDED = 20                   /* with more threads than cores another thread needs this one's core */
};

typedef struct { llm_pool *pool; int index; pthread_t id; } worker;
typedef struct { _Alignas(64) atomic_uint_fast64_t left; uint32_t begin, end; } stretch;   /* left: number << 32 | unclaimed chunks */

struct llm_pool {
    int n_thread, n_started, spin;      /* the caller counts in both */
    worker *worker;                     /* [n_thread - 1] */
    pthread_mutex_t lock;               /* only for falling asleep and waking up */
    pthread_cond_t wake, finished;
    stretch *stretch;                   /* [n_thread] */
    _Alignas(64) atomic_uint loop;      /* its number */
    atomic_int sleepers;                /* workers that sleep or are about to */
    atomic_bool stop, waiting;          /* waiting: the caller sleeps or is about to */
    _Alignas(64) atomic_uint_fast64_t done;     /* chunks of this loop that are finished */
    uint32_t n_chunk;
    int64_t n, grain;
    pool_fn fn;
    void *arg;
};

/* Whole cores that quota of every period pay for, rounded up; a group without a quota says "max", or -1. */
static void pays_for(int *least, uint64_t quota, uint64_t period)
{
    if (quota == 0 || quota > INT64_MAX || period == 0) return;
    if ((quota - 1) / period + 1 < (uint64_t)*least) *least = (int)((quota - 1) / period + 1);
}

static void see_cpu_max(void *arg, const char *dir)         /* cpu.max: "QUOTA PERIOD" */
{
    uint64_t quota = 0, period = 0;
    char path[2 * PATH_MAX + 16];
    FILE *f;

    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if ((f = fopen(path, "re")) == NULL) return;
    if (fscanf(f, "%" SCNu64 " %" SCNu64, &quota, &period) == 2) pays_for(arg, quota, period);
    fclose(f);
}

static void see_cfs_quota(void *arg, const char *dir)       /* version 1 */
{
    uint64_t quota, period;

    if (number_at(dir, "cpu.cfs_quota_us", "", &quota) && number_at(dir, "cpu.cfs_period_us", "", &period)) pays_for(arg, quota, period);
}

int threads_quota(const char *root, const char *proc, int most)
{
    cgroup_paths p = { root, proc };

    cgroup_each(p, "", NULL, see_cpu_max, &most);
    cgroup_each(p, "/unified", NULL, see_cpu_max, &most);
    cgroup_each(p, "/cpu", "cpu", see_cfs_quota, &most);
    cgroup_each(p, "/cpu,cpuacct", "cpu", see_cfs_quota, &most);
    return most;
}

void threads_cores(core_list *out)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
    cores_read(out, CORES_SYS, &set);
}

int threads_available(void)
{
    cpu_set_t set;
    int n;

    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    n = CPU_COUNT(&set);
    n = threads_quota(CGROUP_SYSTEM.root, CGROUP_SYSTEM.proc, n);
    return n < 1 ? 1 : n > MAX_THREAD ? MAX_THREAD : n;
}

/* Takes one chunk of whatever loop is running; false: none is left. */
static bool claim(llm_pool *p, int thread, uint32_t *chunk)
{
    for (int i = 0, t = thread; i < p->n_thread; i++, t = t + 1 < p->n_thread ? t + 1 : 0) {
        stretch *s = &p->stretch[t];
        uint_fast64_t word = atomic_load_explicit(&s->left, memory_order_acquire);
        while ((uint32_t)word != 0)
            if (atomic_compare_exchange_weak_explicit(&s->left, &word, word - 1, memory_order_acq_rel, memory_order_acquire)) {
                *chunk = s->end - (uint32_t)word;
                return true;
            }
    }
    return false;
}

/* Works until no chunk is left. Chunks are counted at the end, all at once, but for the last claim they stay ours. */
static void work(llm_pool *p, int thread)
{
    uint_fast64_t mine = 0;
    uint32_t chunk, all = 0;

    while (claim(p, thread, &chunk)) {
        int64_t begin = (int64_t)chunk * p->grain, end = p->n - begin > p->grain ? begin + p->grain : p->n;
        p->fn(p->arg, begin, end, thread);
        all = p->n_chunk;
        mine++;
    }
    if (mine == 0 || atomic_fetch_add(&p->done, mine) + mine != all || thread == 0) return;
    if (atomic_load(&p->waiting)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->finished);
        pthread_mutex_unlock(&p->lock);
    }
}

static uint32_t loop_number(llm_pool *p) { return atomic_load(&p->loop); }

/* Waits until a loop other than *seen was published, and says which; false: the pool closes. That is asked after the wait, and
 * *seen is the number the wait ended with: a loop published meanwhile, the last one above all, is not taken for seen. */
static bool next_loop(llm_pool *p, uint32_t *seen)
{
    uint32_t number = *seen;

    for (int i = 0; i < p->spin && (number = loop_number(p)) == *seen; i++) cpu_relax();
    if (number == *seen) {
        pthread_mutex_lock(&p->lock);
        atomic_fetch_add(&p->sleepers, 1);
        while ((number = loop_number(p)) == *seen) pthread_cond_wait(&p->wake, &p->lock);
        atomic_fetch_sub(&p->sleepers, 1);
        pthread_mutex_unlock(&p->lock);
    }
    *seen = number;
    return !atomic_load(&p->stop);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    uint32_t seen = 0;

    while (next_loop(w->pool, &seen)) work(w->pool, w->index);
    return NULL;
}

/* Either a worker going to sleep sees the new number, or this sees the sleeper: both words are sequentially consistent. The number
 * is exchanged, not stored: processors emulated by QEMU 7.2 read ahead of a store that is sequentially consistent (an stlr before an
 * ldar), and what is to be woken up then sleeps on. */
static void publish(llm_pool *p, uint32_t n_chunk)
{
    uint32_t number = loop_number(p) + 1;
    uint64_t n = (uint64_t)p->n_thread;

    /* all borders first: with the first word a thread may begin, and look at its own */
    for (uint64_t t = 0; t < n && n_chunk > 0; t++)
        p->stretch[t].begin = (uint32_t)(n_chunk * t / n), p->stretch[t].end = (uint32_t)(n_chunk * (t + 1) / n);
    for (uint64_t t = 0; t < n && n_chunk > 0; t++)
        atomic_store_explicit(&p->stretch[t].left, (uint64_t)number << 32 | (p->stretch[t].end - p->stretch[t].begin), memory_order_release);
    atomic_exchange(&p->loop, number);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

llm_status pool_open(llm_pool **out, int n_thread, llm_error *err)
{
    llm_pool *p;

    *out = NULL;
    if (n_thread < 1 || n_thread > MAX_THREAD)
        return llm_fail(err, LLM_ERR_ARG, "threads: got %d, want 1..%d", n_thread, (int)MAX_THREAD);
    p = aligned_alloc(_Alignof(llm_pool), sizeof *p);
    if (p == NULL) return llm_fail_memory(err, sizeof *p, "the thread pool");
    memset(p, 0, sizeof *p);
    p->worker = calloc((size_t)n_thread, sizeof *p->worker);
    p->stretch = aligned_alloc(_Alignof(stretch), (size_t)n_thread * sizeof *p->stretch);
    if (p->worker == NULL || p->stretch == NULL) {
        free(p->worker), free(p->stretch), free(p);
        return llm_fail_memory(err, (size_t)n_thread * sizeof *p->stretch, "the thread pool");
    }
    memset(p->stretch, 0, (size_t)n_thread * sizeof *p->stretch);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->finished, NULL);
    p->n_thread = n_thread, p->n_started = 1;
    p->spin = n_thread > threads_available() ? SPIN_CROWDED : SPIN;
    for (int i = 1; i < n_thread; i++) {
        worker *w = &p->worker[i - 1];
        w->pool = p, w->index = i;
        if (pthread_create(&w->id, NULL, worker_main, w) != 0) {
            pool_close(p);
            return llm_fail(err, LLM_ERR_MEMORY, "threads: the system gave %d of %d", i, n_thread);
        }
        p->n_started++;
    }
    *out = p;
    return LLM_OK;
}

void pool_close(llm_pool *p)
{
    if (p == NULL) return;
    atomic_store(&p->stop, true);
    publish(p, 0);
    for (int i = 1; i < p->n_started; i++) pthread_join(p->worker[i - 1].id, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->finished);
    pthread_mutex_destroy(&p->lock);
    free(p->worker);
    free(p->stretch);
    free(p);
}

int pool_place(llm_pool *p, const core_list *l, bool pin)
{
    int told = 0;

    if (l->n == 0 || (!pin && l->n_node < 2)) return 0;
    for (int i = 1; i < p->n_thread; i++) {
        const core *home = &l->core[cores_place(l, i, p->n_thread)];
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int k = 0; k < l->n; k++)
            if (pin ? l->core[k].cpu == home->cpu : l->core[k].node == home->node) CPU_SET(l->core[k].cpu, &set);
        told += pthread_setaffinity_np(p->worker[i - 1].id, sizeof set, &set) == 0;
    }
    return told;
}

size_t pool_bytes(int n_thread) { return sizeof(llm_pool) + (size_t)n_thread * (sizeof(worker) + sizeof(stretch)); }

int pool_size(const llm_pool *p) { return p ? p->n_thread : 1; }

bool pool_goes_on(const llm_pool *p, int thread, int64_t end)
{
    if (p == NULL || p->n_thread == 1) return true;
    return end > p->stretch[thread].begin * p->grain && end < p->stretch[thread].end * p->grain && end < p->n;    /* the last chunk may be short */
}

static void wait_for_chunks(llm_pool *p)
{
    for (int i = 0; i < p->spin; i++) {
        if (atomic_load_explicit(&p->done, memory_order_acquire) == p->n_chunk) return;
        cpu_relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_exchange(&p->waiting, true);         /* not stored, as in publish: done is read after it */
    while (atomic_load(&p->done) != p->n_chunk) pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->waiting, false);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(llm_pool *p, int64_t n, int64_t grain, pool_fn fn, void *arg)
{
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    if (p == NULL || p->n_thread == 1 || n <= grain || (n - 1) / grain >= UINT32_MAX) {
        for (int64_t begin = 0, end; begin < n; begin = end) {
            end = n - begin > grain ? begin + grain : n;
            fn(arg, begin, end, 0);
        }
        return;
    }
    p->n = n, p->grain = grain, p->fn = fn, p->arg = arg;
    p->n_chunk = (uint32_t)((n - 1) / grain + 1);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    publish(p, p->n_chunk);
    work(p, 0);
    wait_for_chunks(p);
}
