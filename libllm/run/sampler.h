/* sampler.h - the sampler below its public face: it needs a vocabulary size, not a model. */
#ifndef LLM_SAMPLER_H
#define LLM_SAMPLER_H
#include "backend.h"

/* n_row: width of a row of logits; n_vocab <= n_row: ids from there on are padding and never drawn. */
llm_status sampler_open(llm_sampler **out, int n_row, int n_vocab, const llm_sampler_options *opt, llm_error *err);

/* llm_sampler_pick, where peaks of the row's blocks (peak.h) may be known, and threads may help; NULL: they are not, and do not. The same picks. */
llm_token sampler_pick_row(llm_sampler *p, const float *logits, const float *peak, uint64_t pos, struct llm_pool *pool, llm_error *err);

/* ---- picks from a part of a row, for rows that lie on a device ---- */

/* Fills in n, k and asked: what sampler_pick_top is likely to need. False: nothing less than the row will do. */
bool sampler_wants(const llm_sampler *p, llm_top *t);
/* The token that llm_sampler_pick would choose from the whole row, or -1 where t does not prove which it is. */
llm_token sampler_pick_top(llm_sampler *p, const llm_top *t, uint64_t pos);
#endif
