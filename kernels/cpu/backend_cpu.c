/* backend_cpu.c - opens the CPU backend: threads, scratch, and the op table from reference to fastest. */
#include "cpu_impl.h"
#include "linear.h"
#include "linear_blas.h"
#include "memory.h"
#include "ops.h"
#include <stdlib.h>
#include <string.h>

typedef struct { size_t linear, vector, partial, thread, total; } areas;

/* False when a size wraps. */
static bool measure(areas *a, const llm_limits *l, int n_thread)
{
    size_t threads, vector = 0;
    const int widths[] = { l->max_cols, l->d_model, l->n_expert, l->n_head };

    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        if (widths[i] > 0 && (size_t)widths[i] > vector) vector = (size_t)widths[i];
    a->linear = linear_scratch_bytes(l, n_thread);
    return a->linear > 0 && ck_align(a->linear, 64, &a->linear)
        && ck_mul(vector, sizeof(float), &a->vector) && ck_align(a->vector, 64, &a->vector)
        && attend_scratch(l, n_thread, &a->partial, &a->thread)
        && ck_mul(a->thread, (size_t)n_thread, &threads)
        && ck_add(a->linear, a->vector, &a->total) && ck_add(a->total, a->partial, &a->total)
        && ck_add(a->total, threads, &a->total) && ck_add(a->total, 64, &a->total);
}

size_t backend_cpu_scratch(const llm_limits *limits, int n_thread)
{
    areas a;
    return n_thread >= 1 && measure(&a, limits, n_thread) ? a.total + sizeof(cpu_impl) + pool_bytes(n_thread) : 0;
}

/* Entry i of the table that no set filled, or -1. */
static int unfilled(const llm_ops *op)
{
    enum { N = sizeof *op / sizeof op->embed };
    static const unsigned char none[sizeof op->embed];

    for (int i = 0; i < N; i++)
        if (memcmp((const unsigned char *)op + (size_t)i * sizeof none, none, sizeof none) == 0) return i;
    return -1;
}

static void fill(llm_ops *op, llm_blocks *block, cpu_impl *impl)
{
    elementwise_ops(op), route_ops(op), kv_ops(op), attend_ops(op);
    impl->row = &cpu_rows_ref;
    linear_ops_ref(op, block);
#if defined(__x86_64__)
    if (impl->isa == ISA_AVX2 || impl->isa == ISA_AVXVNNI || impl->isa == ISA_AVX512) {
        impl->row = &cpu_rows_avx2;
        linear_ops_avx2(op, block);
    }
    if (impl->isa == ISA_AVXVNNI) linear_ops_avxvnni(op, block);
    if (impl->isa == ISA_AVX512) {
        impl->row = &cpu_rows_avx512;
        linear_ops_avx512(op, block);
    }
#elif defined(__aarch64__)
    if (impl->isa == ISA_NEON || impl->isa == ISA_I8MM) {
        impl->row = &cpu_rows_neon;
        linear_ops_neon(op, block);
    }
    if (impl->isa == ISA_I8MM) linear_ops_i8mm(op, block);
#endif
#ifdef LLM_BLAS
    linear_ops_blas(op, block, impl);
#endif
}

llm_status cpu_open(llm_backend *be, llm_isa isa, int n_thread, const llm_limits *limits, llm_error *err)
{
    cpu_impl *impl = NULL;
    llm_status status;
    areas a;

    memset(be, 0, sizeof *be);
    if (!cpu_has_isa(isa)) return llm_fail(err, LLM_ERR_UNSUPPORTED, "cpu kernel set %s: this machine lacks it", isa_name(isa));
    if (n_thread < 1 || !measure(&a, limits, n_thread))
        return llm_fail(err, LLM_ERR_MEMORY, "cpu scratch for %d threads, %d rows: the size does not fit", n_thread, limits->n_batch);
    impl = calloc(1, sizeof *impl);
    if (impl == NULL) return llm_fail_memory(err, sizeof *impl, "the cpu backend");
    be->impl = impl;
    impl->isa = isa, impl->n_thread = n_thread, impl->limits = *limits;
    impl->scratch = memory_map(a.total), impl->scratch_bytes = a.total;
    if (impl->scratch == NULL) { status = llm_fail_memory(err, a.total, "cpu scratch"); goto fail; }
    impl->linear = impl->scratch, impl->linear_bytes = a.linear;
    impl->vector = (float *)(void *)(impl->linear + a.linear), impl->vector_n = (int)(a.vector / sizeof(float));
    impl->partial = impl->linear + a.linear + a.vector, impl->partial_bytes = a.partial;
    impl->thread = impl->partial + a.partial, impl->thread_bytes = a.thread;
    if ((status = pool_open(&impl->pool, n_thread, err)) != LLM_OK) goto fail;
    fill(&be->op, &be->block, impl);
    return LLM_OK;
fail:
    backend_cpu_close(be);
    return status;
}

llm_status backend_cpu_open(llm_backend *be, llm_isa isa, int n_thread, const llm_limits *limits, llm_error *err)
{
    llm_status status = cpu_open(be, isa, n_thread, limits, err);
    int i;

    if (status != LLM_OK || (i = unfilled(&be->op)) < 0) return status;
    backend_cpu_close(be);
    return llm_fail(err, LLM_ERR_INTERNAL, "cpu backend: op %d of the table is not filled", i);
}

struct llm_pool *backend_cpu_pool(llm_backend *be)
{
    cpu_impl *impl = be->impl;

    return impl != NULL ? impl->pool : NULL;
}

void backend_cpu_close(llm_backend *be)
{
    cpu_impl *impl = be->impl;

    if (impl != NULL) {
        pool_close(impl->pool);
        memory_unmap(impl->scratch, impl->scratch_bytes);
        free(impl);
    }
    memset(be, 0, sizeof *be);
}
