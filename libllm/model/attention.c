#include "forward.h"

/* The norm of heads runs on rows of head_dim. */
static void rotate(llm_run *r, llm_rows q, llm_rows k, const llm_layer_config *lc, const llm_layer *w)
{
    const llm_config *c = &r->m->config;
    const llm_ops *op = &r->be->op;
    int d = lc->head_dim;

    if (tensor_bound(&w->q_norm)) {
        llm_rows qh = run_rows_of(q, q.n * c->n_head, d), kh = run_rows_of(k, k.n * lc->n_kv_head, d);
        op->norm(r->be, qh, qh, &w->q_norm, c->norm_eps, c->norm_offset);
        op->norm(r->be, kh, kh, &w->k_norm, c->norm_eps, c->norm_offset);
    }
    op->rope(r->be, q, r->cs[lc->rope], d, 0, c->rope_style);
    op->rope(r->be, k, r->cs[lc->rope], d, 0, c->rope_style);
}

/* Grouped-query attention with optional QKV bias, QK norm, window, soft-cap and sinks: a bound weight turns its step on. */
void run_attention(llm_run *r, const llm_batch *b, int il)
{
    const llm_config *c = &r->m->config;
    const llm_layer_config *lc = &c->layer[il];
    const llm_layer *w = &r->m->layer[il];
    const llm_ops *op = &r->be->op;
    int d = lc->head_dim, n_kv = lc->n_kv_head;
    llm_rows q = run_rows_of(r->q, b->n, c->n_head * d), k = run_rows_of(r->k, b->n, n_kv * d), v = run_rows_of(r->v, b->n, n_kv * d);
    llm_rows a = run_rows_of(r->a, b->n, q.width), h = run_rows_of(r->h, b->n, c->d_model), o = run_rows_of(r->o, b->n, c->d_model);
    llm_linear qkv[3] = { run_product(q, &w->wq, &w->bq), run_product(k, &w->wk, &w->bk), run_product(v, &w->wv, &w->bv) };
    llm_attn_args args = { .n_head = c->n_head, .window = lc->window, .scale = c->attn_scale, .softcap = c->attn_softcap,
                           .sinks = tensor_bound(&w->sinks) ? &w->sinks : NULL };
    llm_rope_store_args heads = { d, c->rope_style, tensor_bound(&w->q_norm) ? &w->q_norm : NULL, &w->k_norm, c->norm_eps, c->norm_offset };
    bool fused = r->be->block.rope_store != NULL && c->logn_ctx == 0;

    if (fused && r->be->block.qkv_store) r->be->block.qkv_store(r->be, qkv, h, r->cs[lc->rope], &heads, &r->kv[il], b);
    else op->linear(r->be, qkv, 3, h);
    if (fused && r->be->block.qkv_store == NULL) r->be->block.rope_store(r->be, q, k, v, r->cs[lc->rope], &heads, &r->kv[il], b);
    if (!fused) rotate(r, q, k, lc, w);
    run_tap(r, "q", il, q), run_tap(r, "k", il, k), run_tap(r, "v", il, v);
    if (c->logn_ctx > 0) op->scale_rows(r->be, q, r->grow.data);
    if (!fused) op->store(r->be, &r->kv[il], k, v, b);
    op->attend(r->be, a, q, &r->kv[il], b, &args);
    run_tap(r, "attn", il, a);
    run_linear(r, o, a, &w->wo, &w->bo);
}
