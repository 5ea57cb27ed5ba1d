#include "forward.h"

static const llm_tensor *bound(const llm_tensor *t) { return tensor_bound(t) ? t : NULL; }

/* Routed experts, and an always-on shared expert where one is bound, scaled by its own gate where that is. */
void run_moe(llm_run *r, const llm_batch *b, int il)
{
    const llm_config *c = &r->m->config;
    const llm_layer *w = &r->m->layer[il];
    const llm_ops *op = &r->be->op;
    llm_route_args route = { .gate = c->gate, .n_expert = c->n_expert, .n_used = c->n_expert_used, .n_group = c->n_group,
                             .n_group_used = c->n_group_used, .renorm = c->expert_renorm, .group_top2 = c->group_top2, .scale = c->expert_scale };
    llm_moe_args moe = { .gate = &w->gate_x, .up = &w->up_x, .down = &w->down_x, .bgate = bound(&w->bgate_x), .bup = bound(&w->bup_x),
                         .bdown = bound(&w->bdown_x), .act = c->act, .limit = c->act_limit };
    llm_rows h = run_rows_of(r->h, b->n, c->d_model), o = run_rows_of(r->o, b->n, c->d_model);
    llm_rows score = run_rows_of(r->score, b->n, c->n_expert), weight = run_rows_of(r->weight, b->n, c->n_expert_used);

    run_linear(r, score, h, &w->router, &w->router_b);
    op->route(r->be, weight, r->expert, score, bound(&w->router_fix), &route);
    run_tap(r, "router", il, weight);
    op->moe(r->be, o, h, weight, r->expert, &moe);
    if (tensor_bound(&w->gate_s)) {
        llm_rows shared = run_rows_of(r->shared, b->n, c->d_model), sg = run_rows_of(r->shared_gate, b->n, 1);
        run_gated(r, shared, h, &w->gate_s, &w->up_s, &w->down_s);
        if (tensor_bound(&w->gate_inp_s)) {
            run_linear(r, sg, h, &w->gate_inp_s, NULL);
            op->add_gated(r->be, o, shared, sg);
        } else {
            op->add(r->be, o, shared);
        }
    }
}
