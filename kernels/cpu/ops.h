/* ops.h - the ops of this directory that are not matrix products. */
#ifndef LLM_CPU_OPS_H
#define LLM_CPU_OPS_H
#include "cpu_impl.h"

extern const cpu_rows cpu_rows_ref, cpu_rows_avx2, cpu_rows_avx512, cpu_rows_neon;

/* backend_cpu_open without its check that every op is there: for tests of some of them. */
llm_status cpu_open(llm_backend *be, llm_isa isa, int n_thread, const llm_limits *limits, llm_error *err);

/* Each fills its own entries, for every instruction set: they take the rows from cpu_impl.row. */
void elementwise_ops(llm_ops *op);
void route_ops(llm_ops *op);
void kv_ops(llm_ops *op);
void attend_ops(llm_ops *op);

/* The first n values of a bound F32, F16 or BF16 vector as floats: t's own, or cpu_impl.vector, which the next call
 * overwrites. NULL, with be->err set, for other types. */
const float *cpu_floats(llm_backend *be, const llm_tensor *t, int64_t n);

/* Bytes attention needs: for all threads together, and for each. False when a size wraps. */
bool attend_scratch(const llm_limits *l, int n_thread, size_t *partial, size_t *thread);
#endif
