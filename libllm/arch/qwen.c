/* qwen.c - Qwen 1 (arXiv 2309.16609, section 2.3; the vendor's modeling_qwen.py).
 * Traps: feed_forward_length and intermediate_size are twice the width of the matrices; w1 is the up and w2 the gate
 * projection; a query past seq_length grows with the logarithm of its position. Dynamic NTK makes the rotation of all tokens
 * depend on the length of the first prompt once that passes seq_length; no cache can hold such keys, so the context ends there
 * where config.json asks for it. */
#include "config.h"

static llm_weight_set weights(const llm_config *c, int il)
{
    (void)c, (void)il;
    return (llm_weight_set){ .need = ATTN_GQA | SLOT(bq) | SLOT(bk) | SLOT(bv) | FFN_GATED };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    bool logn = false, ntk = false;

    (void)err;
    c->act = ACT_SILU;
    c->rope_style = ROPE_HALF;
    meta_f32(m, NULL, "rotary_emb_base", &c->rope_spec[ROPE_GLOBAL].base);
    c->rope_spec[ROPE_LOCAL] = c->rope_spec[ROPE_GLOBAL];
    if (meta_bool(m, NULL, "use_logn_attn", &logn) && logn) meta_int(m, NULL, "seq_length", &c->logn_ctx);
    if (meta_bool(m, NULL, "use_dynamic_ntk", &ntk) && ntk) meta_int(m, NULL, "seq_length", &c->n_ctx_hard);
    for (int il = 0; il < c->n_layer; il++) c->layer[il].d_ff /= 2;
    return LLM_OK;
}

static const llm_alias alias[] = {
    { W_attn_norm, NULL, "ln_1.weight" }, { W_ffn_norm, NULL, "ln_2.weight" }, { W_wo, NULL, "attn.c_proj.weight" },
    { W_gate, NULL, "mlp.w2.weight" }, { W_up, NULL, "mlp.w1.weight" }, { W_down, NULL, "mlp.c_proj.weight" },
    { W_COUNT, NULL, NULL },
};

const llm_arch llm_arch_qwen = { "qwen", "qwen", config, weights, alias, NULL };
