#include "../llm_test.h"
#include "threads.h"
#include <stdatomic.h>
#include <string.h>

enum { N = 1000 };
static atomic_int hits[N];

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

LLM_TEST_MAIN("base/threads", every_item_once, refuses_absurd_counts)
