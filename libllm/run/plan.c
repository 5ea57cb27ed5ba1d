/* plan.c - the memory of a session: every size, whether it fits, and what would fit where it does not.
 *
 * The rule. What is written to (keys and values, buffers, weights laid out anew) must be there, and so must the weights that are read
 * where they lie in their file: without room for them the system reads them from disk again for every token. allow_paging gives
 * up the second half. A memory_limit counts everything and has no exceptions. Of what the system has, a small reserve is kept. */
#include "plan.h"
#include "memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

llm_kv plan_kv(const llm_session_options *o)
{
    return (llm_kv){ .n_ctx = o->n_ctx, .n_seq = o->n_seq, .n_batch = o->n_batch,
                     .dtype = o->kv_type == LLM_KV_F32 ? DT_F32 : o->kv_type == LLM_KV_Q8_0 ? DT_Q8_0 : DT_F16 };
}

/* ---- sizes ------------------------------------------------------------------- */

static uint64_t buffers(const session_cost *c) { return c->run + c->workspace + c->step + c->logits + c->tables; }

llm_status plan_cost(const llm_model *m, const llm_session_options *o, llm_limits *limits, session_cost *out, llm_error *err)
{
    size_t run, workspace, n_seq = (size_t)o->n_seq, n_vocab = (size_t)m->config.n_vocab, sum;

    if (!run_limits(m, o->n_batch, o->n_ctx, limits))
        return llm_fail(err, LLM_ERR_ARG, "session: n_batch %d and n_ctx %d are too large for this model", o->n_batch, o->n_ctx);
    limits->deterministic = o->deterministic != 0;
    workspace = backend_scratch(m->device, limits, o->n_threads);
    if (workspace == 0 || !run_bytes(m, o->n_batch, &run) || !ck_add(run, workspace, &sum) || sum > SIZE_MAX / 2)
        return llm_fail(err, LLM_ERR_ARG, "session: the buffers for n_batch %d have more bytes than an address can say", o->n_batch);
    *out = (session_cost){ .run = run, .workspace = workspace };
    out->step = (uint64_t)o->n_batch * (4 * sizeof(int32_t) + 1 + sizeof(llm_span)) + n_seq * sizeof(int);     /* step_open */
    out->logits = (n_seq + 1) * n_vocab * sizeof(float);
    out->tables = sizeof(llm_session) + (size_t)m->config.n_layer * (sizeof(llm_kv_layer) + sizeof(int)) + n_seq * sizeof(kv_seq);
    return LLM_OK;
}

/* A backend that only says how cells lie. */
typedef struct { const llm_model *m; llm_backend be; } planner;

static llm_status planner_open(planner *p, const llm_model *m, llm_error *err)
{
    llm_limits small = { .n_batch = 1, .max_cols = 1, .max_rows = 1, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1,
                         .d_model = 1, .n_head = 1, .max_d_head = 1, .n_ctx = 1 };

    *p = (planner){ .m = m };
    return backend_open(&p->be, m->device, m->isa, 1, &small, err);
}

static llm_status planner_cost(planner *p, const llm_session_options *o, session_cost *out, llm_error *err)
{
    llm_kv kv = plan_kv(o);
    llm_limits limits;
    llm_status st = plan_cost(p->m, o, &limits, out, err);

    if (st == LLM_OK) st = kv_plan(&kv, p->m, &p->be.op, err);
    out->kv = kv.bytes;
    kv_close(&kv);
    return st;
}

static uint64_t mapped_bytes(const llm_model *m) { return m->weight_bytes - m->released_bytes; }
static uint64_t tokenizer_of(const llm_model *m) { return m->tokenizer ? tokenizer_memory(m->tokenizer) : 0; }
static uint64_t owned_of(const llm_model *m) { return m->owned_bytes + tokenizer_of(m); }

/* ---- what there is ------------------------------------------------------------- */

static uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t plus(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

/* For weights and one more session. strict: without the room that allow_paging gives. what: where the bound comes from. */
typedef struct { uint64_t bytes; const char *what; } room;

/* Of what the system has, this much is left alone: stacks of threads, page tables, and what the program itself still takes. */
static const uint64_t reserve = 4 << 20;

static void bound(room *r, uint64_t bytes, const char *what)
{
    if (bytes < r->bytes) r->bytes = bytes, r->what = what;
}

static room room_of(const llm_model *m, uint64_t limit, bool allow_paging)
{
    uint64_t taken = tokenizer_of(m) + (m->plan_only ? 0 : m->owned_bytes), mapped = mapped_bytes(m), physical;
    room r = { UINT64_MAX, "addressable" };
    const char *what;

    if (m->device != NULL) {            /* the weights are there already */
        bound(&r, plus(device_available(m->device), mapped + owned_of(m)), "available on the device");
    } else {
        physical = memory_physical(&what);
        physical = physical == UINT64_MAX ? physical : minus(physical, reserve);
        bound(&r, plus(physical, taken + (allow_paging ? mapped : 0)), what);
        bound(&r, plus(memory_address_space(), taken + mapped), "left of the address space (ulimit -v)");
    }
    if (limit > 0) bound(&r, minus(limit, m->claimed), "allowed by the memory limit");
    return r;
}

static room room_for(const llm_model *m, const llm_session_options *o)
{
    return room_of(m, o->memory_limit ? o->memory_limit : m->memory_limit, o->allow_paging || m->allow_paging);
}

/* ---- what would fit -------------------------------------------------------------- */

/* Of the model: weights, and the tokenizer beside them. */
static uint64_t weights_of(const llm_model *m) { return plus(mapped_bytes(m), owned_of(m)); }

static bool would_fit(planner *p, llm_session_options o, uint64_t there)
{
    session_cost c;

    if (o.n_batch > (int64_t)o.n_ctx * o.n_seq) o.n_batch = o.n_ctx * o.n_seq;
    return planner_cost(p, &o, &c, NULL) == LLM_OK && plus(plus(weights_of(p->m), buffers(&c)), c.kv) <= there;
}

/* The longest context, in steps of 256 tokens; 0: none. */
static int longest(planner *p, llm_session_options o, uint64_t there)
{
    int low = 0, high = o.n_ctx / 256;          /* low fits, high + 1 does not */

    while (low < high) {
        int mid = low + (high - low + 1) / 2;
        o.n_ctx = mid * 256;
        if (would_fit(p, o, there)) low = mid; else high = mid - 1;
    }
    return low * 256;
}

static const char *kv_name(llm_kv_type t) { return t == LLM_KV_F32 ? "F32" : t == LLM_KV_Q8_0 ? "Q8_0" : "F16"; }

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
static void suggest_weights(planner *p, llm_session_options o, uint64_t there, char *out, size_t cap)
{
    session_cost c;
    uint64_t left;
    double bits;
    const char *name;

    if (o.n_ctx > 512) o.n_ctx = 512;
    if (o.n_batch > 64) o.n_batch = 64;
    if (p->m->n_param == 0 || planner_cost(p, &o, &c, NULL) != LLM_OK) return;
    left = minus(there, plus(buffers(&c), c.kv));
    bits = 8.0 * (double)left / (double)p->m->n_param;
    if ((name = type_below(bits)) != NULL)
        snprintf(out, cap, "; it would fit with smaller weights: %s or below (at most %.1f bits each, these have %.1f)", name, bits,
                 8.0 * (double)weights_of(p->m) / (double)p->m->n_param);
    else snprintf(out, cap, "; no type of weights would make this model fit");
}

static void suggest(const llm_model *m, const llm_session_options *o, uint64_t there, char *out, size_t cap)
{
    static const llm_kv_type smaller[] = { LLM_KV_F16, LLM_KV_Q8_0 };
    llm_session_options q = *o;
    const char *or = "; it would fit with ";
    size_t n = 0;
    planner p;
    int ctx;

    out[0] = '\0';
    if (planner_open(&p, m, NULL) != LLM_OK) return;
    for (int i = o->kv_type == LLM_KV_F32 ? 0 : o->kv_type == LLM_KV_F16 ? 1 : 2; i < 2 && n == 0; i++) {
        q.kv_type = smaller[i];
        if (would_fit(&p, q, there)) n += (size_t)snprintf(out + n, cap - n, "%skv_type %s", or, kv_name(q.kv_type)), or = ", or with ";
    }
    q = *o;
    if ((ctx = longest(&p, q, there)) > 0 && n < cap) n += (size_t)snprintf(out + n, cap - n, "%sn_ctx %d", or, ctx), or = ", or with ";
    q.n_batch = 64;
    if (n == 0 && o->n_batch > 64 && would_fit(&p, q, there)) n += (size_t)snprintf(out + n, cap - n, "%sn_batch 64", or);
    q = *o, q.n_seq = 1;
    if (n == 0 && o->n_seq > 1 && would_fit(&p, q, there)) n += (size_t)snprintf(out + n, cap - n, "%sn_seq 1", or);
    q.n_batch = q.n_batch > 64 ? 64 : q.n_batch, q.kv_type = LLM_KV_Q8_0;
    if (n == 0 && !would_fit(&p, (llm_session_options){ .n_ctx = 256, .n_seq = 1, .n_batch = 1, .n_threads = 1, .kv_type = LLM_KV_Q8_0 }, there)) q.kv_type = LLM_KV_F16;
    if (n == 0 && (ctx = longest(&p, q, there)) > 0)
        n += (size_t)snprintf(out + n, cap - n, "%sn_ctx %d, n_seq 1, n_batch %d and kv_type %s", or, ctx, q.n_batch, kv_name(q.kv_type));
    if (n == 0) suggest_weights(&p, *o, there, out, cap);
    backend_close(&p.be);
}

/* ---- claims ---------------------------------------------------------------------- */

static llm_status check(const llm_model *m, const llm_session_options *o, const session_cost *c, llm_error *err)
{
    room r = room_for(m, o);
    uint64_t need = plus(plus(weights_of(m), buffers(c)), c->kv);
    session_cost whole;
    char hint[200];
    planner p;

    if (need <= r.bytes) return LLM_OK;
    if (c->kv == 0 && planner_open(&p, m, NULL) == LLM_OK) {        /* asked before the cells were planned: the message wants them */
        if (planner_cost(&p, o, &whole, NULL) == LLM_OK) c = &whole, need = plus(plus(weights_of(m), buffers(c)), c->kv);
        backend_close(&p.be);
    }
    suggest(m, o, r.bytes, hint, sizeof hint);
    return llm_fail(err, LLM_ERR_MEMORY, "session: %d x %d tokens need %.1f MiB: model %.1f, keys and values %.1f (%s), buffers %.1f (n_batch %d); "
                    "%.1f MiB are %s%s", o->n_seq, o->n_ctx, mib(need), mib(weights_of(m)), mib(c->kv), kv_name(o->kv_type), mib(buffers(c)),
                    o->n_batch, mib(r.bytes), r.what, hint);
}

llm_status plan_claim(llm_session *s, const llm_session_options *o, const session_cost *cost, llm_error *err)
{
    llm_status st;

    plan_release(s);
    if ((st = check(s->model, o, cost, err)) != LLM_OK) return st;
    s->claimed = buffers(cost) + cost->kv;
    atomic_fetch_add(&s->model->claimed, s->claimed);
    return LLM_OK;
}

void plan_release(llm_session *s)
{
    if (s->claimed > 0) atomic_fetch_sub(&s->model->claimed, s->claimed);
    s->claimed = 0;
}

llm_status plan_weights(const llm_model *m, llm_error *err)
{
    room r = room_of(m, m->memory_limit, m->allow_paging);
    uint64_t need = weights_of(m);
    double bits = m->n_param ? 8.0 * (double)r.bytes / (double)m->n_param : 0;
    const char *name = type_below(bits * 0.95);         /* a little must be left for a context */

    if (m->device != NULL || need <= r.bytes) return LLM_OK;
    return llm_fail(err, LLM_ERR_MEMORY, "%s: the weights need %.1f MiB, of which %.1f are laid out anew; %.1f MiB are %s%s%s", store_path(m->store),
                    mib(need), mib(m->owned_bytes), mib(r.bytes), r.what, name ? "; it would fit with smaller weights: " : "", name ? name : "");
}

/* ---- plans ------------------------------------------------------------------------- */

llm_status session_fits(llm_model *m, const llm_session_options *o, llm_error *err)
{
    session_cost c;
    planner p;
    llm_status st;

    if ((st = planner_open(&p, m, err)) == LLM_OK) st = planner_cost(&p, o, &c, err);
    backend_close(&p.be);
    return st == LLM_OK ? check(m, o, &c, err) : st;
}

llm_status session_plan(llm_model *m, const llm_session_options *o, llm_memory_plan *plan, llm_error *err)
{
    session_cost c;
    planner p;
    llm_status st;

    if ((st = planner_open(&p, m, err)) == LLM_OK) st = planner_cost(&p, o, &c, err);
    backend_close(&p.be);
    if (st != LLM_OK) return st;
    plan->kv_bytes = c.kv, plan->scratch_bytes = buffers(&c), plan->weight_bytes = m->weight_bytes;
    plan->mapped_bytes = mapped_bytes(m), plan->owned_bytes = owned_of(m);
    plan->total_bytes = plus(plus(weights_of(m), buffers(&c)), c.kv);
    plan->available_bytes = room_for(m, o).bytes;
    return LLM_OK;
}

typedef struct { llm_memory_fn fn; void *user; bool stop; } lister;

static void item(lister *l, llm_memory_kind kind, const char *what, uint64_t bytes)
{
    if (!l->stop && bytes > 0 && l->fn(l->user, kind, what, bytes) != 0) l->stop = true;
}

/* One line for all layers of one kind, at the first of them. */
static void kv_items(lister *l, const llm_kv *kv)
{
    for (int il = 0; il < kv->n_layer; il++) {
        const llm_kv_layer *first = &kv->layer[il];
        uint64_t bytes = 0;
        char line[128];
        int n = 0, seen = 0;
        for (int k = 0; k < kv->n_layer; k++) {
            const llm_kv_layer *o = &kv->layer[k];
            if (o->latent != first->latent || kv->window[k] != kv->window[il] || o->dtype != first->dtype) continue;
            if (k < il) seen++;
            n++, bytes += ((uint64_t)o->k_seq_bytes + o->v_seq_bytes) * (uint64_t)kv->n_seq;
        }
        if (seen > 0) continue;
        if (kv->window[il] > 0)
            snprintf(line, sizeof line, "%s of %d layer%s with a window of %d, %s", first->latent ? "latents" : "keys and values", n, n > 1 ? "s" : "", kv->window[il], dtype_name(first->dtype));
        else
            snprintf(line, sizeof line, "%s of %d layer%s, %d tokens, %s", first->latent ? "latents" : "keys and values", n, n > 1 ? "s" : "", kv->n_ctx, dtype_name(first->dtype));
        item(l, LLM_MEMORY_KV, line, bytes);
    }
    item(l, LLM_MEMORY_KV, "tokens of the sequences", kv->bytes - kv->map_bytes);
}

static void cost_items(lister *l, const llm_session_options *o, const session_cost *c)
{
    char line[128];

    snprintf(line, sizeof line, "rows of the forward pass, n_batch %d", o->n_batch);
    item(l, LLM_MEMORY_SCRATCH, line, c->run);
    snprintf(line, sizeof line, "workspace of the kernels, %d thread%s", o->n_threads, o->n_threads > 1 ? "s" : "");
    item(l, LLM_MEMORY_SCRATCH, line, c->workspace);
    item(l, LLM_MEMORY_SCRATCH, "logits", c->logits);
    item(l, LLM_MEMORY_SCRATCH, "rows of a step", c->step);
    item(l, LLM_MEMORY_SCRATCH, "tables of the session", c->tables);
}

llm_status session_plan_items(llm_model *m, const llm_session_options *o, llm_memory_fn fn, void *user, llm_error *err)
{
    lister l = { fn, user, false };
    llm_kv kv = plan_kv(o);
    llm_limits limits;
    session_cost c;
    planner p;
    llm_status st;

    if ((st = plan_cost(m, o, &limits, &c, err)) != LLM_OK) return st;
    if ((st = planner_open(&p, m, err)) == LLM_OK && (st = kv_plan(&kv, m, &p.be.op, err)) == LLM_OK) {
        item(&l, LLM_MEMORY_MAPPED, "weights, read where they lie in their file", mapped_bytes(m));
        item(&l, LLM_MEMORY_MODEL, "weights, laid out anew", m->owned_bytes - m->table_bytes);
        item(&l, LLM_MEMORY_MODEL, "small weights laid out anew, and tables of where weights are", m->table_bytes);
        item(&l, LLM_MEMORY_MODEL, "tokenizer", tokenizer_of(m));
        kv_items(&l, &kv);
        cost_items(&l, o, &c);
    }
    kv_close(&kv);
    backend_close(&p.be);
    if (st == LLM_OK && l.stop) return llm_fail(err, LLM_ERR_CANCELLED, "the list of memory was stopped");
    return st;
}
