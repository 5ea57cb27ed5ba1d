#include "cgroup.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

bool number_in(const char *path, const char *key, uint64_t *out)
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

void cgroup_each(const char *controller, cgroup_fn see, void *arg)
{
    char line[PATH_MAX] = "", dir[PATH_MAX];
    FILE *f = fopen("/proc/self/cgroup", "re");
    char *own, *slash;

    if (snprintf(dir, sizeof dir, "/sys/fs/cgroup/%s", controller) < (int)sizeof dir) see(arg, dir, true);
    if (f == NULL) return;
    while (fgets(line, sizeof line, f) != NULL && strncmp(line, "0::/", 4) != 0) line[0] = 0;
    fclose(f);
    own = line[0] ? line + 3 : line;
    own[strcspn(own, "\n")] = 0;
    for (;;) {
        if (snprintf(dir, sizeof dir, "/sys/fs/cgroup%s", own) >= (int)sizeof dir) return;
        see(arg, dir, false);
        if ((slash = strrchr(own, '/')) == NULL) return;
        *slash = 0;
    }
}
