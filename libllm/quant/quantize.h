/* quantize.h - see llm_quantize in llm.h; arguments were checked. */
#ifndef LLM_QUANTIZE_H
#define LLM_QUANTIZE_H
#include "status.h"

llm_status quantize_run(const llm_quantize_options *opt, llm_quantize_result *result, llm_error *err);
#endif
