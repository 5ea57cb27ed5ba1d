/* packed.h - weights in the order in which the CPU's kernels stream through them (kernels/cpu/pack.h). */
#ifndef LLM_PACKED_H
#define LLM_PACKED_H
#include "backend.h"
#include <stdatomic.h>

/* A weight in the order in which the CPU's kernels read it (kernels/cpu/pack.h), for as many rows as that was done yet: of
 * every matrix its first `rows`, one matrix after the other. What is ready is read there by all backends that have vector kernels, with the
 * same results as from where it lies in the file. */
typedef struct llm_packed {
    uint8_t *data;                      /* room for all; the caller's */
    size_t row_bytes;
    int64_t rows, n_matrix;
    _Atomic int64_t ready;              /* rows, counted through all matrices */
} llm_packed;

/* What w may become, without room for it yet. Returns the bytes that takes; 0: such a weight is read where it lies. */
size_t backend_cpu_packed(llm_packed *p, const llm_tensor *w);
/* Makes up to n_row more rows of w->repacked ready, not beyond a matrix, with be's threads. Returns how many; *from, bytes: what they were made
 * from. One caller at a time. */
int64_t backend_cpu_pack(llm_backend *be, llm_tensor *w, int64_t n_row, const void **from, size_t *bytes);
#endif
