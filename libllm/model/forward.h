/* forward.h - the one forward pass and the buffers it works in. */
#ifndef LLM_FORWARD_H
#define LLM_FORWARD_H
#include "model.h"

typedef struct {
    const llm_model *m;
    llm_backend *be;
    llm_kv_layer *kv;                   /* [n_layer] */
    llm_tap_fn tap;                     /* NULL: off */
    void *tap_user;
    void *arena;                        /* all buffers below, sized for n_batch rows */
    size_t arena_bytes;
    int n_batch;
    llm_rows x, h, o;                   /* residual, normed input, mixer output */
    llm_rows q, k, v, a, lat, qa;       /* attention and MLA */
    llm_rows gate, up, score, weight, shared, cs, cs_local;
    int32_t *expert;                    /* [n_batch * n_expert_used] */
} llm_run;

/* Limits for backend_cpu_open and the bytes run_open allocates. False when a size wraps. */
bool run_limits(const llm_model *m, int n_batch, int n_ctx, llm_limits *out);
bool run_bytes(const llm_model *m, int n_batch, size_t *out);
llm_status run_open(llm_run *r, const llm_model *m, llm_backend *be, llm_kv_layer *kv, int n_batch, llm_error *err);
void run_close(llm_run *r);

/* Runs b (b->n <= n_batch, cells reserved) through every layer. Rows whose want[i] is nonzero leave their logits,
 * in row order, in logits [n_want, n_vocab], which the caller owns. Rows of the vocabulary's padding are not masked here. */
llm_status llm_forward(llm_run *r, const llm_batch *b, const uint8_t *want, float *logits, llm_error *err);
#endif
