/* upload.c - which weights the device of a model holds, what they take, and bringing them there. */
#include "model.h"
#include <stdlib.h>

bool model_uses(const llm_model *m, llm_site site)
{
    if (site_of_ends(m) == site) return true;
    for (int il = 0; il < m->config.n_layer; il++)
        if (site_of_layer(m, il) == site || (m->config.layer[il].ffn == FFN_MOE && site_of_experts(m, il) == site)) return true;
    return false;
}

/* ---- the list ------------------------------------------------------------------- */

typedef struct { llm_tensor **w; size_t n; } weight_list;

static void note(weight_list *l, llm_tensor *t)
{
    if (tensor_bound(t)) l->w[l->n++] = t;
}

llm_site site_of_weight(const llm_model *m, int il, llm_slot slot)
{
    const uint64_t routed = SLOT(gate_x) | SLOT(up_x) | SLOT(down_x) | SLOT(bgate_x) | SLOT(bup_x) | SLOT(bdown_x);
    return routed >> slot & 1 ? site_of_experts(m, il) : site_of_layer(m, il);
}

/* Bound weights whose place is the device, in the order of the file's layers; free w. */
static llm_status list_device(llm_model *m, weight_list *l, llm_error *err)
{
    size_t most = 3 + (size_t)m->config.n_layer * W_COUNT;

    *l = (weight_list){ calloc(most, sizeof *l->w), 0 };
    if (l->w == NULL) return llm_fail_memory(err, most * sizeof *l->w, "the list of weights");
    if (site_of_ends(m) == SITE_DEVICE) note(l, &m->embed), note(l, &m->out_norm), note(l, &m->head);
    for (int il = 0; il < m->config.n_layer; il++) {
        llm_layer *w = &m->layer[il];
#define X(slot, g, h, a, b, c) if (site_of_weight(m, il, W_##slot) == SITE_DEVICE) note(l, &w->slot);
        LLM_LAYER_WEIGHTS(X)
#undef X
    }
    return LLM_OK;
}

/* ---- bytes ---------------------------------------------------------------------- */

static bool laid_out_anew(const llm_model *m, const llm_tensor *t)
{
    const char *p = t->part ? t->part[0] : t->data;

    for (const llm_owned *o = m->owned; o; o = o->next)
        if (p >= (const char *)o->data && p < (const char *)o->data + o->bytes) return true;
    return false;
}

/* Of the file: t, and the scales of FP8 beside it. */
static uint64_t stored_bytes(const llm_tensor *t)
{
    bool three = t->dim[2] > 1, vector = t->dim[1] == 1 && !three;
    int64_t n = three ? t->dim[0] : 1, rows = t->dim[three ? 1 : 0], cols = t->dim[three ? 2 : 1], tiles = 0;

    if (t->scale.data || t->scale.part)
        tiles = n * ((rows + t->scale.tile_rows - 1) / t->scale.tile_rows) * ((cols + t->scale.tile_cols - 1) / t->scale.tile_cols);
    return (uint64_t)(vector ? 1 : n * rows) * t->row_bytes + (uint64_t)tiles * (t->scale.dtype == DT_F32 ? 4 : 2);
}

/* What the CPU does not read again. Where a weight is half here and half there (the parts of MLA's kv_b), all of it counts as read. */
static uint64_t spared_bytes(const llm_model *m, const weight_list *l)
{
    uint64_t all = m->weight_bytes - m->released_bytes, sum = 0;

    if (!model_uses(m, SITE_HOST)) return all;
    for (size_t i = 0; i < l->n; i++)
        if (!laid_out_anew(m, l->w[i]) && !(l->w[i] == &m->head && m->head.data == m->embed.data)) sum += stored_bytes(l->w[i]);
    return sum < all ? sum : all;
}

llm_status weights_place(llm_model *m, llm_place place, llm_error *err)
{
    uint64_t bytes[N_SITE];
    weight_list l;
    llm_status st;

    m->place = place;
    if ((st = list_device(m, &l, err)) == LLM_OK && (st = device_weight_bytes(m->device, l.w, l.n, bytes, err)) == LLM_OK)
        m->placed = (llm_placed){ .device = bytes[SITE_DEVICE], .tables = bytes[SITE_HOST], .spared = spared_bytes(m, &l) };
    free(l.w);
    return st;
}

llm_status weights_upload(llm_model *m, llm_error *err)
{
    weight_list l;
    llm_status st;

    if (m->device == NULL) return LLM_OK;
    if ((st = list_device(m, &l, err)) == LLM_OK && l.n > 0) st = device_import(m->device, l.w, l.n, m->progress, m->user, err);
    if (st == LLM_OK) m->uploaded = m->placed.device;
    free(l.w);
    return st;
}
