/* llm_test.h - what every test program shares: one main, skips that are said and counted, the data folder.
 *
 *     START_TEST(reads_a_header) { ... ck_assert(...); } END_TEST
 *     LLM_TEST_MAIN("format/gguf", reads_a_header, refuses_a_cut_file)
 */
#ifndef LLM_TEST_H
#define LLM_TEST_H
#ifdef LLM_TEST_PLAIN
#include "plain_check.h"
#else
#include <check.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef __has_feature                   /* clang's */
#define __has_feature(name) 0
#endif
/* Sanitizers and emulation make kernels ten to fifty times slower: loops over all combinations of many sizes take some of them then,
 * each size in turn. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(LLM_TEST_PLAIN) || \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { TEST_IS_SLOW = 1 };
#else
enum { TEST_IS_SLOW = 0 };
#endif

static int test_skipped;

/* Says why the running test cannot run here and counts it; return from the test after it. */
static inline void test_skip(const char *name, const char *why)
{
    printf("SKIP %s: %s\n", name, why);
    test_skipped++;
}

/* Says how many of some cases are right, in a line that run-tests.sh shows. */
static inline void test_count(const char *what, int good, int all)
{
    printf("COUNT %s: %d of %d\n", what, good, all);
}

/* Folder with the shared test data (LLM_TEST_DATA, else ../shared/data), or NULL where there is none. */
static inline const char *test_data(void)
{
    const char *dir = getenv("LLM_TEST_DATA");

    if (dir == NULL) dir = "../shared/data";
    return access(dir, R_OK) == 0 ? dir : NULL;
}

#ifdef LLM_TEST_PLAIN
static inline int test_main(const char *name, const TTest *const *tests, int n)
{
    int run = 0, failed = 0;

    plain_run(tests, n, &run, &failed);
    printf("%s: %d passed, %d failed, %d skipped\n", name, run - failed - test_skipped, failed, test_skipped);
    return failed ? 1 : 0;
}
#else
/* No fork: a crash ends the program and is counted by run-tests.sh. Run from the root of the tree. */
static inline int test_main(const char *name, const TTest *const *tests, int n)
{
    Suite *suite = suite_create(name);
    SRunner *runner;
    int run, failed;

    for (int i = 0; i < n; i++) {
        TCase *tcase = tcase_create(tests[i]->name);
        tcase_set_timeout(tcase, 600);
        tcase_add_test(tcase, tests[i]);
        suite_add_tcase(suite, tcase);
    }
    runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    run = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    printf("%s: %d passed, %d failed, %d skipped\n", name, run - failed - test_skipped, failed, test_skipped);
    return failed ? 1 : 0;
}
#endif

#define LLM_TEST_MAIN(name, ...) \
    int main(void) \
    { \
        const TTest *const tests[] = { __VA_ARGS__ }; \
        return test_main(name, tests, (int)(sizeof tests / sizeof tests[0])); \
    }
#endif
