/* mistral.c - Mistral 7B and its successors of the same shape (arXiv 2310.06825, section 2): Llama with a window in every layer
 * where the file names one, and a head's width of its own. Only safetensors have a name for it: in GGUF it is arch llama. */
#include "config.h"

static llm_weight_set weights(const llm_config *c, int il)
{
    (void)c, (void)il;
    return (llm_weight_set){ .need = ATTN_GQA | FFN_GATED };
}

static llm_status config(llm_meta *m, llm_config *c, llm_error *err)
{
    (void)m, (void)err;
    c->act = ACT_SILU;
    c->rope_style = ROPE_HALF;
    for (int il = 0; il < c->n_layer; il++) c->layer[il].window = c->window;
    return LLM_OK;
}

const llm_arch llm_arch_mistral = { NULL, "mistral", config, weights, NULL, NULL };
