/* collect.c - the importance of columns: a session's products are overheard, and the squares of what goes into each weight are
 * summed, per expert and per head where a weight has several matrices. What experts' down projections see is inside op.moe and is
 * computed once more. */
#include "imatrix.h"
#include "floats.h"
#include "session.h"
#include "tensor_rows.h"
#include "weights.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const llm_tensor *w;
    char name[80];
    int64_t matrices, cols;
    double *sum;                        /* [matrices, cols] */
    double *count;                      /* [matrices] rows seen */
} column_sums;

struct llm_collector {
    llm_session *s;
    llm_ops op;                         /* the session's own, and its blocks */
    llm_blocks block;
    column_sums *entry;                 /* [n] sorted by w */
    size_t n;
    float *x, *gate, *up;               /* [n_batch] rows of one expert */
    llm_error err;                      /* the first failure */
};

static int by_address(const void *a, const void *b)
{
    const llm_tensor *x = ((const column_sums *)a)->w, *y = ((const column_sums *)b)->w;
    return (x > y) - (x < y);
}

static column_sums *find(const struct llm_collector *c, const llm_tensor *w)
{
    column_sums key = { .w = w };
    return c->n ? bsearch(&key, c->entry, c->n, sizeof key, by_address) : NULL;
}

static void add_row(column_sums *e, int64_t matrix, const float *x)
{
    double *sum = e->sum + matrix * e->cols;

    for (int64_t k = 0; k < e->cols; k++) sum[k] += (double)x[k] * (double)x[k];
    e->count[matrix]++;
}

/* ---- the ops that multiply ------------------------------------------------------------- */

static void hear_linear(llm_backend *be, const llm_linear *l, int n, llm_rows x)
{
    struct llm_collector *c = be->listener;

    for (int i = 0; i < n; i++) {
        column_sums *e = find(c, l[i].w);
        for (int64_t r = 0; e && r < x.n; r++) add_row(e, 0, row_at(x, r));
    }
    c->op.linear(be, l, n, x);
}

static void hear_absorb(llm_backend *be, llm_rows y, int y_step, llm_rows x, int x_step, const llm_tensor *w)
{
    struct llm_collector *c = be->listener;
    column_sums *e = find(c, w);

    for (int64_t r = 0; e && r < x.n; r++)
        for (int64_t h = 0; h < e->matrices; h++) add_row(e, h, row_at(x, r) + h * x_step);
    c->op.absorb(be, y, y_step, x, x_step, w);
}

/* Expert e's part of a weight, or of a bias [E, rows]. */
static llm_tensor one_expert(const llm_tensor *w, int64_t e)
{
    llm_tensor t = *w;

    t.part = NULL, t.data = tensor_row(w, e, 0), t.repacked = NULL;
    t.dim[0] = w->dim[1], t.dim[1] = w->dim[2], t.dim[2] = 1;
    if (w->scale.part) t.scale.part = NULL, t.scale.data = w->scale.part[e];
    else if (w->scale.data) t.scale.data = (const uint8_t *)w->scale.data + (size_t)(e * t.dim[0]) * scale_row_bytes(&w->scale, t.dim[1]);
    return t;
}

static llm_tensor one_bias(const llm_tensor *b, int64_t e)
{
    llm_tensor t = *b;

    t.data = tensor_row(b, 0, e), t.dim[0] = b->dim[1], t.dim[1] = t.dim[2] = 1;
    return t;
}

/* The rows that went to expert e: what its gate and up see, and what comes out of them. */
static void hear_expert(struct llm_collector *c, llm_backend *be, const llm_moe_args *a, int64_t e, int n)
{
    column_sums *gate = find(c, a->gate), *up = find(c, a->up), *down = find(c, a->down);
    llm_tensor wg = one_expert(a->gate, e), wu = one_expert(a->up, e), bg, bu;
    llm_rows x = { c->x, n, (int)wg.dim[1], wg.dim[1] }, g = { c->gate, n, (int)wg.dim[0], wg.dim[0] }, u = { c->up, n, (int)wg.dim[0], wg.dim[0] };
    llm_linear both[2] = { { g, &wg, NULL }, { u, &wu, NULL } };

    if (a->bgate) bg = one_bias(a->bgate, e), both[0].bias = &bg;
    if (a->bup) bu = one_bias(a->bup, e), both[1].bias = &bu;
    c->op.linear(be, both, 2, x);
    c->op.glu(be, g, g, u, a->act, a->limit);
    for (int i = 0; i < n; i++) {
        if (gate) add_row(gate, e, row_at(x, i));
        if (up) add_row(up, e, row_at(x, i));
        if (down) add_row(down, e, row_at(g, i));
    }
}

static void hear_moe(llm_backend *be, llm_rows y, llm_rows x, llm_rows weight, const int32_t *expert, const llm_moe_args *a)
{
    struct llm_collector *c = be->listener;

    for (int64_t e = 0; e < a->gate->dim[0]; e++) {
        int n = 0;
        for (int64_t i = 0; i < x.n; i++)
            for (int k = 0; k < weight.width; k++)
                if (expert[i * weight.width + k] == e) memcpy(c->x + (int64_t)n++ * x.width, row_at(x, i), (size_t)x.width * sizeof *c->x);
        if (n > 0) hear_expert(c, be, a, e, n);
    }
    c->op.moe(be, y, x, weight, expert, a);
}

/* ---- opening ------------------------------------------------------------------------------ */

static llm_status add_weight(struct llm_collector *c, const llm_tensor *w, const char *name, llm_error *err)
{
    column_sums *e = &c->entry[c->n];
    tensor_shape d = tensor_shape_of(w);

    *e = (column_sums){ .w = w, .matrices = d.matrices, .cols = d.cols };
    snprintf(e->name, sizeof e->name, "%s", name);
    e->sum = calloc((size_t)(d.matrices * d.cols), sizeof *e->sum), e->count = calloc((size_t)d.matrices, sizeof *e->count);
    c->n++;
    return e->sum && e->count ? LLM_OK : llm_fail_memory(err, (size_t)(d.matrices * d.cols) * sizeof *e->sum, "sums of activations");
}

/* Qwen 1's query, key and value are one tensor in GGUF, which goes by the query. */
static bool is_fused(const llm_arch *arch) { return arch->gguf_name && strcmp(arch->gguf_name, "qwen") == 0; }

/* Matrices that are multiplied with. */
static bool collected(const llm_arch *arch, llm_slot s, const llm_tensor *w)
{
    if (!tensor_bound(w) || w->dim[1] <= 1 || s == W_bgate_x || s == W_bup_x || s == W_bdown_x || s == W_router) return false;
    return !(is_fused(arch) && (s == W_wk || s == W_wv));
}

static llm_status add_weights(struct llm_collector *c, llm_error *err)
{
    llm_model *m = c->s->model;
    bool tied = m->head.data == m->embed.data;
    llm_status st = LLM_OK;
    char name[80];

    if ((c->entry = calloc((size_t)m->config.n_layer * W_COUNT + 1, sizeof *c->entry)) == NULL)
        return llm_fail_memory(err, W_COUNT * sizeof *c->entry, "sums of activations");
    for (int il = 0; il < m->config.n_layer; il++)
        for (int s = 0; s < W_COUNT && st == LLM_OK; s++) {
            const llm_tensor *w = weights_slot(&m->layer[il], (llm_slot)s);
            bool fused = s == W_wq && is_fused(m->arch);
            if (!collected(m->arch, (llm_slot)s, w)) continue;
            snprintf(name, sizeof name, "blk.%d.%s", il, fused ? "attn_qkv.weight" : weights_gguf_name(m->arch, (llm_slot)s));
            st = add_weight(c, w, name, err);
        }
    if (st == LLM_OK) st = add_weight(c, &m->head, tied ? "token_embd.weight" : "output.weight", err);
    if (st == LLM_OK) qsort(c->entry, c->n, sizeof *c->entry, by_address);
    return st;
}

static llm_status take_rows(struct llm_collector *c, llm_error *err)
{
    const llm_config *k = &c->s->model->config;
    size_t n = (size_t)c->s->kv.n_batch, d = (size_t)k->d_model, f = (size_t)(k->d_ff_expert > 0 ? k->d_ff_expert : 1);

    if (k->n_expert < 1) return LLM_OK;
    c->x = malloc(n * d * sizeof *c->x), c->gate = malloc(n * f * sizeof *c->gate), c->up = malloc(n * f * sizeof *c->up);
    return c->x && c->gate && c->up ? LLM_OK : llm_fail_memory(err, n * (d + 2 * f) * sizeof(float), "rows of an expert");
}

llm_status llm_collector_open(llm_collector **out, llm_session *s, llm_error *err)
{
    struct llm_collector *c;
    llm_status st;

    if (out == NULL || s == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_collector_open: out or s is NULL");
    *out = NULL;
    if (s->be[SITE_HOST].listener) return llm_fail(err, LLM_ERR_ARG, "llm_collector_open: the session has a collector already");
    if (s->be[SITE_DEVICE].remote) return llm_fail(err, LLM_ERR_UNSUPPORTED, "importance is collected on the CPU only");
    if ((c = calloc(1, sizeof *c)) == NULL) return llm_fail_memory(err, sizeof *c, "a collector");
    c->s = s, c->op = s->be[SITE_HOST].op, c->block = s->be[SITE_HOST].block;
    if ((st = add_weights(c, err)) != LLM_OK || (st = take_rows(c, err)) != LLM_OK) {
        llm_collector_close(c);
        return st;
    }
    s->be[SITE_HOST].listener = c;
    s->be[SITE_HOST].op.linear = hear_linear, s->be[SITE_HOST].op.absorb = hear_absorb, s->be[SITE_HOST].op.moe = hear_moe;
    s->be[SITE_HOST].block.linear_peaks = NULL;             /* it goes through linear, then */
    *out = c;
    return LLM_OK;
}

void llm_collector_close(llm_collector *c)
{
    if (c == NULL) return;
    if (c->s->be[SITE_HOST].listener == c) c->s->be[SITE_HOST].op = c->op, c->s->be[SITE_HOST].block = c->block, c->s->be[SITE_HOST].listener = NULL;
    for (size_t i = 0; i < c->n; i++) free(c->entry[i].sum), free(c->entry[i].count);
    free(c->entry), free(c->x), free(c->gate), free(c->up);
    free(c);
}

/* ---- saving -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const imatrix_sums *)a)->name, ((const imatrix_sums *)b)->name);
}

llm_status llm_collector_save(const llm_collector *c, const char *path, const char *text_name, int n_chunk, int chunk_size, llm_error *err)
{
    STANDARD_FLOATS;
    imatrix_sums *s;
    float *all, *p;
    size_t n = 0, n_float = 1;
    llm_status st;

    if (c == NULL || path == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_collector_save: the collector or path is NULL");
    for (size_t i = 0; i < c->n; i++) n_float += (size_t)(c->entry[i].matrices * (c->entry[i].cols + 1));
    s = calloc(c->n + 1, sizeof *s), p = all = malloc(n_float * sizeof *all);
    if (s == NULL || all == NULL) { free(s), free(all); return llm_fail_memory(err, n_float * sizeof *all, "sums of activations"); }
    for (size_t i = 0; i < c->n; i++) {
        const column_sums *e = &c->entry[i];
        double seen = 0;
        for (int64_t k = 0; k < e->matrices; k++) seen += e->count[k];
        if (!(seen > 0)) continue;
        s[n++] = (imatrix_sums){ e->name, e->matrices, e->cols, p, p + e->matrices * e->cols };
        for (int64_t k = 0; k < e->matrices * e->cols; k++) *p++ = (float)e->sum[k];
        for (int64_t k = 0; k < e->matrices; k++) *p++ = (float)e->count[k];
    }
    qsort(s, n, sizeof *s, by_name);
    st = n > 0 ? imatrix_write(path, s, n, text_name ? text_name : "", n_chunk, chunk_size, err)
               : llm_fail(err, LLM_ERR_ARG, "llm_collector_save: nothing was computed while the collector was open");
    free(s), free(all);
    return st;
}
