/* memory.c - anonymous mappings, and how much the system would still give. */
#include "memory.h"
#include <inttypes.h>
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

/* The number after key at the start of a line of a small text file; with key "" the first number. */
static bool number_in(const char *path, const char *key, uint64_t *out)
{
    char line[256];
    FILE *f = fopen(path, "re");
    bool found = false;

    if (f == NULL) return false;
    while (!found && fgets(line, sizeof line, f) != NULL)
        found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%" SCNu64, out) == 1;
    fclose(f);
    return found;
}

/* Control group limit less what is used, not counting file pages that can be dropped. */
static uint64_t group_left(const char *limit, const char *usage, const char *stat, const char *file_key)
{
    uint64_t max, used, file = 0;

    if (!number_in(limit, "", &max) || !number_in(usage, "", &used)) return UINT64_MAX;
    if (number_in(stat, file_key, &file)) used -= file < used ? file : used;
    return max > used ? max - used : 0;
}

uint64_t memory_available(void)
{
    uint64_t least = UINT64_MAX, kib, pages;
    struct rlimit limit;

    if (number_in("/proc/meminfo", "MemAvailable:", &kib) && kib < UINT64_MAX / 1024) least = kib * 1024;
    uint64_t v2 = group_left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                             "/sys/fs/cgroup/memory.stat", "inactive_file ");
    uint64_t v1 = group_left("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                             "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file ");
    if (v2 < least) least = v2;
    if (v1 < least) least = v1;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && number_in("/proc/self/statm", "", &pages)) {
        uint64_t used = pages * (uint64_t)sysconf(_SC_PAGESIZE), max = limit.rlim_cur;
        uint64_t left = max > used ? max - used : 0;
        if (left < least) least = left;
    }
    return least;
}
