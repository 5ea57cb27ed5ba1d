/* fake_cublas.c - a library with the entry points of cuBLAS that kernels/cuda/blas.cu takes, for the processor: plain loops, and a record of the calls. */
#include "fake_cublas.h"
#include "half.h"

fake_cublas_calls fake_calls;

enum { OK = 0, INVALID = 7, R_32F = 0, R_16F = 2, R_16BF = 14, OP_N = 0, OP_T = 1 };

int cublasCreate_v2(void **h);
int cublasDestroy_v2(void *h);
int cublasGetVersion_v2(void *h, int *version);
int cublasSetMathMode(void *h, int mode);
int cublasSetStream_v2(void *h, void *s);
int cublasSetWorkspace_v2(void *h, void *p, size_t n);
int cublasGemmEx(void *h, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda, const void *b, int b_type, int ldb,
                 const void *beta, void *c, int c_type, int ldc, int compute, int algorithm);

int cublasCreate_v2(void **h) { return fake_calls.open++, *h = &fake_calls, OK; }
int cublasDestroy_v2(void *h) { return fake_calls.open--, h == &fake_calls ? OK : INVALID; }
int cublasGetVersion_v2(void *h, int *version) { return *version = 130100, h == &fake_calls ? OK : INVALID; }
int cublasSetMathMode(void *h, int mode) { return fake_calls.math = mode, h == &fake_calls ? OK : INVALID; }
int cublasSetStream_v2(void *h, void *s) { return fake_calls.stream = s, fake_calls.workspace = NULL, h == &fake_calls ? OK : INVALID; }
int cublasSetWorkspace_v2(void *h, void *p, size_t n) { return fake_calls.workspace = p, fake_calls.workspace_bytes = n, h == &fake_calls ? OK : INVALID; }

static float value(const void *p, int type, size_t i)
{
    if (type == R_32F) return ((const float *)p)[i];
    return type == R_16F ? f16_to_float(((const uint16_t *)p)[i]) : bf16_to_float(((const uint16_t *)p)[i]);
}

/* Column-major: c [m, n] = a^T b, a [k, m], b [k, n]. */
int cublasGemmEx(void *h, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int a_type, int lda, const void *b, int b_type, int ldb,
                 const void *beta, void *c, int c_type, int ldc, int compute, int algorithm)
{
    fake_cublas_calls *f = h;

    f->products++, f->m = m, f->n = n, f->k = k, f->a_type = a_type, f->c_type = c_type, f->compute = compute, f->algorithm = algorithm;
    if (f->fail) return f->fail;
    if (op_a != OP_T || op_b != OP_N || a_type != b_type || c_type != R_32F || lda < k || ldb < k || ldc < m || *(const float *)alpha != 1 || *(const float *)beta != 0
        || f->stream == NULL || f->workspace == NULL) return f->wrong++, INVALID;
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            float sum = 0;
            for (int x = 0; x < k; x++) sum += value(a, a_type, (size_t)i * (size_t)lda + (size_t)x) * value(b, b_type, (size_t)j * (size_t)ldb + (size_t)x);
            ((float *)c)[(size_t)j * (size_t)ldc + (size_t)i] = sum;
        }
    return OK;
}
