/* deepseek.c - DeepSeek-MoE 16B (arXiv 2401.06066, section 3): Llama's attention, fine-grained and shared experts.
 * Trap: the chosen experts' weights are not renormalised, and GGUF permutes q and k as for Llama. */
#include "config.h"

static llm_weight_set weights(const llm_config *c, int il)
{
    return (llm_weight_set){ .need = ATTN_GQA | (c->layer[il].ffn == FFN_MOE ? FFN_EXPERTS | FFN_SHARED : FFN_GATED) };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    c->act = ACT_SILU;
    c->rope_style = meta_kind(m) == STORE_GGUF ? ROPE_PAIRS : ROPE_HALF;
    c->gate = GATE_SOFTMAX;
    meta_bool(m, "expert_weights_norm", "norm_topk_prob", &c->expert_renorm);
    meta_f32(m, "expert_weights_scale", "routed_scaling_factor", &c->expert_scale);
    return config_lead_dense(m, c, err);
}

const llm_arch llm_arch_deepseek = { "deepseek", "deepseek", config, weights, NULL, NULL };
