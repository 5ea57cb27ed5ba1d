#include "forward.h"

static const llm_tensor *bound(const llm_tensor *t) { return tensor_bound(t) ? t : NULL; }

/* y = the routed experts of h, where their weights are. To another backend the rows and, behind them, their routing go in one piece, and the sums
 * come back in another. */
static void experts(llm_run *r, llm_rows y, llm_rows h, int il, const llm_moe_args *a)
{
    llm_run *at = run_at(r, site_of_experts(r->m, il));
    llm_rows there = run_rows_of(at->h, h.n, h.width), sum = run_rows_of(at->o, h.n, y.width);
    llm_choice choice = run_choice(at, h.n);

    if (at != r) {
        backend_copy(at->be, there.data, r->be, h.data, (size_t)h.n * ((size_t)h.width * sizeof(float) + (size_t)r->n_used * (sizeof(float) + sizeof(int32_t))));
        at->be->layer = il;
    }
    if (at->be->err.status == LLM_OK) at->be->op.moe(at->be, sum, there, choice.weight, choice.expert, a);
    if (at != r) run_copy(r, y, at, sum);
}

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
    llm_rows score = run_rows_of(r->score, b->n, c->n_expert);
    llm_choice choice = run_choice(r, b->n);

    run_linear(r, score, h, &w->router, &w->router_b);
    op->route(r->be, choice.weight, choice.expert, score, bound(&w->router_fix), &route);
    run_tap(r, "router", il, choice.weight);
    experts(r, o, h, il, &moe);
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
