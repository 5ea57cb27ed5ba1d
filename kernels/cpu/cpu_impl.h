/* cpu_impl.h - what a CPU backend holds: its threads, its instruction set, its scratch. */
#ifndef LLM_CPU_IMPL_H
#define LLM_CPU_IMPL_H
#include "backend.h"
#include "threads.h"

/* One row of each elementwise op; a table per instruction set, all with the same bits (elementwise_body.h).
 * Every y may be the x or gate beside it. */
typedef struct {
    void (*norm)(float *y, const float *x, const float *w, int n, float eps, float offset);
    void (*glu)(float *y, const float *gate, const float *up, int n, llm_act act, float limit);
    void (*add)(float *x, const float *y, int n);
    void (*add_scaled)(float *x, const float *y, float s, int n);               /* x = fma(s, y, x) */
    void (*softcap)(float *x, float cap, int n);
    void (*rope)(float *x, const float *cs, int n_rot, llm_rope_style style);   /* cs: n_rot/2 cosines, then sines */
    void (*exp)(float *y, const float *x, float minus, int n);                  /* y = exp(x - minus) */
    void (*sigmoid)(float *y, const float *x, int n);
    void (*to_f16)(uint16_t *y, const float *x, int n);
    void (*to_q8)(uint16_t *unit, int8_t *q, const float *x, int n);            /* groups of 32, as kv.h says */
} cpu_rows;

/* All sizes are multiples of 64, all pointers lie on multiples of 64. */
typedef struct {
    llm_pool *pool;
    llm_isa isa;
    int n_thread;
    llm_limits limits;
    const cpu_rows *row;
    void *scratch;                      /* one mapping that holds the areas below */
    size_t scratch_bytes;
    uint8_t *linear;                    /* the matrix products' own area, all threads together: linear_scratch_bytes */
    size_t linear_bytes;
    float *vector;                      /* a norm weight as float */
    int vector_n;
    uint8_t *partial;                   /* attention: results of chunks on their way to being merged */
    size_t partial_bytes;
    uint8_t *thread;                    /* attention: thread_bytes for each thread */
    size_t thread_bytes;
    void (*linear_own)(llm_backend *be, const llm_linear *l, int n, llm_rows x);   /* op.linear of the kernel set, under OpenBLAS's (linear_blas.h) */
} cpu_impl;

static inline cpu_impl *cpu_of(llm_backend *be) { return be->impl; }

/* Keeps the first failure only. */
#define backend_fail(be, ...) ((be)->err.status == LLM_OK ? (void)llm_fail(&(be)->err, __VA_ARGS__) : (void)0)
static inline bool backend_ok(const llm_backend *be) { return be->err.status == LLM_OK; }
#endif
