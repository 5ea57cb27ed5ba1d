/* Many short loops with more threads than cores, which fall asleep and are woken up all the time: each loop ends. (With a wake-up
 * that gets lost this program never does, and run-tests.sh says so after its limit.) Run under emulation too, which orders memory
 * in its own way. */
#include "../llm_test.h"
#include "threads.h"

enum { LOOPS = TEST_IS_SLOW ? 300000 : 500000, POOLS = 300, MOST = 4 };
typedef struct { _Alignas(64) int64_t n; } count;

static void add(void *arg, int64_t begin, int64_t end, int thread)
{
    ((count *)arg)[thread].n += end - begin;
    for (volatile int i = 0; i < 30; i++);
}

START_TEST(every_loop_ends)
{
    static count done[MOST];
    int64_t all = 0, want = 0;
    llm_pool *p;
    llm_error err;

    for (int i = 0; i < POOLS; i++) {
        int n = 2 + i % (MOST - 1);
        ck_assert_int_eq(pool_open(&p, n, &err), LLM_OK);
        for (int k = 0; k < LOOPS / POOLS; k++) pool_run(p, n + 1, 1, add, done), want += n + 1;
        pool_close(p);
    }
    for (int i = 0; i < MOST; i++) all += done[i].n;
    ck_assert_int_eq(all, want);
}
END_TEST

LLM_TEST_MAIN("base/loops", every_loop_ends)
