/* sampler.h - the sampler below its public face: it needs a vocabulary size, not a model. */
#ifndef LLM_SAMPLER_H
#define LLM_SAMPLER_H
#include "status.h"

/* n_row: width of a row of logits; n_vocab <= n_row: ids from there on are padding and never drawn. */
llm_status sampler_open(llm_sampler **out, int n_row, int n_vocab, const llm_sampler_options *opt, llm_error *err);
#endif
