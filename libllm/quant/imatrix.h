/* imatrix.h - how much each input column of each weight matters: the mean of its squared activations over a text.
 *
 * Files: the GGUF form of llama.cpp (general.type "imatrix"; NAME.in_sum2 [matrices, columns] sums of squares and NAME.counts
 * [matrices] of rows, both F32), and its older binary form (number of entries; then length and name, calls, number of values,
 * values = mean * calls), which is read only. */
#ifndef LLM_IMATRIX_H
#define LLM_IMATRIX_H
#include "names.h"
#include "status.h"

typedef struct {
    const char *name;                   /* GGUF name of the weight */
    int64_t matrices, cols;
    float *value;                       /* [matrices, cols] means; owned */
} imatrix_entry;

typedef struct {
    imatrix_entry *entry;               /* [n] */
    size_t n;
    int chunks;                         /* of text it was collected over; 0: the file does not say */
    char dataset[256];                  /* name of the text, or "" */
    name_pool text;
    name_index by_name;
} imatrix;

/* On failure *out is empty. Values are checked: finite, none negative. A matrix that saw no row has ones, and a column that saw
 * nothing gets a little of the others' mean, so that no error is free. */
llm_status imatrix_read(imatrix *out, const char *path, llm_error *err);
void imatrix_free(imatrix *im);
/* The entry of a weight, or NULL. */
const imatrix_entry *imatrix_find(const imatrix *im, const char *name);

/* What imatrix_write takes: sums as they were collected. */
typedef struct { const char *name; int64_t matrices, cols; const float *sum; const float *count; } imatrix_sums;
llm_status imatrix_write(const char *path, const imatrix_sums *s, size_t n, const char *dataset, int chunks, int chunk_size, llm_error *err);
#endif
