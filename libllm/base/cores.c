#include "cores.h"
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* A list as the kernel writes it: "0-3,8,10-11". What is not one is empty. */
static void read_list(cpu_set_t *set, const char *path)
{
    FILE *f = fopen(path, "re");
    int from, to, next = ',';

    CPU_ZERO(set);
    if (f == NULL) return;
    while (next == ',' && fscanf(f, "%d", &from) == 1) {
        to = from;
        if ((next = fgetc(f)) == '-') {
            if (fscanf(f, "%d", &to) != 1) break;
            next = fgetc(f);
        }
        for (int i = from; i >= 0 && i <= to && i < CPU_SETSIZE; i++) CPU_SET(i, set);
    }
    fclose(f);
}

/* How many threads of the same physical core are allowed and come before it. */
static int rank_of(const char *sys, int cpu, const cpu_set_t *allowed)
{
    char path[PATH_MAX];
    cpu_set_t siblings;
    int rank = 0;

    if (snprintf(path, sizeof path, "%s/cpu/cpu%d/topology/thread_siblings_list", sys, cpu) >= (int)sizeof path) return 0;
    read_list(&siblings, path);
    for (int i = 0; i < cpu; i++) rank += CPU_ISSET(i, &siblings) && CPU_ISSET(i, allowed);
    return rank;
}

static int order(const void *a, const void *b)
{
    const core *x = a, *y = b;

    return x->node != y->node ? x->node - y->node : x->rank != y->rank ? x->rank - y->rank : x->cpu - y->cpu;
}

/* The node of every core; nodes without cores are only memory. */
static void read_nodes(int node[CPU_SETSIZE], const char *sys)
{
    char path[PATH_MAX];
    cpu_set_t nodes, cores;

    for (int i = 0; i < CPU_SETSIZE; i++) node[i] = 0;
    if (snprintf(path, sizeof path, "%s/node/online", sys) >= (int)sizeof path) return;
    read_list(&nodes, path);
    for (int k = 0; k < CPU_SETSIZE; k++) {
        if (!CPU_ISSET(k, &nodes) || snprintf(path, sizeof path, "%s/node/node%d/cpulist", sys, k) >= (int)sizeof path) continue;
        read_list(&cores, path);
        for (int i = 0; i < CPU_SETSIZE; i++)
            if (CPU_ISSET(i, &cores)) node[i] = k;
    }
}

void cores_read(core_list *out, const char *sys, const cpu_set_t *allowed)
{
    int node[CPU_SETSIZE];

    read_nodes(node, sys);
    out->n = out->n_node = 0;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, allowed)) out->core[out->n++] = (core){ i, node[i], rank_of(sys, i, allowed) };
    qsort(out->core, (size_t)out->n, sizeof *out->core, order);
    for (int i = 0; i < out->n; i++) out->n_node += i == 0 || out->core[i].node != out->core[i - 1].node;
}

int cores_place(const core_list *l, int thread, int n_thread)
{
    int at = (int)((int64_t)thread * l->n / n_thread), begin = at, end = at, first;

    while (begin > 0 && l->core[begin - 1].node == l->core[at].node) begin--;
    while (end < l->n && l->core[end].node == l->core[at].node) end++;
    first = (int)(((int64_t)begin * n_thread + l->n - 1) / l->n);               /* of the threads that this node takes */
    return begin + (thread - first) % (end - begin);
}
