/* plan.c - the memory of a session: every size, whether it fits, and what would fit where it does not.
 *
 * The rule. What is written to (keys and values, buffers, weights laid out anew) must be there, and so must the weights that are read
 * where they lie in their file: without room for them the system reads them from disk again for every token. allow_paging gives
 * up the second half. A memory_limit counts everything here and has no exceptions. Of what the system has, a small reserve is kept.
 * Weights, cells and buffers on a device are counted by themselves, against its free memory and device_memory. */
#include "plan.h"
#include "memory.h"
#include "peak.h"
#include "repack.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

llm_dtype plan_kv_dtype(llm_kv_type t)
{
    return t == LLM_KV_F32 ? DT_F32 : t == LLM_KV_Q8_0 ? DT_Q8_0 : t == LLM_KV_F8_E4M3 ? DT_F8_E4M3 : DT_F16;
}

llm_kv plan_kv(const llm_model *m, const llm_session_options *o)
{
    return (llm_kv){ .n_ctx = o->n_ctx, .n_seq = o->n_seq, .n_batch = o->n_batch, .op = { device_kv_ops(NULL), device_kv_ops(m->device) },
                     .dtype = plan_kv_dtype(o->kv_type) };
}

/* ---- sizes ------------------------------------------------------------------- */

static uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t plus(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t buffers(const session_cost *c, llm_site site)
{
    return c->run[site] + c->workspace[site] + (site == SITE_HOST ? c->step + c->logits + c->tables : 0);
}

static llm_status too_large(const llm_session_options *o, llm_error *err)
{
    return llm_fail(err, LLM_ERR_ARG, "session: the buffers for n_batch %d have more bytes than an address can say", o->n_batch);
}

/* One backend's part. The workspace of a device has a part here, too. */
static llm_status site_cost(const llm_model *m, llm_site site, const llm_session_options *o, llm_limits *limits, session_cost *out, llm_error *err)
{
    uint64_t workspace[N_SITE];
    size_t run, sum;

    if (!run_limits(m, site, o->n_batch, o->n_ctx, limits))
        return llm_fail(err, LLM_ERR_ARG, "session: n_batch %d and n_ctx %d are too large for this model", o->n_batch, o->n_ctx);
    limits->deterministic = o->deterministic != 0;
    if (!backend_scratch(site == SITE_DEVICE ? m->device : NULL, limits, o->n_threads, workspace) || !run_bytes(m, site, o->n_batch, &run)) return too_large(o, err);
    if (!ck_add(run, workspace[site], &sum) || sum > SIZE_MAX / 2) return too_large(o, err);
    out->run[site] = run;
    for (int i = 0; i < N_SITE; i++) out->workspace[i] += workspace[i];
    return LLM_OK;
}

llm_status plan_cost(const llm_model *m, const llm_session_options *o, const llm_kv *kv, llm_limits limits[N_SITE], session_cost *out, llm_error *err)
{
    size_t n_seq = (size_t)o->n_seq, n_vocab = (size_t)m->config.n_vocab;
    llm_status st;

    *out = (session_cost){ .kv = { kv->map_bytes[SITE_HOST] + kv->token_bytes, kv->map_bytes[SITE_DEVICE] } };
    for (int i = 0; i < N_SITE; i++)
        if (model_uses(m, (llm_site)i) && (st = site_cost(m, (llm_site)i, o, &limits[i], out, err)) != LLM_OK) return st;
    out->step = (uint64_t)o->n_batch * (4 * sizeof(int32_t) + 1 + sizeof(llm_span)) + n_seq * sizeof(int);     /* step_open */
    out->logits = ((n_seq + 1) * n_vocab + n_seq * peaks_of(n_vocab)) * sizeof(float) + (uint64_t)session_top_rows(m, o->n_seq) * sizeof(llm_top);
    out->tables = sizeof(llm_session) + (size_t)m->config.n_layer * (sizeof(llm_kv_layer) + sizeof(int) + sizeof(llm_site))
                + n_seq * (sizeof(kv_seq) + sizeof(int));      /* n_large */
    return LLM_OK;
}

static llm_status whole_cost(const llm_model *m, const llm_session_options *o, session_cost *out, llm_error *err)
{
    llm_kv kv = plan_kv(m, o);
    llm_limits limits[N_SITE];
    llm_status st = kv_plan(&kv, m, err);

    if (st == LLM_OK) st = plan_cost(m, o, &kv, limits, out, err);
    kv_close(&kv);
    return st;
}

/* Of the file, read by the CPU where it lies. */
static uint64_t mapped_bytes(const llm_model *m) { return minus(m->weight_bytes - m->released_bytes, m->placed.spared); }
static uint64_t tokenizer_of(const llm_model *m) { return m->tokenizer ? tokenizer_memory(m->tokenizer) : 0; }
/* Of re-laid weights, once those that the device holds are given back. */
static uint64_t relaid_of(const llm_model *m) { return minus(m->owned_bytes + m->freed.all, m->placed.freed.all); }
static uint64_t tables_of(const llm_model *m) { return minus(m->table_bytes + m->freed.small, m->placed.freed.small); }
static uint64_t owned_of(const llm_model *m) { return relaid_of(m) + tokenizer_of(m) + m->placed.tables + repack_padding(m) + repack_tables(m); }

/* Of the model: weights and, here, the tokenizer beside them. */
static uint64_t weights_of(const llm_model *m, llm_site site)
{
    return site == SITE_DEVICE ? m->placed.device : plus(mapped_bytes(m), owned_of(m));
}

static uint64_t need_of(const llm_model *m, const session_cost *c, llm_site site)
{
    return plus(plus(weights_of(m, site), buffers(c, site)), c->kv[site]);
}

/* ---- what there is ------------------------------------------------------------- */

/* For weights and one more session. what: where the bound comes from. */
typedef struct { uint64_t bytes; const char *what; } room;

/* Of what the system has, this much is left alone: stacks of threads, page tables, and what the program itself still takes. */
static const uint64_t reserve = 4 << 20;

static void bound(room *r, uint64_t bytes, const char *what)
{
    if (bytes < r->bytes) r->bytes = bytes, r->what = what;
}

static room host_room(const llm_model *m, uint64_t limit, bool allow_paging)
{
    uint64_t taken = m->plan_only ? tokenizer_of(m) : owned_of(m), mapped = mapped_bytes(m), physical;
    room r = { UINT64_MAX, "addressable" };
    const char *what;

    physical = memory_physical(&what);
    physical = physical == UINT64_MAX ? physical : minus(physical, reserve);
    bound(&r, plus(physical, taken + repack_resident(m) + (allow_paging ? mapped : 0)), what);
    bound(&r, plus(memory_address_space(), taken + mapped), "left of the address space (ulimit -v)");
    if (limit > 0) bound(&r, minus(limit, m->claimed[SITE_HOST]), "allowed by the memory limit");
    return r;
}

/* What is there already, of the weights, counts as room. */
static room device_room(const llm_model *m)
{
    room r = { plus(device_available(m->device), m->uploaded), "available on the device" };

    if (m->device_limit > 0) bound(&r, minus(m->device_limit, m->claimed[SITE_DEVICE]), "allowed by device_memory");
    return r;
}

typedef struct { room at[N_SITE]; } rooms;

static rooms rooms_for(const llm_model *m, const llm_session_options *o)
{
    rooms r = { { host_room(m, o->memory_limit ? o->memory_limit : m->memory_limit, o->allow_paging || m->allow_paging), { UINT64_MAX, "" } } };

    if (m->device != NULL) r.at[SITE_DEVICE] = device_room(m);
    return r;
}

/* ---- what would fit -------------------------------------------------------------- */

static bool fits(const llm_model *m, const session_cost *c, const rooms *there)
{
    return need_of(m, c, SITE_HOST) <= there->at[SITE_HOST].bytes && need_of(m, c, SITE_DEVICE) <= there->at[SITE_DEVICE].bytes;
}

static bool would_fit(const llm_model *m, llm_session_options o, const rooms *there)
{
    session_cost c;

    if (o.n_batch > (int64_t)o.n_ctx * o.n_seq) o.n_batch = o.n_ctx * o.n_seq;
    return whole_cost(m, &o, &c, NULL) == LLM_OK && fits(m, &c, there);
}

/* The longest context, in steps of 256 tokens; 0: none. */
static int longest(const llm_model *m, llm_session_options o, const rooms *there)
{
    int low = 0, high = o.n_ctx / 256;          /* low fits, high + 1 does not */

    while (low < high) {
        int mid = low + (high - low + 1) / 2;
        o.n_ctx = mid * 256;
        if (would_fit(m, o, there)) low = mid; else high = mid - 1;
    }
    return low * 256;
}

static const char *kv_name(llm_kv_type t) { return t == LLM_KV_F32 ? "F32" : t == LLM_KV_Q8_0 ? "Q8_0" : t == LLM_KV_F8_E4M3 ? "F8_E4M3" : "F16"; }

/* The largest usual type whose weights have at most so many bits on average, mixes counted as in published files. */
static const char *type_below(double bits)
{
    static const struct { double bits; const char *name; } type[] = {
        { 16, "BF16" }, { 8.5, "Q8_0" }, { 6.6, "Q6_K" }, { 5.7, "Q5_K_M" }, { 4.9, "Q4_K_M" }, { 4.6, "Q4_0" }, { 4.3, "IQ4_XS" }, { 3.9, "Q3_K_M" },
        { 3.1, "IQ3_XXS" }, { 2.4, "IQ2_XS" }, { 1.8, "IQ1_M" },
    };

    for (size_t i = 0; i < sizeof type / sizeof type[0]; i++)
        if (type[i].bits <= bits) return type[i].name;
    return NULL;
}

/* How small the weights would have to be for a context of 512 tokens, or as many as were asked for. */
static void suggest_weights(const llm_model *m, llm_session_options o, const rooms *there, char *out, size_t cap)
{
    session_cost c;
    uint64_t left;
    double bits;
    const char *name;

    if (o.n_ctx > 512) o.n_ctx = 512;
    if (o.n_batch > 64) o.n_batch = 64;
    if (m->n_param == 0 || whole_cost(m, &o, &c, NULL) != LLM_OK) return;
    left = minus(there->at[SITE_HOST].bytes, plus(buffers(&c, SITE_HOST), c.kv[SITE_HOST]));
    bits = 8.0 * (double)left / (double)m->n_param;
    if ((name = type_below(bits)) != NULL)
        snprintf(out, cap, "; it would fit with smaller weights: %s or below (at most %.1f bits each, these have %.1f)", name, bits,
                 8.0 * (double)weights_of(m, SITE_HOST) / (double)m->n_param);
    else snprintf(out, cap, "; no type of weights would make this model fit");
}

/* Sentences that begin with "; it would fit with" and go on with ", or with". */
typedef struct { char *out; size_t cap, n; } hints;

static void hint(hints *h, const char *fmt, ...) LLM_PRINTF(2, 3);
static void hint(hints *h, const char *fmt, ...)
{
    va_list ap;

    if (h->n >= h->cap) return;
    h->n += (size_t)snprintf(h->out + h->n, h->cap - h->n, "%s", h->n ? ", or with " : "; it would fit with ");
    if (h->n >= h->cap) return;
    va_start(ap, fmt);
    h->n += (size_t)vsnprintf(h->out + h->n, h->cap - h->n, fmt, ap);
    va_end(ap);
}

/* Less of the model on the device. */
static void suggest_place(const llm_model *m, const llm_session_options *o, hints *h)
{
    int n = place_most_layers(m, o, m->place.n_layer + m->place.whole - 1, m->place.host_experts), experts;

    if (n > 0) hint(h, "gpu_layers %d", n);
    if (m->place.whole && m->config.n_expert > 0 && (experts = place_fewest_experts(m, o)) > m->place.host_experts) hint(h, "cpu_moe %d", experts);
    if (h->n == 0) snprintf(h->out, h->cap, "; not one layer fits there with this session");
}

static void suggest(const llm_model *m, const llm_session_options *o, const rooms *there, bool device, char *out, size_t cap)
{
    static const llm_kv_type smaller[] = { LLM_KV_F16, LLM_KV_Q8_0 };
    hints h = { out, cap, 0 };
    llm_session_options q = *o;
    int ctx;

    out[0] = '\0';
    for (int i = o->kv_type == LLM_KV_F32 ? 0 : o->kv_type == LLM_KV_F16 ? 1 : 2; i < 2 && h.n == 0; i++) {
        q.kv_type = smaller[i];
        if (would_fit(m, q, there)) hint(&h, "kv_type %s", kv_name(q.kv_type));
    }
    q = *o;
    if ((ctx = longest(m, q, there)) > 0) hint(&h, "n_ctx %d", ctx);
    q.n_batch = 64;
    if (h.n == 0 && o->n_batch > 64 && would_fit(m, q, there)) hint(&h, "n_batch 64");
    q = *o, q.n_seq = 1;
    if (h.n == 0 && o->n_seq > 1 && would_fit(m, q, there)) hint(&h, "n_seq 1");
    q.n_batch = q.n_batch > 64 ? 64 : q.n_batch, q.kv_type = LLM_KV_Q8_0;
    if (h.n == 0 && !would_fit(m, (llm_session_options){ .n_ctx = 256, .n_seq = 1, .n_batch = 1, .n_threads = 1, .kv_type = LLM_KV_Q8_0 }, there))
        q.kv_type = LLM_KV_F16;
    if (h.n == 0 && !device && (ctx = longest(m, q, there)) > 0) hint(&h, "n_ctx %d, n_seq 1, n_batch %d and kv_type %s", ctx, q.n_batch, kv_name(q.kv_type));
    if (device) suggest_place(m, o, &h);
    else if (h.n == 0) suggest_weights(m, *o, there, out, cap);
}

/* ---- claims ---------------------------------------------------------------------- */

static llm_status check_site(const llm_model *m, const llm_session_options *o, const session_cost *c, const rooms *there, llm_site site, llm_error *err)
{
    const room *r = &there->at[site];
    uint64_t need = need_of(m, c, site);
    char more[360];

    if (need <= r->bytes) return LLM_OK;
    suggest(m, o, there, site == SITE_DEVICE, more, sizeof more);
    if (site == SITE_HOST)
        return llm_fail(err, LLM_ERR_MEMORY, "session: %d x %d tokens need %.1f MiB: model %.1f, keys and values %.1f (%s), buffers %.1f (n_batch %d); "
                        "%.1f MiB are %s%s", o->n_seq, o->n_ctx, mib(need), mib(weights_of(m, site)), mib(c->kv[site]), kv_name(o->kv_type), mib(buffers(c, site)),
                        o->n_batch, mib(r->bytes), r->what, more);
    return llm_fail(err, LLM_ERR_MEMORY, "device: %d of %d layers%s and a session of %d x %d tokens need %.1f MiB there: weights %.1f, keys and values %.1f (%s), "
                    "buffers %.1f (n_batch %d); %.1f MiB are %s%s", m->place.n_layer, m->config.n_layer, m->place.whole ? ", the head" : "", o->n_seq, o->n_ctx,
                    mib(need), mib(weights_of(m, site)), mib(c->kv[site]), kv_name(o->kv_type), mib(buffers(c, site)), o->n_batch, mib(r->bytes), r->what, more);
}

static llm_status check(const llm_model *m, const llm_session_options *o, const session_cost *c, llm_error *err)
{
    rooms there = rooms_for(m, o);
    llm_status st = check_site(m, o, c, &there, SITE_DEVICE, err);

    return st == LLM_OK ? check_site(m, o, c, &there, SITE_HOST, err) : st;
}

llm_status plan_claim(llm_session *s, const llm_session_options *o, const session_cost *cost, llm_error *err)
{
    llm_status st;

    if ((st = check(s->model, o, cost, err)) != LLM_OK) return st;
    for (int i = 0; i < N_SITE; i++) {
        s->claimed[i] = buffers(cost, (llm_site)i) + cost->kv[i];
        atomic_fetch_add(&s->model->claimed[i], s->claimed[i]);
    }
    return LLM_OK;
}

void plan_release(llm_session *s)
{
    for (int i = 0; i < N_SITE; i++) {
        if (s->claimed[i] > 0) atomic_fetch_sub(&s->model->claimed[i], s->claimed[i]);
        s->claimed[i] = 0;
    }
}

llm_status plan_weights(const llm_model *m, llm_error *err)
{
    room r = host_room(m, m->memory_limit, m->allow_paging);
    uint64_t need = weights_of(m, SITE_HOST) + m->placed.freed.all;     /* until they have been uploaded */
    double bits = m->n_param ? 8.0 * (double)r.bytes / (double)m->n_param : 0;
    const char *name = type_below(bits * 0.95);         /* a little must be left for a context */

    if (need <= r.bytes) return LLM_OK;
    return llm_fail(err, LLM_ERR_MEMORY, "%s: the weights need %.1f MiB, of which %.1f are laid out anew; %.1f MiB are %s%s%s", store_path(m->store),
                    mib(need), mib(m->owned_bytes), mib(r.bytes), r.what, name ? "; it would fit with smaller weights: " : "", name ? name : "");
}

/* ---- on the device ------------------------------------------------------------------- */

/* What a plan asks of m, were it placed in another way. */
static llm_model placed_otherwise(const llm_model *m)
{
    return (llm_model){ .config = m->config, .embed = m->embed, .out_norm = m->out_norm, .head = m->head, .layer = m->layer, .device = m->device,
                        .owned = m->owned, .weight_bytes = m->weight_bytes, .released_bytes = m->released_bytes };
}

bool plan_place_fits(const llm_model *m, llm_place place, const llm_session_options *o)
{
    llm_model other = placed_otherwise(m);
    session_cost c;

    return weights_place(&other, place, NULL) == LLM_OK && whole_cost(&other, o, &c, NULL) == LLM_OK && need_of(&other, &c, SITE_DEVICE) <= device_room(m).bytes;
}

llm_status plan_device_fits(const llm_model *m, const llm_session_options *o, llm_error *err)
{
    rooms there = { { { UINT64_MAX, "" }, device_room(m) } };
    session_cost c;
    llm_status st = whole_cost(m, o, &c, err);

    return st == LLM_OK ? check_site(m, o, &c, &there, SITE_DEVICE, err) : st;
}

/* ---- plans ------------------------------------------------------------------------- */

llm_status session_fits(llm_model *m, const llm_session_options *o, llm_error *err)
{
    session_cost c;
    llm_status st = whole_cost(m, o, &c, err);

    return st == LLM_OK ? check(m, o, &c, err) : st;
}

llm_status session_plan(llm_model *m, const llm_session_options *o, llm_memory_plan *plan, llm_error *err)
{
    session_cost c;
    llm_status st = whole_cost(m, o, &c, err);
    rooms there;

    if (st != LLM_OK) return st;
    there = rooms_for(m, o);
    plan->weight_bytes = m->weight_bytes, plan->mapped_bytes = mapped_bytes(m), plan->owned_bytes = owned_of(m);
    plan->kv_bytes = c.kv[SITE_HOST] + c.kv[SITE_DEVICE], plan->scratch_bytes = buffers(&c, SITE_HOST) + buffers(&c, SITE_DEVICE);
    plan->total_bytes = need_of(m, &c, SITE_HOST), plan->available_bytes = there.at[SITE_HOST].bytes;
    if (m->device == NULL) return LLM_OK;
    plan->device_weight_bytes = m->placed.device, plan->device_kv_bytes = c.kv[SITE_DEVICE], plan->device_scratch_bytes = buffers(&c, SITE_DEVICE);
    plan->device_total_bytes = need_of(m, &c, SITE_DEVICE), plan->device_available_bytes = there.at[SITE_DEVICE].bytes;
    return LLM_OK;
}

typedef struct { llm_memory_fn fn; void *user; bool stop; } lister;

static void item(lister *l, llm_memory_kind kind, const char *what, uint64_t bytes)
{
    if (!l->stop && bytes > 0 && l->fn(l->user, kind, what, bytes) != 0) l->stop = true;
}

/* One line for all layers of one kind, at the first of them. */
static void kv_items(lister *l, const llm_kv *kv, llm_site site, llm_memory_kind kind)
{
    for (int il = 0; il < kv->n_layer; il++) {
        const llm_kv_layer *first = &kv->layer[il];
        uint64_t bytes = 0;
        char line[128];
        int n = 0, seen = 0;
        for (int k = 0; k < kv->n_layer; k++) {
            const llm_kv_layer *o = &kv->layer[k];
            if (kv->site[k] != site || o->latent != first->latent || kv->window[k] != kv->window[il] || o->dtype != first->dtype) continue;
            if (k < il) seen++;
            n++, bytes += ((uint64_t)o->k_seq_bytes + o->v_seq_bytes) * (uint64_t)kv->n_seq;
        }
        if (kv->site[il] != site || seen > 0) continue;
        if (kv->window[il] > 0)
            snprintf(line, sizeof line, "%s of %d layer%s with a window of %d, %s",
                     first->latent ? "latents" : "keys and values", n, n > 1 ? "s" : "", kv->window[il], dtype_name(first->dtype));
        else
            snprintf(line, sizeof line, "%s of %d layer%s, %d tokens, %s",
                     first->latent ? "latents" : "keys and values", n, n > 1 ? "s" : "", kv->n_ctx, dtype_name(first->dtype));
        item(l, kind, line, bytes);
    }
}

static void run_items(lister *l, const llm_session_options *o, const session_cost *c, llm_site site, llm_memory_kind kind)
{
    char line[128];

    snprintf(line, sizeof line, "rows of the forward pass, n_batch %d", o->n_batch);
    item(l, kind, line, c->run[site]);
    if (site == SITE_DEVICE) snprintf(line, sizeof line, "workspace of the kernels");
    else snprintf(line, sizeof line, "workspace of the kernels, %d thread%s", o->n_threads, o->n_threads > 1 ? "s" : "");
    item(l, kind, line, c->workspace[site]);
}

static void host_items(lister *l, const llm_model *m, const llm_session_options *o, const llm_kv *kv, const session_cost *c)
{
    item(l, LLM_MEMORY_MAPPED, m->repack ? "weights, in their file, then in the order of the kernels" : "weights, read where they lie in their file", mapped_bytes(m));
    item(l, LLM_MEMORY_MODEL, "what that order adds", repack_padding(m));
    item(l, LLM_MEMORY_MODEL, "weights, laid out anew", relaid_of(m) - tables_of(m));
    item(l, LLM_MEMORY_MODEL, "small weights laid out anew, and tables of where weights are", tables_of(m) + m->placed.tables + repack_tables(m));
    item(l, LLM_MEMORY_MODEL, "tokenizer", tokenizer_of(m));
    kv_items(l, kv, SITE_HOST, LLM_MEMORY_KV);
    item(l, LLM_MEMORY_KV, "tokens of the sequences", kv->token_bytes);
    run_items(l, o, c, SITE_HOST, LLM_MEMORY_SCRATCH);
    item(l, LLM_MEMORY_SCRATCH, "logits", c->logits);
    item(l, LLM_MEMORY_SCRATCH, "rows of a step", c->step);
    item(l, LLM_MEMORY_SCRATCH, "tables of the session", c->tables);
}

static void device_items(lister *l, const llm_model *m, const llm_session_options *o, const llm_kv *kv, const session_cost *c)
{
    char line[128], where[48] = "";

    if (m->place.host_experts > 0) snprintf(where, sizeof where, ", experts of layers from %d on", m->place.host_experts);
    snprintf(line, sizeof line, "weights of %d of %d layers%s%s", m->place.n_layer, m->config.n_layer, where, m->place.whole ? ", embedding and head" : "");
    item(l, LLM_MEMORY_DEVICE_MODEL, line, m->placed.device);
    kv_items(l, kv, SITE_DEVICE, LLM_MEMORY_DEVICE_KV);
    run_items(l, o, c, SITE_DEVICE, LLM_MEMORY_DEVICE_SCRATCH);
}

llm_status session_plan_items(llm_model *m, const llm_session_options *o, llm_memory_fn fn, void *user, llm_error *err)
{
    lister l = { fn, user, false };
    llm_kv kv = plan_kv(m, o);
    llm_limits limits[N_SITE];
    session_cost c;
    llm_status st;

    if ((st = kv_plan(&kv, m, err)) == LLM_OK && (st = plan_cost(m, o, &kv, limits, &c, err)) == LLM_OK) {
        host_items(&l, m, o, &kv, &c);
        device_items(&l, m, o, &kv, &c);
    }
    kv_close(&kv);
    if (st == LLM_OK && l.stop) return llm_fail(err, LLM_ERR_CANCELLED, "the list of memory was stopped");
    return st;
}
