/* The matrix products while threads are stopped and continued at random: the same bits as one thread undisturbed. */
#include "../llm_test.h"
#include "kernel_case.h"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

enum { ROWS = 700, COLS = 512, THREADS = 4, ROUNDS = 60, STOPS = 5 };
static const llm_limits limits = { .n_batch = 24, .max_cols = COLS, .max_rows = ROWS, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1, .d_model = COLS };
static atomic_int over, stops;

/* As if the system had taken the core away: 0 to 2 ms. */
static void stand_still(int sig)
{
    struct timespec t = { 0, (long)((unsigned)atomic_fetch_add(&stops, 1) * 2654435761u >> 11) };
    (void)sig;
    nanosleep(&t, NULL);
}

/* Signals any thread of this process but itself. */
static void *stop_some(void *arg)
{
    int own = (int)syscall(SYS_gettid);
    unsigned turn = 0;

    (void)arg;
    while (!atomic_load(&over)) {
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

START_TEST(products_keep_their_bits)
{
    static const llm_dtype types[] = { DT_Q4_0, DT_Q8_0, DT_MXFP4, DT_Q6_K, DT_BF16 };
    static const int counts[] = { 1, 5, 24 };
    struct sigaction act = { .sa_handler = stand_still, .sa_flags = SA_RESTART };       /* stays: a signal may still be on its way */
    case_backend calm, c;
    pthread_t stopper;

    sigaction(SIGUSR1, &act, NULL);
    case_open(&calm, ISA_SCALAR, 1, &limits), case_open(&c, cpu_best_isa(), THREADS, &limits);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        case_state = t;
        llm_tensor w = case_tensor(types[t], 0, ROWS, COLS);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            int n = counts[k];
            llm_rows x = case_rows(n, COLS), want = case_rows(n, ROWS), got = case_rows(n, ROWS);
            llm_linear l = { want, &w, NULL };
            size_t bytes = (size_t)n * (size_t)want.stride * sizeof(float);
            calm.be.op.linear(&calm.be, &l, 1, x);
            l.y = got;
            atomic_store(&over, 0);
            ck_assert_int_eq(pthread_create(&stopper, NULL, stop_some, NULL), 0);
            int before = atomic_load(&stops);                       /* on busy cores the thread that stops the others is late itself */
            for (int round = 0; round < ROUNDS || (atomic_load(&stops) - before < STOPS && round < 100 * ROUNDS); round++) {
                memcpy(got.data, want.data, bytes);
                for (int i = 0; i < n; i++) memset(row_at(got, i), 0xff, ROWS * sizeof(float));
                c.be.op.linear(&c.be, &l, 1, x);
                ck_assert_msg(memcmp(got.data, want.data, bytes) == 0, "%s n %d round %d", dtype_name(types[t]), n, round);
            }
            atomic_store(&over, 1);
            pthread_join(stopper, NULL);
            free(x.data), free(want.data), free(got.data);
        }
        free((void *)(uintptr_t)w.data);
    }
    ck_assert_msg(atomic_load(&stops) >= STOPS * (int)(sizeof types / sizeof types[0] * sizeof counts / sizeof counts[0]), "%d stops", atomic_load(&stops));
    case_close(&calm), case_close(&c);
}
END_TEST

LLM_TEST_MAIN("kernels/stopped", products_keep_their_bits)
