/* Cores, physical cores and nodes, from folders that look like /sys/devices/system; quotas, from folders like /sys/fs/cgroup. */
#include "../llm_test.h"
#include "threads.h"
#include <string.h>

static void put(const char *dir, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "mkdir -p %s/%.*s", dir, (int)(strrchr(name, '/') - name), name);
    ck_assert_int_eq(system(path), 0);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    fputs(text, f);
    fclose(f);
}

/* Two nodes of four physical cores of two threads each: 0-3 and 8-11, 4-7 and 12-15; a third node has memory only. */
static void two_nodes(const char *dir)
{
    put(dir, "node/online", "0-1,4\n"), put(dir, "node/node0/cpulist", "0-3,8-11\n"), put(dir, "node/node1/cpulist", "4-7,12-15\n");
    put(dir, "node/node4/cpulist", "\n");
    for (int i = 0; i < 16; i++) {
        char name[80], text[20];
        snprintf(name, sizeof name, "cpu/cpu%d/topology/thread_siblings_list", i), snprintf(text, sizeof text, "%d,%d\n", i % 8, i % 8 + 8);
        put(dir, name, text);
    }
}

static void read_cores(core_list *l, const char *dir, const char *allowed)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (const char *s = allowed; *s; s += strcspn(s, " "), s += *s == ' ') CPU_SET(atoi(s), &set);
    cores_read(l, dir, &set);
}

/* The core of every thread, as text. */
static const char *places(const core_list *l, int n_thread)
{
    static char text[400];
    size_t n = 0;

    text[0] = 0;
    for (int i = 0; i < n_thread; i++) n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", i ? " " : "", l->core[cores_place(l, i, n_thread)].cpu);
    return text;
}

#define ALL "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"

START_TEST(threads_are_spread)
{
    static const struct { const char *allowed; int n_thread, n_node; const char *want; } row[] = {
        { ALL, 1, 2, "0" }, { ALL, 2, 2, "0 4" }, { ALL, 3, 2, "0 1 4" }, { ALL, 8, 2, "0 1 2 3 4 5 6 7" },
        { ALL, 10, 2, "0 1 2 3 8 4 5 6 7 12" }, { ALL, 16, 2, "0 1 2 3 8 9 10 11 4 5 6 7 12 13 14 15" },
        { ALL, 18, 2, "0 1 2 3 8 9 10 11 0 4 5 6 7 12 13 14 15 4" },
        { "2 3 10 4", 4, 2, "2 3 10 4" }, { "2 3 10 4", 2, 2, "2 3" }, { "10 11", 2, 1, "10 11" }, { "5", 3, 1, "5 5 5" },
    };
    char dir[] = "/tmp/llm-cores-XXXXXX", command[64];

    ck_assert_ptr_nonnull(mkdtemp(dir));
    two_nodes(dir);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        core_list l;
        read_cores(&l, dir, row[i].allowed);
        ck_assert_int_eq(l.n_node, row[i].n_node);
        ck_assert_str_eq(places(&l, row[i].n_thread), row[i].want);
    }
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(folders_that_say_little_or_nonsense)
{
    static const char *const list[] = { "", "\n", "what", "7-2\n", "0-99999999\n", "-5\n", "1,,2\n", "3-\n" };
    char dir[] = "/tmp/llm-cores-XXXXXX", command[64];
    core_list l;

    read_cores(&l, "/nonexistent", "3 1 2");
    ck_assert(l.n == 3 && l.n_node == 1);
    ck_assert_str_eq(places(&l, 3), "1 2 3");
    read_cores(&l, "/nonexistent", "");
    ck_assert(l.n == 0 && l.n_node == 0);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        put(dir, "node/online", list[i]), put(dir, "node/node0/cpulist", list[i]), put(dir, "cpu/cpu1/topology/thread_siblings_list", list[i]);
        read_cores(&l, dir, "0 1 2 3");
        ck_assert_int_eq(l.n, 4);
        for (int t = 0; t < 9; t++) ck_assert_int_lt(cores_place(&l, t, 9), 4);
    }
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* The least of our group's quota and those above it, in both versions. */
START_TEST(quotas_of_every_group_above_count)
{
    typedef struct { const char *name, *text; } file;
    static const struct { const char *what; int want; file f[8]; } tree[] = {
        { "no groups", 16, { { "x/proc", "0::/\n" } } },
        { "version 2, own", 3, { { "x/proc", "0::/a/b\n" }, { "a/b/cpu.max", "250000 100000\n" }, { "a/cpu.max", "max 100000\n" } } },
        { "version 2, parent", 2, { { "x/proc", "0::/a/b\n" }, { "a/b/cpu.max", "max 100000\n" }, { "a/cpu.max", "200000 100000\n" } } },
        { "version 2, a part of a core", 1, { { "x/proc", "0::/a\n" }, { "a/cpu.max", "1000 100000\n" } } },
        { "version 2, nonsense", 16, { { "x/proc", "0::/a\n" }, { "a/cpu.max", "1000 0\n" }, { "./cpu.max", "what\n" } } },
        { "version 2 in a container", 4, { { "x/proc", "0::/docker/abc\n" }, { "./cpu.max", "400000 100000\n" } } },
        { "version 1, own", 2, { { "x/proc", "9:memory:/\n1:cpu:/a\n0::/\n" }, { "cpu/a/cpu.cfs_quota_us", "150000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" },
                                 { "cpu/cpu.cfs_quota_us", "-1\n" }, { "cpu/cpu.cfs_period_us", "100000\n" } } },
        { "version 1, parent", 5, { { "x/proc", "1:cpu:/a/b\n" }, { "cpu/a/b/cpu.cfs_quota_us", "-1\n" }, { "cpu/a/b/cpu.cfs_period_us", "100000\n" },
                                    { "cpu/a/cpu.cfs_quota_us", "500000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } } },
        { "version 1, two controllers together", 3, { { "x/proc", "4:cpuset:/z\n3:cpu,cpuacct:/a\n" }, { "cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n" },
                                                      { "cpu,cpuacct/a/cpu.cfs_period_us", "100000\n" } } },
        { "version 1 in a container", 6, { { "x/proc", "3:cpuacct,cpu:/docker/abc\n" },
            { "cpu/cpu.cfs_quota_us", "60000\n" }, { "cpu/cpu.cfs_period_us", "10000\n" } } },
        { "another group's quota", 16, { { "x/proc", "3:cpuset:/a\n1:cpu:/\n" }, { "cpu/a/cpu.cfs_quota_us", "100000\n" }, { "cpu/a/cpu.cfs_period_us", "100000\n" } } },
        { "lines that are none", 16, { { "x/proc", "cpu\n:\n1:\n2:cpu\n3:cpu:a\n::::\n\n" }, { "cpu/a/cpu.cfs_quota_us", "1\n" } } },
    };

    for (size_t i = 0; i < sizeof tree / sizeof tree[0]; i++) {
        char dir[] = "/tmp/llm-quota-XXXXXX", proc[64], command[64];
        int got;
        ck_assert_ptr_nonnull(mkdtemp(dir));
        for (size_t k = 0; k < 8 && tree[i].f[k].name; k++) put(dir, tree[i].f[k].name, tree[i].f[k].text);
        snprintf(proc, sizeof proc, "%s/x/proc", dir), snprintf(command, sizeof command, "rm -rf %s", dir);
        got = threads_quota(dir, proc, 16);
        ck_assert_msg(got == tree[i].want, "%s: got %d, want %d", tree[i].what, got, tree[i].want);
        ck_assert_int_eq(system(command), 0);
    }
}
END_TEST

LLM_TEST_MAIN("base/cores", threads_are_spread, folders_that_say_little_or_nonsense, quotas_of_every_group_above_count)
