/* gemma.c - Gemma 1 (arXiv 2403.08295), 2 (arXiv 2408.00118) and 3, text (arXiv 2503.19786).
 * Traps: safetensors hold w of a norm 1 + w, GGUF holds 1 + w; the 27B models scale scores by d_model / n_head instead
 * of the head's width, which GGUF does not say; "gelu" means the tanh form; files may leave out that the head is tied. */
#include "config.h"
#include <math.h>

static llm_weight_set weights1(const llm_config *c, int il)
{
    (void)c, (void)il;
    return (llm_weight_set){ .need = ATTN_GQA | FFN_GATED };
}

static llm_weight_set weights2(const llm_config *c, int il)       /* a norm before and after each half of a layer */
{
    return (llm_weight_set){ .need = weights1(c, il).need | SLOT(attn_post) | SLOT(ffn_post) };
}

static llm_weight_set weights3(const llm_config *c, int il)
{
    return (llm_weight_set){ .need = weights2(c, il).need | SLOT(q_norm) | SLOT(k_norm) };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    (void)err;
    c->act = ACT_GELU_TANH;
    c->rope_style = ROPE_HALF;
    c->norm_offset = meta_kind(m) == STORE_HF ? 1 : 0;
    c->embed_scale = sqrtf((float)c->d_model);
    return LLM_OK;
}

/* n_layer_27b: the depth by which a GGUF file of the 27B model is known. */
static llm_status config_local(llm_meta *m, llm_config *c, int window, int period, int n_layer_27b, llm_error *err)
{
    float q_scalar = (float)c->head_dim;

    config(m, c, err);
    if (meta_kind(m) == STORE_GGUF && c->n_layer == n_layer_27b && c->n_head > 0) q_scalar = (float)c->d_model / (float)c->n_head;
    meta_f32(m, NULL, "query_pre_attn_scalar", &q_scalar);
    if (!(q_scalar > 0)) return llm_fail(err, LLM_ERR_FORMAT, "query_pre_attn_scalar is %g, wanted more than 0", (double)q_scalar);
    c->attn_scale = 1 / sqrtf(q_scalar);
    if (c->window == 0) c->window = window;
    meta_f32(m, "attn_logit_softcapping", "attn_logit_softcapping", &c->attn_softcap);
    meta_f32(m, "final_logit_softcapping", "final_logit_softcapping", &c->logit_softcap);
    return config_windows(m, c, period, err);
}

static llm_status config2(llm_meta *m, llm_config *c, llm_error *err)
{
    c->attn_softcap = 50, c->logit_softcap = 30;
    return config_local(m, c, 4096, 2, 46, err);
}

static llm_status config3(llm_meta *m, llm_config *c, llm_error *err)
{
    float base = 10000;                                           /* of local layers, never scaled */

    if (!meta_f32(m, "rope.freq_base_swa", "rope_local_base_freq", &base)) meta_f32(m, NULL, "rope_parameters.sliding_attention.rope_theta", &base);
    c->rope_spec[ROPE_LOCAL].kind = ROPE_PLAIN;
    c->rope_spec[ROPE_LOCAL].base = base;
    return config_local(m, c, c->d_model >= 2560 ? 1024 : 512, 6, 62, err);
}

static void defaults(llm_config *c) { c->tied = true; }

static void defaults3(llm_config *c)                              /* Gemma3TextConfig; the 4B and larger files rely on them */
{
    c->tied = true, c->n_head = 8, c->n_kv_head = 4, c->head_dim = 256, c->n_vocab = 262208, c->n_ctx = 131072, c->norm_eps = 1e-6f;
    c->rope_spec[ROPE_GLOBAL].base = 1e6f;
}

static const llm_alias alias[] = { { W_ffn_norm, NULL, "pre_feedforward_layernorm.weight" }, { W_COUNT, NULL, NULL } };

const llm_arch llm_arch_gemma  = { "gemma",  "gemma",       config,  weights1, NULL,  defaults };
const llm_arch llm_arch_gemma2 = { "gemma2", "gemma2",      config2, weights2, alias, defaults };
const llm_arch llm_arch_gemma3 = { "gemma3", "gemma3_text", config3, weights3, alias, defaults3 };
