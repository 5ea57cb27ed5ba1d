/* stopper.h - a thread that stops the others of this process at random, each for 0 to 2 ms, as if the system had taken their cores away. */
#ifndef LLM_TEST_STOPPER_H
#define LLM_TEST_STOPPER_H
#include "llm_test.h"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

static atomic_int stopper_over, stopper_stops;      /* stops: so many there were since the program began */
static pthread_t stopper_thread;

static void stopper_stand_still(int sig)
{
    struct timespec t = { 0, (long)((unsigned)atomic_fetch_add(&stopper_stops, 1) * 2654435761u >> 11) };
    (void)sig;
    nanosleep(&t, NULL);
}

/* Signals any thread of this process but itself. */
static void *stopper_run(void *arg)
{
    int own = (int)syscall(SYS_gettid);
    unsigned turn = 0;

    (void)arg;
    while (!atomic_load(&stopper_over)) {
        DIR *d = opendir("/proc/self/task");
        for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
            int id = atoi(e->d_name);
            if (id > 0 && id != own && (turn++ * 2654435761u >> 30) == 0) syscall(SYS_tgkill, getpid(), id, SIGUSR1);
        }
        if (d) closedir(d);
        nanosleep(&(struct timespec){ 0, 200000 }, NULL);
    }
    return NULL;
}

/* The signal's action stays when the thread has ended: a signal may still be on its way. */
static inline void stopper_start(void)
{
    struct sigaction act = { .sa_handler = stopper_stand_still, .sa_flags = SA_RESTART };

    sigaction(SIGUSR1, &act, NULL);
    atomic_store(&stopper_over, 0);
    ck_assert_int_eq(pthread_create(&stopper_thread, NULL, stopper_run, NULL), 0);
}

static inline void stopper_end(void)
{
    atomic_store(&stopper_over, 1);
    pthread_join(stopper_thread, NULL);
}
#endif
