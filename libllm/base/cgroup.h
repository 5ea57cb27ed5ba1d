/* cgroup.h - the control groups above this process (cgroups(7)), and numbers in the system's small text files. */
#ifndef LLM_BASE_CGROUP_H
#define LLM_BASE_CGROUP_H
#include <stdbool.h>
#include <stdint.h>

/* Where groups are: root for /sys/fs/cgroup, proc for /proc/self/cgroup. */
typedef struct { const char *root, *proc; } cgroup_paths;
#define CGROUP_SYSTEM ((cgroup_paths){ "/sys/fs/cgroup", "/proc/self/cgroup" })

typedef void (*cgroup_fn)(void *arg, const char *dir);

/* Calls see with the folder of our group and with each one above it up to root/mount, which is where the hierarchy of a version 1 controller
 * lies; controller NULL: version 2. */
void cgroup_each(cgroup_paths p, const char *mount, const char *controller, cgroup_fn see, void *arg);

/* The number after key at the start of a line of dir/name; with key "" the first number. */
bool number_at(const char *dir, const char *name, const char *key, uint64_t *out);
/* The same of a path. */
bool number_in(const char *path, const char *key, uint64_t *out);
#endif
