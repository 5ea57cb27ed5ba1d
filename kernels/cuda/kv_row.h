/* kv_row.h - the size of a row of the cache (kv.cu). */
#ifndef LLM_CUDA_KV_ROW_H
#define LLM_CUDA_KV_ROW_H
#include "cuda_impl.h"

static __host__ __device__ __forceinline__ int64_t kv_row_size(int dtype, int64_t width)
{
    int64_t bytes = dtype == DT_Q8_0 ? width + width / 16 : dtype == DT_F16 ? 2 * width : dtype == DT_F8_E4M3 ? width : 4 * width;
    return (bytes + 15) & ~(int64_t)15;
}
#endif
