/* ops.h - the ops of this directory that are not matrix products. */
#ifndef LLM_CPU_OPS_H
#define LLM_CPU_OPS_H
#include "cpu_impl.h"

extern const cpu_rows cpu_rows_ref, cpu_rows_avx2, cpu_rows_avx512, cpu_rows_neon;

/* Fills every entry but the matrix products'. */
void ops_ref(llm_ops *op);

/* Bytes attention needs: for all threads together, and for each. False when a size wraps. */
bool attend_scratch(const llm_limits *l, int n_thread, size_t *partial, size_t *thread);
#endif
