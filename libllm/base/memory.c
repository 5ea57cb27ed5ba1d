/* memory.c - anonymous mappings, and how much the system would still give. */
#include "memory.h"
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

/* What one control group leaves: its limit less what is used, not counting file pages that can be dropped. */
static uint64_t group_left(const char *dir, const char *limit, const char *usage, const char *file_key)
{
    char path[3][PATH_MAX];
    uint64_t max, used, file = 0;

    snprintf(path[0], PATH_MAX, "%s/%s", dir, limit), snprintf(path[1], PATH_MAX, "%s/%s", dir, usage);
    snprintf(path[2], PATH_MAX, "%s/memory.stat", dir);
    if (!number_in(path[0], "", &max) || !number_in(path[1], "", &used)) return UINT64_MAX;
    if (number_in(path[2], file_key, &file)) used -= file < used ? file : used;
    return max > used ? max - used : 0;
}

/* The least that the control groups above this process leave (cgroups(7)): version 2 from our own upwards, version 1 as a
 * container sees it. */
static uint64_t groups_left(void)
{
    char line[PATH_MAX] = "", dir[PATH_MAX];
    uint64_t least = group_left("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ");
    FILE *f = fopen("/proc/self/cgroup", "re");
    char *own, *slash;

    if (f == NULL) return least;
    while (fgets(line, sizeof line, f) != NULL && strncmp(line, "0::/", 4) != 0) line[0] = 0;
    fclose(f);
    own = line[0] ? line + 3 : line;
    own[strcspn(own, "\n")] = 0;
    for (;;) {
        uint64_t left;
        if (snprintf(dir, sizeof dir, "/sys/fs/cgroup%s", own) >= (int)sizeof dir) return least;
        left = group_left(dir, "memory.max", "memory.current", "inactive_file ");
        if (left < least) least = left;
        if ((slash = strrchr(own, '/')) == NULL) return least;
        *slash = 0;
    }
}

uint64_t memory_available(void)
{
    uint64_t least = UINT64_MAX, kib, pages, left;
    struct rlimit limit;

    if (number_in("/proc/meminfo", "MemAvailable:", &kib) && kib < UINT64_MAX / 1024) least = kib * 1024;
    if ((left = groups_left()) < least) least = left;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && number_in("/proc/self/statm", "", &pages)) {
        uint64_t used = pages * (uint64_t)sysconf(_SC_PAGESIZE), max = limit.rlim_cur;
        left = max > used ? max - used : 0;
        if (left < least) least = left;
    }
    return least;
}
