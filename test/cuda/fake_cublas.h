/* fake_cublas.h - what blas_test.c and the library that it passes off as cuBLAS share. */
#ifndef FAKE_CUBLAS_H
#define FAKE_CUBLAS_H
#include <stddef.h>

/* Of the products so far; a wrong one is counted, too. fail: the status that the next ones return. */
typedef struct {
    int products, wrong, open, fail;
    int m, n, k, a_type, c_type, compute, algorithm, math;  /* of the last one */
    void *stream, *workspace;                               /* set before it; a new stream takes the workspace back */
    size_t workspace_bytes;
} fake_cublas_calls;
#endif
