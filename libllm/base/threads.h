/* threads.h - a persistent pool that runs one loop at a time over all its threads. */
#ifndef LLM_BASE_THREADS_H
#define LLM_BASE_THREADS_H
#include "cores.h"
#include "status.h"
#include <stdbool.h>

typedef struct llm_pool llm_pool;

/* Items begin..end-1 of a loop; thread counts from 0 (the caller). */
typedef void (*pool_fn)(void *arg, int64_t begin, int64_t end, int thread);

void threads_cores(core_list *out);             /* the cores that affinity leaves this process */
int threads_available(void);                    /* cores this process may use, by affinity and by its control groups' quotas; at least 1 */
/* The groups' part of it: most, or what the least quota pays for. root for /sys/fs/cgroup, proc for /proc/self/cgroup. */
int threads_quota(const char *root, const char *proc, int most);

/* n_thread in 1..1024; the caller of pool_run is one of them. */
llm_status pool_open(llm_pool **out, int n_thread, llm_error *err);
void pool_close(llm_pool *p);
size_t pool_bytes(int n_thread);                /* what pool_open allocates; the threads' stacks are the system's */
int pool_size(const llm_pool *p);               /* NULL counts as 1 */
/* Where the pool's own threads run, of the cores in l: with pin each on one, else on those of its node, if there are several nodes. The
 * caller of pool_run is the program's thread and stays where the system puts it. Returns how many threads were told. */
int pool_place(llm_pool *p, const core_list *l, bool pin);

/* Runs fn over 0..n-1 in chunks of at most grain items: each thread goes through a stretch of
 * its own in order, then takes what others have left; returns when all are done. Chunk borders
 * are multiples of grain, so they do not depend on the number of threads. One caller at a time; fn must not call pool_run.
 * p may be NULL: the caller does it all. */
void pool_run(llm_pool *p, int64_t n, int64_t grain, pool_fn fn, void *arg);
/* Within fn: whether the thread that gets to item end will, as far as can be known, go on with it. */
bool pool_goes_on(const llm_pool *p, int thread, int64_t end);
#endif
