/* tensor_rows.h - rows of a bound weight as floats, whatever it is stored as. */
#ifndef LLM_TENSOR_ROWS_H
#define LLM_TENSOR_ROWS_H
#include "backend.h"

/* Values in a row, rows in a matrix and matrices: a vector is one row. */
typedef struct { int64_t matrices, rows, cols; } tensor_shape;
tensor_shape tensor_shape_of(const llm_tensor *t);

/* Where row `row` of matrix `matrix` begins. */
const char *tensor_row(const llm_tensor *t, int64_t matrix, int64_t row);

/* Rows first..first+n-1 of a matrix, FP8 scaled and act-order undone, to [n, cols]. False for a type that cannot be read. */
bool tensor_rows(const llm_tensor *t, int64_t matrix, int64_t first, int64_t n, float *to);
#endif
