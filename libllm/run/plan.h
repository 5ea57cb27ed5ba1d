/* plan.h - what a session costs before it is opened, by the arithmetic that opening it uses, and whether that is there. */
#ifndef LLM_PLAN_H
#define LLM_PLAN_H
#include "session.h"

/* Bytes of a session by purpose and by where they are. */
typedef struct {
    uint64_t run[N_SITE];               /* rows of the forward pass */
    uint64_t workspace[N_SITE];         /* the backends' own */
    uint64_t kv[N_SITE];                /* keys and values; here the tokens, too */
    uint64_t step, logits, tables;      /* all here */
} session_cost;

/* kv: planned. limits: for backend_open. */
llm_status plan_cost(const llm_model *m, const llm_session_options *o, const llm_kv *kv, llm_limits limits[N_SITE], session_cost *out, llm_error *err);
llm_dtype plan_kv_dtype(llm_kv_type t);                                 /* of cells; the default is F16 */
llm_kv plan_kv(const llm_model *m, const llm_session_options *o);       /* for kv_plan */

/* Puts the cost on the account of the model, or refuses it: LLM_ERR_MEMORY with the smallest change that would fit. */
llm_status plan_claim(llm_session *s, const llm_session_options *o, const session_cost *cost, llm_error *err);
void plan_release(llm_session *s);

/* For llm_model_open: can the weights be laid out anew and read from their file? owned and released are those of a plan. */
llm_status plan_weights(const llm_model *m, llm_error *err);

/* Would weights on the device and a session's part there fit, were they placed like that? */
bool plan_place_fits(const llm_model *m, llm_place place, const llm_session_options *o);
/* The same of m as it is placed, with the numbers and what would fit. */
llm_status plan_device_fits(const llm_model *m, const llm_session_options *o, llm_error *err);

llm_status session_plan(llm_model *m, const llm_session_options *o, llm_memory_plan *plan, llm_error *err);
llm_status session_fits(llm_model *m, const llm_session_options *o, llm_error *err);
llm_status session_plan_items(llm_model *m, const llm_session_options *o, llm_memory_fn fn, void *user, llm_error *err);

/* ---- offload.c: how much of a model its device holds ---- */

/* Places m before its weights are brought to the device, for a session with these options (defaults filled in). gpu_layers and cpu_moe as
 * in llm_model_options. must_fit: LLM_ERR_MEMORY where it does not; what stays here is logged. */
llm_status place_model(llm_model *m, int gpu_layers, int cpu_moe, const llm_session_options *o, bool must_fit, llm_error *err);
/* gpu_layers, up to n_layer + 1, as a placement. */
llm_place place_of(const llm_model *m, int gpu_layers, int host_experts);
/* The most gpu_layers up to most that fit; 0: none. And the fewest layers whose experts must stay here so that all the rest fits; -1: none do. */
int place_most_layers(const llm_model *m, const llm_session_options *o, int most, int host_experts);
int place_fewest_experts(const llm_model *m, const llm_session_options *o);
#endif
