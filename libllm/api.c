/* api.c - the public functions: check arguments, call down. Those of conversations are in api_chat.c. */
#include "api_parts.h"
#include "chat_model.h"
#include "floats.h"
#include "plan.h"
#include "repack.h"
#include "sampler.h"
#include "session.h"
#include "sha256.h"
#include "threads.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- model ---- */

/* The numbers of the forward pass. Fields are hashed in runs of one type, which have no padding between them. */
static void add_config(llm_sha256 *h, const llm_config *c)
{
    int choice[] = { c->expert_renorm, c->group_top2, (int)c->act, (int)c->rope_style, (int)c->gate };

    sha256_add(h, &c->n_layer, offsetof(llm_config, norm_eps) - offsetof(llm_config, n_layer));
    sha256_add(h, &c->norm_eps, offsetof(llm_config, expert_renorm) - offsetof(llm_config, norm_eps));
    sha256_add(h, choice, sizeof choice);
    sha256_add(h, c->layer, (size_t)c->n_layer * sizeof *c->layer);
    for (int i = 0; i < N_ROPE; i++) {
        sha256_add(h, c->rope[i].freq, (size_t)c->rope[i].n_rot / 2 * sizeof(float));
        sha256_add(h, &c->rope[i].mscale, sizeof c->rope[i].mscale);
    }
}

/* What two models must share for the cache of one to serve the other: the config, the table of tensors, and bytes from the
 * middle of up to 256 of them. Fine-tuned copies differ in nearly all. */
static void identify(llm_model *m)
{
    enum { SAMPLED = 256, BYTES = 64 };
    size_t n = store_n_tensor(m->store), every = n / SAMPLED + 1;
    llm_sha256 h;

    sha256_begin(&h);
    add_config(&h, &m->config);
    for (size_t i = 0; i < n; i++) {
        const store_tensor *t = store_tensor_at(m->store, i);
        int32_t type = (int32_t)t->dtype;
        sha256_add(&h, t->name, strlen(t->name) + 1);
        sha256_add(&h, &type, sizeof type);
        sha256_add(&h, t->dim, (size_t)t->n_dim * sizeof t->dim[0]);
        if (i % every == 0 && t->data != NULL) {
            size_t some = t->bytes < BYTES ? t->bytes : BYTES;
            sha256_add(&h, (const char *)t->data + (t->bytes - some) / 2, some);
        }
    }
    sha256_end(&h, m->identity);
}

/* Defaults for sampling: the keys of generation_config.json, or those a GGUF converter copies from it. transformers samples only
 * where do_sample says so; a GGUF file that names a temperature or a filter means it. */
static void read_sampler(llm_model *m)
{
    llm_sampler_options *o = &m->sampler;
    bool sample = false, found;

    o->size = sizeof *o;
    o->temperature = 1;
    found = meta_f32(m->meta, "general.sampling.temp", "generation:temperature", &o->temperature);
    found |= meta_int(m->meta, "general.sampling.top_k", "generation:top_k", &o->top_k);
    found |= meta_f32(m->meta, "general.sampling.top_p", "generation:top_p", &o->top_p);
    found |= meta_f32(m->meta, "general.sampling.min_p", "generation:min_p", &o->min_p);
    meta_f32(m->meta, NULL, "generation:typical_p", &o->typical_p);
    if (meta_f32(m->meta, "general.sampling.penalty_repeat", "generation:repetition_penalty", &o->repeat_penalty))
        o->penalty_last_n = -1;
    meta_int(m->meta, "general.sampling.penalty_last_n", NULL, &o->penalty_last_n);
    meta_bool(m->meta, NULL, "generation:do_sample", &sample);
    if (meta_kind(m->meta) == STORE_GGUF) sample = found;
    if (!sample) o->temperature = 0;
    if (o->top_k < 0) o->top_k = 0;
}

/* Further tokens that end an answer, beside those the tokenizer's own files name. */
static void read_ends(llm_model *m)
{
    static const char *const key[] = { "generation:eos_token_id", "eos_token_id" };
    int id[64];

    for (size_t k = 0; k < sizeof key / sizeof key[0]; k++) {
        size_t n = 0, cap = sizeof id / sizeof id[0];
        if (!meta_ints(m->meta, NULL, key[k], id, cap, &n)) continue;
        for (size_t i = 0; i < n && i < cap; i++)
            if (id[i] >= 0 && id[i] < tokenizer_n_vocab(m->tokenizer)) tokenizer_set_end(m->tokenizer, id[i]);
    }
}

/* Which layers the device is to hold, for the session that is expected. Weights are bound, as a plan. */
static llm_status place(llm_model *m, const llm_model_options *o, llm_error *err)
{
    llm_session_options s = { .size = sizeof s };
    llm_status st;

    if (m->device == NULL && (o->gpu_layers != 0 || o->cpu_moe != 0 || o->device_memory != 0))
        return llm_fail(err, LLM_ERR_ARG, "llm_model_open: gpu_layers, cpu_moe and device_memory want a device (backend 1, cuda)");
    if (m->device == NULL) return LLM_OK;
    if (o->expect != NULL && (st = take(&s, sizeof s, o->expect, "llm_session_options", err)) != LLM_OK) return st;
    if ((st = session_options(&s, m, err)) != LLM_OK) return st;
    return place_model(m, o->gpu_layers, o->cpu_moe, &s, !o->plan_only, err);
}

static llm_status open_weights(llm_model *m, const llm_model_options *o, llm_error *err)
{
    llm_error why;
    llm_status st;

    if ((m->arch = arch_find(m->meta, &why)) == NULL) return llm_fail(err, why.status, "%s", why.text);
    if ((st = config_read(&m->config, m->arch, m->meta, err)) != LLM_OK) return st;
    if (!m->plan_only) {                /* what will it take? */
        m->plan_only = true;
        st = weights_bind(m, err);
        if (st == LLM_OK) st = place(m, o, err);
        if (st == LLM_OK) st = plan_weights(m, err);
        m->plan_only = false;
        repack_close(m);
        weights_free(m);
        return st == LLM_OK ? weights_bind(m, err) : st;
    }
    return (st = weights_bind(m, err)) == LLM_OK ? place(m, o, err) : st;
}

/* Anything that store_open knows; what is not may still be a tokenizer on its own. */
static bool is_model(const char *path)
{
    size_t n = strlen(path);
    char name[PATH_MAX], magic[4] = "";
    FILE *f;

    if (n > 12 && strcmp(path + n - 12, ".safetensors") == 0) return true;
    if (snprintf(name, sizeof name, "%s/config.json", path) < (int)sizeof name && access(name, F_OK) == 0) return true;
    if ((f = fopen(path, "rbe")) == NULL) return true;         /* store_open says what is wrong */
    if (fread(magic, 1, sizeof magic, f) != sizeof magic) magic[0] = 0;
    fclose(f);
    return memcmp(magic, "GGUF", sizeof magic) == 0;
}

static llm_status open_parts(llm_model *m, const llm_model_options *o, llm_error *err)
{
    llm_status st;

    m->name = "";
    if ((st = cpu_choose_isa(&m->isa, o->cpu, err)) != LLM_OK) return st;
    if (!o->vocab_only && (st = device_open(&m->device, o->backend, o->plan_only ? o->device_memory : 0, err)) != LLM_OK) return st;
    m->scales_apart = m->device == NULL;
    if (o->vocab_only && !is_model(o->path)) {
        st = tokenizer_open_path(&m->tokenizer, o->path, err);
        return st == LLM_OK && m->tokenizer ? chat_model_open(&m->chat, m->tokenizer, NULL, err) : st;
    }
    if ((st = store_open(&m->store, o->path, o->vocab_only != 0, err)) != LLM_OK) return st;
    if ((st = meta_open(&m->meta, m->store, err)) != LLM_OK) return st;
    if (!o->vocab_only && (st = open_weights(m, o, err)) != LLM_OK) return st;
    if ((st = tokenizer_open(&m->tokenizer, m->meta, m->store, m->config.n_vocab, err)) != LLM_OK) return st;
    if (m->tokenizer != NULL) read_ends(m);
    if (m->tokenizer != NULL && (st = chat_model_open(&m->chat, m->tokenizer, m->meta, err)) != LLM_OK) return st;
    read_sampler(m);
    meta_str(m->meta, "general.name", "_name_or_path", &m->name);
    if (!o->vocab_only && !m->plan_only) identify(m);
    if (!o->vocab_only && !m->plan_only && (st = weights_upload(m, err)) != LLM_OK) return st;
    if (!o->vocab_only && (st = repack_open(m, err)) != LLM_OK) return st;
    return meta_error(m->meta, err);
}

llm_status llm_model_open(llm_model **out, const llm_model_options *opt, llm_error *err)
{
    STANDARD_FLOATS;
    llm_model_options o;
    llm_model *m;
    llm_status st;

    if (out == NULL) return null_arg("llm_model_open", "out", err);
    *out = NULL;
    if (opt == NULL) return null_arg("llm_model_open", "opt", err);
    if ((st = take(&o, sizeof o, opt, "llm_model_options", err)) != LLM_OK) return st;
    if (o.path == NULL || o.path[0] == 0) return llm_fail(err, LLM_ERR_ARG, "llm_model_open: path is missing");
    if (o.n_threads < 0 || o.n_threads > 1024)
        return llm_fail(err, LLM_ERR_ARG, "llm_model_open: n_threads is %d, want 0 (default) or 1..1024", o.n_threads);
    if ((m = calloc(1, sizeof *m)) == NULL) return llm_fail_memory(err, sizeof *m, "a model");
    m->n_thread = o.n_threads ? o.n_threads : threads_available();
    m->log = o.log, m->progress = o.progress, m->user = o.user, m->plan_only = o.plan_only != 0;
    m->memory_limit = o.memory_limit, m->device_limit = o.device_memory, m->allow_paging = o.allow_paging != 0, m->no_repack = o.no_repack != 0;
    if ((st = open_parts(m, &o, err)) != LLM_OK) {
        llm_model_close(m);
        return st;
    }
    *out = m;
    return LLM_OK;
}

void llm_model_close(llm_model *m)
{
    if (m == NULL) return;
    chat_model_close(m->chat);
    tokenizer_close(m->tokenizer);
    repack_close(m);
    weights_free(m);
    device_close(m->device);
    config_free(&m->config);
    meta_close(m->meta);
    store_close(m->store);
    free(m);
}

llm_status llm_model_get_info(const llm_model *m, llm_model_info *info)
{
    const llm_config *c;
    llm_model_info i = { 0 };

    if (m == NULL || info == NULL) return LLM_ERR_ARG;
    c = &m->config;
    i.arch = m->arch ? m->arch->gguf_name : m->meta ? meta_arch(m->meta) : "", i.name = m->name;
    i.n_layer = c->n_layer, i.d_model = c->d_model, i.n_vocab = c->n_vocab, i.n_ctx_train = c->n_ctx;
    i.n_head = c->n_head, i.n_expert = c->n_expert, i.n_expert_used = c->n_expert_used;
    i.n_param = m->n_param, i.weight_bytes = m->weight_bytes;
    i.gpu_layers = m->place.n_layer + m->place.whole, i.cpu_moe = m->place.host_experts;
    i.bos = i.eos = -1;
    if (m->tokenizer != NULL) {
        i.bos = tokenizer_bos(m->tokenizer), i.eos = tokenizer_eos(m->tokenizer);
        i.add_bos = tokenizer_adds_bos(m->tokenizer);
        if (i.n_vocab == 0) i.n_vocab = tokenizer_n_vocab(m->tokenizer);
    }
    return give(info, &i, sizeof i);
}

llm_status llm_model_get_tensor(const llm_model *m, size_t index, llm_tensor_info *info)
{
    const store_tensor *t;
    llm_tensor_info i = { 0 };

    if (m == NULL || info == NULL || m->store == NULL || (t = store_tensor_at(m->store, index)) == NULL) return LLM_ERR_ARG;
    i.name = t->name, i.dtype = dtype_name(t->dtype), i.slot = m->slot ? m->slot[index] : NULL;
    i.n_dim = t->n_dim, i.bytes = t->bytes;
    for (int d = 0; d < t->n_dim && d < 4; d++) i.dim[d] = t->dim[d];
    return give(info, &i, sizeof i);
}

llm_status llm_model_get_meta(const llm_model *m, size_t index, const char **key, char *value, size_t cap, size_t *n)
{
    const char *k;
    size_t len;
    char none[1];
    STANDARD_FLOATS;

    if (m == NULL || m->meta == NULL || (value == NULL && cap > 0)) return LLM_ERR_ARG;
    if (!meta_at(m->meta, index, &k, cap ? value : none, cap ? cap : sizeof none, &len)) return LLM_ERR_ARG;
    if (key != NULL) *key = k;
    if (n != NULL) *n = len;
    return LLM_OK;
}

/* ---- text <-> tokens ---- */

static llm_status no_tokenizer(const llm_model *m, llm_error *err)
{
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: the model carries no tokenizer", store_path(m->store));
}

llm_status llm_tokenize(const llm_model *m, const char *text, size_t len, unsigned flags, llm_token *out, size_t cap,
                        size_t *n, llm_error *err)
{
    STANDARD_FLOATS;
    const unsigned known = LLM_TOKENIZE_BOS | LLM_TOKENIZE_SPECIAL;
    size_t count = 0;
    llm_status st;

    if (m == NULL) return null_arg("llm_tokenize", "the model", err);
    if (text == NULL && len > 0) return null_arg("llm_tokenize", "text", err);
    if (out == NULL && cap > 0) return null_arg("llm_tokenize", "out", err);
    if (flags & ~known) return llm_fail(err, LLM_ERR_ARG, "llm_tokenize: flags are 0x%x, known ones 0x%x", flags, known);
    if (m->tokenizer == NULL) return no_tokenizer(m, err);
    st = tokenizer_encode(m->tokenizer, text ? text : "", len, flags, out, cap, &count, err);
    if (n != NULL) *n = count;
    return st;
}

const char *llm_token_bytes(const llm_model *m, llm_token t, size_t *len)
{
    size_t unused;

    if (len == NULL) len = &unused;
    *len = 0;
    if (m == NULL || m->tokenizer == NULL) return "";
    return tokenizer_bytes(m->tokenizer, t, len);
}

int llm_token_is_control(const llm_model *m, llm_token t)
{
    return m != NULL && m->tokenizer != NULL && tokenizer_is_control(m->tokenizer, t);
}

int llm_token_is_end(const llm_model *m, llm_token t)
{
    return m != NULL && m->tokenizer != NULL && tokenizer_is_end(m->tokenizer, t);
}

llm_token llm_token_find(const llm_model *m, const char *text, size_t len)
{
    if (m == NULL || m->tokenizer == NULL || text == NULL) return -1;
    return tokenizer_find(m->tokenizer, text, len);
}

llm_status llm_detok_open(llm_detok **out, const llm_model *m, unsigned flags, llm_error *err)
{
    const unsigned known = LLM_DETOK_CONTROL | LLM_DETOK_WHOLE;

    if (out == NULL) return null_arg("llm_detok_open", "out", err);
    *out = NULL;
    if (m == NULL) return null_arg("llm_detok_open", "the model", err);
    if (flags & ~known) return llm_fail(err, LLM_ERR_ARG, "llm_detok_open: flags are 0x%x, known ones 0x%x", flags, known);
    if (m->tokenizer == NULL) return no_tokenizer(m, err);
    return detok_open(out, m->tokenizer, flags, err);
}

/* ---- session ---- */

static llm_status session_take(llm_session_options *o, const llm_model *m, const llm_session_options *opt,
                               const char *function, llm_error *err)
{
    llm_status st;

    if (m == NULL) return null_arg(function, "the model", err);
    if (m->layer == NULL)
        return llm_fail(err, LLM_ERR_ARG, "%s: the model was opened for its vocabulary only", function);
    memset(o, 0, sizeof *o);
    if (opt != NULL && (st = take(o, sizeof *o, opt, "llm_session_options", err)) != LLM_OK) return st;
    return session_options(o, m, err);
}

llm_status llm_session_open(llm_session **out, llm_model *m, const llm_session_options *opt, llm_error *err)
{
    STANDARD_FLOATS;
    llm_session_options o;
    llm_status st;

    if (out == NULL) return null_arg("llm_session_open", "out", err);
    *out = NULL;
    if ((st = session_take(&o, m, opt, "llm_session_open", err)) != LLM_OK) return st;
    if (m->plan_only) return llm_fail(err, LLM_ERR_ARG, "llm_session_open: the model was opened for its plan only");
    return session_open(out, m, &o, err);
}

llm_status llm_session_plan(llm_model *m, const llm_session_options *opt, llm_memory_plan *plan, llm_error *err)
{
    llm_session_options o;
    llm_memory_plan p = { 0 };
    llm_status st;

    if (plan == NULL) return null_arg("llm_session_plan", "plan", err);
    if ((st = session_take(&o, m, opt, "llm_session_plan", err)) != LLM_OK) return st;
    if ((st = session_plan(m, &o, &p, err)) != LLM_OK) return st;
    if (give(plan, &p, sizeof p) != LLM_OK) return llm_fail(err, LLM_ERR_ARG, "llm_session_plan: plan.size is not set");
    return LLM_OK;
}

llm_status llm_session_fits(llm_model *m, const llm_session_options *opt, llm_error *err)
{
    llm_session_options o;
    llm_status st;

    if ((st = session_take(&o, m, opt, "llm_session_fits", err)) != LLM_OK) return st;
    return session_fits(m, &o, err);
}

llm_status llm_session_plan_items(llm_model *m, const llm_session_options *opt, llm_memory_fn fn, void *user, llm_error *err)
{
    llm_session_options o;
    llm_status st;

    if (fn == NULL) return null_arg("llm_session_plan_items", "fn", err);
    if ((st = session_take(&o, m, opt, "llm_session_plan_items", err)) != LLM_OK) return st;
    return session_plan_items(m, &o, fn, user, err);
}

int llm_session_n_ctx(const llm_session *s) { return s ? s->kv.n_ctx : 0; }

llm_status llm_session_decode(llm_session *s, const llm_token *tok, size_t n, llm_error *err)
{
    STANDARD_FLOATS;
    if (s == NULL) return null_arg("llm_session_decode", "the session", err);
    if (tok == NULL && n > 0) return null_arg("llm_session_decode", "tok", err);
    return batch_decode(s, &(batch_input){ .token = tok, .n = n }, err);
}

llm_status llm_session_decode_rows(llm_session *s, const llm_row *row, size_t n, llm_error *err)
{
    STANDARD_FLOATS;
    if (s == NULL) return null_arg("llm_session_decode_rows", "the session", err);
    if (row == NULL && n > 0) return null_arg("llm_session_decode_rows", "row", err);
    return batch_decode(s, &(batch_input){ .row = row, .n = n }, err);
}

size_t llm_session_n_logits(const llm_session *s) { return s ? s->n_logits : 0; }

/* The rows are the session's own; where they are is not part of what the caller sees. */
const float *llm_session_logits(const llm_session *s)
{
    if (s == NULL || s->n_logits == 0 || session_fetch((llm_session *)(uintptr_t)s, NULL) != LLM_OK) return NULL;
    return s->logits;
}

llm_status llm_session_warm_up(llm_session *s, llm_error *err)
{
    STANDARD_FLOATS;
    return s == NULL ? null_arg("llm_session_warm_up", "the session", err) : repack_all(s->model, &s->be[SITE_HOST], err);
}

llm_token llm_session_pick(llm_session *s, size_t i, llm_sampler *p, uint64_t pos, llm_error *err)
{
    STANDARD_FLOATS;
    if (s == NULL || p == NULL) null_arg("llm_session_pick", s == NULL ? "the session" : "the sampler", err);
    else if (i >= s->n_logits) llm_fail(err, LLM_ERR_ARG, "llm_session_pick: row %zu, the last decode kept %zu", i, s->n_logits);
    else {
        llm_token t;
        (void)session_pick(s, i, 1, &p, &pos, &t, err);
        return t;
    }
    return -1;
}

llm_status llm_session_pick_rows(llm_session *s, size_t n, llm_sampler *const *p, const uint64_t *pos, llm_token *out, llm_error *err)
{
    STANDARD_FLOATS;
    if (s == NULL) return null_arg("llm_session_pick_rows", "the session", err);
    if (n > 0 && (p == NULL || pos == NULL || out == NULL)) return null_arg("llm_session_pick_rows", p == NULL ? "p" : pos == NULL ? "pos" : "out", err);
    if (n > s->n_logits) return llm_fail(err, LLM_ERR_ARG, "llm_session_pick_rows: %zu rows, the last decode kept %zu", n, s->n_logits);
    for (size_t i = 0; i < n; i++) if (p[i] == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_session_pick_rows: sampler %zu is NULL", i);
    return session_pick(s, 0, n, p, pos, out, err);
}

static bool has_seq(const llm_session *s, int seq) { return s != NULL && seq >= 0 && seq < s->kv.n_seq; }

int llm_session_length(const llm_session *s, int seq) { return has_seq(s, seq) ? s->kv.seq[seq].length : -1; }
const llm_token *llm_session_tokens(const llm_session *s, int seq) { return has_seq(s, seq) ? kv_tokens(&s->kv, seq) : NULL; }

static llm_status no_seq(const llm_session *s, const char *function, int seq, llm_error *err)
{
    if (s == NULL) return null_arg(function, "the session", err);
    return llm_fail(err, LLM_ERR_ARG, "%s: sequence %d, want 0..%d", function, seq, s->kv.n_seq - 1);
}

llm_status llm_session_truncate(llm_session *s, int seq, int n, llm_error *err)
{
    if (!has_seq(s, seq)) return no_seq(s, "llm_session_truncate", seq, err);
    return kv_truncate(&s->kv, seq, n, err);
}

llm_status llm_session_reuse(llm_session *s, int seq, const llm_token *tok, size_t n, size_t *reused, size_t *common, llm_error *err)
{
    const llm_token *held;
    size_t k = 0, length;

    if (!has_seq(s, seq)) return no_seq(s, "llm_session_reuse", seq, err);
    if (tok == NULL || reused == NULL || n == 0) return llm_fail(err, LLM_ERR_ARG, "llm_session_reuse: no tokens, or reused is NULL");
    held = kv_tokens(&s->kv, seq), length = (size_t)s->kv.seq[seq].length;
    while (k < length && k < n && held[k] == tok[k]) k++;
    if (common) *common = k;
    if (k == n) k--;
    if (kv_truncate(&s->kv, seq, (int)k, NULL) != LLM_OK) kv_clear(&s->kv, seq), k = 0;
    *reused = k;
    return LLM_OK;
}

llm_status llm_session_copy(llm_session *s, int from, int to, llm_error *err)
{
    if (!has_seq(s, from)) return no_seq(s, "llm_session_copy", from, err);
    if (!has_seq(s, to)) return no_seq(s, "llm_session_copy", to, err);
    return kv_copy(&s->kv, from, to, err);
}

llm_status llm_session_save(const llm_session *s, const char *path, llm_error *err)
{
    if (s == NULL) return null_arg("llm_session_save", "the session", err);
    if (path == NULL || path[0] == 0) return llm_fail(err, LLM_ERR_ARG, "llm_session_save: path is missing");
    return state_save(s, path, err);
}

llm_status llm_session_restore(llm_session *s, const char *path, llm_error *err)
{
    if (s == NULL) return null_arg("llm_session_restore", "the session", err);
    if (path == NULL || path[0] == 0) return llm_fail(err, LLM_ERR_ARG, "llm_session_restore: path is missing");
    return state_restore(s, path, err);
}

void llm_session_set_tap(llm_session *s, llm_tap_fn tap, void *user)
{
    if (s != NULL) s->first->tap = tap, s->first->tap_user = user;
}

void llm_session_set_progress(llm_session *s, llm_progress_fn progress, void *user)
{
    if (s != NULL) s->progress = progress, s->progress_user = user;
}

/* ---- sampling ---- */

llm_status llm_sampler_defaults(const llm_model *m, llm_sampler_options *opt)
{
    if (m == NULL || opt == NULL) return LLM_ERR_ARG;
    return give(opt, &m->sampler, sizeof m->sampler);
}

llm_status llm_sampler_open(llm_sampler **out, const llm_model *m, const llm_sampler_options *opt, llm_error *err)
{
    STANDARD_FLOATS;
    llm_sampler_options o;
    int n_row, n_vocab;
    llm_status st;

    if (out == NULL) return null_arg("llm_sampler_open", "out", err);
    *out = NULL;
    if (m == NULL) return null_arg("llm_sampler_open", "the model", err);
    o = m->sampler;
    if (opt != NULL && (st = take(&o, sizeof o, opt, "llm_sampler_options", err)) != LLM_OK) return st;
    n_row = m->config.n_vocab;
    n_vocab = m->tokenizer ? tokenizer_n_vocab(m->tokenizer) : n_row;
    if (n_row == 0) n_row = n_vocab;                /* opened for its vocabulary only */
    return sampler_open(out, n_row, n_vocab < n_row ? n_vocab : n_row, &o, err);
}
