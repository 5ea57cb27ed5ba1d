/* memory.h - memory straight from the system: zeroed, resident only where it was touched. */
#ifndef LLM_BASE_MEMORY_H
#define LLM_BASE_MEMORY_H
#include <stddef.h>
#include <stdint.h>

/* n > 0 bytes of zeros on a page border, or NULL. Pages cost memory from their first write on. */
void *memory_map(size_t n);
void memory_unmap(void *p, size_t n);       /* NULL is fine */

/* Bytes this process may still take: the least of what the system calls available, what its control
 * group leaves, and its address-space limit. UINT64_MAX when none of them can be read. */
uint64_t memory_available(void);
#endif
