/* gpt_oss.c - gpt-oss 20B and 120B (model card, arXiv 2508.10925, section 2; openai/gpt-oss gpt_oss/torch/model.py).
 * Traps: even layers slide, the current token counted; a sink per head enters the softmax's denominator only; gate and up rows
 * alternate in safetensors; the clamp of the gate has no lower end; YaRN's ramp is not rounded, which GGUF cannot say. */
#include "config.h"

static llm_weight_set weights(const llm_config *c, int il)
{
    (void)c, (void)il;
    return (llm_weight_set){ .need = ATTN_GQA | SLOT(bq) | SLOT(bk) | SLOT(bv) | SLOT(bo) | SLOT(sinks) | FFN_EXPERTS
                                   | SLOT(router_b) | SLOT(bgate_x) | SLOT(bup_x) | SLOT(bdown_x) };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    c->act = ACT_SWIGLU_OAI;                        /* min(g, limit) * sigmoid(1.702 g) * (u + 1) */
    c->act_limit = 7;
    meta_f32(m, NULL, "swiglu_limit", &c->act_limit);
    c->rope_style = ROPE_HALF;
    c->gate = GATE_TOPK_SOFTMAX;
    c->expert_interleaved = true;
    if (c->window == 0) c->window = 128;
    if (meta_kind(m) == STORE_GGUF) c->rope_spec[ROPE_GLOBAL].truncate = c->rope_spec[ROPE_LOCAL].truncate = false;
    for (int il = 0; il < c->n_layer; il++) c->layer[il].ffn = FFN_MOE;
    return config_windows(m, c, 2, err);
}

static const llm_alias alias[] = {
    { W_ffn_norm, "post_attention_norm.weight", NULL },           /* no sandwich here */
    { W_router, NULL, "mlp.router.weight" }, { W_COUNT, NULL, NULL },
};

const llm_arch llm_arch_gpt_oss = { "gpt-oss", "gpt_oss", config, weights, alias, NULL };
