/* deepseek2.c - DeepSeek-V2, V2-Lite (arXiv 2405.04434, section 2) and V3, R1, V3.1 (arXiv 2412.19437, section 2).
 * Traps: YaRN scales the softmax by m squared, not cos and sin; V3's correction bias enters the choice of experts but not their
 * weights; a group's score is its best expert in V2 and its two best in V3; V2-Lite has no query compression. */
#include "config.h"
#include <math.h>
#include <string.h>

static llm_weight_set weights(const llm_config *c, int il)
{
    uint64_t query = c->q_lora > 0 ? SLOT(wq_a) | SLOT(q_a_norm) | SLOT(wq_b) : SLOT(wq);
    uint64_t mla = SLOT(attn_norm) | SLOT(wkv_a) | SLOT(kv_a_norm) | SLOT(wk_b) | SLOT(wv_b) | SLOT(wo);
    bool moe = c->layer[il].ffn == FFN_MOE;
    return (llm_weight_set){ .need = query | mla | (moe ? FFN_EXPERTS | FFN_SHARED : FFN_GATED)
                                   | (moe && c->gate == GATE_SIGMOID ? SLOT(router_fix) : 0) };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    const char *method = "", *score = "softmax";
    bool v3 = meta_kind(m) == STORE_HF && strcmp(meta_arch(m), "deepseek_v3") == 0, interleaved = true;
    int gate = 1, d_qk = 0;

    if (v3) score = "sigmoid", c->expert_renorm = true;           /* what its config.json may leave out */
    meta_int(m, "attention.q_lora_rank", "q_lora_rank", &c->q_lora);
    meta_int(m, "attention.kv_lora_rank", "kv_lora_rank", &c->kv_lora);
    meta_int(m, "rope.dimension_count", "qk_rope_head_dim", &c->d_rope);
    if (!meta_int(m, "attention.value_length_mla", "v_head_dim", &c->d_v)) meta_int(m, "attention.value_length", NULL, &c->d_v);
    if (meta_int(m, "attention.key_length_mla", NULL, &d_qk) || meta_int(m, "attention.key_length", NULL, &d_qk))
        c->d_nope = d_qk > c->d_rope && c->d_rope > 0 ? d_qk - c->d_rope : 0;
    meta_int(m, NULL, "qk_nope_head_dim", &c->d_nope);
    meta_str(m, NULL, "topk_method", &method), meta_str(m, NULL, "scoring_func", &score);
    meta_int(m, "expert_gating_func", NULL, &gate);               /* 1 or absent: softmax, 2: sigmoid */
    meta_int(m, "expert_group_count", "n_group", &c->n_group), meta_int(m, "expert_group_used_count", "topk_group", &c->n_group_used);
    if (strcmp(method, "greedy") == 0 || c->n_group < 1) c->n_group = c->n_group_used = 1;
    meta_f32(m, "expert_weights_scale", "routed_scaling_factor", &c->expert_scale);
    meta_bool(m, "expert_weights_norm", "norm_topk_prob", &c->expert_renorm);
    c->act = ACT_SILU;
    meta_bool(m, NULL, "rope_interleave", &interleaved);
    c->rope_style = interleaved ? ROPE_PAIRS : ROPE_HALF;
    c->gate = gate == 2 || strcmp(score, "sigmoid") == 0 ? GATE_SIGMOID : GATE_SOFTMAX;
    c->group_top2 = c->gate == GATE_SIGMOID;
    if (c->d_nope < 1 || c->d_rope < 2 || c->d_nope > 1 << 12 || c->d_rope > 1 << 12)
        return llm_fail(err, LLM_ERR_FORMAT, "head widths %d unrotated and %d rotated are out of range", c->d_nope, c->d_rope);
    c->n_rot = c->d_rope, c->head_dim = c->d_nope + c->d_rope;
    c->attn_scale = config_yarn_scale(&c->rope_spec[ROPE_GLOBAL]) * config_yarn_scale(&c->rope_spec[ROPE_GLOBAL]) / sqrtf((float)c->head_dim);
    for (int il = 0; il < c->n_layer; il++) c->layer[il].mixer = MIX_MLA, c->layer[il].head_dim = c->head_dim, c->layer[il].n_kv_head = 1;
    return config_lead_dense(m, c, err);
}

const llm_arch llm_arch_deepseek2   = { "deepseek2", "deepseek_v2", config, weights, NULL, NULL };
const llm_arch llm_arch_deepseek_v3 = { NULL,        "deepseek_v3", config, weights, NULL, NULL };
