/* convert.c - a safetensors folder's model as GGUF: keys, names and layouts as llama.cpp's converter gives them (facts: the GGUF
 * specification and the converter's classes per family). The weights come bound, so each has one layout here. */
#include "quant_parts.h"
#include "tok_export.h"
#include "weights.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What GGUF does to a family beside renaming. arch: general.architecture. pairs: neighbours rotate there. */
typedef struct { const char *hf, *arch; bool pairs, rope_dims, no_base; int period; } family;

static const family families[] = {
    { "llama", "llama", true, true, false, 0 },             { "mistral", "llama", true, true, false, 0 },
    { "qwen", "qwen", false, true, false, 0 },              { "qwen2", "qwen2", false, false, false, 0 },
    { "qwen2_moe", "qwen2moe", false, false, false, 0 },    { "qwen3", "qwen3", false, false, false, 0 },
    { "qwen3_moe", "qwen3moe", false, false, false, 0 },    { "gemma", "gemma", false, false, true, 0 },
    { "gemma2", "gemma2", false, false, true, 2 },          { "gemma3_text", "gemma3", false, false, false, 6 },
    { "gpt_oss", "gpt-oss", false, false, false, 2 },       { "deepseek", "deepseek", true, true, false, 0 },
    { "deepseek_v2", "deepseek2", true, false, false, 0 },  { "deepseek_v3", "deepseek2", true, false, false, 0 },
};

static const family *family_of(const llm_model *m)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].hf, m->arch->hf_name) == 0) return &families[i];
    return NULL;
}

/* ---- keys -------------------------------------------------------------------------- */

typedef struct { gguf_out *out; const family *f; llm_model *m; } writer;

/* "ARCH.key" */
static const char *full(const writer *w, const char *key, char *text, size_t cap)
{
    snprintf(text, cap, "%s.%s", w->f->arch, key);
    return text;
}
static void u32(const writer *w, const char *key, int64_t v) { char t[128]; gguf_out_u32(w->out, full(w, key, t, sizeof t), (uint32_t)v); }
static void f32(const writer *w, const char *key, float v) { char t[128]; gguf_out_f32(w->out, full(w, key, t, sizeof t), v); }
static void flag(const writer *w, const char *key, bool v) { char t[128]; gguf_out_bool(w->out, full(w, key, t, sizeof t), v); }
static void str(const writer *w, const char *key, const char *s) { char t[128]; gguf_out_str(w->out, full(w, key, t, sizeof t), s, strlen(s)); }

static bool is(const writer *w, const char *arch) { return strcmp(w->f->arch, arch) == 0; }

static void rope_keys(const writer *w)
{
    const llm_config *c = &w->m->config;
    const llm_rope_spec *r = &c->rope_spec[ROPE_GLOBAL];

    if (!w->f->no_base) f32(w, "rope.freq_base", r->base);
    if (is(w, "gemma3")) f32(w, "rope.freq_base_swa", c->rope_spec[ROPE_LOCAL].base);
    if (r->kind == ROPE_LINEAR || r->kind == ROPE_YARN) {
        str(w, "rope.scaling.type", r->kind == ROPE_YARN ? "yarn" : "linear");
        f32(w, "rope.scaling.factor", r->factor);
    } else if (is(w, "deepseek")) {
        str(w, "rope.scaling.type", "none");
    }
    if (r->kind != ROPE_YARN) return;
    u32(w, "rope.scaling.original_context_length", (int64_t)r->orig_ctx);
    if (r->beta_fast != 32 || r->beta_slow != 1) f32(w, "rope.scaling.yarn_beta_fast", r->beta_fast), f32(w, "rope.scaling.yarn_beta_slow", r->beta_slow);
    if (r->mscale_all_dim > 0) f32(w, "rope.scaling.yarn_log_multiplier", 0.1f * r->mscale_all_dim);
    if (r->attention_factor > 0) {                          /* a factor on top of what follows from the scaling */
        double own = r->factor <= 1 || r->mscale_all_dim > 0 ? 1 : 0.1 * log((double)r->factor) + 1;
        f32(w, "rope.scaling.attn_factor", (float)((double)r->attention_factor / own));
    }
}

static void head_keys(const writer *w)
{
    const llm_config *c = &w->m->config;
    bool mla = c->layer[0].mixer == MIX_MLA;

    u32(w, "attention.head_count", c->n_head);
    u32(w, "attention.head_count_kv", mla ? 1 : c->n_kv_head);
    f32(w, "attention.layer_norm_rms_epsilon", c->norm_eps);
    if (mla) {
        if (c->q_lora > 0) u32(w, "attention.q_lora_rank", c->q_lora);
        u32(w, "attention.kv_lora_rank", c->kv_lora);
        u32(w, "attention.key_length", c->kv_lora + c->d_rope), u32(w, "attention.value_length", c->kv_lora);
        u32(w, "attention.key_length_mla", c->d_nope + c->d_rope), u32(w, "attention.value_length_mla", c->d_v);
        u32(w, "rope.dimension_count", c->d_rope);
        return;
    }
    if (meta_has(w->m->meta, NULL, "head_dim") || c->head_dim * c->n_head != c->d_model || strncmp(w->f->arch, "gemma", 5) == 0)
        u32(w, "attention.key_length", c->head_dim), u32(w, "attention.value_length", c->head_dim);
    if (w->f->rope_dims || c->n_rot != c->head_dim) u32(w, "rope.dimension_count", c->n_rot);
}

static void expert_keys(const writer *w)
{
    const llm_config *c = &w->m->config;
    bool lead = strncmp(w->f->arch, "deepseek", 8) == 0;

    if (c->n_expert < 1) return;
    u32(w, "expert_count", c->n_expert), u32(w, "expert_used_count", c->n_expert_used);
    u32(w, "expert_feed_forward_length", c->d_ff_expert);
    if (is(w, "qwen2moe")) u32(w, "expert_shared_feed_forward_length", c->d_ff_shared);
    if (c->expert_renorm != is(w, "qwen3moe") && !is(w, "gpt-oss")) flag(w, "expert_weights_norm", c->expert_renorm);
    if (!lead) return;
    u32(w, "leading_dense_block_count", c->n_dense_lead), u32(w, "expert_shared_count", c->n_expert_shared);
    f32(w, "expert_weights_scale", c->expert_scale);
    if (!is(w, "deepseek2")) return;
    if (c->n_group > 1) u32(w, "expert_group_count", c->n_group), u32(w, "expert_group_used_count", c->n_group_used);
    u32(w, "expert_gating_func", c->gate == GATE_SIGMOID ? 2 : 1);
}

/* Which layers slide, where that is not what the family does by itself. */
static void window_keys(const writer *w)
{
    const llm_config *c = &w->m->config;
    bool usual = true;
    uint8_t *slides;
    char key[128];

    if (c->layer[0].window > 0 && is(w, "llama")) u32(w, "attention.sliding_window", c->window);      /* Mistral: every layer */
    if (w->f->period == 0 || c->window < 1) return;
    u32(w, "attention.sliding_window", c->window);
    for (int il = 0; il < c->n_layer; il++) usual &= (c->layer[il].window > 0) == (il % w->f->period < w->f->period - 1);
    if (usual) return;
    if ((slides = malloc((size_t)c->n_layer)) == NULL) { w->out->kv.failed = true; return; }
    for (int il = 0; il < c->n_layer; il++) slides[il] = c->layer[il].window > 0;
    gguf_out_array(w->out, full(w, "attention.sliding_window_pattern", key, sizeof key), GGUF_BOOL, slides, (size_t)c->n_layer);
    free(slides);
}

/* What the publisher recommends for drawing tokens, where it is drawn at all. */
static void sampling_keys(const writer *w)
{
    static const struct { const char *hf, *key; bool whole; } rows[] = {
        { "generation:temperature", "general.sampling.temp", false }, { "generation:top_k", "general.sampling.top_k", true },
        { "generation:top_p", "general.sampling.top_p", false },      { "generation:min_p", "general.sampling.min_p", false },
        { "generation:repetition_penalty", "general.sampling.penalty_repeat", false },
    };
    bool sample = false;
    float v;

    if (!meta_bool(w->m->meta, NULL, "generation:do_sample", &sample) || !sample) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int32_t n;
        if (!meta_f32(w->m->meta, NULL, rows[i].hf, &v)) continue;
        n = (int32_t)v;
        if (!rows[i].whole) gguf_out_f32(w->out, rows[i].key, v);
        else if (n > 0) gguf_out_u32(w->out, rows[i].key, (uint32_t)n);
    }
}

/* The folder's own name, for files that do not call themselves anything. */
static void name_key(const writer *w)
{
    const char *s = *w->m->name ? w->m->name : store_dir(w->m->store), *end = s + strlen(s), *from;

    while (end > s && end[-1] == '/') end--;
    for (from = end; from > s && from[-1] != '/'; from--) { }
    if (end > from) gguf_out_str(w->out, "general.name", from, (size_t)(end - from));
}

static void keys(const writer *w)
{
    const llm_config *c = &w->m->config;

    gguf_out_str(w->out, "general.architecture", w->f->arch, strlen(w->f->arch));
    gguf_out_str(w->out, "general.type", "model", 5);
    name_key(w);
    u32(w, "block_count", c->n_layer), u32(w, "context_length", c->n_ctx), u32(w, "embedding_length", c->d_model);
    u32(w, "feed_forward_length", c->d_ff);                 /* arch qwen too keeps the number of config.json, twice the width */
    u32(w, "vocab_size", c->n_vocab);
    head_keys(w), rope_keys(w), expert_keys(w), window_keys(w);
    if (c->attn_softcap > 0) f32(w, "attn_logit_softcapping", c->attn_softcap);
    if (c->logit_softcap > 0) f32(w, "final_logit_softcapping", c->logit_softcap);
    sampling_keys(w);
}

/* ---- tensors -------------------------------------------------------------------------- */

/* dim in GGUF's terms: without the ones behind, and a gate of one row is a vector. */
static void set_dims(quant_item *it, const llm_tensor *t, bool flat)
{
    it->n_dim = t->dim[2] > 1 ? 3 : t->dim[1] > 1 && !flat ? 2 : 1;
    for (int i = 0; i < 3; i++) it->dim[i] = t->dim[i];
    if (flat) it->dim[0] = t->dim[1];
}

static bool is_norm(llm_slot s)
{
    return s == W_attn_norm || s == W_ffn_norm || s == W_attn_post || s == W_ffn_post || s == W_q_norm || s == W_k_norm;
}

/* Llama's query and key rows: the file pairs neighbours where safetensors pair halves. */
static int pair_heads(const writer *w, int il, llm_slot s)
{
    const llm_config *c = &w->m->config;

    if (!w->f->pairs || c->rope_style == ROPE_PAIRS || c->layer[il].mixer == MIX_MLA) return 0;
    if (s == W_wq || s == W_bq) return c->n_head;
    return s == W_wk || s == W_bk ? c->layer[il].n_kv_head : 0;
}

/* Qwen 1 keeps query, key and value in one tensor. */
static llm_status fused_items(const writer *w, quant_plan *p, int il, llm_error *err)
{
    llm_layer *l = &w->m->layer[il];
    quant_item qkv = { .il = il, .n_slot = 3, .slot = { W_wq, W_wk, W_wv }, .n_dim = 2, .dim = { l->wq.dim[0] + l->wk.dim[0] + l->wv.dim[0], l->wq.dim[1] } };
    quant_item bias = { .il = il, .n_slot = 3, .slot = { W_bq, W_bk, W_bv }, .n_dim = 1, .dim = { l->bq.dim[0] + l->bk.dim[0] + l->bv.dim[0] } };
    char name[64];
    llm_status st;

    snprintf(name, sizeof name, "blk.%d.attn_qkv.weight", il);
    if ((st = plan_add(p, name, &qkv, err)) != LLM_OK) return st;
    snprintf(name, sizeof name, "blk.%d.attn_qkv.bias", il);
    return plan_add(p, name, &bias, err);
}

static llm_status layer_items(const writer *w, quant_plan *p, int il, llm_error *err)
{
    bool fused = is(w, "qwen");
    llm_status st;
    char name[128];

    if (fused && (st = fused_items(w, p, il, err)) != LLM_OK) return st;
    for (int s = 0; s < W_COUNT; s++) {
        const llm_tensor *t = weights_slot(&w->m->layer[il], (llm_slot)s);
        quant_item it = { .il = il, .n_slot = 1, .slot = { (llm_slot)s } };
        if (!tensor_bound(t) || (fused && s >= W_wq && s <= W_bv)) continue;
        set_dims(&it, t, s == W_gate_inp_s);
        it.heads[0] = pair_heads(w, il, (llm_slot)s);
        if (is_norm((llm_slot)s)) it.offset = w->m->config.norm_offset;
        snprintf(name, sizeof name, "blk.%d.%s", il, weights_gguf_name(w->m->arch, (llm_slot)s));
        if ((st = plan_add(p, name, &it, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}

/* Llama 3's scaling as divisors of the frequencies. */
static llm_status rope_item(const writer *w, quant_plan *p, llm_error *err)
{
    const llm_config *c = &w->m->config;
    const llm_rope_spec *r = &c->rope_spec[ROPE_GLOBAL];
    int half = c->n_rot / 2;
    quant_item it = { .il = -1, .n_dim = 1, .dim = { half } };

    if (r->kind != ROPE_LLAMA3) return LLM_OK;
    if ((p->owned = malloc((size_t)half * sizeof *p->owned)) == NULL) return llm_fail_memory(err, (size_t)half * sizeof *p->owned, "frequencies");
    for (int i = 0; i < half; i++) p->owned[i] = (float)(pow((double)r->base, -2.0 * i / c->n_rot) / (double)c->rope[ROPE_GLOBAL].freq[i]);
    it.values = p->owned;
    return plan_add(p, "rope_freqs.weight", &it, err);
}

static llm_status items(const writer *w, quant_plan *p, llm_error *err)
{
    llm_model *m = w->m;
    quant_item embed = { .il = -1, .whole = &m->embed }, norm = { .il = -1, .whole = &m->out_norm, .offset = m->config.norm_offset },
               head = { .il = -1, .whole = &m->head };
    llm_status st;

    set_dims(&embed, &m->embed, false), set_dims(&norm, &m->out_norm, false), set_dims(&head, &m->head, false);
    if ((st = plan_add(p, "token_embd.weight", &embed, err)) != LLM_OK || (st = plan_add(p, "output_norm.weight", &norm, err)) != LLM_OK) return st;
    p->mix.tied = m->head.data == m->embed.data;
    if (!p->mix.tied && (st = plan_add(p, "output.weight", &head, err)) != LLM_OK) return st;
    if ((st = rope_item(w, p, err)) != LLM_OK) return st;
    for (int il = 0; il < m->config.n_layer; il++)
        if ((st = layer_items(w, p, il, err)) != LLM_OK) return st;
    return LLM_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

/* What cannot be said before it is tried (convert_check finds the rest). */
static llm_status check_family(const writer *w, llm_error *err)
{
    const llm_config *c = &w->m->config;

    if (w->f->pairs && c->rope_style == ROPE_HALF && (c->layer[0].mixer == MIX_MLA || c->n_rot != c->head_dim))
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "cannot be written as GGUF: heads of which a part rotates in halves have no form there");
    for (int il = 0; il < c->n_layer; il++) {
        if (c->n_expert > 0 && c->layer[il].ffn == FFN_DENSE && strncmp(w->f->arch, "deepseek", 8) != 0)
            return llm_fail(err, LLM_ERR_UNSUPPORTED,
                            "cannot be written as GGUF: layer %d has no experts, the others have, which a %s file cannot say", il, w->f->arch);
        if (c->layer[il].window > 0 && w->f->period == 0 && !is(w, "llama"))
            return llm_fail(err, LLM_ERR_UNSUPPORTED,
                            "cannot be written as GGUF: layer %d has a sliding window, which a %s file cannot say", il, w->f->arch);
    }
    return LLM_OK;
}

llm_status convert_plan(quant_plan *p, llm_model *m, llm_error *err)
{
    writer w = { &p->out, family_of(m), m };
    const llm_config *c = &m->config;
    llm_status st;

    if (w.f == NULL) return llm_fail(err, LLM_ERR_UNSUPPORTED, "model family '%.60s' cannot be written as GGUF", m->arch->hf_name ? m->arch->hf_name : "?");
    if ((st = check_family(&w, err)) != LLM_OK) return st;
    if (c->layer[0].window > 0 && is(&w, "llama") && m->log)
        m->log(m->user, LLM_LOG_WARN,
               "the sliding window is written as llama.attention.sliding_window, which llama.cpp does not heed: it reads longer texts differently");
    keys(&w);
    if ((st = tok_export(m->tokenizer, m->meta, c->n_vocab, &p->out, err)) != LLM_OK) return st;
    p->mix = (mix_model){ .n_layer = c->n_layer, .n_head = c->n_head, .n_kv_head = c->layer[0].mixer == MIX_MLA ? 1 : c->n_kv_head, .n_expert = c->n_expert };
    p->mix.eighty = c->n_layer == 80 && (is(&w, "qwen2") || (is(&w, "llama") && c->n_head != c->n_kv_head));
    if ((st = items(&w, p, err)) != LLM_OK) return st;
    return meta_error(m->meta, err);
}
