/* activate.h - the gated activations: kernels/cpu/elementwise_body.h has their formulas. */
#ifndef LLM_CUDA_ACTIVATE_H
#define LLM_CUDA_ACTIVATE_H
#include "cuda_impl.h"

static __device__ __forceinline__ float sigmoid(float x)
{
    float e = expf(-fabsf(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

static __device__ __forceinline__ float activate(float g, float u, int act, float limit)
{
    if (act == ACT_SILU) return g * sigmoid(g) * u;
    if (act == ACT_GELU_TANH) return g * sigmoid(g * 1.59576912f * fmaf(0.044715f * g, g, 1.0f)) * u;
    g = fminf(g, limit);
    u = fmaxf(fminf(u, limit), -limit);
    return g * sigmoid(g * 1.702f) * (u + 1.0f);
}
#endif
