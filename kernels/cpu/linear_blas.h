/* linear_blas.h - op.linear through OpenBLAS, in builds with BLAS=1: a numeric mode of its own, whose sums are in OpenBLAS's order
 * and depend on the processor and on how a prompt was cut. */
#ifndef LLM_CPU_LINEAR_BLAS_H
#define LLM_CPU_LINEAR_BLAS_H
#include "cpu_impl.h"

/* Puts itself over op.linear of impl's kernel set, which goes on to compute all that is not F32, F16 or BF16 weights with several rows
 * of x. OpenBLAS is told to use one thread, for the whole process: the threads of the session share the panels among them. */
void linear_ops_blas(llm_ops *op, llm_blocks *block, cpu_impl *impl);
#endif
