#include "forward.h"

/* Multi-head latent attention in its absorbed form: scores and values are taken against the kv_lora-wide latent, so the
 * cache holds kv_lora + d_rope numbers a token whatever n_head is. DeepSeek-V2 (arXiv 2405.04434), section 2.1.2. */
void run_mla(llm_run *r, const llm_batch *b, int il)
{
    const llm_config *c = &r->m->config;
    const llm_layer *w = &r->m->layer[il];
    const llm_ops *op = &r->be->op;
    int d_qk = c->d_nope + c->d_rope, d_latent = c->kv_lora + c->d_rope;
    llm_rows h = run_rows_of(r->h, b->n, c->d_model), o = run_rows_of(r->o, b->n, c->d_model);
    llm_rows q = run_rows_of(r->q, b->n, c->n_head * d_qk), kv = run_rows_of(r->k, b->n, d_latent), latent = kv, q_rope = q;
    llm_rows qa = run_rows_of(r->qa, b->n, c->n_head * d_latent), qa_rope = qa, ac, a = run_rows_of(r->a, b->n, c->n_head * c->d_v);
    llm_attn_args args = { .n_head = c->n_head, .scale = c->attn_scale };

    if (tensor_bound(&w->wq_a)) {
        llm_rows lat = run_rows_of(r->lat, b->n, c->q_lora);
        llm_linear both[2] = { run_product(lat, &w->wq_a, NULL), run_product(kv, &w->wkv_a, NULL) };
        op->linear(r->be, both, 2, h);
        op->norm(r->be, lat, lat, &w->q_a_norm, c->latent_eps, 0);
        run_linear(r, q, lat, &w->wq_b, NULL);
    } else {
        llm_linear both[2] = { run_product(q, &w->wq, NULL), run_product(kv, &w->wkv_a, NULL) };
        op->linear(r->be, both, 2, h);
    }
    latent.width = c->kv_lora;
    op->norm(r->be, latent, latent, &w->kv_a_norm, c->latent_eps, 0);
    op->rope(r->be, q, r->cs[ROPE_GLOBAL], d_qk, c->d_nope, c->rope_style);
    op->rope(r->be, kv, r->cs[ROPE_GLOBAL], d_latent, c->kv_lora, c->rope_style);
    op->absorb(r->be, qa, d_latent, q, d_qk, &w->wk_b);
    q_rope.data += c->d_nope, qa_rope.data += c->kv_lora;
    op->copy_heads(r->be, qa_rope, d_latent, q_rope, d_qk, c->n_head, c->d_rope);
    op->store(r->be, &r->kv[il], kv, kv, b);
    ac = run_rows_of(r->lat, b->n, c->n_head * c->kv_lora);
    op->attend(r->be, ac, qa, &r->kv[il], b, &args);
    op->absorb(r->be, a, c->d_v, ac, c->kv_lora, &w->wv_b);
    run_tap(r, "attn", il, a);
    run_linear(r, o, a, &w->wo, NULL);
}
