/* kernel_case.h - random weights of every type and a bare CPU backend, for tests of the matrix products. */
#ifndef LLM_KERNEL_CASE_H
#define LLM_KERNEL_CASE_H
#include "cpu_impl.h"
#include "dequant.h"
#include "narrow.h"
#include "linear.h"
#include "codebook.h"
#include "matrix.h"
#include "packed.h"
#include "../llm_test.h"
#include <math.h>
#include <stdlib.h>

static uint64_t case_state;

static inline uint32_t case_bits(void)              /* splitmix64 */
{
    uint64_t z = case_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}
static inline float case_float(void) { return (float)(int32_t)case_bits() * 0x1p-31f; }

static const llm_dtype case_types[] = {
    DT_F32, DT_F16, DT_BF16, DT_F64, DT_F8_E4M3, DT_F8_E5M2, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_IQ4_NL, DT_MXFP4, DT_Q4_G,
    DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_XS, DT_Q8_K, DT_TQ1_0, DT_TQ2_0, DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S,
    DT_IQ1_S, DT_IQ1_M,
};
enum { N_CASE_TYPE = sizeof case_types / sizeof case_types[0] };

static inline void put_half(uint8_t *b, float f) { uint16_t h = float_to_f16(f); memcpy(b, &h, 2); }

/* A block of random codes with scales that make values of about 0.01..1. */
static inline void case_block(llm_dtype dtype, uint8_t *b, int bytes)
{
    float f = case_float(), g = case_float();
    double wide = (double)f;

    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)case_bits();
    switch (dtype) {
    case DT_F32: memcpy(b, &f, 4); break;
    case DT_F16: put_half(b, f); break;
    case DT_BF16: b[0] = (uint8_t)(float_bits(f) >> 16), b[1] = (uint8_t)(float_bits(f) >> 24); break;
    case DT_F64: memcpy(b, &wide, 8); break;
    case DT_F8_E4M3: if ((b[0] & 0x7f) == 0x7f) b[0] = 0x30; break;
    case DT_F8_E5M2: if ((b[0] & 0x7c) >= 0x50) b[0] = 0x30; break;
    case DT_Q4_G: put_half(b, f / 16), b[2] = (uint8_t)(b[2] % 17), b[3] = 0; break;
    case DT_Q4_1: case DT_Q5_1: case DT_Q4_K: case DT_Q5_K: put_half(b, f / 32), put_half(b + 2, g / 4); break;
    case DT_Q2_K: put_half(b + 80, f / 32), put_half(b + 82, g / 32); break;
    case DT_Q3_K: put_half(b + 108, f / 64); break;
    case DT_Q6_K: put_half(b + 208, f / 1024); break;
    case DT_TQ1_0: put_half(b + 52, f); break;
    case DT_TQ2_0: put_half(b + 64, f); break;
    case DT_Q8_K: f /= 64, memcpy(b, &f, 4); break;
    case DT_MXFP4: b[0] = (uint8_t)(b[1] % 16 < 2 ? b[1] % 16 : 120 + b[0] % 9); break;     /* 0 and 1: subnormal */
    case DT_IQ1_M: b[55] = (uint8_t)((b[55] & 15) | 0x20); break;       /* the exponent's top nibble */
    default: put_half(b, f / 64); break;
    }
}

/* [rows, cols], or with n > 0 [n, rows, cols], of dtype; free .data. */
static inline llm_tensor case_tensor(llm_dtype dtype, int64_t n, int64_t rows, int64_t cols)
{
    llm_tensor t = { .dtype = dtype };
    const llm_dtype_info *info = dtype_info(dtype);
    uint8_t *b;

    ck_assert_int_eq(cols % info->block, 0);
    t.row_bytes = (size_t)(cols / info->block * info->block_bytes);
    if (n > 0) t.dim[0] = n, t.dim[1] = rows, t.dim[2] = cols;
    else t.dim[0] = rows, t.dim[1] = cols, t.dim[2] = 1, n = 1;
    b = malloc((size_t)(n * rows) * t.row_bytes);
    for (int64_t i = 0; i < n * rows * (cols / info->block); i++) case_block(dtype, b + i * info->block_bytes, info->block_bytes);
    t.data = b;
    return t;
}

static inline llm_rows case_rows(int n, int width)
{
    llm_rows r = { malloc((size_t)n * (size_t)(width + 3) * sizeof(float)), n, width, width + 3 };     /* unaligned rows */
    for (int64_t i = 0; i < (int64_t)n * (width + 3); i++) r.data[i] = case_float();
    return r;
}

/* The elementwise rows that experts need, plainly. */
static inline void plain_glu(float *y, const float *gate, const float *up, int n, llm_act act, float limit)
{
    (void)act, (void)limit;
    for (int i = 0; i < n; i++) y[i] = (gate[i] < 0.0f ? 0.25f * gate[i] : gate[i]) * up[i];
}
static inline void plain_add_scaled(float *x, const float *y, float s, int n) { for (int i = 0; i < n; i++) x[i] = fmaf(s, y[i], x[i]); }

typedef struct { llm_backend be; cpu_impl impl; cpu_rows row; } case_backend;

static inline void case_open(case_backend *c, llm_isa isa, int n_thread, const llm_limits *limits)
{
    llm_error err;

    memset(c, 0, sizeof *c);
    c->row.glu = plain_glu, c->row.add_scaled = plain_add_scaled;
    c->impl.isa = isa, c->impl.n_thread = n_thread, c->impl.limits = *limits, c->impl.row = &c->row;
    c->impl.linear_bytes = linear_scratch_bytes(limits, n_thread);
    ck_assert(c->impl.linear_bytes > 0);
    c->impl.linear = aligned_alloc(4096, (c->impl.linear_bytes + 4095) & ~(size_t)4095);
    ck_assert_int_eq(pool_open(&c->impl.pool, n_thread, &err), LLM_OK);
    c->be.impl = &c->impl;
    linear_ops_ref(&c->be.op, &c->be.block);
#if defined(__x86_64__)
    if (isa == ISA_AVX2) linear_ops_avx2(&c->be.op, &c->be.block);
    if (isa == ISA_AVXVNNI) linear_ops_avxvnni(&c->be.op, &c->be.block);
    if (isa == ISA_AVX512) linear_ops_avx512(&c->be.op, &c->be.block);
#elif defined(__aarch64__)
    if (isa == ISA_NEON) linear_ops_neon(&c->be.op, &c->be.block);
    if (isa == ISA_I8MM) linear_ops_i8mm(&c->be.op, &c->be.block);
#endif
}

static inline void case_close(case_backend *c)
{
    pool_close(c->impl.pool);
    free(c->impl.linear);
}

/* Puts the first n_row rows of w (more, to whole tiles) in order; the memory they went to, or NULL for a type that stays as it is. */
static inline uint8_t *case_pack(case_backend *c, llm_tensor *w, llm_packed *p, int64_t n_row)
{
    size_t bytes = backend_cpu_packed(p, w), from_bytes;
    const void *from;
    int64_t done = 0, n;

    ck_assert_int_eq(bytes == 0, codebook_sub(w->dtype) > 0 || (matrix_form(w->dtype) == X_F32 && !matrix_is_float(w->dtype)));
    if (bytes == 0) return NULL;
    p->data = aligned_alloc(64, bytes + 4096 - bytes % 64), w->repacked = p;       /* the kernels fetch what lies behind */
    memset(p->data, 0x55, bytes);
    for (; done < n_row && (n = backend_cpu_pack(&c->be, w, n_row - done, &from, &from_bytes)) > 0; done += n) {
        ck_assert_int_eq(from_bytes, tensor_span(w, n));
        if (w->part == NULL)
            ck_assert_ptr_eq(from, (const uint8_t *)w->data + (size_t)(done / p->rows * w->dim[w->dim[2] > 1] + done % p->rows) * w->row_bytes);
    }
    ck_assert_int_ge(done, n_row < p->rows * p->n_matrix ? n_row : p->rows * p->n_matrix);
    return p->data;
}
#endif
