/* npy.h - two-dimensional NumPy files (.npy format 1.0): float32 written, float32 and int32 read. */
#ifndef TOOL_NPY_H
#define TOOL_NPY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct { size_t rows, cols; float *data; } npy_array;       /* data malloc'ed */

/* Writes the header of a float32 [rows, cols] file; the caller appends the values. */
bool npy_write_header(FILE *f, size_t rows, size_t cols);
/* Reads a little-endian C-order '<f4' or '<i4' file of one or two dimensions (one: rows = 1). False: why [cap] says what is wrong. */
bool npy_read(const char *path, npy_array *out, char *why, size_t cap);
/* Is d a greater difference than max so far? One that is no number is, and nothing is greater than that. */
static inline bool npy_further(double d, double max) { return max == max && !(d <= max); }
#endif
