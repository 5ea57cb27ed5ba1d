/* prepare.h - rows of x in the forms that products take (prepare.cu). */
#ifndef LLM_CUDA_PREPARE_H
#define LLM_CUDA_PREPARE_H
#include "cuda_impl.h"

/* Rows of x as they come: row i has `parts` vectors of cols values, part_step apart (parts 1: the row itself); vector v = i * parts + part.
 * perm [cols] or NULL chooses columns. */
typedef struct { llm_rows x; int parts; int64_t part_step, cols; const int32_t *perm; } x_source;

/* Each fills the backend's scratch and returns false after a failure: more vectors than it was opened for. */
bool prepare_codes(llm_backend *be, const x_source *s, int group, x_codes *out);
bool prepare_halves(llm_backend *be, const x_source *s, x_halves *out);
/* Floats in rows of multiples of 16 bytes: x itself where it lies so, else a copy filled up with zeros. */
bool prepare_floats(llm_backend *be, const x_source *s, const float **out, int64_t *stride);
#endif
