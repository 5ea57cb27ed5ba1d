/* plan.h - what a session costs before it is opened, by the arithmetic that opening it uses, and whether that is there. */
#ifndef LLM_PLAN_H
#define LLM_PLAN_H
#include "session.h"

/* Bytes of a session by purpose. */
typedef struct {
    uint64_t run;                       /* rows of the forward pass */
    uint64_t workspace;                 /* the backend's own */
    uint64_t step, logits, tables;
    uint64_t kv;                        /* keys, values and tokens; 0 until kv_plan has said it */
} session_cost;

/* All of it but kv. limits: for backend_open. */
llm_status plan_cost(const llm_model *m, const llm_session_options *o, llm_limits *limits, session_cost *out, llm_error *err);
llm_kv plan_kv(const llm_session_options *o);           /* for kv_plan */

/* Puts the cost on the account of the model, or refuses it: LLM_ERR_MEMORY with the smallest change that would fit. A second claim
 * of s takes the place of the first. */
llm_status plan_claim(llm_session *s, const llm_session_options *o, const session_cost *cost, llm_error *err);
void plan_release(llm_session *s);

/* For llm_model_open: can the weights be laid out anew and read from their file? owned and released are those of a plan. */
llm_status plan_weights(const llm_model *m, llm_error *err);

llm_status session_plan(llm_model *m, const llm_session_options *o, llm_memory_plan *plan, llm_error *err);
llm_status session_fits(llm_model *m, const llm_session_options *o, llm_error *err);
llm_status session_plan_items(llm_model *m, const llm_session_options *o, llm_memory_fn fn, void *user, llm_error *err);
#endif
