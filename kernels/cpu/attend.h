/* attend.h - attention on the CPU: what its files share. The order of every sum is written in attend_ref.c. */
#ifndef LLM_CPU_ATTEND_H
#define LLM_CPU_ATTEND_H
#include "cpu_impl.h"

enum { ATTEND_CHUNK = 512 };            /* positions whose result is computed on its own */

typedef struct {
    llm_rows o, q;
    const llm_kv_layer *kv;
    const llm_batch *b;
    const llm_attn_args *a;
    const float *sink;                  /* [n_head] or NULL */
} attend_job;

void attend_run_ref(cpu_impl *impl, attend_job *j);
#endif
