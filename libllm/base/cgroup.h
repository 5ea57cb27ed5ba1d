/* cgroup.h - the control groups above this process (cgroups(7)), and numbers in the system's small text files. */
#ifndef LLM_BASE_CGROUP_H
#define LLM_BASE_CGROUP_H
#include <stdbool.h>
#include <stdint.h>

/* Version 1's folder of a controller as a container sees it, or one of version 2. */
typedef void (*cgroup_fn)(void *arg, const char *dir, bool version1);

/* Calls see with /sys/fs/cgroup/CONTROLLER, then with version 2's groups from our own upwards. */
void cgroup_each(const char *controller, cgroup_fn see, void *arg);

/* The number after key at the start of a line; with key "" the first number. */
bool number_in(const char *path, const char *key, uint64_t *out);
#endif
