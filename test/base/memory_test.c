#include "../llm_test.h"
#include "memory.h"
#include <sys/resource.h>

START_TEST(mapped_memory_is_zero)
{
    size_t n = 10 << 20;
    unsigned char *p = memory_map(n);

    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i += 4095) ck_assert_uint_eq(p[i], 0);
    p[n - 1] = 1;
    memory_unmap(p, n), memory_unmap(NULL, 5);
    ck_assert_ptr_null(memory_map(SIZE_MAX / 2));
}
END_TEST

START_TEST(available_memory_heeds_the_limit)
{
    struct rlimit old, limit;
    uint64_t all = memory_available();

    ck_assert_uint_gt(all, 1 << 20);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)    /* they map terabytes */
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &old), 0);
    limit = old, limit.rlim_cur = 200 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_assert_uint_le(memory_available(), 200 << 20);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &old), 0);
#else
    (void)old, (void)limit;
#endif
}
END_TEST

LLM_TEST_MAIN("base/memory", mapped_memory_is_zero, available_memory_heeds_the_limit)
