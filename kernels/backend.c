/* backend.c - which backends this build has. With LLM_CUDA the functions of cuda/cuda.h are linked too. */
#include "backend.h"
#include "memory.h"
#include <string.h>
#ifdef LLM_CUDA
#include "cuda/cuda.h"
#endif

llm_status device_open(llm_device **out, llm_backend_kind kind, uint64_t planned, llm_error *err)
{
    *out = NULL;
    if (kind == LLM_BACKEND_CPU) return LLM_OK;
#ifdef LLM_CUDA
    if (kind == LLM_BACKEND_CUDA) return cuda_device_open(out, planned, err);
#else
    (void)planned;
    if (kind == LLM_BACKEND_CUDA)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "device cuda: this program was built without CUDA (make CUDA=1)");
#endif
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "backend %d is not in this build; 0 is the CPU, 1 CUDA", (int)kind);
}

const char *device_refuses(llm_device *d, const llm_tensor *w)
{
#ifdef LLM_CUDA
    if (d != NULL) return cuda_refuses(w);
#endif
    (void)d, (void)w;
    return NULL;
}

llm_status device_weight_bytes(llm_device *d, llm_tensor *const *w, size_t n, uint64_t bytes[N_SITE], llm_error *err)
{
    memset(bytes, 0, N_SITE * sizeof *bytes);
#ifdef LLM_CUDA
    if (d != NULL) return cuda_weight_bytes(w, n, bytes, err);
#endif
    (void)d, (void)w, (void)n, (void)err;
    return LLM_OK;
}

llm_status device_import(llm_device *d, llm_tensor *const *w, size_t n, llm_progress_fn progress, void *user, llm_error *err)
{
#ifdef LLM_CUDA
    if (d != NULL) return cuda_import(d, w, n, progress, user, err);
#endif
    (void)d, (void)w, (void)n, (void)progress, (void)user, (void)err;
    return LLM_OK;
}

const char *device_products(llm_device *d)
{
#ifdef LLM_CUDA
    if (d != NULL) return cuda_products(d);
#endif
    (void)d;
    return NULL;
}

void device_close(llm_device *d)
{
#ifdef LLM_CUDA
    if (d != NULL) cuda_device_close(d);
#endif
    (void)d;
}

uint64_t device_available(llm_device *d)
{
#ifdef LLM_CUDA
    if (d != NULL) return cuda_available(d);
#endif
    (void)d;
    return memory_available();
}

llm_status device_limits(llm_device *d, llm_device_limits *out, llm_error *err)
{
#ifdef LLM_CUDA
    if (d != NULL) return cuda_limits(d, out, err);
#endif
    (void)d, (void)out;
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "limits of the device: the model is on the CPU");
}

const llm_ops *device_kv_ops(llm_device *d)
{
#ifdef LLM_CUDA
    if (d != NULL) return cuda_cell_ops();
#endif
    (void)d;
    return backend_cpu_cell_ops();
}

llm_status backend_open(llm_backend *be, llm_device *d, llm_isa isa, int n_thread, const llm_limits *limits, llm_error *err)
{
#ifdef LLM_CUDA
    if (d != NULL) return backend_cuda_open(be, d, limits, err);
#endif
    (void)d;
    return backend_cpu_open(be, isa, n_thread, limits, err);
}

void backend_close(llm_backend *be)
{
#ifdef LLM_CUDA
    if (be->remote != NULL) { backend_cuda_close(be); return; }
#endif
    backend_cpu_close(be);
}

bool backend_scratch(llm_device *d, const llm_limits *limits, int n_thread, uint64_t bytes[N_SITE])
{
    memset(bytes, 0, N_SITE * sizeof *bytes);
#ifdef LLM_CUDA
    if (d != NULL) return backend_cuda_scratch(limits, bytes);
#endif
    (void)d;
    return (bytes[SITE_HOST] = backend_cpu_scratch(limits, n_thread)) > 0;
}

void *backend_alloc(llm_backend *be, size_t n)
{
    return be != NULL && be->remote != NULL ? be->remote->alloc(be, n) : memory_map(n);
}

void backend_release(llm_backend *be, void *p, size_t n)
{
    if (be != NULL && be->remote != NULL) { if (p != NULL) be->remote->release(be, p); }
    else memory_unmap(p, n);
}

void backend_upload(llm_backend *be, void *to, const void *from, size_t n)
{
    if (be != NULL && be->remote != NULL) be->remote->upload(be, to, from, n);
    else memcpy(to, from, n);
}

void backend_copy(llm_backend *to, void *dst, llm_backend *from, const void *src, size_t n)
{
    if (from->err.status == LLM_OK && from->remote != NULL) from->remote->download(from, dst, src, n);
    if (from->err.status != LLM_OK) to->err = from->err;
    else if (from->remote == NULL) backend_upload(to, dst, src, n);
}
