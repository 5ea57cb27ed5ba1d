/* matrix.h - what the kernel sets of the matrix products share: one weight matrix, rows of x in some form, and the set's table. */
#ifndef LLM_CPU_MATRIX_H
#define LLM_CPU_MATRIX_H
#include "cpu_impl.h"
#include "quantize_act.h"

/* One [rows, cols] matrix of a tensor. */
typedef struct {
    llm_dtype dtype;
    int64_t rows, cols;
    const uint8_t *data;
    size_t row_bytes;
    const uint8_t *scale;               /* NULL, or [ceil(rows/tile_rows)][scale_cols] of scale_dtype, scale_row_bytes apart */
    llm_dtype scale_dtype;
    int64_t tile_rows, tile_cols, scale_cols;
    size_t scale_row_bytes;
    const uint8_t *bias;                /* NULL, or [rows] of bias_dtype */
    llm_dtype bias_dtype;
    const uint8_t *packed;              /* the first packed_rows rows once more, as pack.h says; a multiple of TILE_ROWS */
    int64_t packed_rows;
    size_t packed_row_bytes;
} matrix;

/* Rows of x (columns of the product) in one form: records, of which column c has number pick[c] (pick NULL: c), or, for a product with many
 * columns, groups of them (x_group.h); stride bytes apart. */
typedef struct { x_form form; const uint8_t *data; size_t stride; const int32_t *pick; } x_rows;

static inline const uint8_t *x_record(const x_rows *x, int c) { return x->data + (size_t)(x->pick ? x->pick[c] : c) * x->stride; }

/* Rows of the weights that one thread takes at a time: with few columns, with more. */
enum { TILE_ROWS = 16, ITEM_ROWS = 32 };
/* Columns that a matvec takes. */
enum { FEW_COLUMNS = 8 };

/* Bytes of scratch for each thread, for matrices of up to max_cols columns and n_col rows of x. */
size_t product_scratch(int64_t max_cols, int64_t n_col);

/* A kernel set. quantize: a row of x as a record. group: GROUP records, or rows of floats, as a group; where there are fewer rows
 * any may stand in for the rest. product: y[c * y_stride + r - row0] for rows row0 .. row0+n_row-1 and n_col columns in groups, bias
 * included; row0 is a multiple of TILE_ROWS, scratch 64-byte aligned. matvec: the same for up to FEW_COLUMNS records or
 * rows of floats; next: the tile that this thread will come to after these rows, or NULL. */
typedef struct {
    void (*quantize)(x_form form, const float *x, int64_t n, uint8_t *record);
    void (*group)(x_form form, const uint8_t *const *row, int64_t cols, uint8_t *group);
    void (*product)(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int64_t n_col, float *y, int64_t y_stride, uint8_t *scratch);
    void (*matvec)(const matrix *w, int64_t row0, int64_t n_row, const x_rows *x, int n_col, float *y, int64_t y_stride, uint8_t *scratch, const uint8_t *next);
} linear_set;

/* Matrix e of a 3-D tensor, or the whole of a 2-D one (e < 0), with its scale and bias (NULL: none). */
matrix matrix_of(const llm_tensor *w, const llm_tensor *bias, int64_t e);
/* Row r in f32, its scale applied. */
void matrix_row(const matrix *w, int64_t r, float *y);
/* The form in which x multiplies weights of this type. */
x_form matrix_form(llm_dtype dtype);
/* F32, F16, BF16 and FP8: packed rows are those of the file. */
bool matrix_is_float(llm_dtype dtype);
/* Of them: rows row0 .. row0 + *n_row - 1, or the first of them where the rest lies elsewhere; packed or not, they are at data. */
matrix matrix_part(const matrix *w, int64_t row0, int64_t *n_row);
/* Whether n rows of x multiply w faster as records (matvec) than in groups (product). */
bool matrix_takes_few(const matrix *w, int64_t n);
float matrix_bias(const matrix *w, int64_t r);      /* 0 where there is none: do not add it then */

/* A block of 32 as integers w and y = d * w + m. */
typedef struct { int16_t w[32]; float d, m; } block32;
void unpack32(llm_dtype dtype, const uint8_t *b, block32 *out);
/* A super-block of 256: y = d * sc[k / sub] * w[k] - dmin * mn[k / sub]. */
typedef struct { int16_t w[256], sc[16], mn[16]; float d, dmin; int sub; } block256;
void unpack256(llm_dtype dtype, const uint8_t *b, block256 *out);
bool type_has_min(llm_dtype dtype);
/* Q2_K, Q3_K and codebooks: the sum over sub-blocks stays in int32 (linear.h, 3). */
bool type_sums_exactly(llm_dtype dtype);

/* The ops over a set (linear.c, moe.c). */
void linear_run(llm_backend *be, const linear_set *set, const llm_linear *l, int n, llm_rows x, float *peak);        /* peak NULL, or as linear_peaks says: n is 1 then */
void absorb_run(llm_backend *be, const linear_set *set, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w);
void moe_run(llm_backend *be, const linear_set *set, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a);
void embed_run(llm_backend *be, llm_rows y, const llm_tensor *table, const int32_t *token, float scale);

/* Areas of cpu_impl.linear (linear.c): rows of x as floats, two for records and groups, one for experts, then one for each thread. */
typedef struct { size_t floats, rows, moe, tile, thread, total; } linear_areas;    /* thread includes tile */
bool linear_measure(linear_areas *a, const llm_limits *l, int n_thread);
uint8_t *thread_scratch(llm_backend *be, int thread);
float *thread_tile(llm_backend *be, int thread);     /* [n_batch rounded up to a group][ITEM_ROWS], beside thread_scratch */
uint8_t *moe_scratch(llm_backend *be, size_t *bytes);
bool moe_measure(const llm_limits *l, size_t *bytes);

/* x in the form that w needs, in slot 0 or 1 of the scratch, its values in the order of perm (NULL: as they are): in groups. False after a failure. */
bool x_grouped(llm_backend *be, const linear_set *set, x_rows *out, int slot, x_form form, const int32_t *perm, int64_t cols, llm_rows x);
/* The same with each row as a record (X_F32 without perm: x itself). */
bool x_records(llm_backend *be, const linear_set *set, x_rows *out, int slot, x_form form, const int32_t *perm, int64_t cols, llm_rows x);
/* n rows, 1..GROUP of them, as one group; scratch: of a thread, or what is left of it. */
void x_group(const linear_set *set, x_form form, const float *const *row, int64_t n, int64_t cols, uint8_t *scratch, uint8_t *group);
#endif
