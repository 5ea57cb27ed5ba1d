#include "cgroup.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

bool number_at(const char *dir, const char *name, const char *key, uint64_t *out)
{
    char path[2 * PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return number_in(path, key, out);
}

/* A line is "NUMBER:CONTROLLER,CONTROLLER:/path", that of version 2 "0::/path". Where the path begins, or NULL: another hierarchy's. */
static const char *path_in(const char *line, const char *controller)
{
    const char *at = strchr(line, ':');

    if (controller == NULL) return strncmp(line, "0::/", 4) == 0 ? line + 3 : NULL;
    for (size_t n; at && at[1] != ':' && *at++; at += n) {
        n = strcspn(at, ",:");
        if (n == strlen(controller) && strncmp(at, controller, n) == 0) return (at = strchr(at, ':')) && at[1] == '/' ? at + 1 : NULL;
        if (at[n] != ',') return NULL;
    }
    return NULL;
}

/* Our group's path in a hierarchy; "" where proc does not say. */
static void own_group(const char *proc, const char *controller, char out[PATH_MAX])
{
    char line[PATH_MAX];
    FILE *f = fopen(proc, "re");
    const char *at = NULL;

    out[0] = 0;
    while (f != NULL && at == NULL && fgets(line, sizeof line, f) != NULL) at = path_in(line, controller);
    if (at) snprintf(out, PATH_MAX, "%.*s", (int)strcspn(at, "\n"), at);
    if (f != NULL) fclose(f);
}

/* A container often sees its own group as the root, while /proc shows the path from outside: what is missing at the front of it is left
 * out until a folder fits. */
void cgroup_each(cgroup_paths p, const char *mount, const char *controller, cgroup_fn see, void *arg)
{
    char own[PATH_MAX], dir[2 * PATH_MAX];
    const char *from = own;
    size_t base;
    char *slash;

    own_group(p.proc, controller, own);
    base = (size_t)snprintf(dir, sizeof dir, "%s%s", p.root, mount);
    if (base >= PATH_MAX) return;
    for (; *from; from = strchr(from + 1, '/') ? strchr(from + 1, '/') : "") {
        snprintf(dir + base, sizeof dir - base, "%s", from);
        if (access(dir, F_OK) == 0) break;
    }
    if (*from == 0) dir[base] = 0;
    for (;;) {
        see(arg, dir);
        if (strlen(dir) <= base || (slash = strrchr(dir + base, '/')) == NULL) return;
        *slash = 0;
    }
}
