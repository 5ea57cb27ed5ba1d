/* quantize.h - see llm_quantize in llm.h; arguments were checked. */
#ifndef LLM_QUANTIZE_H
#define LLM_QUANTIZE_H
#include "mix.h"
#include "status.h"

/* The mix called type, every type of which can be written; else an error that names what there is. */
llm_status quantize_mix(const char *type, llm_mix *out, llm_error *err);
llm_status quantize_run(const llm_quantize_options *opt, llm_quantize_result *result, llm_error *err);
#endif
