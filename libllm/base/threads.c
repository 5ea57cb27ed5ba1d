/* A loop is published by raising the generation; threads claim chunks from one counter, so a thread
 * that is preempted holds up at most the chunk it has. Idle threads spin briefly, then sleep. */
#include "threads.h"
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define cpu_relax() _mm_pause()
#else
#define cpu_relax() ((void)0)
#endif

enum { SPIN = 4000, MAX_THREAD = 1024 };

typedef struct { llm_pool *pool; int index; pthread_t id; } worker;

struct llm_pool {
    int n_thread;
    worker *worker;                     /* [n_thread - 1] */
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    atomic_uint generation;             /* of the published loop */
    atomic_int busy;                    /* workers that have not left the loop */
    atomic_llong next;
    bool stop, waiting;                 /* under lock */
    int64_t n, grain;
    pool_fn fn;
    void *arg;
};

int threads_available(void)
{
    cpu_set_t set;
    int n;

    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREAD ? MAX_THREAD : n;
}

static void work(llm_pool *p, int thread)
{
    for (;;) {
        int64_t begin = atomic_fetch_add_explicit(&p->next, p->grain, memory_order_relaxed);
        int64_t end = begin + p->grain;
        if (begin >= p->n) return;
        p->fn(p->arg, begin, end < p->n ? end : p->n, thread);
    }
}

/* Waits until the generation differs from seen; false: the pool closes. */
static bool next_loop(llm_pool *p, unsigned seen)
{
    bool go;

    for (int i = 0; i < SPIN; i++) {
        if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen) break;
        cpu_relax();
    }
    if (atomic_load_explicit(&p->generation, memory_order_acquire) == seen) {
        pthread_mutex_lock(&p->lock);
        while (atomic_load_explicit(&p->generation, memory_order_acquire) == seen) pthread_cond_wait(&p->wake, &p->lock);
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_lock(&p->lock);
    go = !p->stop;
    pthread_mutex_unlock(&p->lock);
    return go;
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    llm_pool *p = w->pool;
    unsigned seen = 0;

    while (next_loop(p, seen)) {
        seen = atomic_load_explicit(&p->generation, memory_order_acquire);
        work(p, w->index);
        if (atomic_fetch_sub_explicit(&p->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&p->lock);
            if (p->waiting) pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
    return NULL;
}

static void publish(llm_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

llm_status pool_open(llm_pool **out, int n_thread, llm_error *err)
{
    llm_pool *p;

    *out = NULL;
    if (n_thread < 1 || n_thread > MAX_THREAD)
        return llm_fail(err, LLM_ERR_ARG, "threads: got %d, want 1..%d", n_thread, (int)MAX_THREAD);
    p = calloc(1, sizeof *p);
    if (p == NULL) return llm_fail_memory(err, sizeof *p, "the thread pool");
    p->worker = calloc((size_t)n_thread, sizeof *p->worker);
    if (p->worker == NULL) { free(p); return llm_fail_memory(err, sizeof *p->worker, "the thread pool"); }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    p->n_thread = 1;
    for (int i = 1; i < n_thread; i++) {
        worker *w = &p->worker[i - 1];
        w->pool = p, w->index = i;
        if (pthread_create(&w->id, NULL, worker_main, w) != 0) {
            pool_close(p);
            return llm_fail(err, LLM_ERR_MEMORY, "threads: the system gave %d of %d", i, n_thread);
        }
        p->n_thread++;
    }
    *out = p;
    return LLM_OK;
}

void pool_close(llm_pool *p)
{
    if (p == NULL) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    publish(p);
    for (int i = 1; i < p->n_thread; i++) pthread_join(p->worker[i - 1].id, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    free(p->worker);
    free(p);
}

int pool_size(const llm_pool *p) { return p ? p->n_thread : 1; }

static void wait_for_workers(llm_pool *p)
{
    for (int i = 0; i < SPIN; i++) {
        if (atomic_load_explicit(&p->busy, memory_order_acquire) == 0) return;
        cpu_relax();
    }
    pthread_mutex_lock(&p->lock);
    p->waiting = true;
    while (atomic_load_explicit(&p->busy, memory_order_acquire) != 0) pthread_cond_wait(&p->done, &p->lock);
    p->waiting = false;
    pthread_mutex_unlock(&p->lock);
}

void pool_run(llm_pool *p, int64_t n, int64_t grain, pool_fn fn, void *arg)
{
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    if (p == NULL || p->n_thread == 1 || n <= grain) {
        for (int64_t begin = 0; begin < n; begin += grain)
            fn(arg, begin, begin + grain < n ? begin + grain : n, 0);
        return;
    }
    p->n = n, p->grain = grain, p->fn = fn, p->arg = arg;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->busy, p->n_thread - 1, memory_order_relaxed);
    publish(p);
    work(p, 0);
    wait_for_workers(p);
}
