/* qwen2.c - Qwen 1.5, 2 and 2.5 and their mixtures of experts (arXiv 2407.10671, section 2.2), the R1 distills of Qwen.
 * Traps: q, k and v have biases that no key announces; the chosen experts' weights are not renormalised; one wide
 * shared expert is scaled by a sigmoid gate. */
#include "config.h"

static llm_weight_set weights(const llm_config *c, int il)
{
    uint64_t moe = FFN_EXPERTS | FFN_SHARED | SLOT(gate_inp_s);
    return (llm_weight_set){ .need = ATTN_GQA | SLOT(bq) | SLOT(bk) | SLOT(bv) | (c->layer[il].ffn == FFN_MOE ? moe : FFN_GATED),
                             .may = SLOT(bo) };                   /* zeros, in some GPTQ files */
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    c->act = ACT_SILU;
    c->rope_style = ROPE_HALF;
    c->gate = GATE_SOFTMAX;
    meta_bool(m, "expert_weights_norm", "norm_topk_prob", &c->expert_renorm);
    meta_int(m, "expert_shared_feed_forward_length", "shared_expert_intermediate_size", &c->d_ff_shared);
    if (config_late_windows(m, c, err)) return err->status;
    return config_sparse(m, c, err);
}

static const llm_alias alias[] = {
    { W_gate_s, NULL, "mlp.shared_expert.gate_proj.weight" }, { W_up_s, NULL, "mlp.shared_expert.up_proj.weight" },
    { W_down_s, NULL, "mlp.shared_expert.down_proj.weight" }, { W_COUNT, NULL, NULL },
};

const llm_arch llm_arch_qwen2    = { "qwen2",    "qwen2",     config, weights, NULL, NULL };
const llm_arch llm_arch_qwen2moe = { "qwen2moe", "qwen2_moe", config, weights, alias, NULL };
