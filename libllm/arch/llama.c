/* llama.c - Llama 2 and 3 (arXiv 2307.09288, 2407.21783), DeepSeek LLM (arXiv 2401.02954), the R1 distills of Llama.
 * Traps: the conversion to GGUF permutes the rows of q and k so that neighbours rotate, safetensors rotate halves; Mistral's
 * files are of this family in GGUF, and may have a window. */
#include "config.h"

static llm_weight_set weights(const llm_config *c, int il)
{
    (void)c, (void)il;
    return (llm_weight_set){ .need = ATTN_GQA | FFN_GATED, .may = SLOT(bq) | SLOT(bk) | SLOT(bv) | SLOT(bo) };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    bool bias = false;

    if (meta_bool(m, NULL, "mlp_bias", &bias) && bias)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "config.json: mlp_bias is set; biases of the feed-forward part are not supported");
    c->act = ACT_SILU;
    c->rope_style = meta_kind(m) == STORE_GGUF ? ROPE_PAIRS : ROPE_HALF;
    for (int il = 0; meta_kind(m) == STORE_GGUF && il < c->n_layer; il++) c->layer[il].window = c->window;    /* Mistral */
    return LLM_OK;
}

const llm_arch llm_arch_llama = { "llama", "llama", config, weights, NULL, NULL };
