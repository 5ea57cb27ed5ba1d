/* clock.h - what the device itself takes between two places of a stream, neither of which may lie within what is recorded as a graph. */
#ifndef LLM_CUDA_CLOCK_H
#define LLM_CUDA_CLOCK_H
#include "device.h"

typedef struct { cudaEvent_t from, to; } cuda_clock;    /* zeroed until it is opened */

static inline cudaError_t clock_open(cuda_clock *c)
{
    cudaError_t e = cudaEventCreate(&c->from);
    return e == cudaSuccess ? cudaEventCreate(&c->to) : e;
}

/* One that is half open is fine. */
static inline void clock_close(cuda_clock *c)
{
    if (c->from) (void)cudaEventDestroy(c->from);
    if (c->to) (void)cudaEventDestroy(c->to);
}

static inline cudaError_t clock_start(cuda_clock *c, cudaStream_t s) { return cudaEventRecord(c->from, s); }
static inline cudaError_t clock_stop(cuda_clock *c, cudaStream_t s) { return cudaEventRecord(c->to, s); }

/* Waits until the stream has come to where the clock was stopped. */
static inline cudaError_t clock_seconds(const cuda_clock *c, double *seconds)
{
    float ms = 0;
    cudaError_t e = cudaEventSynchronize(c->to);

    if (e == cudaSuccess) e = cudaEventElapsedTime(&ms, c->from, c->to);
    *seconds = ms / 1e3;
    return e;
}
#endif
