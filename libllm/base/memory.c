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

/* How the two versions of control groups name things. */
typedef struct { const char *mount, *line, *limit, *usage, *active, *inactive; } group_kind;
static const group_kind kinds[] = {
    { "", "0::/", "memory.max", "memory.current", "active_file ", "inactive_file " },
    { "/unified", "0::/", "memory.max", "memory.current", "active_file ", "inactive_file " },
    { "/memory", ":memory:/", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file ", "total_inactive_file " },
};

static bool number_at(const char *dir, const char *name, const char *key, uint64_t *out)
{
    char path[2 * PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return number_in(path, key, out);
}

/* What one control group leaves: its limit less what is used, not counting pages of files, which can be dropped and read again. */
static uint64_t group_left(const group_kind *k, const char *dir)
{
    uint64_t max, used, file;

    if (!number_at(dir, k->limit, "", &max) || !number_at(dir, k->usage, "", &used)) return UINT64_MAX;
    if (number_at(dir, "memory.stat", k->active, &file)) used -= file < used ? file : used;
    if (number_at(dir, "memory.stat", k->inactive, &file)) used -= file < used ? file : used;
    return max > used ? max - used : 0;
}

/* Our group's path in a hierarchy, from a file like /proc/self/cgroup; "" where it does not say. */
static void own_group(const group_kind *k, const char *proc, char out[PATH_MAX])
{
    char line[PATH_MAX];
    FILE *f = fopen(proc, "re");

    out[0] = 0;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *at = k->line[0] == '0' ? (strncmp(line, k->line, strlen(k->line)) == 0 ? line : NULL) : strstr(line, k->line);
        if (at == NULL) continue;
        snprintf(out, PATH_MAX, "%s", at + strlen(k->line) - 1);
        out[strcspn(out, "\n")] = 0;
        break;
    }
    if (f != NULL) fclose(f);
}

/* The least that our group and those above it leave (cgroups(7)). A container often sees its own group as the root, while /proc
 * shows the path from outside: what is missing at the front of it is left out until a folder fits. */
static uint64_t hierarchy_left(const group_kind *k, const char *root, const char *proc)
{
    char own[PATH_MAX], dir[2 * PATH_MAX];
    const char *from = own;
    uint64_t least = UINT64_MAX, left;
    size_t base;
    char *slash;

    own_group(k, proc, own);
    base = (size_t)snprintf(dir, sizeof dir, "%s%s", root, k->mount);
    for (; *from; from = strchr(from + 1, '/') ? strchr(from + 1, '/') : "") {
        snprintf(dir + base, sizeof dir - base, "%s", from);
        if (access(dir, F_OK) == 0) break;
    }
    if (*from == 0) dir[base] = 0;
    for (;;) {
        if ((left = group_left(k, dir)) < least) least = left;
        if (strlen(dir) <= base || (slash = strrchr(dir + base, '/')) == NULL) return least;
        *slash = 0;
    }
}

uint64_t memory_groups_left(const char *root, const char *proc)
{
    uint64_t least = UINT64_MAX, left;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if ((left = hierarchy_left(&kinds[i], root, proc)) < least) least = left;
    return least;
}

uint64_t memory_physical(const char **what)
{
    uint64_t least = UINT64_MAX, kib, left;

    *what = "unknown";
    if (number_in("/proc/meminfo", "MemAvailable:", &kib) && kib < UINT64_MAX / 1024) least = kib * 1024, *what = "available on this machine";
    if ((left = memory_groups_left("/sys/fs/cgroup", "/proc/self/cgroup")) < least) least = left, *what = "left by the control group";
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
