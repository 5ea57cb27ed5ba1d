/* memory.c - anonymous mappings, and how much the system would still give. */
#include "memory.h"
#include "cgroup.h"
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

void *memory_map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void memory_unmap(void *p, size_t n)
{
    if (p != NULL) munmap(p, n);
}

#if !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25                    /* Linux 6.1 */
#endif

void memory_large(void *p, size_t n)
{
    uintptr_t begin = ((uintptr_t)p + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1), end = ((uintptr_t)p + n) & ~(uintptr_t)(LARGE_PAGE - 1);

    if (begin >= end || madvise((void *)begin, end - begin, MADV_HUGEPAGE) != 0) return;
    for (; begin < end; begin += LARGE_PAGE) (void)madvise((void *)begin, LARGE_PAGE, MADV_COLLAPSE);   /* refused where nothing is yet */
}

/* How the two versions of control groups name things. */
typedef struct { const char *mount, *controller, *limit, *usage, *active, *inactive; } group_kind;
static const group_kind kinds[] = {
    { "", NULL, "memory.max", "memory.current", "active_file ", "inactive_file " },
    { "/unified", NULL, "memory.max", "memory.current", "active_file ", "inactive_file " },
    { "/memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file ", "total_inactive_file " },
};

/* What one control group leaves: its limit less what is used, not counting pages of files, which can be dropped and read again. */
static uint64_t group_left(const group_kind *k, const char *dir)
{
    uint64_t max, used, file;

    if (!number_at(dir, k->limit, "", &max) || !number_at(dir, k->usage, "", &used)) return UINT64_MAX;
    if (number_at(dir, "memory.stat", k->active, &file)) used -= file < used ? file : used;
    if (number_at(dir, "memory.stat", k->inactive, &file)) used -= file < used ? file : used;
    return max > used ? max - used : 0;
}

typedef struct { const group_kind *kind; uint64_t least; } groups_left;

static void see_group(void *arg, const char *dir)
{
    groups_left *g = arg;
    uint64_t left = group_left(g->kind, dir);

    if (left < g->least) g->least = left;
}

uint64_t memory_groups_left(const char *root, const char *proc)
{
    groups_left g = { .least = UINT64_MAX };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        g.kind = &kinds[i], cgroup_each((cgroup_paths){ root, proc }, kinds[i].mount, kinds[i].controller, see_group, &g);
    return g.least;
}

uint64_t memory_physical(const char **what)
{
    uint64_t least = UINT64_MAX, kib, left;

    *what = "unknown";
    if (number_in("/proc/meminfo", "MemAvailable:", &kib) && kib < UINT64_MAX / 1024) least = kib * 1024, *what = "available on this machine";
    if ((left = memory_groups_left(CGROUP_SYSTEM.root, CGROUP_SYSTEM.proc)) < least) least = left, *what = "left by the control group";
    return least;
}

uint64_t memory_address_space(void)
{
    uint64_t pages, used, max;
    struct rlimit limit;

    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || !number_in("/proc/self/statm", "", &pages)) return UINT64_MAX;
    used = pages * (uint64_t)sysconf(_SC_PAGESIZE), max = limit.rlim_cur;
    return max > used ? max - used : 0;
}

uint64_t memory_available(void)
{
    const char *what;
    uint64_t physical = memory_physical(&what), space = memory_address_space();

    return space < physical ? space : physical;
}
