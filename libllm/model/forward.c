/* forward.c - the one forward pass. Families differ in llm_config and in which weights are bound. */
#include "forward.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers -------------------------------------------------------------------- */

typedef struct { int64_t x, q, k, v, a, lat, qa, ff, score, used, expert_ff, shared, rot, out; } widths;

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Of what runs there; 0: nothing does that wants the buffer. */
static widths widths_of(const llm_model *m, llm_site site)
{
    const llm_config *c = &m->config;
    widths w = { .x = c->d_model, .out = site == SITE_DEVICE && site_of_ends(m) == site ? c->n_vocab : 0 };

    for (int il = 0; il < c->n_layer; il++) {
        const llm_layer_config *lc = &c->layer[il];
        bool mla = lc->mixer == MIX_MLA, moe = lc->ffn == FFN_MOE;
        if (moe && site_of_experts(m, il) == site) w.used = c->n_expert_used, w.expert_ff = c->d_ff_expert;
        if (site_of_layer(m, il) != site) continue;
        w.rot = c->n_rot;
        w.q = max64(w.q, config_dim(c, il, D_Q));
        w.k = max64(w.k, mla ? config_dim(c, il, D_KVA) : config_dim(c, il, D_KV));
        w.v = max64(w.v, mla ? 0 : config_dim(c, il, D_KV));
        w.a = max64(w.a, config_dim(c, il, D_O));
        if (mla) w.lat = max64(w.lat, max64(c->q_lora, (int64_t)c->n_head * c->kv_lora)), w.qa = max64(w.qa, (int64_t)c->n_head * (c->kv_lora + c->d_rope));
        w.ff = max64(w.ff, moe ? c->d_ff_shared : lc->d_ff);
        if (moe) w.score = c->n_expert, w.used = c->n_expert_used, w.shared = c->d_ff_shared > 0 ? c->d_model : 0;
    }
    return w;
}

enum { OUT_ROWS = 64 };                 /* rows of logits that wait on a device: of every sequence of a recorded step */

typedef struct { llm_rows *rows; int64_t width; } buffer;

/* Places n buffers behind at, or (base NULL) only adds up their bytes. */
static bool place(const buffer *all, size_t n, int n_batch, char *base, size_t *at)
{
    size_t bytes;

    for (size_t i = 0; i < n; i++) {
        if (!ck_mul((size_t)n_batch * sizeof(float), (size_t)all[i].width, &bytes) || !ck_align(bytes, 64, &bytes) || all[i].width > INT_MAX) return false;
        if (base) *all[i].rows = (llm_rows){ (float *)(void *)(base + *at), n_batch, (int)all[i].width, all[i].width };
        if (!ck_add(*at, bytes, at)) return false;
    }
    return true;
}

#define COUNT(a) (sizeof (a) / sizeof (a)[0])

/* What a layer's mixer and its feed-forward part need for themselves lies in the same place: one is done when the other begins. */
static bool layout(llm_run *r, const llm_model *m, llm_site site, int n_batch, char *base, size_t *bytes)
{
    widths w = widths_of(m, site);
    const buffer always[] = { { &r->x, w.x }, { &r->h, w.x + 2 * w.used }, { &r->o, w.x },
                             { &r->cs[ROPE_GLOBAL], w.rot }, { &r->cs[ROPE_LOCAL], w.rot }, { &r->grow, 1 } };
    const buffer mixer[] = { { &r->q, w.q }, { &r->k, w.k }, { &r->v, w.v }, { &r->a, w.a }, { &r->lat, w.lat }, { &r->qa, w.qa } };
    const buffer ffn[] = { { &r->gate, w.ff }, { &r->up, w.ff }, { &r->score, w.score }, { &r->shared, w.shared }, { &r->shared_gate, 1 } };
    int n_out = n_batch < OUT_ROWS ? n_batch : OUT_ROWS;
    size_t at = 0, behind;

    if (!place(always, COUNT(always), n_batch, base, &at)) return false;
    behind = at;
    if (!place(mixer, COUNT(mixer), n_batch, base, &at) || !place(ffn, COUNT(ffn), n_batch, base, &behind)) return false;
    if (behind > at) at = behind;
    if (base) r->out = (llm_rows){ (float *)(void *)(base + at), n_out, (int)w.out, w.out };
    if (base) r->h.width = (int)w.x, r->h.stride = w.x, r->n_used = (int)w.used;     /* run_choice has the rest */
    if (!ck_add(at, (size_t)n_out * (size_t)w.out * sizeof(float) + 64, &at)) return false;
    *bytes = at;
    return true;
}

bool run_limits(const llm_model *m, llm_site site, int n_batch, int n_ctx, llm_limits *out)
{
    const llm_config *c = &m->config;
    widths w = widths_of(m, site);
    bool moe = w.expert_ff > 0;
    int64_t cols = max64(max64(w.x, w.a), max64(w.ff, max64(w.lat, w.expert_ff)));
    int64_t rows = max64(max64(cols, w.q), max64(max64(w.qa, w.k), max64(c->n_expert, c->n_vocab))), d_head = 0;

    for (int il = 0; il < c->n_layer; il++)
        d_head = max64(d_head, c->layer[il].mixer == MIX_MLA ? max64(c->kv_lora + c->d_rope, c->d_nope + c->d_rope) : c->layer[il].head_dim);
    if (cols > INT_MAX || rows > INT_MAX) return false;
    *out = (llm_limits){ .n_batch = n_batch, .max_cols = (int)cols, .max_rows = (int)rows, .n_expert = moe || w.score > 0 ? c->n_expert : 1,
                         .n_expert_used = moe ? c->n_expert_used : 1, .d_ff_expert = moe ? c->d_ff_expert : 1, .d_model = c->d_model,
                         .n_head = c->n_head, .max_d_head = (int)d_head, .n_ctx = n_ctx };
    return true;
}

bool run_bytes(const llm_model *m, llm_site site, int n_batch, size_t *out)
{
    llm_run r;
    return layout(&r, m, site, n_batch, NULL, out);
}

llm_status run_open(llm_run *r, const llm_model *m, llm_site site, llm_backend *be, llm_kv_layer *kv, int n_batch, llm_error *err)
{
    memset(r, 0, sizeof *r);
    r->m = m, r->be = be, r->site = site, r->kv = kv, r->n_batch = n_batch;
    if (!run_bytes(m, site, n_batch, &r->arena_bytes)) return llm_fail(err, LLM_ERR_ARG, "n_batch %d: the buffers' size wraps", n_batch);
    if ((r->arena = backend_alloc(be, r->arena_bytes)) == NULL && site == SITE_DEVICE)
        return llm_fail(err, LLM_ERR_MEMORY, "device: no memory for %.1f MiB, the buffers of the forward pass: a smaller n_batch (now %d) or fewer gpu_layers need less",
                        (double)r->arena_bytes / 1048576, n_batch);
    if (r->arena == NULL) return llm_fail_memory(err, r->arena_bytes, "the buffers of the forward pass");
    layout(r, m, site, n_batch, r->arena, &r->arena_bytes);
    return LLM_OK;
}

void run_close(llm_run *r)
{
    backend_release(r->be, r->arena, r->arena_bytes);
    r->arena = NULL;
}

/* ---- steps ------------------------------------------------------------------------ */

void run_tap(llm_run *r, const char *name, int il, llm_rows rows)
{
    size_t bytes = (size_t)rows.n * (size_t)rows.width * sizeof(float);
    float *copy = NULL;

    if (r->tap == NULL || r->be->err.status != LLM_OK) return;
    if (r->be->remote != NULL) {
        if ((copy = malloc(bytes)) == NULL) { llm_fail_memory(&r->be->err, bytes, "a copy of activations"); return; }
        r->be->remote->download(r->be, copy, rows.data, bytes);
        rows.data = copy;
    }
    if (r->be->err.status == LLM_OK) r->tap(r->tap_user, name, il, rows.data, rows.n, rows.width);
    free(copy);
}

void run_copy(llm_run *to, llm_rows dst, llm_run *from, llm_rows src)
{
    backend_copy(to->be, dst.data, from->be, src.data, (size_t)src.n * (size_t)src.width * sizeof(float));
}

llm_linear run_product(llm_rows y, const llm_tensor *w, const llm_tensor *bias)
{
    return (llm_linear){ y, w, bias && tensor_bound(bias) ? bias : NULL };
}

void run_linear(llm_run *r, llm_rows y, llm_rows x, const llm_tensor *w, const llm_tensor *bias)
{
    llm_linear l = run_product(y, w, bias);
    r->be->op.linear(r->be, &l, 1, x);
}

void run_gated(llm_run *r, llm_rows o, llm_rows h, const llm_tensor *gate, const llm_tensor *up, const llm_tensor *down)
{
    llm_rows g = run_rows_of(r->gate, h.n, (int)gate->dim[0]), u = run_rows_of(r->up, h.n, (int)gate->dim[0]);
    llm_linear both[2] = { run_product(g, gate, NULL), run_product(u, up, NULL) };

    if (r->be->block.gated) {
        r->be->block.gated(r->be, g, u, gate, up, h, r->m->config.act, r->m->config.act_limit);
    } else {
        r->be->op.linear(r->be, both, 2, h);
        r->be->op.glu(r->be, g, g, u, r->m->config.act, r->m->config.act_limit);
    }
    run_linear(r, o, g, down, NULL);
}

static void norm(llm_run *r, llm_rows y, llm_rows x, const llm_tensor *w)
{
    r->be->op.norm(r->be, y, x, w, r->m->config.norm_eps, r->m->config.norm_offset);
}

/* x += o, and h = norm(x) by w. */
static void add_norm(llm_run *r, llm_rows x, llm_rows o, llm_rows h, const llm_tensor *w)
{
    if (r->be->block.add_norm) { r->be->block.add_norm(r->be, x, o, h, w, r->m->config.norm_eps, r->m->config.norm_offset); return; }
    r->be->op.add(r->be, x, o);
    norm(r, h, x, w);
}

/* One pre-norm layer, x += f(norm(x)) twice; a bound post norm makes the sandwich of Gemma 2 and 3. */
static void layer(llm_run *r, const llm_batch *b, int il)
{
    const llm_config *c = &r->m->config;
    const llm_layer *w = &r->m->layer[il];
    llm_rows x = run_rows_of(r->x, b->n, c->d_model), h = run_rows_of(r->h, b->n, c->d_model), o = run_rows_of(r->o, b->n, c->d_model);

    if (r->normed != il + 1) norm(r, h, x, &w->attn_norm);
    r->normed = 0;
    run_tap(r, "attn_norm", il, h);
    if (c->layer[il].mixer == MIX_MLA) run_mla(r, b, il); else run_attention(r, b, il);
    if (tensor_bound(&w->attn_post)) norm(r, o, o, &w->attn_post);
    add_norm(r, x, o, h, &w->ffn_norm);
    run_tap(r, "attn_out", il, x);

    if (c->layer[il].ffn == FFN_MOE) run_moe(r, b, il); else run_gated(r, o, h, &w->gate, &w->up, &w->down);
    if (tensor_bound(&w->ffn_post)) norm(r, o, o, &w->ffn_post);
    if (r->be->block.add_norm && il + 1 < c->n_layer && site_of_layer(r->m, il + 1) == r->site)
        add_norm(r, x, o, h, &w[1].attn_norm), r->normed = il + 2;              /* the next layer's */
    else r->be->op.add(r->be, x, o);
    run_tap(r, "layer_out", il, x);
}

static void vocabulary(llm_run *r, llm_rows y, llm_rows h)
{
    bool cap = r->m->config.logit_softcap > 0;
    llm_linear l = run_product(y, &r->m->head, NULL);

    r->peaked = r->peak != NULL && r->be->block.linear_peaks != NULL && !cap;
    if (r->peaked) r->be->block.linear_peaks(r->be, &l, h, r->peak);
    else r->be->op.linear(r->be, &l, 1, h);
    if (cap) r->be->op.softcap(r->be, y, r->m->config.logit_softcap);
    run_tap(r, "logits", -1, y);
}

/* The rows whose logits are wanted are brought together by the final norm, then go through the head. */
static void head(llm_run *r, const llm_batch *b, const uint8_t *want, float *logits)
{
    const llm_config *c = &r->m->config;
    llm_rows y = { logits, 0, c->n_vocab, c->n_vocab };

    r->held = 0, r->peaked = false;
    for (int i = 0, n; i < b->n; i += n) {
        for (n = 1; i + n < b->n && (want[i + n] != 0) == (want[i] != 0); n++) { }
        if (!want[i]) continue;
        norm(r, (llm_rows){ row_at(run_rows_of(r->h, b->n, c->d_model), y.n), n, c->d_model, c->d_model },
             (llm_rows){ row_at(run_rows_of(r->x, b->n, c->d_model), i), n, c->d_model, c->d_model }, &r->m->out_norm);
        y.n += n;
    }
    if (y.n == 0) return;
    run_tap(r, "result_norm", -1, run_rows_of(r->h, y.n, c->d_model));
    if (r->be->remote == NULL) { vocabulary(r, y, run_rows_of(r->h, y.n, c->d_model)); return; }
    if (r->keep && y.n <= r->out.n) { vocabulary(r, run_rows_of(r->out, r->held = y.n, c->n_vocab), run_rows_of(r->h, y.n, c->d_model)); return; }
    for (int i = 0, n; i < y.n; i += n) {
        llm_rows h = run_rows_of(r->h, n = y.n - i < r->out.n ? y.n - i : r->out.n, c->d_model);
        h.data += (int64_t)i * c->d_model;
        vocabulary(r, run_rows_of(r->out, n, c->n_vocab), h);
        r->be->remote->download(r->be, row_at(y, i), r->out.data, (size_t)n * (size_t)c->n_vocab * sizeof(float));
    }
}

/* Rotation angles for the positions of b that some layer here uses, and (Qwen 1) how much each query grows: log_{logn_ctx}(p + 1) past logn_ctx. */
static void positions(llm_run *r, const llm_batch *b)
{
    const llm_config *c = &r->m->config;
    bool used[N_ROPE] = { false };

    for (int il = 0; il < c->n_layer; il++)
        if (site_of_layer(r->m, il) == r->site) used[c->layer[il].rope] = true;
    for (int i = 0; i < N_ROPE; i++) {
        r->cs[i] = run_rows_of(r->cs[i], b->n, c->n_rot);
        if (used[i]) r->be->op.rope_table(r->be, r->cs[i], &c->rope[i], b->pos);
    }
    for (int i = 0, n; c->logn_ctx > 1 && (used[0] || used[1]) && i < b->n; i += n) {
        float grow[128];
        for (n = 0; n < 128 && i + n < b->n; n++)
            grow[n] = b->pos[i + n] >= c->logn_ctx ? (float)(log((double)b->pos[i + n] + 1) / log((double)c->logn_ctx)) : 1;
        backend_upload(r->be, r->grow.data + i, grow, (size_t)n * sizeof *grow);
    }
}

/* ---- where it goes on --------------------------------------------------------------- */

/* The run where the next step is; the residual goes there. */
static llm_run *go_to(llm_run *r, llm_site site, int n)
{
    llm_run *to = run_at(r, site);

    if (to != r) run_copy(to, run_rows_of(to->x, n, to->x.width), r, run_rows_of(r->x, n, r->x.width));
    return to;
}

static void begin(llm_run *r, const llm_batch *b, const uint8_t *want)
{
    r->be->err.status = LLM_OK, r->be->layer = -1, r->normed = r->held = 0;
    if (r->be->remote) r->be->remote->begin(r->be, b, r->tap ? NULL : want);
    positions(r, b);
}

static void end(llm_backend *be)
{
    be->layer = -1;
    if (be->remote) be->remote->end(be);
}

/* The step ends at this run. After a failure the other run fails too: what it has recorded of the step is dropped. */
static llm_status end_at(llm_run *at, llm_error *err)
{
    llm_backend *be = at->be, *other = at->other ? at->other->be : NULL;

    if (other && be->err.status != LLM_OK && other->err.status == LLM_OK) other->err = be->err;
    end(be);
    if (other) end(other);
    if (other && be->err.status == LLM_OK) be = other;
    return be->err.status == LLM_OK ? LLM_OK : llm_fail(err, be->err.status, "%s", be->err.text);
}

llm_status llm_forward(llm_run *r, const llm_batch *b, const uint8_t *want, float *logits, llm_error *err)
{
    const llm_model *m = r->m;
    const llm_config *c = &m->config;
    llm_run *at = run_at(r, site_of_ends(m));

    if (r->other) r->other->tap = r->tap, r->other->tap_user = r->tap_user, begin(r->other, b, want);
    begin(r, b, want);
    at->be->op.embed(at->be, run_rows_of(at->x, b->n, c->d_model), &m->embed, b->token, c->embed_scale);
    run_tap(at, "embed", -1, run_rows_of(at->x, b->n, c->d_model));
    for (int il = 0; il < c->n_layer && at->be->err.status == LLM_OK; il++) {
        at = go_to(at, site_of_layer(m, il), b->n);
        at->be->layer = il;
        if (r->stop && r->stop(r->stop_user)) llm_fail(&at->be->err, LLM_ERR_CANCELLED, "stopped before layer %d of %d", il, c->n_layer);
        if (at->be->err.status == LLM_OK) layer(at, b, il);
    }
    if (at->be->err.status == LLM_OK) at = go_to(at, site_of_ends(m), b->n);
    at->be->layer = -1;
    if (at->be->err.status == LLM_OK) head(at, b, want, logits);
    return end_at(at, err);
}
