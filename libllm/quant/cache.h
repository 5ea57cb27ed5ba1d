/* cache.h - see llm_quantize_cached in llm.h; arguments were checked. */
#ifndef LLM_QUANT_CACHE_H
#define LLM_QUANT_CACHE_H
#include "status.h"

llm_status quant_cached(const llm_quantize_options *opt, const char *folder, char *path, size_t cap, llm_quantize_result *result, llm_error *err);
#endif
