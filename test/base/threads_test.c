#include "../llm_test.h"
#include "threads.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { N = 1000 };
static atomic_int hits[N], over;

static void hit(void *arg, int64_t begin, int64_t end, int thread)
{
    (void)arg, (void)thread;
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&hits[i], 1);
}

START_TEST(every_item_once)
{
    for (int threads = 1; threads <= 5; threads++) {
        llm_pool *p;
        llm_error err;
        ck_assert_int_eq(pool_open(&p, threads, &err), LLM_OK);
        for (int round = 0; round < 200; round++) {
            int n = round % 7 == 0 ? N : round * 3 % N;
            for (int i = 0; i < N; i++) atomic_store(&hits[i], 0);
            pool_run(p, n, 1 + round % 9, hit, NULL);
            for (int i = 0; i < N; i++) ck_assert_int_eq(atomic_load(&hits[i]), i < n);
        }
        pool_close(p);
    }
}
END_TEST

/* Workers are anywhere when the pool closes: just done with a loop, about to sleep, not yet started. */
START_TEST(closes_at_any_moment)
{
    for (int round = 0; round < 3000; round++) {
        llm_pool *p;
        llm_error err;
        ck_assert_int_eq(pool_open(&p, 2 + round % 3, &err), LLM_OK);
        for (int i = 0; i < round % 4; i++) pool_run(p, 8, 1, hit, NULL);
        if (round % 5 == 0) nanosleep(&(struct timespec){ 0, 1000 * (round % 300) }, NULL);
        pool_close(p);
    }
}
END_TEST

static void stretches(void *arg, int64_t begin, int64_t end, int thread)
{
    (void)begin;
    nanosleep(&(struct timespec){ 0, 1 }, NULL);            /* so that the others come to their stretches, and one to its last piece */
    if (end == N && pool_goes_on(arg, thread, end)) atomic_store(&over, 1);
}

START_TEST(no_thread_goes_on_past_the_end)
{
    llm_pool *p;
    llm_error err;

    ck_assert_int_eq(pool_open(&p, 3, &err), LLM_OK);
    atomic_store(&over, 0);
    for (int grain = 1; grain < 40; grain++) pool_run(p, N, grain, stretches, p);
    ck_assert_int_eq(atomic_load(&over), 0);
    pool_close(p);
}
END_TEST

START_TEST(refuses_absurd_counts)
{
    llm_pool *p;
    llm_error err;
    ck_assert_int_eq(pool_open(&p, 0, &err), LLM_ERR_ARG);
    ck_assert_int_eq(pool_open(&p, 1 << 20, &err), LLM_ERR_ARG);
    ck_assert_ptr_null(p);
    pool_close(NULL);
}
END_TEST

/* ---- threads that are stopped at random ---- */

enum { MAX_POOL = 8 };
static pthread_t ids[MAX_POOL];
static atomic_int known[MAX_POOL];
static int64_t sums[N];                 /* plain memory: a race would be seen by the thread sanitizer */

/* The signal's handler stands still for a moment, as if the system had taken the core away. */
static void stand_still(int sig)
{
    struct timespec t = { 0, 2000000 };
    (void)sig;
    nanosleep(&t, NULL);
}

static void add_up(void *arg, int64_t begin, int64_t end, int thread)
{
    if (!atomic_load(&known[thread])) ids[thread] = pthread_self(), atomic_store(&known[thread], 1);
    for (int64_t i = begin; i < end; i++) sums[i] += *(const int *)arg + i;
}

static void *stop_some(void *arg)
{
    struct timespec t = { 0, 300000 };
    unsigned x = 1;

    while (!atomic_load(&over)) {
        x = x * 1664525 + 1013904223;
        int i = (int)(x >> 16) % *(int *)arg;
        if (atomic_load(&known[i])) pthread_kill(ids[i], SIGUSR1);
        nanosleep(&t, NULL);
    }
    return NULL;
}

START_TEST(stopped_threads_lose_nothing)
{
    struct sigaction act = { .sa_handler = stand_still, .sa_flags = SA_RESTART }, old;

    sigaction(SIGUSR1, &act, &old);
    for (int threads = 2; threads <= MAX_POOL; threads += 3) {
        llm_pool *p;
        llm_error err;
        pthread_t stopper;
        int64_t want = 0;
        for (int i = 0; i < MAX_POOL; i++) atomic_store(&known[i], 0);
        atomic_store(&over, 0);
        memset(sums, 0, sizeof sums);
        ck_assert_int_eq(pool_open(&p, threads, &err), LLM_OK);
        ck_assert_int_eq(pthread_create(&stopper, NULL, stop_some, &threads), 0);
        for (int round = 0; round < 2000; round++) {
            pool_run(p, N, 1 + round * 7 % 200, add_up, &round);
            want += round;
            if (round % 400 == 0) nanosleep(&(struct timespec){ 0, 3000000 }, NULL);    /* long enough to fall asleep */
        }
        atomic_store(&over, 1);
        pthread_join(stopper, NULL);
        pool_close(p);
        for (int i = 0; i < N; i++) ck_assert(sums[i] == want + (int64_t)2000 * i);
    }
    sigaction(SIGUSR1, &old, NULL);
}
END_TEST

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- places ---- */

enum { MAX_PLACED = 64 };
static cpu_set_t seen[MAX_PLACED];
static atomic_int placed;

/* Each thread takes one chunk and waits for the others to have theirs. */
static void see_affinity(void *arg, int64_t begin, int64_t end, int thread)
{
    (void)begin, (void)end;
    ck_assert_int_eq(sched_getaffinity(0, sizeof seen[thread], &seen[thread]), 0);
    atomic_fetch_add(&placed, 1);
    while (atomic_load(&placed) < *(int *)arg) sched_yield();
}

static void place_and_see(const core_list *l, int n, bool pin, int want_told)
{
    llm_pool *p;
    llm_error err;

    ck_assert_int_eq(pool_open(&p, n, &err), LLM_OK);
    ck_assert_int_eq(pool_place(p, l, pin), want_told);
    atomic_store(&placed, 0);
    pool_run(p, n, 1, see_affinity, &n);
    pool_close(p);
}

START_TEST(threads_stay_where_they_are_put)
{
    core_list here, two = { .n = 2, .n_node = 2, .core = { { .node = 0 }, { .node = 1 } } };
    cpu_set_t all;
    int n;

    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    threads_cores(&here);
    ck_assert_int_eq(here.n, CPU_COUNT(&all));
    n = here.n < MAX_PLACED ? here.n : MAX_PLACED;
    place_and_see(&here, n, true, n - 1);
    ck_assert(CPU_EQUAL(&seen[0], &all));                   /* the caller is left alone */
    for (int i = 1; i < n; i++) {
        ck_assert_int_eq(CPU_COUNT(&seen[i]), 1);
        ck_assert(CPU_ISSET(here.core[cores_place(&here, i, n)].cpu, &seen[i]));
    }
    if (here.n_node == 1) place_and_see(&here, n, false, 0);
    for (int i = 0; here.n_node == 1 && i < n; i++) ck_assert(CPU_EQUAL(&seen[i], &all));
    if (here.n < 2) return;
    two.core[0].cpu = here.core[0].cpu, two.core[1].cpu = here.core[1].cpu;
    place_and_see(&two, 4, false, 3);
    for (int i = 1; i < 4; i++) ck_assert(CPU_COUNT(&seen[i]) == 1 && CPU_ISSET(two.core[i / 2].cpu, &seen[i]));
}
END_TEST

START_TEST(idle_threads_use_no_cpu)
{
    llm_pool *p;
    llm_error err;
    int round = 0;

    ck_assert_int_eq(pool_open(&p, 4, &err), LLM_OK);
    pool_run(p, N, 10, add_up, &round);
    double cpu = 1;
    for (int i = 0; i < 5 && cpu >= 0.02; i++) {            /* on a busy machine the threads come to rest late */
        nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
    pool_close(p);
    ck_assert_msg(cpu < 0.02, "%g s of processor time in 0.2 s of rest", cpu);
}
END_TEST

/* Many more threads than cores: the loops still go by, since nobody waits for a thread that has no chunk. */
START_TEST(crowded_cores_stay_sane)
{
    llm_pool *p;
    llm_error err;
    int round = 0;

    ck_assert_int_eq(pool_open(&p, 64, &err), LLM_OK);
    double t = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < 2000; i++) pool_run(p, 64, 1, hit, &round);
    t = seconds(CLOCK_MONOTONIC) - t;
    pool_close(p);
    ck_assert_msg(t < 20, "2000 loops took %g s", t);
    printf("64 threads on %d cores: %.1f us a loop\n", threads_available(), t / 2000 * 1e6);
}
END_TEST

LLM_TEST_MAIN("base/threads", every_item_once, closes_at_any_moment, no_thread_goes_on_past_the_end, refuses_absurd_counts,
              stopped_threads_lose_nothing,
              threads_stay_where_they_are_put, idle_threads_use_no_cpu, crowded_cores_stay_sane)
