/* blas.cu - products of F16, BF16 and F32 weights with many rows of x through cuBLAS, where it is: the library is looked for when a model has
 * such weights, and never linked. Entry points and numbers: cublas_v2.h, cublas_api.h and library_types.h of CUDA 12 and 13.
 *
 * y [n, rows] = x [n, cols] w^T in one call, sums in floats: F16 with x as halves, whose power of two is put back afterwards, BF16 with x
 * as BF16, F32 with x as floats and no shorter type inside. The algorithm is cuBLAS's own choice for a shape, the workspace is
 * given, and sums are not shared out by atomic additions, so that a run gives the same bits as the one before ("Results
 * Reproducibility" of its documentation); it may differ from one version to the next and with the number of rows.
 * Bound by the matrix units; its tiles are its own. */
#include "blas.h"
#include "prepare.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { OP_N = 0, OP_T = 1, R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, GEMM_DEFAULT = -1, NO_SHORT_SUMS = 16 };

typedef void *handle;
struct cuda_blas {
    void *library;
    handle h;
    pthread_mutex_t one;                /* its stream and workspace are set before each call */
    int version;
    size_t own;                         /* what its handle took of the device */
    int (*create)(handle *h);
    int (*destroy)(handle h);
    int (*get_version)(handle h, int *version);
    int (*set_math)(handle h, int mode);
    int (*set_stream)(handle h, cudaStream_t s);
    int (*set_workspace)(handle h, void *p, size_t n);
    int (*gemm)(handle h, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda, const void *b, int b_type, int ldb,
                const void *beta, void *c, int c_type, int ldc, int compute, int algorithm);
};

static bool find_all(cuda_blas *b, const char **missing)
{
    const struct { const char *name; void **at; } entry[] = {
        { "cublasCreate_v2", (void **)&b->create }, { "cublasDestroy_v2", (void **)&b->destroy }, { "cublasGetVersion_v2", (void **)&b->get_version },
        { "cublasSetMathMode", (void **)&b->set_math }, { "cublasSetStream_v2", (void **)&b->set_stream },
        { "cublasSetWorkspace_v2", (void **)&b->set_workspace }, { "cublasGemmEx", (void **)&b->gemm },
    };

    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++)
        if ((*entry[i].at = dlsym(b->library, *missing = entry[i].name)) == NULL) return false;
    return true;
}

/* The first of the names that can be loaded; else why the first one cannot. */
static void *load(char *why, size_t cap)
{
#ifdef __CUDACC__
    static const char *const name[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so" };
#else
    const char *const name[] = { shim_cublas ? shim_cublas : "no-cublas-in-the-shim" };
#endif
    void *lib = NULL;

    for (size_t i = 0; i < sizeof name / sizeof name[0] && lib == NULL; i++)
        if ((lib = dlopen(name[i], RTLD_NOW | RTLD_LOCAL)) == NULL && i == 0) snprintf(why, cap, "%s", dlerror());
    return lib;
}

static size_t memory_left(void)
{
    size_t left = 0, all;
    return cudaMemGetInfo(&left, &all) == cudaSuccess ? left : 0;
}

cuda_blas *blas_open(char *why, size_t cap)
{
    cuda_blas *b = (cuda_blas *)calloc(1, sizeof *b);
    size_t before = memory_left(), after;
    const char *missing;
    int st;

    if (b == NULL) { snprintf(why, cap, "out of memory"); return NULL; }
    if ((b->library = load(why, cap)) == NULL) { free(b); return NULL; }
    pthread_mutex_init(&b->one, NULL);
    if (!find_all(b, &missing)) snprintf(why, cap, "the library has no %s", missing);
    else if ((st = b->create(&b->h)) != 0) b->h = NULL, snprintf(why, cap, "cublasCreate returned %d", st);
    else if ((st = b->get_version(b->h, &b->version)) != 0 || (st = b->set_math(b->h, NO_SHORT_SUMS)) != 0) snprintf(why, cap, "setting it up returned %d", st);
    else {
        b->own = (after = memory_left()) < before ? before - after : 0;
        return b;
    }
    blas_close(b);
    return NULL;
}

void blas_close(cuda_blas *b)
{
    if (b == NULL) return;
    if (b->h) (void)b->destroy(b->h);
    pthread_mutex_destroy(&b->one);
    dlclose(b->library);
    free(b);
}

int blas_version(const cuda_blas *b) { return b->version; }
size_t blas_own(const cuda_blas *b) { return b->own; }

bool blas_has(const cuda_weight *w)
{
    return (w->dtype == DT_F32 || w->dtype == DT_F16 || w->dtype == DT_BF16) && w->a != NULL && w->n == 1 && w->rows <= INT32_MAX && w->cols <= INT32_MAX;
}

/* ---- x ---- */

static __global__ void bf16_kernel(x_source s, uint16_t *out, int64_t stride)
{
    int64_t k = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;

    if (k < stride) out[(int64_t)blockIdx.x * stride + k] = k < s.cols ? float_bf16(s.x.data[(int64_t)blockIdx.x * s.x.stride + (s.perm ? s.perm[k] : k)]) : 0;
}

static bool prepare_bf16(llm_backend *be, const x_source *s, blas_x *out)
{
    cuda_impl *impl = cuda_of(be);
    int64_t stride = (s->cols + 7) & ~(int64_t)7;

    if ((size_t)(s->x.n * stride) * 2 > impl->half_bytes) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: %d rows of %lld values exceed the scratch", s->x.n, (long long)s->cols);
        return false;
    }
    LAUNCH(bf16_kernel, dim3((unsigned)s->x.n, (unsigned)((stride + 255) / 256)), dim3(256), 0, impl->stream, *s, impl->half, stride);
    *out = blas_x{ impl->half, stride, NULL, R_16BF };
    return cuda_check(be, cudaSuccess, "x as BF16", s->x.n, 1, s->cols);
}

bool blas_prepare(llm_backend *be, const x_source *s, const cuda_weight *w, blas_x *out)
{
    x_halves h;
    const float *f;

    if (w->dtype == DT_BF16) return prepare_bf16(be, s, out);
    if (w->dtype == DT_F16) {
        if (!prepare_halves(be, s, &h)) return false;
        *out = blas_x{ h.h, h.stride, h.mul, R_16F };
        return true;
    }
    out->mul = NULL, out->type = R_32F;
    if (!prepare_floats(be, s, &f, &out->stride)) return false;
    out->data = f;
    return true;
}

/* ---- the product ---- */

/* y = y * mul[row] + bias */
static __global__ void finish_kernel(llm_rows y, const float *mul, const float *bias)
{
    int64_t k = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;

    if (k >= y.width) return;
    float *p = y.data + (int64_t)blockIdx.x * y.stride + k, v = *p;
    if (mul) v *= mul[blockIdx.x];
    *p = bias ? v + bias[k] : v;
}

/* y [n, rows] = x [n, cols] w^T, in elements of type from one row to the next. */
typedef struct { const void *w, *x; float *y; int type, rows, n, cols; int64_t w_row, x_row, y_row; } gemm_job;

static int call(cuda_blas *b, cudaStream_t s, void *work, size_t work_bytes, const gemm_job *g)
{
    const float one = 1, zero = 0;
    int st;

    pthread_mutex_lock(&b->one);
    /* in this order: the stream takes the workspace back */
    if ((st = b->set_stream(b->h, s)) == 0 && (st = b->set_workspace(b->h, work, work_bytes)) == 0)
        st = b->gemm(b->h, OP_T, OP_N, g->rows, g->n, g->cols, &one, g->w, g->type, (int)g->w_row, g->x, g->type, (int)g->x_row, &zero, g->y, R_32F, (int)g->y_row,
                     g->type == R_32F ? COMPUTE_32F_PEDANTIC : COMPUTE_32F, GEMM_DEFAULT);
    pthread_mutex_unlock(&b->one);
    return st;
}

int blas_square(cuda_blas *b, cudaStream_t s, void *mem, int side, void *work, size_t work_bytes)
{
    uint16_t *w = (uint16_t *)mem, *x = w + (size_t)side * (size_t)side, *y = x + (size_t)side * (size_t)side;
    gemm_job g = { w, x, (float *)(void *)y, R_16BF, side, side, side, side, side, side };

    return call(b, s, work, work_bytes, &g);
}

void blas_product(llm_backend *be, cuda_blas *b, const cuda_weight *w, llm_rows y, const blas_x *x, const float *bias)
{
    cuda_impl *impl = cuda_of(be);
    gemm_job g = { w->a, x->data, y.data, x->type, (int)w->rows, y.n, (int)w->cols, w->a_row / (w->dtype == DT_F32 ? 4 : 2), x->stride, y.stride };
    int st;

    cuda_writes(be, y.data);
    if ((st = call(b, impl->stream, impl->partial, impl->partial_bytes, &g)) != 0) {
        cuda_fail(be, LLM_ERR_INTERNAL, "device cuda: cuBLAS %d: product of layer %d (%d rows, %lld by %lld of %s): status %d", b->version, be->layer, y.n, (long long)w->rows,
                  (long long)w->cols, dtype_name(w->dtype), st);
        return;
    }
    if (x->mul == NULL && bias == NULL) { cuda_check(be, cudaSuccess, "cuBLAS product", y.n, w->rows, w->cols); return; }
    LAUNCH(finish_kernel, dim3((unsigned)y.n, (unsigned)((y.width + 255) / 256)), dim3(256), 0, impl->stream, y, x->mul, bias);
    cuda_check(be, cudaSuccess, "cuBLAS product", y.n, w->rows, w->cols);
}
