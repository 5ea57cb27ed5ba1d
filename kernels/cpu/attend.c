/* attend.c - the attend op: checks, then the instance of this machine's instruction set. */
#include "attend.h"
#include "kv.h"
#include "ops.h"

enum { MAX_D = 1024 };

static void attend(llm_backend *be, llm_rows o, llm_rows q, const llm_kv_layer *kv, const llm_batch *b, const llm_attn_args *a)
{
    attend_job j = { o, q, kv, b, a, NULL };

    if (!backend_ok(be)) return;
    if (kv->d_k > MAX_D || kv->d_v > MAX_D || a->n_head % kv->n_kv_head != 0) {
        backend_fail(be, LLM_ERR_UNSUPPORTED, "attention: %d heads over %d, head width %d and %d; at most %d", a->n_head, kv->n_kv_head,
                     kv->d_k, kv->d_v, (int)MAX_D);
        return;
    }
    if (a->sinks != NULL && tensor_bound(a->sinks)) j.sink = cpu_floats(be, a->sinks, a->n_head);
    if (!backend_ok(be)) return;
    attend_run_ref(cpu_of(be), &j);
}

bool attend_scratch(const llm_limits *l, int n_thread, size_t *partial, size_t *thread)
{
    (void)l, (void)n_thread;
    *partial = *thread = 0;
    return true;
}

void attend_ops(llm_ops *op) { op->attend = attend; }
