/* relayout.c - checkpoints that lay weights out differently are brought into the one layout the forward pass knows, at load.
 * Layouts: openai/gpt-oss gpt_oss/torch/weights.py; AutoGPTQ qlinear_cuda_old.py; AutoAWQ utils/packing_utils.py. */
#include "weights.h"
#include "dequant.h"
#include "narrow.h"
#include "tensor_rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static llm_status matrix3(binder *b, llm_tensor *out, llm_dtype dtype, int64_t e, int64_t rows, int64_t cols, const char *what)
{
    size_t row, bytes;

    *out = (llm_tensor){ .dtype = dtype, .dim = { e, rows, cols } };
    if (!dtype_bytes(dtype, cols, &row) || !ck_mul(row, (size_t)rows, &bytes) || !ck_mul(bytes, (size_t)e, &bytes))
        return llm_fail(b->err, LLM_ERR_FORMAT, "%s: [%lld, %lld, %lld] of %s has no size", what, (long long)e, (long long)rows, (long long)cols, dtype_name(dtype));
    out->row_bytes = row;
    if ((out->data = weights_own(b, bytes, what)) == NULL) return LLM_ERR_MEMORY;
    return LLM_OK;
}

llm_status relayout_mxfp4(binder *b, llm_tensor *out, const store_tensor *blocks, const store_tensor *scales, int64_t first, int64_t step)
{
    int64_t e = blocks->dim[0], rows = blocks->dim[1], n = blocks->dim[2];
    const uint8_t *q = blocks->data, *s;
    uint8_t *to;
    llm_status st;

    if (scales == NULL || blocks->dtype != DT_U8 || scales->dtype != DT_U8 || blocks->n_dim != 4 || scales->n_dim != 3 || blocks->dim[3] != 16
        || scales->dim[0] != e || scales->dim[1] != rows || scales->dim[2] != n || rows % step != 0)
        return weights_fail(b, blocks, LLM_ERR_FORMAT, "wanted U8 blocks [experts, rows, n, 16] with U8 scales [experts, rows, n] beside them");
    if (b->m->scales_apart && rows / step % 16 == 0) {          /* the kernels take whole tiles of them as they are */
        store_tensor as = *scales;
        as.dtype = DT_F8_E8M0;
        if ((st = weights_check(b, &as)) != LLM_OK) return st;
        *out = (llm_tensor){ .data = q + (size_t)(first * n) * 16, .dtype = DT_F4_E2M1, .dim = { e, rows / step, 32 * n }, .row_bytes = (size_t)(step * n) * 16 };
        out->scale = (llm_scale){ (const uint8_t *)scales->data + first * n, NULL, DT_F8_E8M0, 1, 32, (size_t)(step * n) };
        return LLM_OK;
    }
    if ((st = matrix3(b, out, DT_MXFP4, e, rows / step, 32 * n, "MXFP4 experts")) != LLM_OK) return st;
    if (b->plan) return LLM_OK;
    s = scales->data, to = (uint8_t *)(uintptr_t)out->data;
    for (int64_t i = 0; i < e * rows; i++) {
        if (i % rows % step != first) continue;
        for (int64_t k = 0; k < n; k++, to += 17) {
            if (s[i * n + k] == 255) return weights_fail(b, scales, LLM_ERR_FORMAT, "scale %lld is 255, which is no number", (long long)(i * n + k));
            mxfp4_join(to, s[i * n + k], q + (i * n + k) * 16);
        }
    }
    return LLM_OK;
}

static size_t element(binder *b, const store_tensor *t)
{
    if (t->dtype == DT_F32) return 4;
    if (t->dtype == DT_F16 || t->dtype == DT_BF16) return 2;
    weights_fail(b, t, LLM_ERR_UNSUPPORTED, "has type %s, wanted F32, F16 or BF16", dtype_name(t->dtype));
    return 0;
}

llm_status relayout_transpose(binder *b, llm_tensor *out, const store_tensor *src, int64_t first, int64_t step)
{
    int64_t e = src->dim[0], n = src->dim[1], k = src->dim[2];
    size_t size = element(b, src);
    const char *from = src->data;
    char *to;
    llm_status st;

    if (size == 0) return LLM_ERR_UNSUPPORTED;
    if ((st = matrix3(b, out, src->dtype, e, k / step, n, "transposed experts")) != LLM_OK || b->plan) return st;
    to = (char *)(uintptr_t)out->data;
    for (int64_t i = 0; i < e; i++, from += (size_t)(n * k) * size)
        for (int64_t r = first; r < k; r += step)
            for (int64_t c = 0; c < n; c++, to += size) memcpy(to, from + (size_t)(c * k + r) * size, size);
    return LLM_OK;
}

llm_status relayout_every(binder *b, llm_tensor *out, const store_tensor *src, int64_t first, int64_t step)
{
    int64_t e = src->dim[0], n = src->dim[1];
    size_t size = element(b, src);
    const char *from = src->data;
    char *to;
    llm_status st;

    if (size == 0) return LLM_ERR_UNSUPPORTED;
    if ((st = matrix3(b, out, src->dtype, 1, e, n / step, "biases of experts")) != LLM_OK) return st;
    *out = (llm_tensor){ .data = out->data, .dtype = out->dtype, .row_bytes = out->row_bytes, .dim = { e, n / step, 1 } };
    if (b->plan) return LLM_OK;
    to = (char *)(uintptr_t)out->data;
    for (int64_t i = 0; i < e * n; i++)
        if (i % n % step == first) memcpy(to, from + (size_t)i * size, size), to += size;
    return LLM_OK;
}

/* ---- GPTQ and AWQ ----------------------------------------------------------- */

typedef struct { const store_tensor *q, *zero, *scale, *g_idx; int64_t rows, cols, group, n_group; bool awq, plus_one; } int4_source;

static uint32_t word(const store_tensor *t, int64_t i)
{
    uint32_t v;
    memcpy(&v, (const char *)t->data + (size_t)i * 4, 4);
    return v;
}

/* AWQ's slot of column 8c + j inside a word. */
static const int awq_slot[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };

/* The nibbles of x as bytes, the lowest first. */
static uint64_t nibbles(uint32_t x)
{
    uint64_t v = x;

    v = (v | v << 16) & 0x0000ffff0000ffff;
    v = (v | v << 8) & 0x00ff00ff00ff00ff;
    return (v | v << 4) & 0x0f0f0f0f0f0f0f0f;
}

enum { INT4_ROWS = 8 };         /* an AWQ word holds a column of so many rows, a GPTQ word eight columns of a row */

static void awq_codes(const int4_source *s, int64_t row, int64_t col, uint8_t to[INT4_ROWS][16])
{
    uint32_t w[32];

    for (int64_t c = 0; c < 32; c++) w[c] = word(s->q, (col + c) * (s->rows / 8) + row / 8);
    for (int i = 0; i < INT4_ROWS; i++)
        for (int j = 0; j < 16; j++) to[i][j] = (uint8_t)((w[j] >> 4 * awq_slot[i] & 15) | (w[j + 16] >> 4 * awq_slot[i] & 15) << 4);
}

static void gptq_codes(const int4_source *s, int64_t row, int64_t col, uint8_t to[INT4_ROWS][16])
{
    for (int64_t i = 0; i < INT4_ROWS; i++)
        for (int64_t h = 0; h < 2; h++) {
            int64_t at = (col / 8 + h) * s->rows + row + i;
            uint64_t v = nibbles(word(s->q, at)) | nibbles(word(s->q, at + 2 * s->rows)) << 4;
            memcpy(to[i] + 8 * h, &v, sizeof v);
        }
}

static unsigned gptq_code(const int4_source *s, int64_t row, int64_t col) { return word(s->q, col / 8 * s->rows + row) >> 4 * (col % 8) & 15; }

/* Columns that lie apart. */
static void act_order_codes(const int4_source *s, int64_t row, const int32_t *perm, uint8_t to[INT4_ROWS][16])
{
    for (int64_t i = 0; i < INT4_ROWS; i++)
        for (int j = 0; j < 16; j++) to[i][j] = (uint8_t)(gptq_code(s, row + i, perm[j]) | gptq_code(s, row + i, perm[j + 16]) << 4);
}

static unsigned zero_at(const int4_source *s, int64_t group, int64_t row)
{
    uint32_t w = word(s->zero, group * (s->rows / 8) + row / 8);
    return (unsigned)(w >> 4 * (s->awq ? awq_slot[row % 8] : (int)(row % 8)) & 15) + (s->plus_one ? 1u : 0u);
}

static uint16_t scale_at(const int4_source *s, int64_t group, int64_t row)
{
    uint16_t h;
    uint32_t u;

    if (s->scale->dtype == DT_F16) {
        memcpy(&h, (const char *)s->scale->data + (size_t)(group * s->rows + row) * 2, 2);
        return h;
    }
    memcpy(&u, (const char *)s->scale->data + (size_t)(group * s->rows + row) * 4, 4);
    return float_to_f16(bits_float(u));
}

static const store_tensor *companion(binder *b, const char *base, const char *suffix)
{
    char name[320];
    snprintf(name, sizeof name, "%s.%s", base, suffix);
    return store_find(b->m->store, name);
}

static bool shape2(const store_tensor *t, llm_dtype dtype, int64_t a, int64_t c)
{
    return t != NULL && t->dtype == dtype && t->n_dim == 2 && t->dim[0] == a && t->dim[1] == c;
}

static llm_status int4_check(binder *b, int4_source *s)
{
    int64_t r = s->rows, c = s->cols;

    s->group = b->group_size > 0 ? b->group_size : c;
    s->n_group = (c + s->group - 1) / s->group;
    if (r % 8 != 0 || c % 32 != 0 || s->group % 32 != 0)
        return weights_fail(b, s->q, LLM_ERR_UNSUPPORTED, "int4 of %lld x %lld in groups of %lld: wanted multiples of 8, 32 and 32",
                            (long long)r, (long long)c, (long long)s->group);
    if (!(s->awq ? shape2(s->q, DT_I32, c, r / 8) : shape2(s->q, DT_I32, c / 8, r)) || !shape2(s->zero, DT_I32, s->n_group, r / 8)
        || !(shape2(s->scale, DT_F16, s->n_group, r) || shape2(s->scale, DT_F32, s->n_group, r)))
        return weights_fail(b, s->q, LLM_ERR_FORMAT, "qweight, qzeros and scales do not have the shapes of %s int4 for %lld x %lld in groups of %lld",
                            s->awq ? "AWQ" : "GPTQ", (long long)r, (long long)c, (long long)s->group);
    if (weights_check(b, s->scale)) return LLM_ERR_FORMAT;
    for (int64_t i = 0; !b->plan && s->scale->dtype == DT_F32 && i < s->n_group * r; i++) {
        float f = bits_float(word(s->scale, i));
        if (f16_to_float(float_to_f16(f)) != f)
            return weights_fail(b, s->scale, LLM_ERR_UNSUPPORTED, "scale %lld is %.9g, which is no F16 value", (long long)i, (double)f);
    }
    return LLM_OK;
}

/* Act-order: columns sorted by group, stably; *perm stays NULL where they are in order. */
static llm_status act_order(binder *b, const int4_source *s, const int32_t **perm)
{
    int32_t *p;
    int64_t *next;
    bool sorted = true;

    if (s->g_idx == NULL) return LLM_OK;
    if (s->g_idx->dtype != DT_I32 || s->g_idx->bytes != (size_t)s->cols * 4)
        return weights_fail(b, s->g_idx, LLM_ERR_FORMAT, "wanted I32 [%lld]", (long long)s->cols);
    for (int64_t k = 0; k < s->cols; k++) sorted &= word(s->g_idx, k) == (uint32_t)(k / s->group);
    if (sorted) return LLM_OK;
    if ((p = weights_own(b, (size_t)s->cols * sizeof *p, "the order of columns")) == NULL) return LLM_ERR_MEMORY;
    if ((next = calloc((size_t)s->n_group, sizeof *next)) == NULL) return llm_fail_memory(b->err, (size_t)s->n_group * sizeof *next, "the order of columns");
    for (int64_t k = 0; k < s->cols; k++) {
        uint32_t g = word(s->g_idx, k);
        if (g >= (uint32_t)s->n_group || next[g] == s->group || (int64_t)g * s->group + next[g] >= s->cols) {
            free(next);
            return weights_fail(b, s->g_idx, LLM_ERR_UNSUPPORTED, "column %lld is in group %u, which is out of range or has more than %lld columns",
                                (long long)k, g, (long long)s->group);
        }
        p[(int64_t)g * s->group + next[g]++] = (int32_t)k;
    }
    free(next);
    *perm = p;
    return LLM_OK;
}

llm_status relayout_int4(binder *b, const char *base, int64_t rows, int64_t cols, void **data, const int32_t **perm, const char *slot)
{
    int4_source s = { .rows = rows, .cols = cols, .awq = strcmp(b->quant, "awq") == 0 };
    uint8_t *to, code[INT4_ROWS][16];
    size_t bytes, row_bytes = (size_t)(cols / 32) * 20;
    llm_status st;

    s.q = companion(b, base, "qweight"), s.zero = companion(b, base, "qzeros"), s.scale = companion(b, base, "scales");
    s.g_idx = s.awq ? NULL : companion(b, base, "g_idx"), s.plus_one = !s.awq && b->zero_plus_one;
    if (s.zero == NULL || s.scale == NULL) return weights_fail(b, s.q, LLM_ERR_FORMAT, "qzeros or scales are missing beside it");
    if ((st = int4_check(b, &s)) != LLM_OK || (st = act_order(b, &s, perm)) != LLM_OK) return st;
    if (!ck_mul((size_t)rows, row_bytes, &bytes)) return weights_fail(b, s.q, LLM_ERR_FORMAT, "has no size");
    if ((*data = to = weights_own(b, bytes, "int4 weights")) == NULL) return LLM_ERR_MEMORY;
    for (int64_t r = 0; !b->plan && r < rows; r += INT4_ROWS) {
        for (int64_t k = 0; k < cols; k += 32) {
            if (*perm) act_order_codes(&s, r, *perm + k, code);
            else if (s.awq) awq_codes(&s, r, k, code);
            else gptq_codes(&s, r, k, code);
            for (int64_t i = 0; i < INT4_ROWS; i++) {
                uint8_t *block = to + (size_t)(r + i) * row_bytes + (size_t)(k / 32) * 20;
                uint16_t d = scale_at(&s, k / s.group, r + i);
                memcpy(block, &d, sizeof d);
                block[2] = (uint8_t)zero_at(&s, k / s.group, r + i);
                memcpy(block + 4, code[i], 16);
            }
        }
    }
    weights_mark(b, s.q, slot), weights_mark(b, s.zero, slot), weights_mark(b, s.scale, slot);
    if (s.g_idx) weights_mark(b, s.g_idx, slot);
    weights_release(b, s.q);
    return LLM_OK;
}

/* ---- DeepSeek's kv_b --------------------------------------------------------- */

/* from [rows, cols] of elements of size bytes -> to [cols, rows] */
static void transpose(char *to, const char *from, size_t row_bytes, int64_t rows, int64_t cols, size_t size)
{
    for (int64_t k = 0; k < cols; k++)
        for (int64_t n = 0; n < rows; n++, to += size) memcpy(to, from + (size_t)n * row_bytes + (size_t)k * size, size);
}

static size_t scale_size(const llm_scale *s) { return s->dtype == DT_BF16 ? 2 : 4; }

/* Scales of an FP8 kv_b whose tiles end where the parts of a head end: transposed for wk_b, views for wv_b. */
static llm_status kv_b_scales(binder *b, llm_tensor *wk_b, llm_tensor *wv_b, const llm_tensor *src, int n_head, int d_nope, int d_v)
{
    const llm_scale *s = &src->scale;
    int64_t n_col = (src->dim[1] + s->tile_cols - 1) / s->tile_cols, n_row = d_nope / s->tile_rows;
    size_t size = scale_size(s), head = (size_t)((d_nope + d_v) / s->tile_rows * n_col) * size;
    const void **part = weights_own(b, (size_t)n_head * sizeof *part, "the scales of attn_v_b");
    char *to = weights_own(b, (size_t)n_head * (size_t)(n_row * n_col) * size, "the scales of attn_k_b");

    if (part == NULL || to == NULL) return LLM_ERR_MEMORY;
    wk_b->scale = (llm_scale){ .data = to, .dtype = s->dtype, .tile_rows = s->tile_cols, .tile_cols = s->tile_rows };
    wv_b->scale = (llm_scale){ .part = part, .dtype = s->dtype, .tile_rows = s->tile_rows, .tile_cols = s->tile_cols };
    for (int h = 0; h < n_head; h++, to += (size_t)(n_row * n_col) * size) {
        const char *from = (const char *)s->data + (size_t)h * head;
        transpose(to, from, (size_t)n_col * size, n_row, n_col, size);
        part[h] = from + (size_t)(n_row * n_col) * size;
    }
    return LLM_OK;
}

/* wk_b as F32, for blocks along the rows, which cannot be transposed, and FP8 tiles that cross the parts of a head. whole: wv_b too. */
static llm_status kv_b_f32(binder *b, llm_tensor *wk_b, llm_tensor *wv_b, const llm_tensor *src, int n_head, int d_nope, int d_v, bool whole)
{
    int64_t c = src->dim[1];
    float *rows, *v = NULL;
    char *to;
    llm_status st;

    if ((st = matrix3(b, wk_b, DT_F32, n_head, c, d_nope, "attn_k_b")) != LLM_OK) return st;
    if (whole && (st = matrix3(b, wv_b, DT_F32, n_head, d_v, c, "attn_v_b")) != LLM_OK) return st;
    if (b->plan) return LLM_OK;
    if (whole) v = (float *)(uintptr_t)wv_b->data;
    if ((rows = calloc((size_t)d_nope * (size_t)c, sizeof *rows)) == NULL) return llm_fail_memory(b->err, (size_t)d_nope * (size_t)c * sizeof *rows, "attn_k_b");
    to = (char *)(uintptr_t)wk_b->data;
    for (int h = 0; h < n_head; h++, to += (size_t)d_nope * (size_t)c * sizeof *rows) {
        int64_t first = (int64_t)h * (d_nope + d_v);
        tensor_rows(src, 0, first, d_nope, rows);
        transpose(to, (const char *)rows, (size_t)c * sizeof *rows, d_nope, c, sizeof *rows);
        if (v) tensor_rows(src, 0, first + d_nope, d_v, v + (int64_t)h * d_v * c);
    }
    free(rows);
    return LLM_OK;
}

llm_status relayout_kv_b(binder *b, llm_tensor *wk_b, llm_tensor *wv_b, const llm_tensor *src, int n_head, int d_nope, int d_v)
{
    const void **part = weights_own(b, (size_t)n_head * sizeof *part, "the heads of attn_kv_b");
    int64_t tile = src->scale.data ? src->scale.tile_rows : 1, c = src->dim[1];
    bool f8 = src->dtype == DT_F8_E4M3 || src->dtype == DT_F8_E5M2, apart = d_nope % tile == 0 && d_v % tile == 0;
    size_t size = src->dtype == DT_F32 ? 4 : f8 ? 1 : 2;
    llm_status st;

    if (part == NULL) return LLM_ERR_MEMORY;
    if (f8 && !apart) return kv_b_f32(b, wk_b, wv_b, src, n_head, d_nope, d_v, true);
    *wv_b = (llm_tensor){ .part = part, .dtype = src->dtype, .dim = { n_head, d_v, c }, .row_bytes = src->row_bytes };
    for (int h = 0; h < n_head; h++) part[h] = (const char *)src->data + ((size_t)h * (size_t)(d_nope + d_v) + (size_t)d_nope) * src->row_bytes;
    if (!f8 && src->dtype != DT_F32 && src->dtype != DT_F16 && src->dtype != DT_BF16) return kv_b_f32(b, wk_b, wv_b, src, n_head, d_nope, d_v, false);
    if ((st = matrix3(b, wk_b, src->dtype, n_head, c, d_nope, "attn_k_b")) != LLM_OK) return st;
    for (int h = 0; !b->plan && h < n_head; h++)
        transpose((char *)(uintptr_t)wk_b->data + (size_t)h * (size_t)c * (size_t)d_nope * size,
                  (const char *)src->data + (size_t)h * (size_t)(d_nope + d_v) * src->row_bytes, src->row_bytes, d_nope, c, size);
    return src->scale.data ? kv_b_scales(b, wk_b, wv_b, src, n_head, d_nope, d_v) : LLM_OK;
}
