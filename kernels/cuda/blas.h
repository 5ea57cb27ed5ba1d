/* blas.h - products through cuBLAS, which is loaded when it is there (blas.cu). */
#ifndef LLM_CUDA_BLAS_H
#define LLM_CUDA_BLAS_H
#include "prepare.h"

/* From so many rows on; steps that are recorded have fewer (backend.cu). */
enum { BLAS_FEWEST = 65, BLAS_LARGE = 1 << 20 };        /* LARGE: values of a matrix for which alone the library is loaded */

cuda_blas *blas_open(char *why, size_t cap);            /* NULL: why says what is missing */
void blas_close(cuda_blas *b);                          /* NULL is fine */
int blas_version(const cuda_blas *b);                   /* 130100: 13.1.0 */
size_t blas_own(const cuda_blas *b);                    /* bytes of the device that it has taken for itself */
bool blas_has(const cuda_weight *w);
/* x as it meets weights of w's type and columns, in the backend's scratch; blas_has(w), s->parts == 1. False after a failure. */
typedef struct { const void *data; int64_t stride; const float *mul; int type; } blas_x;
bool blas_prepare(llm_backend *be, const x_source *s, const cuda_weight *w, blas_x *out);
/* y = w x (+ bias [rows]), y.width == w->rows. */
void blas_product(llm_backend *be, cuda_blas *b, const cuda_weight *w, llm_rows y, const blas_x *x, const float *bias);
/* What limits.cu measures: one product of two BF16 matrices, side by side values each, at mem, its result behind them: 8 side^2 bytes. cuBLAS's status. */
int blas_square(cuda_blas *b, cudaStream_t s, void *mem, int side, void *work, size_t work_bytes);
#endif
