/* qwen3.c - Qwen3 dense and MoE (arXiv 2505.09388, section 2). A head's width is not d_model / n_head. */
#include "config.h"

/* Each query and key head is normalised before the rotation, in place of Qwen2's QKV bias (which attention_bias could
 * bring back; no published file does). */
static llm_weight_set weights(const llm_config *c, int il)
{
    uint64_t ffn = c->layer[il].ffn == FFN_MOE ? FFN_EXPERTS : FFN_GATED;
    return (llm_weight_set){ .need = ATTN_GQA | SLOT(q_norm) | SLOT(k_norm) | ffn, .may = SLOT(bq) | SLOT(bk) | SLOT(bv) | SLOT(bo) };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    c->act = ACT_SILU;
    c->rope_style = ROPE_HALF;
    c->gate = GATE_SOFTMAX;
    c->expert_renorm = true;                        /* every published MoE; config.json may say otherwise */
    meta_bool(m, "expert_weights_norm", "norm_topk_prob", &c->expert_renorm);
    if (config_late_windows(m, c, err)) return err->status;
    return config_sparse(m, c, err);
}

const llm_arch llm_arch_qwen3    = { "qwen3",    "qwen3",     config, weights, NULL, NULL };
const llm_arch llm_arch_qwen3moe = { "qwen3moe", "qwen3_moe", config, weights, NULL, NULL };
