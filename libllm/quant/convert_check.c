/* convert_check.c - a converted model's header read back: what GGUF cannot say about a model shows here, before hours of work. */
#include "quant_parts.h"
#include "tok_export.h"
#include <math.h>

static bool near(float a, float b) { return fabsf(a - b) <= 1e-5f * fmaxf(fabsf(a), fabsf(b)); }

/* The first thing that differs, or NULL. */
static const char *model_difference(const llm_config *a, const llm_config *b)
{
    if (a->n_layer != b->n_layer || a->d_model != b->d_model || a->n_vocab != b->n_vocab || a->d_ff != b->d_ff) return "a dimension";
    if (a->n_ctx != b->n_ctx) return "the length of the context";
    if (a->n_head != b->n_head || a->head_dim != b->head_dim || a->n_rot != b->n_rot) return "the heads";
    if (a->n_expert != b->n_expert || a->n_expert_used != b->n_expert_used || a->d_ff_shared != b->d_ff_shared) return "the experts";
    if (a->n_expert > 0 && (a->d_ff_expert != b->d_ff_expert || a->n_group != b->n_group || a->n_group_used != b->n_group_used || a->gate != b->gate
        || a->expert_renorm != b->expert_renorm || a->group_top2 != b->group_top2 || !near(a->expert_scale, b->expert_scale))) return "the routing of experts";
    if (a->q_lora != b->q_lora || a->kv_lora != b->kv_lora || a->d_nope != b->d_nope || a->d_rope != b->d_rope || a->d_v != b->d_v) return "latent attention";
    if (!near(a->norm_eps, b->norm_eps) || !near(a->embed_scale, b->embed_scale)) return "the norms or the scale of the embedding";
    if (!near(a->attn_scale, b->attn_scale)) return "the scale of the scores";
    if (!near(a->attn_softcap, b->attn_softcap) || !near(a->logit_softcap, b->logit_softcap)) return "a soft cap";
    if (a->act != b->act || (a->act == ACT_SWIGLU_OAI && !near(a->act_limit, b->act_limit))) return "the activation";
    if (a->logn_ctx != b->logn_ctx && a->n_ctx > a->logn_ctx) return "the growth of queries beyond the trained context (use_logn_attn)";
    return NULL;
}

static const char *layer_difference(const llm_config *a, const llm_config *b)
{
    for (int il = 0; il < a->n_layer; il++) {
        const llm_layer_config *x = &a->layer[il], *y = &b->layer[il];
        if (x->mixer != y->mixer || x->ffn != y->ffn || x->n_kv_head != y->n_kv_head || x->head_dim != y->head_dim) return "the kind of a layer";
        if (x->ffn == FFN_DENSE && x->d_ff != y->d_ff) return "the width of a layer";
        if (x->window != y->window || x->rope != y->rope) return "which layers slide, or the window";
    }
    return NULL;
}

/* Llama 3's frequencies come from a tensor and are not in the header. */
static const char *rope_difference(const llm_config *a, const llm_config *b)
{
    if (a->rope_spec[ROPE_GLOBAL].kind == ROPE_LLAMA3) return NULL;
    for (int k = 0; k < N_ROPE; k++) {
        if (!near(a->rope[k].mscale, b->rope[k].mscale)) return "the scale of the rotation";
        for (int i = 0; i < a->n_rot / 2; i++)
            if (!near(a->rope[k].freq[i], b->rope[k].freq[i])) return "the frequencies of the rotation";
    }
    return NULL;
}

llm_status convert_check(llm_model *m, const char *path, llm_error *err)
{
    llm_model b = { 0 };
    const char *what = NULL;
    llm_status st = store_open(&b.store, path, true, err);

    if (st == LLM_OK) st = meta_open(&b.meta, b.store, err);
    if (st == LLM_OK && (b.arch = arch_find(b.meta, err)) == NULL) st = LLM_ERR_UNSUPPORTED;
    if (st == LLM_OK) st = config_read(&b.config, b.arch, b.meta, err);
    if (st == LLM_OK) {
        what = model_difference(&m->config, &b.config);
        if (what == NULL) what = layer_difference(&m->config, &b.config);
        if (what == NULL) what = rope_difference(&m->config, &b.config);
        if (what) st = llm_fail(err, LLM_ERR_UNSUPPORTED, "cannot be written as GGUF: %s would be lost", what);
    }
    if (st == LLM_OK) st = tokenizer_open(&b.tokenizer, b.meta, b.store, m->config.n_vocab, err);
    if (st == LLM_OK) st = tok_same(m->tokenizer, b.tokenizer, err);
    tokenizer_close(b.tokenizer);
    config_free(&b.config);
    meta_close(b.meta);
    store_close(b.store);
    return st;
}
