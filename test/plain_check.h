/* plain_check.h - the few names of the Check library that tests use, for processors it is not installed for. */
#ifndef LLM_PLAIN_CHECK_H
#define LLM_PLAIN_CHECK_H
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct { const char *name; void (*run)(void); } TTest;

static jmp_buf plain_failed;

#define START_TEST(test) \
    static void test##_run(void); \
    static const TTest test##_ttest = { #test, test##_run }, *const test = &test##_ttest; \
    static void test##_run(void)
#define END_TEST

#define ck_abort_msg(...) \
    (printf("%s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), putchar('\n'), longjmp(plain_failed, 1))
#define ck_assert_msg(cond, ...) ((cond) ? (void)0 : ck_abort_msg(__VA_ARGS__))
#define ck_assert(cond) ck_assert_msg(cond, "%s", #cond)
#define ck_assert_ptr_nonnull(p) ck_assert((p) != NULL)
#define ck_assert_mem_eq(a, b, n) ck_assert_msg(memcmp(a, b, n) == 0, "%s is not %s", #a, #b)
#define ck_assert_ptr_eq(a, b) ck_assert_msg((const void *)(a) == (const void *)(b), "%s is not %s", #a, #b)
#define ck_assert_int_ge(a, b) \
    ck_assert_msg((intmax_t)(a) >= (intmax_t)(b), "%s is %jd, %s is %jd", #a, (intmax_t)(a), #b, (intmax_t)(b))
#define ck_assert_int_eq(a, b) \
    ck_assert_msg((intmax_t)(a) == (intmax_t)(b), "%s is %jd, %s is %jd", #a, (intmax_t)(a), #b, (intmax_t)(b))
#define ck_assert_uint_eq(a, b) \
    ck_assert_msg((uintmax_t)(a) == (uintmax_t)(b), "%s is %ju, %s is %ju", #a, (uintmax_t)(a), #b, (uintmax_t)(b))

static inline void plain_run(const TTest *const *tests, int n, int *run, int *failed)
{
    for (volatile int i = 0; i < n; i++) {
        ++*run;
        if (setjmp(plain_failed) == 0) tests[i]->run();
        else ++*failed, printf("failed: %s\n", tests[i]->name);
    }
}
#endif
