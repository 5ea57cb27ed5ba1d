#include "model.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stated limits of every dimension that a file may name. Products of any three of them fit int64_t,
 * and the row widths below fit int. Widths are at least 2: a dimension of 1 means that a weight lacks it. */
enum { MAX_LAYER = 1000, MAX_WIDTH = 1 << 18, MAX_HEAD = 4096, MAX_HEAD_DIM = 4096, MAX_VOCAB = 1 << 24,
       MAX_EXPERT = 4096, MAX_CTX = 1 << 28 };

int64_t config_dim(const llm_config *c, int il, llm_sym sym)
{
    const llm_layer_config *lc = il >= 0 && il < c->n_layer ? &c->layer[il] : NULL;
    bool mla = lc != NULL && lc->mixer == MIX_MLA;
    int head_dim = lc != NULL ? lc->head_dim : c->head_dim;
    int n_kv_head = lc != NULL ? lc->n_kv_head : c->n_kv_head;

    switch (sym) {
    case _1:       return 1;
    case D_MODEL:  return c->d_model;
    case D_VOCAB:  return c->n_vocab;
    case D_Q:      return (int64_t)c->n_head * (mla ? c->d_nope + c->d_rope : head_dim);
    case D_KV:     return (int64_t)n_kv_head * head_dim;
    case D_HEAD:   return head_dim;
    case D_FF:     return lc != NULL ? lc->d_ff : c->d_ff;
    case D_FFX:    return c->d_ff_expert;
    case D_FFS:    return c->d_ff_shared;
    case N_EXPERT: return c->n_expert;
    case N_HEAD:   return c->n_head;
    case D_QLORA:  return c->q_lora;
    case D_KVLORA: return c->kv_lora;
    case D_KVA:    return c->kv_lora + c->d_rope;
    case D_O:      return (int64_t)c->n_head * (mla ? c->d_v : head_dim);
    case D_NOPE:   return c->d_nope;
    case D_V:      return c->d_v;
    }
    return 0;
}

/* ---- rotation ------------------------------------------------------------ */

/* 0.1 k ln(s) + 1: how much YaRN lets attention grow with the context (arXiv 2309.00071, section 3.4). */
static double yarn_mscale(double s, double k) { return s <= 1 ? 1 : 0.1 * k * log(s) + 1; }

static float yarn_attention(const llm_rope_spec *r)
{
    if (r->attention_factor > 0) return r->attention_factor;
    if (r->mscale > 0 && r->mscale_all_dim > 0)
        return (float)(yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim));
    return (float)yarn_mscale(r->factor, 1);
}

/* Dimension whose wave turns n times within the original context (section 3.2, the inverse of eq. 13). */
static double yarn_dim(const llm_rope_spec *r, int n_rot, double n)
{
    return n_rot * log((double)r->orig_ctx / (n * 2 * M_PI)) / (2 * log((double)r->base));
}

/* YaRN's "by parts" blend (section 3.2): below the ramp the base frequency, above it f / factor.
 * DeepSeek and gpt-oss round the ramp's ends or not: truncate. */
static void yarn_freq(const llm_rope_spec *r, int n_rot, float *freq)
{
    double low = yarn_dim(r, n_rot, r->beta_fast), high = yarn_dim(r, n_rot, r->beta_slow);

    if (r->truncate) low = floor(low), high = ceil(high);
    if (low < 0) low = 0;
    if (high > n_rot - 1) high = n_rot - 1;
    if (low == high) high += 0.001;
    for (int i = 0; i < n_rot / 2; i++) {
        double f = pow(r->base, -2.0 * i / n_rot), t = (i - low) / (high - low);
        t = t < 0 ? 0 : t > 1 ? 1 : t;
        freq[i] = (float)(f / r->factor * t + f * (1 - t));
    }
}

/* Llama 3.1: waves longer than the original context / low_freq are slowed by factor, those shorter than
 * context / high_freq stay, a linear blend between. (Meta's llama-models, apply_scaling.) */
static double llama3_freq(const llm_rope_spec *r, double f)
{
    double wave = 2 * M_PI / f, t;

    if (wave < r->orig_ctx / r->high_freq) return f;
    if (wave > r->orig_ctx / r->low_freq) return f / r->factor;
    t = (r->orig_ctx / wave - r->low_freq) / (r->high_freq - r->low_freq);
    return (1 - t) * f / r->factor + t * f;
}

static void rope_expand(const llm_rope_spec *r, int n_rot, float *freq, llm_rope *out)
{
    *out = (llm_rope){ freq, n_rot, 1.0f };
    if (r->kind == ROPE_YARN) {
        yarn_freq(r, n_rot, freq);
        out->mscale = yarn_attention(r);
        return;
    }
    for (int i = 0; i < n_rot / 2; i++) {
        double f = pow(r->base, -2.0 * i / n_rot);
        if (r->kind == ROPE_LINEAR) f /= r->factor;
        if (r->kind == ROPE_LLAMA3) f = llama3_freq(r, f);
        freq[i] = (float)f;
    }
}

static llm_status rope_kind(const char *type, llm_rope_kind *kind, llm_error *err)
{
    static const struct { const char *name; llm_rope_kind kind; } known[] = {
        { "default", ROPE_PLAIN }, { "none", ROPE_PLAIN }, { "linear", ROPE_LINEAR },
        { "llama3", ROPE_LLAMA3 }, { "yarn", ROPE_YARN },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(type, known[i].name) == 0) { *kind = known[i].kind; return LLM_OK; }
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "rope scaling type \"%s\" is not supported (there is: none, linear, "
                    "llama3, yarn)", type);
}

static llm_status rope_read_gguf(llm_meta *m, llm_config *c, llm_rope_spec *r, llm_error *err)
{
    const char *type = NULL;
    float log_mul = 0, ext = 1, attn = 1;

    meta_f32(m, "rope.freq_base", NULL, &r->base);
    if (meta_f32(m, "rope.scaling.factor", NULL, &r->factor) || meta_f32(m, "rope.scale_linear", NULL, &r->factor))
        r->kind = r->factor != 1 ? ROPE_LINEAR : ROPE_PLAIN;
    if (meta_str(m, "rope.scaling.type", NULL, &type) && rope_kind(type, &r->kind, err)) return LLM_ERR_UNSUPPORTED;
    if (r->kind != ROPE_YARN) return LLM_OK;
    r->orig_ctx = (float)c->n_ctx;
    meta_f32(m, "rope.scaling.original_context_length", NULL, &r->orig_ctx);
    meta_f32(m, "rope.scaling.yarn_beta_fast", NULL, &r->beta_fast);
    meta_f32(m, "rope.scaling.yarn_beta_slow", NULL, &r->beta_slow);
    if (meta_f32(m, "rope.scaling.yarn_ext_factor", NULL, &ext) && ext != 1)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "rope.scaling.yarn_ext_factor is %g; only 1 is supported", (double)ext);
    /* 0.1 * mscale_all_dim of DeepSeek; the converters assume that mscale is the same. */
    if (meta_f32(m, "rope.scaling.yarn_log_multiplier", NULL, &log_mul) && log_mul != 0)
        r->mscale = r->mscale_all_dim = log_mul / 0.1f;
    if (meta_f32(m, "rope.scaling.attn_factor", NULL, &attn)) r->attention_factor = attn * yarn_attention(r);
    return LLM_OK;
}

static bool rope_f32(llm_meta *m, const char *group, const char *key, float *out)
{
    char path[128];

    snprintf(path, sizeof path, "%s.%s", group, key);
    return meta_f32(m, NULL, path, out);
}

static bool rope_str(llm_meta *m, const char *group, const char *key, const char **out)
{
    char path[128];

    snprintf(path, sizeof path, "%s.%s", group, key);
    return meta_str(m, NULL, path, out);
}

/* config.json says it as rope_scaling beside rope_theta, or (transformers 5) all in rope_parameters, which
 * may hold one group per kind of layer. */
static llm_status rope_read_hf(llm_meta *m, llm_config *c, llm_rope_spec *r, llm_error *err)
{
    static const char *const group[] = { "rope_parameters.full_attention", "rope_parameters", "rope_scaling" };
    const char *type = NULL, *at = NULL;
    char path[64];

    for (size_t i = 0; i < sizeof group / sizeof group[0] && at == NULL; i++)
        if (rope_str(m, group[i], "rope_type", &type) || rope_str(m, group[i], "type", &type)) at = group[i];
    if (!meta_f32(m, NULL, "rope_theta", &r->base) && !rope_f32(m, group[0], "rope_theta", &r->base)) rope_f32(m, group[1], "rope_theta", &r->base);
    if (at == NULL) return LLM_OK;
    if (rope_kind(type, &r->kind, err)) return LLM_ERR_UNSUPPORTED;
    if (r->kind == ROPE_PLAIN) return LLM_OK;
    if (!rope_f32(m, at, "factor", &r->factor))
        return llm_fail(err, LLM_ERR_FORMAT, "config.json: %s.factor is missing", at);
    r->orig_ctx = (float)c->n_ctx;
    rope_f32(m, at, "original_max_position_embeddings", &r->orig_ctx);
    rope_f32(m, at, "low_freq_factor", &r->low_freq);
    rope_f32(m, at, "high_freq_factor", &r->high_freq);
    rope_f32(m, at, "beta_fast", &r->beta_fast);
    rope_f32(m, at, "beta_slow", &r->beta_slow);
    rope_f32(m, at, "mscale", &r->mscale);
    rope_f32(m, at, "mscale_all_dim", &r->mscale_all_dim);
    rope_f32(m, at, "attention_factor", &r->attention_factor);
    snprintf(path, sizeof path, "%s.truncate", at);
    meta_bool(m, NULL, path, &r->truncate);
    return LLM_OK;
}

static llm_status rope_check(const llm_rope_spec *r, llm_error *err)
{
    static const char *const what = "rope parameters are";
    bool ok = r->base > 1 && r->base < 1e12f && r->factor > 0 && r->factor < 1e6f;

    if (r->kind == ROPE_LLAMA3)
        ok = ok && r->low_freq > 0 && r->high_freq > r->low_freq && r->orig_ctx >= 1 && r->orig_ctx < 1e9f;
    if (r->kind == ROPE_YARN)
        ok = ok && r->beta_slow > 0 && r->beta_fast > r->beta_slow && r->orig_ctx >= 1 && r->orig_ctx < 1e9f
                && r->mscale >= 0 && r->mscale < 100 && r->mscale_all_dim >= 0 && r->mscale_all_dim < 100
                && r->attention_factor >= 0 && r->attention_factor < 1e4f;
    if (ok) return LLM_OK;
    return llm_fail(err, LLM_ERR_FORMAT, "%s out of range: base %g, factor %g, original context %g, beta %g and %g, "
                    "frequency factors %g and %g", what, (double)r->base, (double)r->factor, (double)r->orig_ctx,
                    (double)r->beta_fast, (double)r->beta_slow, (double)r->low_freq, (double)r->high_freq);
}

/* Builds the tables of config.rope from rope_spec. n_rot was checked. */
static llm_status rope_build(llm_config *c, llm_error *err)
{
    size_t half = (size_t)c->n_rot / 2;

    for (int i = 0; i < N_ROPE; i++)
        if (rope_check(&c->rope_spec[i], err)) return LLM_ERR_FORMAT;
    c->rope_freq = calloc(N_ROPE * half, sizeof *c->rope_freq);
    if (c->rope_freq == NULL) return llm_fail_memory(err, N_ROPE * half * sizeof *c->rope_freq, "rotation frequencies");
    for (int i = 0; i < N_ROPE; i++)
        rope_expand(&c->rope_spec[i], c->n_rot, c->rope_freq + (size_t)i * half, &c->rope[i]);
    return LLM_OK;
}

/* ---- keys that all families share ----------------------------------------- */

/* First spelling that is there. */
static bool any_int(llm_meta *m, const char *gguf, const char *hf, const char *hf2, const char *hf3, int *out)
{
    if (meta_int(m, gguf, hf, out)) return true;
    if (meta_kind(m) != STORE_HF) return false;
    return (hf2 != NULL && meta_int(m, NULL, hf2, out)) || (hf3 != NULL && meta_int(m, NULL, hf3, out));
}

static llm_status missing(llm_meta *m, const char *gguf, const char *hf, llm_error *err)
{
    llm_status s = meta_error(m, err);

    if (s != LLM_OK) return s;
    return llm_fail(err, LLM_ERR_FORMAT, "%s is missing from the %s", meta_kind(m) == STORE_GGUF ? gguf : hf,
                    meta_kind(m) == STORE_GGUF ? "GGUF metadata" : "config.json");
}

/* A number, or one per layer: fills layer[il] through at, and *one with the first. */
static llm_status per_layer(llm_meta *m, llm_config *c, const char *gguf, const char *hf, size_t field, int *one, bool *found,
                            llm_error *err)
{
    size_t n = 0, n_layer = (size_t)c->n_layer;
    int value[MAX_LAYER];

    *found = meta_ints(m, gguf, hf, value, MAX_LAYER, &n);
    if (!*found) return LLM_OK;
    if (n != 1 && n < n_layer)
        return llm_fail(err, LLM_ERR_FORMAT, "%s has %zu values, wanted one or %d", meta_kind(m) == STORE_GGUF ? gguf : hf,
                        n, c->n_layer);
    *one = value[0];
    for (size_t il = 0; il < n_layer; il++)
        memcpy((char *)&c->layer[il] + field, &value[n == 1 ? 0 : il], sizeof(int));
    return LLM_OK;
}

/* n_head is the same in every layer; a file that says otherwise is not one of ours. */
static llm_status read_heads(llm_meta *m, llm_config *c, llm_error *err)
{
    int value[MAX_LAYER];
    size_t n = 0;
    bool found;

    if (meta_ints(m, "attention.head_count", "num_attention_heads", value, MAX_LAYER, &n) && n >= 1) {
        c->n_head = value[0];
        if (n != 1 && n < (size_t)c->n_layer)
            return llm_fail(err, LLM_ERR_FORMAT, "the head count has %zu values, wanted one or %d", n, c->n_layer);
        for (size_t i = 1; i < n && i < (size_t)c->n_layer; i++)
            if (value[i] != value[0])
                return llm_fail(err, LLM_ERR_UNSUPPORTED, "head counts that differ between layers (%d and %d) are not supported",
                                value[0], value[i]);
    } else if (!any_int(m, NULL, "n_head", NULL, NULL, &c->n_head) && c->n_head == 0) {
        return missing(m, "attention.head_count", "num_attention_heads", err);
    }
    if (per_layer(m, c, "attention.head_count_kv", "num_key_value_heads", offsetof(llm_layer_config, n_kv_head), &c->n_kv_head,
                  &found, err))
        return LLM_ERR_FORMAT;
    if (!found && c->n_kv_head == 0) c->n_kv_head = c->n_head;
    if (!found)
        for (int il = 0; il < c->n_layer; il++) c->layer[il].n_kv_head = c->n_kv_head;
    return LLM_OK;
}

static llm_status read_widths(llm_meta *m, llm_config *c, llm_error *err)
{
    int d_value = 0, width = 0;
    bool found;

    if (!any_int(m, "attention.key_length", "head_dim", "kv_channels", NULL, &c->head_dim) && c->head_dim == 0 && c->n_head > 0)
        c->head_dim = c->d_model / c->n_head;
    c->d_v = c->head_dim;
    if (meta_int(m, "attention.value_length", NULL, &d_value)) c->d_v = d_value;
    if (per_layer(m, c, "feed_forward_length", "intermediate_size", offsetof(llm_layer_config, d_ff), &c->d_ff, &found, err))
        return LLM_ERR_FORMAT;
    if (!found && any_int(m, NULL, "ffn_hidden_size", NULL, NULL, &width)) {
        c->d_ff = width;
        for (int il = 0; il < c->n_layer; il++) c->layer[il].d_ff = width;
    }
    any_int(m, "expert_count", "num_experts", "num_local_experts", "n_routed_experts", &c->n_expert);
    any_int(m, "expert_used_count", "num_experts_per_tok", "experts_per_token", NULL, &c->n_expert_used);
    c->d_ff_expert = c->d_ff;
    meta_int(m, "expert_feed_forward_length", "moe_intermediate_size", &c->d_ff_expert);
    for (int il = 0; il < c->n_layer; il++) c->layer[il].head_dim = c->head_dim;
    return LLM_OK;
}

static void defaults(llm_config *c)
{
    *c = (llm_config){ .embed_scale = 1, .expert_scale = 1, .n_group = 1, .n_group_used = 1, .latent_eps = 1e-6f };
    for (int i = 0; i < N_ROPE; i++)
        c->rope_spec[i] = (llm_rope_spec){ .kind = ROPE_PLAIN, .base = 10000, .factor = 1, .orig_ctx = 1, .low_freq = 1,
                                           .high_freq = 4, .beta_fast = 32, .beta_slow = 1, .truncate = true };
}

/* n_vocab stays 0 where a GGUF file has neither the key nor a vocabulary; weights_bind then takes the table's rows. */
static llm_status read_vocab(llm_meta *m, llm_config *c, llm_error *err)
{
    size_t n = 0;

    if (meta_kind(m) == STORE_GGUF && meta_strs(m, "tokenizer.ggml.tokens", NULL, &n) && n > 0) {
        if (n > MAX_VOCAB)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.ggml.tokens has %zu entries; the limit is %d", n, MAX_VOCAB);
        c->n_vocab = (int)n;
        return LLM_OK;
    }
    if (any_int(m, "vocab_size", "vocab_size", "padded_vocab_size", NULL, &c->n_vocab) || c->n_vocab > 0 || meta_kind(m) == STORE_GGUF)
        return LLM_OK;
    return missing(m, "vocab_size", "vocab_size", err);
}

static llm_status read_shared(llm_meta *m, llm_config *c, llm_error *err)
{
    int n_extra = 0;
    size_t bytes;

    if (!any_int(m, "block_count", "num_hidden_layers", "n_layer", NULL, &c->n_layer))
        return missing(m, "block_count", "num_hidden_layers", err);
    if (meta_int(m, "nextn_predict_layers", NULL, &n_extra) && n_extra > 0 && n_extra < c->n_layer) c->n_layer -= n_extra;
    if (c->n_layer < 1 || c->n_layer > MAX_LAYER)
        return llm_fail(err, LLM_ERR_FORMAT, "%d layers, wanted 1 to %d", c->n_layer, MAX_LAYER);
    bytes = (size_t)c->n_layer * sizeof *c->layer;
    c->layer = calloc(1, bytes);
    if (c->layer == NULL) return llm_fail_memory(err, bytes, "layer descriptions");
    if (!any_int(m, "embedding_length", "hidden_size", "n_embd", NULL, &c->d_model))
        return missing(m, "embedding_length", "hidden_size", err);
    if (!any_int(m, "context_length", "max_position_embeddings", "n_positions", "seq_length", &c->n_ctx) && c->n_ctx == 0)
        return missing(m, "context_length", "max_position_embeddings", err);
    if (!meta_f32(m, "attention.layer_norm_rms_epsilon", "rms_norm_eps", &c->norm_eps) && !meta_f32(m, NULL, "layer_norm_epsilon", &c->norm_eps)
        && c->norm_eps == 0)
        return missing(m, "attention.layer_norm_rms_epsilon", "rms_norm_eps", err);
    if (read_heads(m, c, err) || read_widths(m, c, err) || read_vocab(m, c, err)) return LLM_ERR_FORMAT;
    any_int(m, "attention.sliding_window", "sliding_window", NULL, NULL, &c->window);
    meta_bool(m, NULL, "tie_word_embeddings", &c->tied);
    c->n_rot = 0;
    return meta_kind(m) == STORE_GGUF ? rope_read_gguf(m, c, &c->rope_spec[ROPE_GLOBAL], err)
                                      : rope_read_hf(m, c, &c->rope_spec[ROPE_GLOBAL], err);
}

/* ---- what several families share ------------------------------------------ */

float config_yarn_scale(const llm_rope_spec *r)
{
    return r->kind == ROPE_YARN && r->mscale_all_dim > 0 ? (float)yarn_mscale(r->factor, r->mscale_all_dim) : 1;
}

/* HF names the kind of each layer. */
static bool windows_from_names(llm_meta *m, llm_config *c, llm_status *st, llm_error *err)
{
    size_t n = 0, len;
    const char *kind;

    if (!meta_strs(m, NULL, "layer_types", &n)) return false;
    if (n != (size_t)c->n_layer) {
        *st = llm_fail(err, LLM_ERR_FORMAT, "config.json: layer_types has %zu entries, wanted %d", n, c->n_layer);
        return true;
    }
    for (int il = 0; il < c->n_layer; il++) {
        bool slides = meta_str_at(m, NULL, "layer_types", (size_t)il, &kind, &len) && len == 17 && memcmp(kind, "sliding_attention", 17) == 0;
        if (!slides && !(len == 14 && memcmp(kind, "full_attention", 14) == 0)) {
            *st = llm_fail(err, LLM_ERR_UNSUPPORTED, "config.json: layer_types[%d] is '%.*s', wanted sliding_attention or full_attention",
                           il, (int)len, kind);
            return true;
        }
        c->layer[il].window = slides ? c->window : 0;
    }
    return true;
}

llm_status config_windows(llm_meta *m, llm_config *c, int period, llm_error *err)
{
    llm_status st = LLM_OK;
    int value[MAX_LAYER];
    size_t n = 0;

    if (!windows_from_names(m, c, &st, err)) {
        bool found = meta_ints(m, "attention.sliding_window_pattern", "sliding_window_pattern", value, MAX_LAYER, &n)
                  || (meta_kind(m) == STORE_HF && meta_ints(m, NULL, "_sliding_window_pattern", value, MAX_LAYER, &n));
        if (found && n == 1) period = value[0];
        if (found && n != 1 && n != (size_t)c->n_layer)
            return llm_fail(err, LLM_ERR_FORMAT, "sliding_window_pattern has %zu values, wanted one or %d", n, c->n_layer);
        if (period < 0) return llm_fail(err, LLM_ERR_FORMAT, "sliding_window_pattern is %d, wanted 0 or more", period);
        for (int il = 0; il < c->n_layer; il++) {
            bool slides = found && n > 1 ? value[il] != 0 : period > 0 && il % period < period - 1;
            c->layer[il].window = slides ? c->window : 0;
        }
    }
    for (int il = 0; il < c->n_layer; il++) c->layer[il].rope = c->layer[il].window > 0 ? ROPE_LOCAL : ROPE_GLOBAL;
    return st;
}

llm_status config_sparse(llm_meta *m, llm_config *c, llm_error *err)
{
    int step = 1, dense[MAX_LAYER];
    size_t n = 0;

    meta_int(m, NULL, "decoder_sparse_step", &step);
    if (!meta_ints(m, NULL, "mlp_only_layers", dense, MAX_LAYER, &n)) n = 0;
    if (step < 1 || n > MAX_LAYER)
        return llm_fail(err, LLM_ERR_FORMAT, "config.json: decoder_sparse_step is %d and mlp_only_layers has %zu entries, wanted 1 or more and at most %d",
                        step, n, MAX_LAYER);
    for (int il = 0; il < c->n_layer; il++) c->layer[il].ffn = c->n_expert > 0 && (il + 1) % step == 0 ? FFN_MOE : FFN_DENSE;
    for (size_t i = 0; i < n; i++)
        if (dense[i] >= 0 && dense[i] < c->n_layer) c->layer[dense[i]].ffn = FFN_DENSE;
    return LLM_OK;
}

llm_status config_lead_dense(llm_meta *m, llm_config *c, llm_error *err)
{
    int every = 1;

    meta_int(m, "leading_dense_block_count", "first_k_dense_replace", &c->n_dense_lead);
    meta_int(m, "expert_shared_count", "n_shared_experts", &c->n_expert_shared);
    if (meta_int(m, NULL, "moe_layer_freq", &every) && every != 1)
        return llm_fail(err, LLM_ERR_UNSUPPORTED, "config.json: moe_layer_freq is %d, only 1 is supported", every);
    if (c->n_expert_shared < 0 || c->n_expert_shared > MAX_EXPERT || c->d_ff_expert < 0 || c->d_ff_expert > MAX_WIDTH)
        return llm_fail(err, LLM_ERR_FORMAT, "%d shared experts of width %d are out of range", c->n_expert_shared, c->d_ff_expert);
    c->d_ff_shared = c->n_expert_shared * c->d_ff_expert;
    for (int il = 0; il < c->n_layer; il++) c->layer[il].ffn = c->n_expert > 0 && il >= c->n_dense_lead ? FFN_MOE : FFN_DENSE;
    return LLM_OK;
}

llm_status config_late_windows(llm_meta *m, llm_config *c, llm_error *err)
{
    bool slide = false;
    int first = 0;

    if (!meta_bool(m, NULL, "use_sliding_window", &slide) || !slide) return LLM_OK;
    if (c->window < 1) return llm_fail(err, LLM_ERR_FORMAT, "config.json: use_sliding_window is set, but sliding_window is %d", c->window);
    if (meta_has(m, NULL, "layer_types")) return config_windows(m, c, 0, err);
    meta_int(m, NULL, "max_window_layers", &first);
    for (int il = 0; il < c->n_layer; il++) c->layer[il].window = il >= first ? c->window : 0;
    return LLM_OK;
}

/* config.json names the activation; one that the family does not have would give wrong answers silently. */
static llm_status check_act(llm_meta *m, const llm_config *c, llm_error *err)
{
    static const struct { const char *name; bool gelu; } known[] = {
        { "silu", false }, { "swish", false }, { "gelu", true }, { "gelu_pytorch_tanh", true }, { "gelu_new", true },
    };
    const char *name;

    if (!meta_str(m, NULL, "hidden_activation", &name) && !meta_str(m, NULL, "hidden_act", &name)) return LLM_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].name) == 0 && known[i].gelu == (c->act == ACT_GELU_TANH)) return LLM_OK;
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "config.json: hidden_act '%.40s' is not supported for this model", name);
}

/* ---- ranges ----------------------------------------------------------------- */

static llm_status in_range(const char *what, int64_t got, int64_t min, int64_t max, llm_error *err)
{
    if (got >= min && got <= max) return LLM_OK;
    return llm_fail(err, LLM_ERR_FORMAT, "%s is %lld, wanted %lld to %lld", what, (long long)got, (long long)min, (long long)max);
}

static llm_status check_layer(const llm_config *c, int il, llm_error *err)
{
    const llm_layer_config *l = &c->layer[il];

    if (in_range("the width of a head", l->head_dim, 2, MAX_HEAD_DIM, err) || in_range("the number of key/value heads", l->n_kv_head, 1, MAX_HEAD, err)
        || in_range("the sliding window", l->window, 0, MAX_CTX, err))
        return LLM_ERR_FORMAT;
    if (l->ffn == FFN_DENSE && in_range("the feed-forward width", l->d_ff, 2, 4 * MAX_WIDTH, err)) return LLM_ERR_FORMAT;
    if (l->mixer == MIX_ATTN && c->n_head % l->n_kv_head != 0)
        return llm_fail(err, LLM_ERR_FORMAT, "layer %d: %d heads are no multiple of %d key/value heads", il, c->n_head, l->n_kv_head);
    if (in_range("heads times their width", (int64_t)c->n_head * l->head_dim, 1, 1 << 22, err)) return LLM_ERR_FORMAT;
    return LLM_OK;
}

static llm_status check_moe(const llm_config *c, llm_error *err)
{
    if (in_range("the number of experts", c->n_expert, 1, MAX_EXPERT, err) || in_range("the experts per token", c->n_expert_used, 1, c->n_expert, err)
        || in_range("the width of an expert", c->d_ff_expert, 2, MAX_WIDTH, err) || in_range("the shared width", c->d_ff_shared, 0, 4 * MAX_WIDTH, err)
        || in_range("the expert groups", c->n_group, 1, c->n_expert, err) || in_range("the groups used", c->n_group_used, 1, c->n_group, err))
        return LLM_ERR_FORMAT;
    if (c->n_expert % c->n_group != 0 || c->n_expert_used > c->n_expert / c->n_group * c->n_group_used)
        return llm_fail(err, LLM_ERR_FORMAT, "%d experts in %d groups of which %d are used cannot give %d per token", c->n_expert,
                        c->n_group, c->n_group_used, c->n_expert_used);
    return LLM_OK;
}

static llm_status config_check(const llm_config *c, llm_error *err)
{
    bool moe = false, mla = false;

    if (in_range("the model width", c->d_model, 2, MAX_WIDTH, err) || in_range("the vocabulary", c->n_vocab, 0, MAX_VOCAB, err)
        || in_range("the context", c->n_ctx, 1, MAX_CTX, err) || in_range("the number of heads", c->n_head, 1, MAX_HEAD, err))
        return LLM_ERR_FORMAT;
    if (!(c->norm_eps > 0 && c->norm_eps < 1)) return llm_fail(err, LLM_ERR_FORMAT, "the epsilon of the norms is %g, wanted 0..1", (double)c->norm_eps);
    for (int il = 0; il < c->n_layer; il++) {
        if (check_layer(c, il, err)) return LLM_ERR_FORMAT;
        moe |= c->layer[il].ffn == FFN_MOE, mla |= c->layer[il].mixer == MIX_MLA;
        if (c->n_rot > c->layer[il].head_dim)
            return llm_fail(err, LLM_ERR_FORMAT, "%d values of a head of %d rotate", c->n_rot, c->layer[il].head_dim);
    }
    if (c->n_rot < 2 || c->n_rot % 2 != 0) return llm_fail(err, LLM_ERR_FORMAT, "%d values of a head rotate, wanted an even number", c->n_rot);
    if (moe && check_moe(c, err)) return LLM_ERR_FORMAT;
    if (mla && (in_range("kv_lora_rank", c->kv_lora, 2, MAX_HEAD_DIM - c->d_rope, err) || in_range("q_lora_rank", c->q_lora, 0, MAX_WIDTH, err)
        || in_range("the unrotated width of a head", c->d_nope, 2, MAX_HEAD_DIM, err) || in_range("the value width of a head", c->d_v, 2, MAX_HEAD_DIM, err)))
        return LLM_ERR_FORMAT;
    if (!(c->attn_scale > 0 && c->attn_scale < 1e3f) || !(c->attn_softcap >= 0) || !(c->logit_softcap >= 0) || !(c->expert_scale > 0))
        return llm_fail(err, LLM_ERR_FORMAT, "attention scale %g, soft caps %g and %g, expert scale %g: a number is out of range",
                        (double)c->attn_scale, (double)c->attn_softcap, (double)c->logit_softcap, (double)c->expert_scale);
    return LLM_OK;
}

llm_status config_read(llm_config *c, const llm_arch *arch, llm_meta *m, llm_error *err)
{
    llm_error mine;
    float partial;
    llm_status st;

    if (err == NULL) err = &mine;
    defaults(c);
    if (arch->defaults && meta_kind(m) == STORE_HF) arch->defaults(c);
    if ((st = read_shared(m, c, err)) != LLM_OK) { st = err->status; goto fail; }
    c->rope_spec[ROPE_LOCAL] = c->rope_spec[ROPE_GLOBAL];
    if (!meta_int(m, "rope.dimension_count", NULL, &c->n_rot) && meta_f32(m, NULL, "partial_rotary_factor", &partial) && partial > 0 && partial <= 1)
        c->n_rot = (int)((double)c->head_dim * (double)partial);
    if ((st = arch->config(m, c, err)) != LLM_OK) { st = err->status; goto fail; }
    if (c->n_rot == 0) c->n_rot = c->head_dim;
    if (c->attn_scale == 0) meta_f32(m, "attention.scale", NULL, &c->attn_scale);
    if (c->attn_scale == 0 && c->head_dim > 0) c->attn_scale = 1 / sqrtf((float)c->head_dim);
    if (c->n_ctx_hard > 0 && c->n_ctx > c->n_ctx_hard) c->n_ctx = c->n_ctx_hard;
    if ((st = meta_error(m, err)) != LLM_OK || (st = check_act(m, c, err)) != LLM_OK || (st = config_check(c, err)) != LLM_OK
        || (st = rope_build(c, err)) != LLM_OK) goto fail;
    return LLM_OK;
fail:
    config_free(c);
    return st;
}

void config_free(llm_config *c)
{
    free(c->rope_freq), free(c->layer);
    c->rope_freq = NULL, c->layer = NULL, c->n_layer = 0;
}
