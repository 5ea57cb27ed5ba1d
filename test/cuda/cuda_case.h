/* cuda_case.h - the device beside the scalar reference: rows and weights on both. */
#ifndef LLM_CUDA_CASE_H
#define LLM_CUDA_CASE_H
#include "../kernels/kernel_case.h"
#include "ops.h"
#include <stdarg.h>

/* The limit on the relative error of an op, ||got - want|| / ||want||. */
#define TOLERANCE 2e-3

typedef struct { llm_device *d; llm_backend be, ref; bool fine; } pair;

/* False, said and counted, where there is no GPU and these tests are for one. */
static inline bool pair_open(pair *p, const llm_limits *l, const char *name)
{
    llm_error err;
    llm_status st = device_open(&p->d, LLM_BACKEND_CUDA, 0, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip(name, err.text); return false; }
    ck_assert_msg(st == LLM_OK, "%s", err.text);
    p->fine = false;
    ck_assert_msg(backend_open(&p->be, p->d, ISA_SCALAR, 1, l, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(cpu_open(&p->ref, ISA_SCALAR, 1, l, &err) == LLM_OK, "%s", err.text);
    return true;
}

static inline void pair_close(pair *p)
{
    backend_close(&p->be), backend_close(&p->ref), device_close(p->d);
}

/* A device of its own for these weights: the op that follows finds them in packed. */
static inline llm_device *put_weights(llm_tensor **w, size_t n)
{
    llm_device *d;
    llm_error err;

    ck_assert_msg(device_open(&d, LLM_BACKEND_CUDA, 0, &err) == LLM_OK && device_import(d, w, n, NULL, NULL, &err) == LLM_OK, "%s", err.text);
    return d;
}

static inline void *put_bytes(llm_backend *be, const void *from, size_t n)
{
    void *p = be->remote->alloc(be, n ? n : 1);
    ck_assert_ptr_nonnull(p);
    be->remote->upload(be, p, from, n);
    return p;
}

static inline size_t rows_bytes(llm_rows r) { return (size_t)r.n * (size_t)r.stride * sizeof(float); }

/* A copy of r on the device, or all NaN where nothing is to be read. */
static inline llm_rows put_rows(llm_backend *be, llm_rows r)
{
    llm_rows out = r;
    out.data = put_bytes(be, r.data, rows_bytes(r));
    return out;
}

static inline llm_rows blank_rows(int n, int width, int stride)
{
    llm_rows r = { malloc((size_t)n * (size_t)stride * sizeof(float)), n, width, stride };
    memset(r.data, 0xff, rows_bytes(r));
    return r;
}

/* Brings got back, compares its n x width values, checks that nothing beside them was written, and releases it. */
static inline void check_rows(pair *p, llm_rows got, llm_rows want, double tolerance, const char *fmt, ...)
{
    llm_rows host = got;
    double error = 0, size = 0;
    char what[200];
    va_list ap;

    va_start(ap, fmt), vsnprintf(what, sizeof what, fmt, ap), va_end(ap);
    ck_assert_msg(p->be.err.status == LLM_OK, "%s: %s", what, p->be.err.text);
    ck_assert_msg(p->ref.err.status == LLM_OK, "%s: %s", what, p->ref.err.text);
    host.data = malloc(rows_bytes(got));
    p->be.remote->download(&p->be, host.data, got.data, rows_bytes(got));
    ck_assert_msg(p->be.err.status == LLM_OK, "%s: %s", what, p->be.err.text);
    for (int i = 0; i < want.n; i++)
        for (int k = 0; k < want.stride; k++) {
            double w = row_at(want, i)[k], g = row_at(host, i)[k];
            if (k >= want.width) { ck_assert_msg(float_bits((float)w) == float_bits((float)g) || (w != w && g != g), "%s: row %d was written beyond its end, at %d", what, i, k); continue; }
            ck_assert_msg(g == g, "%s: row %d value %d is not a number, want %g", what, i, k, w);
            error += (g - w) * (g - w), size += w * w;
        }
    ck_assert_msg(sqrt(error) <= tolerance * sqrt(size) + 1e-30, "%s: relative error %.3g, allowed %.3g", what, sqrt(error / size), tolerance);
    p->be.remote->release(&p->be, got.data);
    free(host.data);
}
#endif
