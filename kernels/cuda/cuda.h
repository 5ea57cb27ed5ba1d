/* cuda.h - the CUDA backend as backend.c sees it. */
#ifndef LLM_CUDA_H
#define LLM_CUDA_H
#include "../backend.h"

#ifdef __cplusplus
extern "C" {
#endif
llm_status cuda_device_open(llm_device **out, uint64_t planned, llm_error *err);
const char *cuda_refuses(const llm_tensor *w);
llm_status cuda_weight_bytes(llm_tensor *const *w, size_t n, uint64_t bytes[N_SITE], llm_error *err);
llm_status cuda_import(llm_device *d, llm_tensor *const *w, size_t n, llm_progress_fn progress, void *user, llm_error *err);
const char *cuda_products(const llm_device *d);
void cuda_device_close(llm_device *d);
uint64_t cuda_available(llm_device *d);
llm_status cuda_limits(llm_device *d, llm_device_limits *out, llm_error *err);
const llm_ops *cuda_cell_ops(void);
llm_status backend_cuda_open(llm_backend *be, llm_device *d, const llm_limits *limits, llm_error *err);
void backend_cuda_close(llm_backend *be);
bool backend_cuda_scratch(const llm_limits *limits, uint64_t bytes[N_SITE]);
#ifdef __cplusplus
}
#endif
#endif
