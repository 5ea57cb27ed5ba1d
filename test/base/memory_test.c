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

static void put(const char *dir, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "mkdir -p %s/%.*s", dir, (int)(strrchr(name, '/') ? strrchr(name, '/') - name : 0), name);
    ck_assert_int_eq(system(path), 0);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* Made-up trees: the tightest group from our own upwards counts, and pages of files do not. */
START_TEST(every_control_group_above_counts)
{
    typedef struct { const char *name, *text; } file;
    static const struct { const char *what; uint64_t want; file f[10]; } tree[] = {
        { "no groups", UINT64_MAX, { { "proc", "0::/\n" } } },
        { "version 2, own", 700, { { "proc", "0::/a/b\n" }, { "a/b/memory.max", "1000\n" }, { "a/b/memory.current", "300\n" },
                                   { "a/memory.max", "max\n" }, { "a/memory.current", "400\n" } } },
        { "version 2, parent", 100, { { "proc", "0::/a/b\n" }, { "a/b/memory.max", "1000\n" }, { "a/b/memory.current", "300\n" },
                                      { "a/memory.max", "500\n" }, { "a/memory.current", "400\n" } } },
        { "version 2, pages of files", 850, { { "proc", "0::/a\n" }, { "a/memory.max", "1000\n" }, { "a/memory.current", "600\n" },
                                              { "a/memory.stat", "anon 150\nactive_file 250\ninactive_file 200\n" } } },
        { "version 2, full", 0, { { "proc", "0::/a\n" }, { "a/memory.max", "1000\n" }, { "a/memory.current", "1600\n" } } },
        { "version 1", 60, { { "proc", "9:cpu:/x\n4:memory:/a\n0::/\n" }, { "memory/a/memory.limit_in_bytes", "100\n" },
                             { "memory/a/memory.usage_in_bytes", "50\n" }, { "memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 4\ntotal_active_file 6\n" },
                             { "memory/memory.limit_in_bytes", "9223372036854771712\n" }, { "memory/memory.usage_in_bytes", "5000\n" } } },
        { "version 1 in a container", 30, { { "proc", "4:memory:/docker/abc\n" }, { "memory/memory.limit_in_bytes", "100\n" },
                                            { "memory/memory.usage_in_bytes", "70\n" } } },
        { "version 1, a group inside a container", 10, { { "proc", "4:memory:/docker/abc/in\n" }, { "memory/memory.limit_in_bytes", "100\n" },
                                            { "memory/memory.usage_in_bytes", "70\n" }, { "memory/in/memory.limit_in_bytes", "40\n" },
                                            { "memory/in/memory.usage_in_bytes", "30\n" } } },
        { "version 2 beside version 1", 5, { { "proc", "0::/u\n" }, { "unified/u/memory.max", "15\n" }, { "unified/u/memory.current", "10\n" } } },
    };

    for (size_t i = 0; i < sizeof tree / sizeof tree[0]; i++) {
        char dir[] = "/tmp/llm-groups-XXXXXX", proc[64], clean[64];
        ck_assert_ptr_nonnull(mkdtemp(dir));
        for (size_t k = 0; k < 10 && tree[i].f[k].name; k++) put(dir, tree[i].f[k].name, tree[i].f[k].text);
        snprintf(proc, sizeof proc, "%s/proc", dir), snprintf(clean, sizeof clean, "rm -rf %s", dir);
        ck_assert_msg(memory_groups_left(dir, proc) == tree[i].want, "%s: got %llu", tree[i].what, (unsigned long long)memory_groups_left(dir, proc));
        ck_assert_int_eq(system(clean), 0);
    }
}
END_TEST

LLM_TEST_MAIN("base/memory", mapped_memory_is_zero, available_memory_heeds_the_limit, every_control_group_above_counts)
