/* product.h - the kernel sets. */
#ifndef LLM_CPU_PRODUCT_H
#define LLM_CPU_PRODUCT_H
#include "matrix.h"

/* Integer forms of x only (matvec_body.h). */
void matvec_avx2(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next);
void matvec_avxvnni(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next);
void matvec_avx512(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next);
void matvec_neon(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next);

extern const linear_set linear_set_ref, linear_set_avx2, linear_set_avxvnni, linear_set_avx512, linear_set_neon, linear_set_i8mm;
#endif
