/* quantize_act.h - rows of activations in the forms that the matrix products multiply with.
 *
 * X_F32 is the row itself. The other two hold int8 codes with exact integer sums beside them, one record a row:
 *
 *   X_Q32   d = amax/127 for each 32 values, q = round-to-even(x * (1/d)); s = d * (sum of the 32 q), rounded once
 *   X_Q256  d for each 256 values; sums of each 16 q
 *
 * 1/d is rounded before it multiplies. A block whose amax is below 2^-118 becomes zeros with d = 0 (1/d stays
 * finite); one that holds a NaN or an infinity gets q = 0, d = s = NaN, so that its products are NaN.
 * |q| <= 127 always, hence |sum of 16| <= 2032 and |sum of 32| <= 4064: int16 is enough.
 * Bound by: one read of x (4 bytes a value) and about 1.5 bytes written. */
#ifndef LLM_CPU_QUANTIZE_ACT_H
#define LLM_CPU_QUANTIZE_ACT_H
#include <stddef.h>
#include <stdint.h>

typedef enum { X_F32, X_Q32, X_Q256 } x_form;

/* Where the parts of a record lie, in bytes from its start: codes at 0. n is a multiple of 32 (X_Q256: of 256).
 * zero16 and zero32 are -128 * sums as int32, the start value of sums over weights stored with 128 added. */
typedef struct {
    size_t d;           /* float [n/32] | [n/256] */
    size_t s;           /* X_Q32: float [n/32] */
    size_t sum16;       /* X_Q256: int16 [n/16], each four in the order 0 2 1 3: see sum_place */
    size_t sum32;       /* X_Q256: int16 [n/32], in the same order */
    size_t zero16;      /* X_Q256: int32 [n/16] */
    size_t zero32;      /* int32 [n/32] */
    size_t bytes;       /* of the record, a multiple of 64 that is no multiple of 1024 (rows a power of two apart share cache sets) */
} x_layout;

static inline x_layout x_layout_of(x_form form, int64_t n)
{
    size_t k = (size_t)n, at = (k + 63) & ~(size_t)63;
    x_layout l = { 0 };

    if (form == X_F32) { l.bytes = k * sizeof(float); return l; }
    l.d = at, at += form == X_Q32 ? k / 8 : k / 64;
    if (form == X_Q32) l.s = at, at += k / 8;
    if (form == X_Q256) l.sum16 = at, at += k / 8;
    if (form == X_Q256) l.sum32 = at, at += k / 16;
    if (form == X_Q256) l.zero16 = at, at += k / 4;
    l.zero32 = at, at += k / 8;
    l.bytes = (at + 63) & ~(size_t)63;
    if (l.bytes % 1024 == 0) l.bytes += 64;
    return l;
}

/* Place of sum i: minima, four to a dword, are split into even and odd bytes, which meet these pairs of sums. */
static inline int64_t sum_place(int64_t i) { return (i & ~(int64_t)3) | (i & 1) << 1 | (i >> 1 & 1); }

/* Writes the record of x [n]; n is a multiple of the form's block, record is 64-byte aligned. */
void quantize_act_ref(x_form form, const float *x, int64_t n, uint8_t *record);
void quantize_act_avx2(x_form form, const float *x, int64_t n, uint8_t *record);
void quantize_act_avxvnni(x_form form, const float *x, int64_t n, uint8_t *record);
void quantize_act_avx512(x_form form, const float *x, int64_t n, uint8_t *record);
void quantize_act_neon(x_form form, const float *x, int64_t n, uint8_t *record);
void quantize_act_i8mm(x_form form, const float *x, int64_t n, uint8_t *record);
#endif
