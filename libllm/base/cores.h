/* cores.h - the cores this process may use: which of them share a physical core, and which NUMA node they lie on. */
#ifndef LLM_BASE_CORES_H
#define LLM_BASE_CORES_H
#include <sched.h>

typedef struct { int cpu, node, rank; } core;       /* rank 0: the first thread of its physical core, 1: the second ... */
typedef struct { int n, n_node; core core[CPU_SETSIZE]; } core_list;

#define CORES_SYS "/sys/devices/system"

/* Fills *out with the cores of allowed: those of a node lie together, physical cores first. sys: CORES_SYS, or a folder that looks like
 * it. Of what it does not say, every core is a physical one on node 0. */
void cores_read(core_list *out, const char *sys, const cpu_set_t *allowed);

/* Index of the core for thread 0..n_thread-1: nodes take threads in proportion to their cores, and threads that are neighbours
 * (their stretches of a loop are, too) share a node. With more threads than cores they go round. l has at least one core. */
int cores_place(const core_list *l, int thread, int n_thread);
#endif
