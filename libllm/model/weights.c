/* weights.c - finds every weight the config asks for in the file, under the name its format gives it, and checks its shape. */
#include "weights.h"
#include "dequant.h"
#include "half.h"
#include "memory.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const llm_weight_row llm_weight_table[W_COUNT] = {
#define X(slot, g, h, a, b, c) { W_##slot, g, h, { a, b, c } },
    LLM_LAYER_WEIGHTS(X)
#undef X
};

static const char *const slot_name[W_COUNT] = {
#define X(slot, g, h, a, b, c) #slot,
    LLM_LAYER_WEIGHTS(X)
#undef X
};
static const size_t slot_at[W_COUNT] = {
#define X(slot, g, h, a, b, c) offsetof(llm_layer, slot),
    LLM_LAYER_WEIGHTS(X)
#undef X
};

enum { NAME_MAX_BYTES = 256, MAPPED_FROM = 1 << 16, CHECKED_BYTES = 1 << 20 };

/* ---- memory and book-keeping -------------------------------------------------- */

void *weights_own(binder *b, size_t bytes, const char *what)
{
    llm_owned *o = calloc(1, sizeof *o);

    if (o == NULL) { b->status = llm_fail_memory(b->err, sizeof *o, what); return NULL; }
    o->bytes = bytes ? bytes : 1, o->mapped = bytes >= MAPPED_FROM;
    o->data = o->mapped ? memory_map(o->bytes) : calloc(1, o->bytes);
    if (o->data == NULL) { free(o); b->status = llm_fail_memory(b->err, bytes, what); return NULL; }
    o->next = b->m->owned, b->m->owned = o, b->m->owned_bytes += o->bytes;
    if (!o->mapped) b->m->table_bytes += o->bytes;
    return o->data;
}

void weights_mark(binder *b, const store_tensor *t, const char *slot)
{
    size_t i = (size_t)(t - store_tensor_at(b->m->store, 0));

    if (b->m->slot[i] != NULL) return;                  /* the first use names it */
    b->m->weight_bytes += t->bytes;
    b->m->slot[i] = slot;
}

void weights_release(binder *b, const store_tensor *t)
{
    if (!b->plan) store_release(b->m->store, t->data, t->bytes);
    b->m->released_bytes += t->bytes;
}

llm_status weights_fail(binder *b, const store_tensor *t, llm_status st, const char *fmt, ...)
{
    char text[384];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return llm_fail(b->err, st, "%s: tensor '%.120s': %s", store_file_name(b->m->store, t->file), t->name, text);
}

/* "layer 3 wq", owned by the model; il < 0: just the name. NULL without memory. */
static const char *slot_text(binder *b, int il, const char *name)
{
    char *text;

    if (il < 0) return name;
    text = weights_own(b, strlen(name) + 24, "the names of weights");
    if (text) snprintf(text, strlen(name) + 24, "layer %d %s", il, name);
    return text;
}

/* ---- one tensor as it lies in the file ------------------------------------------- */

/* dim without ones, at most 4; the number of them. */
static int squeeze(const int64_t *dim, int n, int64_t *out)
{
    int k = 0;
    for (int i = 0; i < n; i++)
        if (dim[i] != 1) out[k++] = dim[i];
    return k;
}

static void shape_text(const int64_t *dim, int n, char *out, size_t cap)
{
    size_t at = 0;

    out[0] = '\0';
    for (int i = 0; i < n && at < cap; i++) at += (size_t)snprintf(out + at, cap - at, "%s%lld", i ? ", " : "", (long long)dim[i]);
}

static llm_status check_shape(binder *b, const store_tensor *t, const int64_t want[3])
{
    int64_t got[4], need[4];
    int n = squeeze(t->dim, t->n_dim, got), k = squeeze(want, 3, need);
    char is[96], wanted[96];

    if (n == k && memcmp(got, need, (size_t)n * sizeof *got) == 0) return LLM_OK;
    shape_text(t->dim, t->n_dim, is, sizeof is);
    shape_text(need, k, wanted, sizeof wanted);
    return weights_fail(b, t, LLM_ERR_FORMAT, "shape is [%s], wanted [%s]", is, wanted);
}

/* The same with every dimension in its place: what a load transform indexes by. */
static llm_status check_exact(binder *b, const store_tensor *t, const int64_t *want, int n)
{
    char is[96], wanted[96];

    if (t->n_dim == n && memcmp(t->dim, want, (size_t)n * sizeof *want) == 0) return LLM_OK;
    shape_text(t->dim, t->n_dim, is, sizeof is);
    shape_text(want, n, wanted, sizeof wanted);
    return weights_fail(b, t, LLM_ERR_FORMAT, "shape is [%s], wanted [%s]", is, wanted);
}

static bool is_float(llm_dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16; }
static bool is_f8(llm_dtype t) { return t == DT_F8_E4M3 || t == DT_F8_E5M2; }

/* Vectors are read as they are, so they are floats; a matrix may be of any type that can be dequantized. */
static bool usable(llm_dtype t, bool vector)
{
    if (vector) return is_float(t);
    switch (t) {
    case DT_I8: case DT_I16: case DT_I32: case DT_I64: case DT_U8: case DT_U16: case DT_U32: case DT_U64: case DT_BOOL: return false;
    default: return true;
    }
}

/* Numbers in safetensors need not be aligned; the few that are not get a copy. */
static const void *aligned(binder *b, const store_tensor *t)
{
    size_t need = t->dtype == DT_F32 ? 4 : t->dtype == DT_F64 ? 8 : t->dtype == DT_F16 || t->dtype == DT_BF16 ? 2 : 1;
    void *copy;

    if ((uintptr_t)t->data % need == 0) return t->data;
    if ((copy = weights_own(b, t->bytes, "an aligned copy")) == NULL) return NULL;
    if (!b->plan) memcpy(copy, t->data, t->bytes);
    weights_release(b, t);
    return copy;
}

llm_status weights_check(binder *b, const store_tensor *t)
{
    const llm_dtype_info *info = dtype_info(t->dtype);
    int64_t bad;

    if (b->plan || t->bytes > CHECKED_BYTES || t->data == NULL) return LLM_OK;
    if (dtype_check(t->dtype, t->data, (int64_t)(t->bytes / (size_t)info->block_bytes) * info->block, &bad)) return LLM_OK;
    return weights_fail(b, t, LLM_ERR_FORMAT, "%s %lld is not finite", info->block > 1 ? "the scale of block" : "value", (long long)bad);
}

/* Scale of an FP8 matrix, from NAME_scale_inv (blocks) or NAME_scale (the whole tensor, or a value for each row). Without one
 * the codes are the values, unless config.json says that the model is quantized. */
static llm_status bind_scale(binder *b, const store_tensor *t, int64_t rows, int64_t cols, llm_scale *out, const char *slot)
{
    static const char *const suffix[] = { "_scale_inv", "_scale" };
    int64_t block[2] = { 128, 128 };
    int from_config[2];
    size_t n = 0;
    const store_tensor *s = NULL;
    char name[NAME_MAX_BYTES + 16];
    llm_status st;

    for (int i = 0; i < 2 && s == NULL; i++) snprintf(name, sizeof name, "%s%s", t->name, suffix[i]), s = store_find(b->m->store, name);
    if (s == NULL && meta_has(b->m->meta, NULL, "quantization_config"))
        return weights_fail(b, t, LLM_ERR_FORMAT, "has type %s, but there is no scale '%s_scale_inv' or '%s_scale'", dtype_name(t->dtype), t->name, t->name);
    if (s == NULL) return LLM_OK;
    if (meta_ints(b->m->meta, NULL, "quantization_config.weight_block_size", from_config, 2, &n) && n == 2 && from_config[0] > 0 && from_config[1] > 0)
        block[0] = from_config[0], block[1] = from_config[1];
    if (s->dtype != DT_F32 && s->dtype != DT_BF16) return weights_fail(b, s, LLM_ERR_UNSUPPORTED, "has type %s, wanted F32 or BF16", dtype_name(s->dtype));
    *out = (llm_scale){ .data = aligned(b, s), .dtype = s->dtype };
    if (out->data == NULL) return LLM_ERR_MEMORY;
    if (s->n_dim == 2 && s->dim[0] == (rows + block[0] - 1) / block[0] && s->dim[1] == (cols + block[1] - 1) / block[1])
        out->tile_rows = block[0], out->tile_cols = block[1];
    else if (s->n_dim >= 1 && s->dim[0] == rows && s->bytes == (size_t)rows * (s->dtype == DT_F32 ? 4 : 2)) out->tile_rows = 1, out->tile_cols = cols;
    else if (s->bytes == (s->dtype == DT_F32 ? 4u : 2u)) out->tile_rows = rows, out->tile_cols = cols;
    else return weights_fail(b, s, LLM_ERR_FORMAT, "is the scale of [%lld, %lld] in blocks of %lld x %lld, but has another shape",
                             (long long)rows, (long long)cols, (long long)block[0], (long long)block[1]);
    if ((st = weights_check(b, s)) == LLM_OK) weights_mark(b, s, slot);
    return st;
}

static llm_status bind_tensor(binder *b, const store_tensor *t, const int64_t dim[3], llm_tensor *out, const char *slot)
{
    bool vector = dim[1] <= 1 && dim[2] <= 1;
    int64_t cols = dim[2] > 1 ? dim[2] : vector ? dim[0] : dim[1];
    llm_status st;

    if (slot == NULL) return LLM_ERR_MEMORY;
    if (!usable(t->dtype, vector))
        return weights_fail(b, t, LLM_ERR_UNSUPPORTED, "type %s cannot be a %s", dtype_name(t->dtype), vector ? "vector; F32, F16 and BF16 can" : "weight");
    if ((st = check_shape(b, t, dim)) != LLM_OK || (st = weights_check(b, t)) != LLM_OK) return st;
    if (dim[2] > 1 && is_f8(t->dtype)) return weights_fail(b, t, LLM_ERR_UNSUPPORTED, "FP8 experts in one tensor are not supported, one tensor for each expert is");
    *out = (llm_tensor){ .data = t->data, .dtype = t->dtype, .dim = { dim[0], dim[1], dim[2] } };
    if (!dtype_bytes(t->dtype, cols, &out->row_bytes))
        return weights_fail(b, t, LLM_ERR_FORMAT, "rows of %lld values are no whole blocks of %s", (long long)cols, dtype_name(t->dtype));
    if (t->data != NULL && (out->data = aligned(b, t)) == NULL) return LLM_ERR_MEMORY;
    if (is_f8(t->dtype) && (st = bind_scale(b, t, dim[0], dim[1], &out->scale, slot)) != LLM_OK) return st;
    weights_mark(b, t, slot);
    return LLM_OK;
}

/* ---- names ------------------------------------------------------------------- */

static const char *spelled(const binder *b, int slot)
{
    const char *name = b->hf ? llm_weight_table[slot].hf : llm_weight_table[slot].gguf;

    for (const llm_alias *a = b->m->arch->alias; a && a->slot != W_COUNT; a++)
        if ((int)a->slot == slot && (b->hf ? a->hf : a->gguf)) return b->hf ? a->hf : a->gguf;
    return name;
}

static void full_name(const binder *b, int il, const char *name, char *out)
{
    if (b->hf) snprintf(out, NAME_MAX_BYTES, "%s%d.%s", b->layers, il, name);
    else snprintf(out, NAME_MAX_BYTES, "blk.%d.%s", il, name);
}

static const store_tensor *find(const binder *b, int il, const char *name)
{
    char full[NAME_MAX_BYTES];

    full_name(b, il, name, full);
    return store_find(b->m->store, full);
}

/* The whole of layer il's weight `name`, whatever it is stored as. False: not there. *st says whether it could be bound. */
static bool bind_named(binder *b, int il, const char *name, const int64_t dim[3], llm_tensor *out, const char *slot, llm_status *st)
{
    char full[NAME_MAX_BYTES + 8], base[NAME_MAX_BYTES];
    const store_tensor *t;
    size_t n;
    void *data;

    full_name(b, il, name, base);
    if ((t = store_find(b->m->store, base)) != NULL) { *st = bind_tensor(b, t, dim, out, slot); return true; }
    n = strlen(base);
    if (!b->hf || *b->quant == '\0' || n < 7 || strcmp(base + n - 7, ".weight") != 0) return false;
    base[n - 7] = '\0';
    snprintf(full, sizeof full, "%s.qweight", base);
    if (store_find(b->m->store, full) == NULL) return false;
    *out = (llm_tensor){ .dtype = DT_Q4_G, .dim = { dim[0], dim[1], dim[2] }, .row_bytes = (size_t)(dim[1] / 32) * 20 };
    *st = slot ? relayout_int4(b, base, dim[0], dim[1], &data, &out->perm, slot) : LLM_ERR_MEMORY;
    if (*st == LLM_OK) out->data = data;
    return true;
}

/* ---- weights that share a tensor, or have one for each expert ---------------------- */

/* Rows first.. first+n-1 of a tensor of all rows. */
static llm_status rows_of(const llm_tensor *all, int64_t first, const int64_t dim[3], llm_tensor *out)
{
    size_t row = dim[1] > 1 ? all->row_bytes : all->row_bytes / (size_t)all->dim[0];     /* a vector's rows are its values */

    *out = (llm_tensor){ .data = (const char *)all->data + (size_t)first * row, .dtype = all->dtype, .dim = { dim[0], dim[1], dim[2] } };
    out->row_bytes = dim[1] > 1 ? row : row * (size_t)dim[0];
    return LLM_OK;
}

static bool bind_fused_qkv(binder *b, int il, int slot, const int64_t dim[3], llm_tensor *out, llm_status *st)
{
    static const struct { int slot; const char *gguf, *hf, *name; } fused[] = {
        { W_wq, "attn_qkv.weight", "attn.c_attn.weight", "wq wk wv" }, { W_wk, "attn_qkv.weight", "attn.c_attn.weight", "wq wk wv" },
        { W_wv, "attn_qkv.weight", "attn.c_attn.weight", "wq wk wv" }, { W_bq, "attn_qkv.bias", "attn.c_attn.bias", "bq bk bv" },
        { W_bk, "attn_qkv.bias", "attn.c_attn.bias", "bq bk bv" }, { W_bv, "attn_qkv.bias", "attn.c_attn.bias", "bq bk bv" },
    };
    const llm_config *c = &b->m->config;
    int64_t q = config_dim(c, il, D_Q), kv = config_dim(c, il, D_KV), whole[3] = { q + 2 * kv, dim[1], 1 };

    for (size_t i = 0; i < sizeof fused / sizeof fused[0]; i++) {
        llm_tensor all;
        const store_tensor *t;
        if (fused[i].slot != slot || (t = find(b, il, b->hf ? fused[i].hf : fused[i].gguf)) == NULL) continue;
        *st = bind_tensor(b, t, whole, &all, slot_text(b, il, fused[i].name));
        if (*st == LLM_OK && all.scale.data) *st = weights_fail(b, t, LLM_ERR_UNSUPPORTED, "FP8 with q, k and v in one tensor is not supported");
        if (*st == LLM_OK) *st = rows_of(&all, i % 3 == 0 ? 0 : i % 3 == 1 ? q : q + kv, dim, out);
        return true;
    }
    return false;
}

/* One tensor per expert: mlp.experts.E.gate_proj.weight. */
static bool bind_each_expert(binder *b, int il, const char *proj, const int64_t dim[3], llm_tensor *out, const char *slot, llm_status *st)
{
    int64_t one[3] = { dim[1], dim[2], 1 };
    const void **part, **scale;
    llm_tensor t = { 0 };
    char name[96];

    snprintf(name, sizeof name, "mlp.experts.0.%s.weight", proj);
    if (!bind_named(b, il, name, one, &t, slot, st)) return false;
    part = weights_own(b, 2 * (size_t)dim[0] * sizeof *part, "the experts of a layer");
    if (part == NULL) { *st = LLM_ERR_MEMORY; return true; }
    scale = part + dim[0];
    *out = t;
    for (int64_t e = 0; e < dim[0] && *st == LLM_OK; e++) {
        snprintf(name, sizeof name, "mlp.experts.%lld.%s.weight", (long long)e, proj);
        if (e > 0 && !bind_named(b, il, name, one, &t, slot, st)) {
            *st = llm_fail(b->err, LLM_ERR_FORMAT, "%s: layer %d lacks '%s', the model has %lld experts",
                           store_path(b->m->store), il, name, (long long)dim[0]);
        } else if (*st == LLM_OK && (t.dtype != out->dtype || t.scale.dtype != out->scale.dtype || (t.scale.data == NULL) != (out->scale.data == NULL)
                                     || t.scale.tile_rows != out->scale.tile_rows || t.perm != NULL)) {
            *st = llm_fail(b->err, LLM_ERR_UNSUPPORTED, "%s: layer %d '%s' is stored in another way than expert 0 (or in act-order)",
                           store_path(b->m->store), il, name);
        }
        part[e] = t.data, scale[e] = t.scale.data;
    }
    out->data = NULL, out->part = part, out->dim[0] = dim[0], out->dim[1] = dim[1], out->dim[2] = dim[2];
    if (out->scale.data) out->scale.data = NULL, out->scale.part = scale;
    return true;
}

/* Gate or up out of one tensor of both, [E, 2F, d] with the gate rows first: views. */
static llm_status halves(binder *b, const store_tensor *t, bool up, const int64_t dim[3], llm_tensor *out, const char *slot)
{
    int64_t both[3] = { dim[0], 2 * dim[1], dim[2] };
    const void **part;
    llm_tensor all;
    llm_status st = bind_tensor(b, t, both, &all, slot);

    if (st != LLM_OK) return st;
    if ((part = weights_own(b, (size_t)dim[0] * sizeof *part, "the experts of a layer")) == NULL) return LLM_ERR_MEMORY;
    for (int64_t e = 0; e < dim[0]; e++)
        part[e] = (const char *)all.data + (size_t)(2 * e + (up ? 1 : 0)) * (size_t)dim[1] * all.row_bytes;
    *out = (llm_tensor){ .part = part, .dtype = all.dtype, .dim = { dim[0], dim[1], dim[2] }, .row_bytes = all.row_bytes };
    return LLM_OK;
}

/* gpt-oss keeps input before output, and gate and up rows in turn; others [E, 2F, d] or, transposed, [E, d, 2F]. */
static llm_status bind_fused_expert(binder *b, const store_tensor *t, int slot, const int64_t dim[3], llm_tensor *out, const char *name)
{
    bool inter = b->m->config.expert_interleaved, down = slot == W_down_x;
    int64_t both[3] = { dim[0], dim[2], down ? dim[1] : 2 * dim[1] };
    llm_status st;

    if (!inter && !(t->n_dim == 3 && t->dim[1] == both[1] && t->dim[2] == both[2]))
        return down ? bind_tensor(b, t, dim, out, name) : halves(b, t, slot == W_up_x, dim, out, name);
    if (name == NULL) return LLM_ERR_MEMORY;
    if ((st = check_exact(b, t, both, 3)) != LLM_OK || (st = weights_check(b, t)) != LLM_OK) return st;
    weights_mark(b, t, name);
    if (down || inter) {
        st = relayout_transpose(b, out, t, slot == W_up_x ? 1 : 0, down ? 1 : 2);
        if (slot != W_gate_x) weights_release(b, t);
        return st;
    }
    return weights_fail(b, t, LLM_ERR_UNSUPPORTED, "experts with the input before the output are supported for gpt-oss only");
}

static bool bind_experts(binder *b, int il, int slot, const int64_t dim[3], llm_tensor *out, llm_status *st)
{
    static const char *const proj[] = { "gate_proj", "up_proj", "down_proj" };
    bool down = slot == W_down_x;
    const char *text = slot_text(b, il, down ? "down_x" : "gate_x up_x");
    const store_tensor *t, *s;

    if (!b->hf) {
        if (down || (t = find(b, il, "ffn_gate_up_exps.weight")) == NULL) return false;
        *st = halves(b, t, slot == W_up_x, dim, out, text);
        return true;
    }
    if ((t = find(b, il, down ? "mlp.experts.down_proj_blocks" : "mlp.experts.gate_up_proj_blocks")) != NULL) {
        s = find(b, il, down ? "mlp.experts.down_proj_scales" : "mlp.experts.gate_up_proj_scales");
        *st = text ? relayout_mxfp4(b, out, t, s, slot == W_up_x ? 1 : 0, down ? 1 : 2) : LLM_ERR_MEMORY;
        if (*st != LLM_OK) return true;
        weights_mark(b, t, text), weights_mark(b, s, text);
        if (slot != W_gate_x && out->dtype == DT_MXFP4) weights_release(b, t);
        if (memcmp(out->dim, dim, sizeof out->dim) != 0)
            *st = weights_fail(b, t, LLM_ERR_FORMAT, "holds [%lld, %lld, %lld], wanted [%lld, %lld, %lld]", (long long)out->dim[0], (long long)out->dim[1],
                               (long long)out->dim[2], (long long)dim[0], (long long)dim[1], (long long)dim[2]);
        return true;
    }
    if ((t = find(b, il, down ? "mlp.experts.down_proj" : "mlp.experts.gate_up_proj")) != NULL) {
        *st = bind_fused_expert(b, t, slot, dim, out, text);
        return true;
    }
    return bind_each_expert(b, il, proj[slot - W_gate_x], dim, out, slot_text(b, il, slot_name[slot]), st);
}

static bool bind_expert_bias(binder *b, int il, int slot, const int64_t dim[3], llm_tensor *out, llm_status *st)
{
    bool down = slot == W_bdown_x;
    int64_t both[3] = { dim[0], 2 * dim[1], 1 };
    const char *text = slot_text(b, il, down ? "bdown_x" : "bgate_x bup_x");
    const store_tensor *t = find(b, il, down ? "mlp.experts.down_proj_bias" : "mlp.experts.gate_up_proj_bias");

    if (!b->hf || t == NULL) return false;
    if (down) { *st = bind_tensor(b, t, dim, out, text); return true; }
    if (text == NULL) { *st = LLM_ERR_MEMORY; return true; }
    if ((*st = check_exact(b, t, both, 2)) != LLM_OK || (*st = weights_check(b, t)) != LLM_OK) return true;
    weights_mark(b, t, text);
    *st = relayout_every(b, out, t, slot == W_bup_x ? 1 : 0, 2);
    return true;
}

/* wk_b and wv_b from kv_b_proj, or the attn_kv_b of older GGUF files; both at once, asked for the first. */
static bool bind_kv_b(binder *b, int il, int slot, llm_status *st)
{
    const llm_config *c = &b->m->config;
    llm_layer *w = &b->m->layer[il];
    int64_t dim[3] = { (int64_t)c->n_head * (c->d_nope + c->d_v), c->kv_lora, 1 };
    llm_tensor src;

    if (slot == W_wv_b && tensor_bound(&w->wv_b)) { *st = LLM_OK; return true; }
    if (!bind_named(b, il, b->hf ? "self_attn.kv_b_proj.weight" : "attn_kv_b.weight", dim, &src, slot_text(b, il, "wk_b wv_b"), st)) return false;
    if (*st == LLM_OK && src.perm) *st = llm_fail(b->err, LLM_ERR_UNSUPPORTED, "%s: layer %d: kv_b_proj in act-order is not supported", store_path(b->m->store), il);
    if (*st == LLM_OK) *st = relayout_kv_b(b, &w->wk_b, &w->wv_b, &src, c->n_head, c->d_nope, c->d_v);
    return true;
}

/* ---- the model ----------------------------------------------------------------- */

static bool bind_other_layouts(binder *b, int il, int slot, const int64_t dim[3], llm_tensor *out, llm_status *st)
{
    switch (slot) {
    case W_wq: case W_wk: case W_wv: case W_bq: case W_bk: case W_bv: return bind_fused_qkv(b, il, slot, dim, out, st);
    case W_gate_x: case W_up_x: case W_down_x:                        return bind_experts(b, il, slot, dim, out, st);
    case W_bgate_x: case W_bup_x: case W_bdown_x:                     return bind_expert_bias(b, il, slot, dim, out, st);
    case W_wk_b: case W_wv_b:                                         return bind_kv_b(b, il, slot, st);
    default:                                                          return false;
    }
}

static void count_params(binder *b, const llm_tensor *t) { b->m->n_param += (uint64_t)(t->dim[0] * t->dim[1] * t->dim[2]); }

static llm_status bind_slot(binder *b, int il, int slot, bool needed)
{
    const llm_config *c = &b->m->config;
    llm_tensor *out = weights_slot(&b->m->layer[il], (llm_slot)slot);
    const char *name = spelled(b, slot);
    int64_t dim[3];
    llm_status st = LLM_OK;
    char full[NAME_MAX_BYTES];
    bool found;

    for (int i = 0; i < 3; i++) dim[i] = config_dim(c, il, llm_weight_table[slot].dim[i]);
    found = *name != '\0' && bind_named(b, il, name, dim, out, slot_text(b, il, slot_name[slot]), &st);
    if (!found) found = bind_other_layouts(b, il, slot, dim, out, &st);
    if (found && st == LLM_OK && (slot == W_bgate_x || slot == W_bup_x || slot == W_bdown_x) && !is_float(out->dtype))
        st = llm_fail(b->err, LLM_ERR_UNSUPPORTED, "%s: layer %d %s has type %s, wanted F32, F16 or BF16",
                      store_path(b->m->store), il, slot_name[slot], dtype_name(out->dtype));
    if (found && st == LLM_OK) count_params(b, out);
    if (found || !needed) return st;
    if (*name) full_name(b, il, name, full);
    return llm_fail(b->err, LLM_ERR_FORMAT, "%s: tensor '%s' is missing (layer %d, %s)", store_path(b->m->store), *name ? full : slot_name[slot], il, slot_name[slot]);
}

static llm_status bind_layer(binder *b, int il)
{
    llm_weight_set set = b->m->arch->weights(&b->m->config, il);
    llm_status st;

    for (int s = 0; s < W_COUNT; s++) {
        bool needed = set.need >> s & 1, wanted = needed || (set.may >> s & 1);
        if (wanted && ((st = bind_slot(b, il, s, needed)) != LLM_OK || (st = b->status) != LLM_OK)) return st;
    }
    return LLM_OK;
}

struct weight_spelling { const char *embed, *norm, *layers, *head; };
typedef struct weight_spelling spelling;
static const spelling hf_spelling[] = {
    { "model.embed_tokens.weight", "model.norm.weight", "model.layers.", "lm_head.weight" },
    { "model.language_model.embed_tokens.weight", "model.language_model.norm.weight", "model.language_model.layers.", "lm_head.weight" },
    { "language_model.model.embed_tokens.weight", "language_model.model.norm.weight", "language_model.model.layers.", "language_model.lm_head.weight" },
    { "transformer.wte.weight", "transformer.ln_f.weight", "transformer.h.", "lm_head.weight" },
    { "embed_tokens.weight", "norm.weight", "layers.", "lm_head.weight" },
};
static const spelling gguf_spelling = { "token_embd.weight", "output_norm.weight", "blk.", "output.weight" };

static llm_status bind_whole(binder *b, const spelling *s)
{
    llm_model *m = b->m;
    llm_config *c = &m->config;
    const store_tensor *embed = store_find(m->store, s->embed), *norm = store_find(m->store, s->norm), *head = store_find(m->store, s->head);
    int64_t table[3] = { c->n_vocab, c->d_model, 1 }, width[3] = { c->d_model, 1, 1 };
    llm_status st;

    if (embed == NULL || norm == NULL)
        return llm_fail(b->err, LLM_ERR_FORMAT, "%s: tensor '%s' is missing", store_path(m->store), embed ? s->norm : s->embed);
    if (c->n_vocab == 0 && embed->n_dim == 2 && embed->dim[0] > 0 && embed->dim[0] <= 1 << 24) c->n_vocab = (int)(table[0] = embed->dim[0]);
    if ((st = bind_tensor(b, embed, table, &m->embed, "embed")) != LLM_OK || (st = bind_tensor(b, norm, width, &m->out_norm, "out_norm")) != LLM_OK) return st;
    count_params(b, &m->embed), count_params(b, &m->out_norm);
    m->head = m->embed;
    if (head == NULL && b->hf && !c->tied && meta_has(m->meta, NULL, "tie_word_embeddings"))
        return llm_fail(b->err, LLM_ERR_FORMAT, "%s: tensor '%s' is missing and config.json says that it is not the embedding", store_path(m->store), s->head);
    if (head == NULL || (b->hf && c->tied)) return LLM_OK;
    if ((st = bind_tensor(b, head, table, &m->head, "head")) != LLM_OK) return st;
    count_params(b, &m->head);
    return LLM_OK;
}

/* Llama 3's scaling in GGUF: divisors of the frequencies. */
static llm_status bind_rope_freqs(binder *b)
{
    const store_tensor *t = b->hf ? NULL : store_find(b->m->store, "rope_freqs.weight");
    llm_config *c = &b->m->config;
    int64_t dim[3] = { c->n_rot / 2, 1, 1 };
    llm_tensor f;
    llm_status st;

    if (t == NULL) return LLM_OK;
    if ((st = bind_tensor(b, t, dim, &f, "rope_freqs")) != LLM_OK) return st;
    for (int i = 0; i < c->n_rot / 2; i++) {
        float d;
        if (!dequant_row(f.dtype, (const char *)f.data + (size_t)i * (f.row_bytes / (size_t)dim[0]), &d, 1) || !(d > 0))
            return weights_fail(b, t, LLM_ERR_FORMAT, "divisor %d is not above 0", i);
        for (int k = 0; !b->plan && k < N_ROPE; k++) c->rope_freq[k * (c->n_rot / 2) + i] /= d;
    }
    return LLM_OK;
}

static bool has_any(const char *name, const char *const *part, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(name, part[i])) return true;
    return false;
}

static bool all_zero(const store_tensor *t)
{
    const unsigned char *p = t->data;

    for (size_t i = 0; i < t->bytes; i++)
        if (p[i] != 0) return false;
    return true;
}

/* What published files hold beside the weights of a layer: tables that can be computed, scales of activations, caches' scales,
 * DeepSeek's kv_b beside its two halves, and biases of zeros that quantizers add. */
static bool harmless_in_layer(const store_tensor *t)
{
    static const char *const part[] = { "rotary_emb.", "attn_rot_embd", "rope_freqs", "input_scale", "activation_scale", ".k_scale", ".v_scale",
                                        "masked_bias", "attn_kv_b." };
    size_t n = strlen(t->name);

    if (has_any(t->name, part, sizeof part / sizeof part[0])) return true;
    return n > 5 && strcmp(t->name + n - 5, ".bias") == 0 && t->bytes <= CHECKED_BYTES && all_zero(t);
}

static bool harmless_elsewhere(const char *name)
{
    static const char *const part[] = { "rotary_emb.", "vision", "visual", "multi_modal", "mm_", "mtp.", "nextn.", "audio", "lm_head" };
    return has_any(name, part, sizeof part / sizeof part[0]);
}

/* The layer a tensor belongs to, -1: none. */
static long layer_of(const binder *b, const char *name)
{
    const char *prefix = b->hf ? b->layers : "blk.";
    size_t n = strlen(prefix);

    return strncmp(name, prefix, n) == 0 && name[n] >= '0' && name[n] <= '9' ? strtol(name + n, NULL, 10) : -1;
}

/* A tensor inside a layer that nothing uses would be missed by the answers; elsewhere it is only reported. Layers after
 * the last one predict further tokens and may be left out. */
static llm_status check_unused(binder *b)
{
    char line[400] = "";
    int n = 0;

    for (size_t i = 0; i < store_n_tensor(b->m->store); i++) {
        const store_tensor *t = store_tensor_at(b->m->store, i);
        long il = layer_of(b, t->name);
        if (b->m->slot[i] || il >= b->m->config.n_layer) continue;
        if (il >= 0 && !harmless_in_layer(t))
            return weights_fail(b, t, LLM_ERR_UNSUPPORTED, "no part of a %s layer uses it", meta_arch(b->m->meta));
        if (il >= 0 || harmless_elsewhere(t->name)) continue;
        if (n++ < 3) snprintf(line + strlen(line), sizeof line - strlen(line), "%s%.100s", n > 1 ? ", " : "", t->name);
    }
    if (n == 0 || b->plan || b->m->log == NULL) return LLM_OK;
    snprintf(line + strlen(line), sizeof line - strlen(line), "%s: %d tensor%s of the file not used", n > 3 ? ", ..." : "", n, n > 1 ? "s" : "");
    b->m->log(b->m->user, LLM_LOG_WARN, line);
    return LLM_OK;
}

static llm_status quant_method(binder *b)
{
    static const char *const known[] = { "gptq", "awq", "fp8", "mxfp4", "modelopt", "compressed-tensors" };
    int bits = 4;
    const char *version = "gemm", *format = "gptq";

    b->quant = "", b->group_size = 128;
    if (!b->hf || !meta_str(b->m->meta, NULL, "quantization_config.quant_method", &b->quant)) return LLM_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(b->quant, known[i]) != 0) continue;
        if (i >= 2) { b->quant = ""; return LLM_OK; }                 /* the tensors' own types say it all */
        meta_int(b->m->meta, NULL, "quantization_config.bits", &bits);
        meta_int(b->m->meta, NULL, "quantization_config.group_size", &b->group_size);
        meta_str(b->m->meta, NULL, "quantization_config.version", &version);
        meta_str(b->m->meta, NULL, "quantization_config.checkpoint_format", &format);
        b->zero_plus_one = strcmp(format, "gptq") == 0;
        if (bits == 4 && (i == 0 || strcmp(version, "gemm") == 0 || strcmp(version, "GEMM") == 0)) return LLM_OK;
        return llm_fail(b->err, LLM_ERR_UNSUPPORTED, "config.json: %s with %d bits, version %s; only 4 bits (AWQ: gemm) are supported", b->quant, bits, version);
    }
    return llm_fail(b->err, LLM_ERR_UNSUPPORTED,
                    "config.json: quant_method '%.40s' is not supported (there is gptq, awq, fp8, mxfp4, and modelopt and compressed-tensors for FP8)", b->quant);
}

/* What binding needs to know before the first tensor. */
static llm_status begin(binder *b, llm_model *m, llm_error *err)
{
    const spelling *s = &gguf_spelling;

    *b = (binder){ .m = m, .err = err, .hf = store_kind(m->store) == STORE_HF, .plan = m->plan_only };
    if (b->hf) s = hf_spelling;
    for (size_t i = 0; b->hf && i < sizeof hf_spelling / sizeof hf_spelling[0]; i++)
        if (store_find(m->store, hf_spelling[i].embed)) { s = &hf_spelling[i]; break; }
    b->names = s, b->layers = s->layers;
    return quant_method(b);
}

llm_status weights_bind(llm_model *m, llm_error *err)
{
    llm_error mine;
    binder b;
    llm_status st;

    m->slot = calloc(store_n_tensor(m->store) + 1, sizeof *m->slot);
    m->layer = calloc((size_t)m->config.n_layer, sizeof *m->layer);
    if (m->slot == NULL || m->layer == NULL) return llm_fail_memory(err, store_n_tensor(m->store) * sizeof *m->slot, "the table of weights");
    if ((st = begin(&b, m, err ? err : &mine)) != LLM_OK || (st = bind_whole(&b, b.names)) != LLM_OK || (st = bind_rope_freqs(&b)) != LLM_OK) return st;
    for (int il = 0; il < m->config.n_layer; il++) {
        if ((st = bind_layer(&b, il)) != LLM_OK) return st;
        if (!b.plan && m->progress && m->progress(m->user, "loading", (uint64_t)il + 1, (uint64_t)m->config.n_layer))
            return llm_fail(b.err, LLM_ERR_CANCELLED, "%s: loading was stopped after layer %d", store_path(m->store), il);
    }
    return check_unused(&b);
}

llm_status weights_layer_in(llm_model *m, int il, llm_owned **mark, llm_error *err)
{
    llm_error mine;
    uint64_t n_param = m->n_param, released = m->released_bytes;
    binder b;
    llm_status st = begin(&b, m, err ? err : &mine);

    *mark = m->owned, b.plan = false;
    memset(&m->layer[il], 0, sizeof m->layer[il]);
    if (st == LLM_OK) st = bind_layer(&b, il);
    m->n_param = n_param, m->released_bytes = released;
    return st;
}

void weights_disown(llm_model *m, llm_owned *o)
{
    m->owned_bytes -= o->bytes;
    if (!o->mapped) m->table_bytes -= o->bytes;
    if (o->mapped) memory_unmap(o->data, o->bytes); else free(o->data);
    o->released = true;
}

void weights_layer_out(llm_model *m, llm_owned *mark)
{
    for (llm_owned *o = m->owned, *next; o != mark; o = next) {
        next = o->next;
        if (!o->released) weights_disown(m, o);
        free(o);
    }
    m->owned = mark;
}

const char *weights_gguf_name(const llm_arch *arch, llm_slot slot)
{
    for (const llm_alias *a = arch->alias; a && a->slot != W_COUNT; a++)
        if (a->slot == slot && a->gguf) return a->gguf;
    return llm_weight_table[slot].gguf;
}

llm_tensor *weights_slot(llm_layer *l, llm_slot slot) { return (llm_tensor *)(void *)((char *)l + slot_at[slot]); }

void weights_free(llm_model *m)
{
    weights_layer_out(m, NULL);
    free(m->slot), free(m->layer);
    m->slot = NULL, m->layer = NULL;
    m->released_bytes = m->weight_bytes = m->n_param = 0, m->freed = (llm_relaid){ 0 };
}
