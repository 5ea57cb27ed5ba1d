/* upload.c - which weights the device of a model holds, what they take, and bringing them there. */
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool model_uses(const llm_model *m, llm_site site)
{
    if (site_of_ends(m) == site) return true;
    for (int il = 0; il < m->config.n_layer; il++)
        if (site_of_layer(m, il) == site || (m->config.layer[il].ffn == FFN_MOE && site_of_experts(m, il) == site)) return true;
    return false;
}

/* ---- the list ------------------------------------------------------------------- */

/* What a weight is to the model: its layer, -1 outside of them, and its slot's name. */
typedef struct { int il; bool expert; const char *slot; } weight_role;
typedef struct { llm_tensor **w; weight_role *role; size_t n; } weight_list;

static void note(weight_list *l, llm_tensor *t, weight_role role)
{
    if (tensor_bound(t)) l->role[l->n] = role, l->w[l->n++] = t;
}

static void list_free(weight_list *l) { free(l->w), free(l->role); }

static bool is_routed(llm_slot slot)
{
    const uint64_t routed = SLOT(gate_x) | SLOT(up_x) | SLOT(down_x) | SLOT(bgate_x) | SLOT(bup_x) | SLOT(bdown_x);
    return routed >> slot & 1;
}

llm_site site_of_weight(const llm_model *m, int il, llm_slot slot) { return is_routed(slot) ? site_of_experts(m, il) : site_of_layer(m, il); }

/* Bound weights whose place is there, in the order of the file's layers; list_free, also after a failure. */
static llm_status list_at(llm_model *m, llm_site site, weight_list *l, llm_error *err)
{
    size_t most = 3 + (size_t)m->config.n_layer * W_COUNT;

    *l = (weight_list){ calloc(most, sizeof *l->w), calloc(most, sizeof *l->role), 0 };
    if (l->w == NULL || l->role == NULL) return llm_fail_memory(err, most * (sizeof *l->w + sizeof *l->role), "the list of weights");
    if (site_of_ends(m) == site) {
        note(l, &m->embed, (weight_role){ -1, false, "embed" }), note(l, &m->out_norm, (weight_role){ -1, false, "out_norm" });
        note(l, &m->head, (weight_role){ -1, false, m->head.data == m->embed.data ? "embed" : "head" });
    }
    for (int il = 0; il < m->config.n_layer; il++) {
        llm_layer *w = &m->layer[il];
#define X(slot, g, h, a, b, c) if (site_of_weight(m, il, W_##slot) == site) note(l, &w->slot, (weight_role){ il, is_routed(W_##slot), #slot });
        LLM_LAYER_WEIGHTS(X)
#undef X
    }
    return LLM_OK;
}

/* ---- what the device has no kernels for ------------------------------------------- */

/* Does the text of a bound tensor, "layer 3 wq wk wv" or "embed", name this role? */
static bool names_role(const char *text, const weight_role *r)
{
    char layer[32];
    size_t n = strlen(r->slot);

    if (r->il < 0) return strcmp(text, r->slot) == 0;
    snprintf(layer, sizeof layer, "layer %d ", r->il);
    if (strncmp(text, layer, strlen(layer)) != 0) return false;
    for (const char *p = text; (p = strchr(p, ' ')) != NULL;)
        if (strncmp(++p, r->slot, n) == 0 && (p[n] == ' ' || p[n] == '\0')) return true;
    return false;
}

/* The tensor of the file that it came from, the first of several. */
static const store_tensor *source_of(const llm_model *m, const weight_role *r)
{
    for (size_t i = 0; m->slot != NULL && i < store_n_tensor(m->store); i++)
        if (m->slot[i] != NULL && names_role(m->slot[i], r)) return store_tensor_at(m->store, i);
    return NULL;
}

static void shape_text(const llm_tensor *w, char *out, size_t cap)
{
    if (w->dim[2] > 1) snprintf(out, cap, "%lld, %lld, %lld", (long long)w->dim[0], (long long)w->dim[1], (long long)w->dim[2]);
    else if (w->dim[1] > 1) snprintf(out, cap, "%lld, %lld", (long long)w->dim[0], (long long)w->dim[1]);
    else snprintf(out, cap, "%lld", (long long)w->dim[0]);
}

/* The most layers, and the fewest layers without their experts, that leave all of these weights with the CPU. */
static void remedy(const llm_model *m, const weight_list *l, char *out, size_t cap)
{
    int n = m->config.n_layer, layers = n, experts = 0;
    bool routed = true;

    for (size_t i = 0; i < l->n; i++) {
        const weight_role *r = &l->role[i];
        if (device_refuses(m->device, l->w[i]) == NULL) continue;
        if (r->il >= 0 && n - 1 - r->il < layers) layers = n - 1 - r->il;
        if (r->expert && r->il >= experts) experts = r->il + 1;
        routed = routed && r->expert;
    }
    if (layers == 0) snprintf(out, cap, "gpu_layers %d (--gpu-layers 0) leaves it with the CPU", -2);
    else snprintf(out, cap, "gpu_layers %d (--gpu-layers) leaves it with the CPU", layers);
    if (routed) snprintf(out + strlen(out), cap - strlen(out), ", and so does cpu_moe %d (--n-cpu-moe%s)", experts, experts == n ? ", or --cpu-moe" : "");
}

static llm_status check_types(const llm_model *m, const weight_list *l, llm_error *err)
{
    for (size_t i = 0; i < l->n && m->device != NULL; i++) {
        const char *why = device_refuses(m->device, l->w[i]);
        const store_tensor *t;
        char shape[96], what[200];
        if (why == NULL) continue;
        if (err == NULL) return LLM_ERR_UNSUPPORTED;
        t = source_of(m, &l->role[i]);
        shape_text(l->w[i], shape, sizeof shape);
        remedy(m, l, what, sizeof what);
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: tensor '%.120s' (%s [%s]): %s; %s", t ? store_file_name(m->store, t->file) : store_path(m->store),
                        t ? t->name : l->role[i].slot, dtype_name(l->w[i]->dtype), shape, why, what);
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

/* ---- what lies here twice ----------------------------------------------------------- */

/* Memory of load transforms by address; who reads it. */
typedef struct { llm_owned *o; bool here, there; } relaid_piece;
typedef struct { relaid_piece *piece; size_t n; } relaid_list;

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const relaid_piece *)a)->o->data, y = (uintptr_t)((const relaid_piece *)b)->o->data;
    return (x > y) - (x < y);
}

static void read_from(relaid_list *l, const void *p, bool device)
{
    size_t low = 0, high = l->n;        /* the last piece that begins at p or before */

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((uintptr_t)l->piece[mid].o->data <= (uintptr_t)p) low = mid + 1; else high = mid;
    }
    if (low == 0 || (uintptr_t)p - (uintptr_t)l->piece[low - 1].o->data >= l->piece[low - 1].o->bytes) return;
    if (device) l->piece[low - 1].there = true; else l->piece[low - 1].here = true;
}

static void read_weights(relaid_list *l, const weight_list *w, bool device)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->w[i]->data) read_from(l, w->w[i]->data, device);
        for (int64_t e = 0; w->w[i]->part && e < w->w[i]->dim[0]; e++) read_from(l, w->w[i]->part[e], device);
    }
}

/* Pieces that weights on the device came from, and none that the CPU reads. What else there is (names, tables, permutations, scales) no weight
 * begins in. done: they are given back. */
static llm_status free_relaid(llm_model *m, const weight_list *device, bool done, llm_relaid *freed, llm_error *err)
{
    relaid_list l = { NULL, 0 };
    weight_list host;
    llm_status st;

    *freed = (llm_relaid){ 0 };
    for (llm_owned *o = m->owned; o; o = o->next) l.n++;
    if (l.n == 0 || device->n == 0) return LLM_OK;
    if ((st = list_at(m, SITE_HOST, &host, err)) == LLM_OK && (l.piece = calloc(l.n, sizeof *l.piece)) == NULL)
        st = llm_fail_memory(err, l.n * sizeof *l.piece, "the list of re-laid weights");
    if (st == LLM_OK) {
        size_t k = 0;
        for (llm_owned *o = m->owned; o; o = o->next) l.piece[k++].o = o;
        qsort(l.piece, l.n, sizeof *l.piece, by_address);
        read_weights(&l, device, true), read_weights(&l, &host, false);
    }
    for (size_t i = 0; l.piece && i < l.n; i++) {
        llm_owned *o = l.piece[i].o;
        if (l.piece[i].here || !l.piece[i].there) continue;
        freed->all += o->bytes, freed->small += o->mapped ? 0 : o->bytes;
        if (done && !o->released) weights_disown(m, o);
    }
    free(l.piece), list_free(&host);
    return st;
}

/* ---- placing and bringing ------------------------------------------------------------ */

llm_status weights_place(llm_model *m, llm_place place, llm_error *err)
{
    uint64_t bytes[N_SITE];
    llm_relaid freed = { 0 };
    weight_list l;
    llm_status st;

    m->place = place;
    if ((st = list_at(m, SITE_DEVICE, &l, err)) == LLM_OK && (st = check_types(m, &l, err)) == LLM_OK
        && (st = device_weight_bytes(m->device, l.w, l.n, bytes, err)) == LLM_OK && (st = free_relaid(m, &l, false, &freed, err)) == LLM_OK)
        m->placed = (llm_placed){ .device = bytes[SITE_DEVICE], .tables = bytes[SITE_HOST], .spared = spared_bytes(m, &l), .freed = freed };
    list_free(&l);
    return st;
}

llm_status weights_upload(llm_model *m, llm_error *err)
{
    weight_list l;
    llm_status st;

    if (m->device == NULL) return LLM_OK;
    if ((st = list_at(m, SITE_DEVICE, &l, err)) == LLM_OK && l.n > 0) st = device_import(m->device, l.w, l.n, m->progress, m->user, err);
    if (st == LLM_OK) st = free_relaid(m, &l, true, &m->freed, err);
    if (st == LLM_OK) m->uploaded = m->placed.device;
    if (st == LLM_OK && m->log && device_products(m->device)) m->log(m->user, LLM_LOG_INFO, device_products(m->device));
    list_free(&l);
    return st;
}
