/* memory.h - memory straight from the system: zeroed, resident only where it was touched. */
#ifndef LLM_BASE_MEMORY_H
#define LLM_BASE_MEMORY_H
#include <stddef.h>
#include <stdint.h>

enum { LARGE_PAGE = 2 << 20 };              /* bytes; of x86-64, and of AArch64 with pages of 4 KiB */

/* n > 0 bytes of zeros on a page border, or NULL. Pages cost memory from their first write on. */
void *memory_map(size_t n);
void memory_unmap(void *p, size_t n);       /* NULL is fine */
/* What lies whole within p..p+n in units of LARGE_PAGE goes into large pages, that which is there already too. A system without them
 * leaves all as it is. */
void memory_large(void *p, size_t n);

/* Bytes this process may still take: the least of what the system calls available, what its control
 * groups leave, and its address-space limit. UINT64_MAX when none of them can be read. */
uint64_t memory_available(void);
/* The same without the address space, of which mapped files take their part when they are mapped; pages of files count as
 * available. *what: which of the two it is, for messages ("left by the control group"). */
uint64_t memory_physical(const char **what);
uint64_t memory_address_space(void);        /* what RLIMIT_AS leaves; UINT64_MAX: no limit */
/* The control groups' part of it, with root for /sys/fs/cgroup and proc for /proc/self/cgroup. */
uint64_t memory_groups_left(const char *root, const char *proc);
#endif
