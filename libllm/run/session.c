/* session.c - opening and closing a session, and what it will cost. */
#include "session.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_CTX = 1 << 24, MAX_SEQ = 256, MAX_BATCH = 1 << 14, MAX_THREAD = 1024, DEFAULT_CTX = 4096, DEFAULT_BATCH = 512 };

static llm_status range(const char *name, int got, int max, llm_error *err)
{
    if (got >= 1 && got <= max) return LLM_OK;
    return llm_fail(err, LLM_ERR_ARG, "session: %s is %d, want 1..%d (0: the default)", name, got, max);
}

llm_status session_options(llm_session_options *o, const llm_model *m, llm_error *err)
{
    int trained = m->config.n_ctx;
    llm_status st;

    if (o->n_ctx == 0) o->n_ctx = trained > 0 && trained < DEFAULT_CTX ? trained : DEFAULT_CTX;
    if (o->n_seq == 0) o->n_seq = 1;
    if (o->n_batch == 0) o->n_batch = DEFAULT_BATCH;
    if (o->n_threads == 0) o->n_threads = m->n_thread;
    if (o->kv_type == LLM_KV_DEFAULT) o->kv_type = LLM_KV_F16;
    if ((st = range("n_ctx", o->n_ctx, MAX_CTX, err)) != LLM_OK) return st;
    if (m->config.n_ctx_hard > 0 && o->n_ctx > m->config.n_ctx_hard)
        return llm_fail(err, LLM_ERR_ARG, "session: n_ctx is %d, this model is defined for at most %d tokens", o->n_ctx, m->config.n_ctx_hard);
    if ((st = range("n_seq", o->n_seq, MAX_SEQ, err)) != LLM_OK) return st;
    if ((st = range("n_batch", o->n_batch, MAX_BATCH, err)) != LLM_OK) return st;
    if ((st = range("n_threads", o->n_threads, MAX_THREAD, err)) != LLM_OK) return st;
    if (o->kv_type != LLM_KV_F32 && o->kv_type != LLM_KV_F16 && o->kv_type != LLM_KV_Q8_0)
        return llm_fail(err, LLM_ERR_ARG, "session: kv_type is %d, want 0 (default), 1 (F32), 2 (F16) or 3 (Q8_0)", (int)o->kv_type);
    if (o->n_batch > (int64_t)o->n_ctx * o->n_seq) o->n_batch = o->n_ctx * o->n_seq;    /* more rows never come at once */
    return LLM_OK;
}

static llm_kv kv_of(const llm_session_options *o)
{
    return (llm_kv){ .n_ctx = o->n_ctx, .n_seq = o->n_seq, .n_batch = o->n_batch,
                     .dtype = o->kv_type == LLM_KV_F32 ? DT_F32 : o->kv_type == LLM_KV_Q8_0 ? DT_Q8_0 : DT_F16 };
}

/* The arrays of a step, whose sizes depend on the options alone. */
static size_t step_bytes(const llm_session_options *o, const llm_model *m)
{
    size_t per_row = 4 * sizeof(int32_t) + 1 + sizeof(llm_span), n_vocab = (size_t)m->config.n_vocab;

    return (size_t)o->n_batch * per_row + (size_t)o->n_seq * sizeof(int) + ((size_t)o->n_seq + 1) * n_vocab * sizeof(float);
}

static llm_status scratch_bytes(const llm_model *m, const llm_session_options *o, const llm_limits *limits, uint64_t *out,
                                llm_error *err)
{
    size_t buffers, backend = backend_scratch(m->device, limits, o->n_threads), sum;

    if (backend == 0 || !run_bytes(m, o->n_batch, &buffers) || !ck_add(buffers, backend, &sum)
        || !ck_add(sum, step_bytes(o, m), &sum))
        return llm_fail(err, LLM_ERR_ARG, "session: the buffers for n_batch %d have more bytes than an address can say", o->n_batch);
    *out = sum;
    return LLM_OK;
}

static llm_status limits_of(llm_limits *limits, const llm_model *m, const llm_session_options *o, llm_error *err)
{
    if (run_limits(m, o->n_batch, o->n_ctx, limits)) return LLM_OK;
    return llm_fail(err, LLM_ERR_ARG, "session: n_batch %d and n_ctx %d are too large for this model", o->n_batch, o->n_ctx);
}

/* Refuses what would pass the memory that is there even if all of it were given to this session. */
static llm_status fits(const llm_model *m, const llm_session_options *o, uint64_t kv, uint64_t scratch, llm_error *err)
{
    uint64_t there = device_available(m->device), need;

    if (ck_add_u64(kv, scratch, &need) && need <= there) return LLM_OK;
    return llm_fail(err, LLM_ERR_MEMORY, "session: %d sequences of %d tokens need %.1f MiB for keys and values and %.1f MiB of buffers "
                    "(n_batch %d), %.1f MiB are available", o->n_seq, o->n_ctx, (double)kv / 1048576, (double)scratch / 1048576,
                    o->n_batch, (double)there / 1048576);
}

llm_status session_plan(llm_model *m, const llm_session_options *o, llm_memory_plan *plan, llm_error *err)
{
    llm_backend be = { 0 };
    llm_limits small, limits;
    llm_kv kv = kv_of(o);
    llm_status st;

    if ((st = limits_of(&limits, m, o, err)) != LLM_OK || (st = scratch_bytes(m, o, &limits, &plan->scratch_bytes, err)) != LLM_OK)
        return st;
    small = (llm_limits){ .n_batch = 1, .max_cols = 1, .max_rows = 1, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1,
                          .d_model = 1, .n_head = 1, .max_d_head = 1, .n_ctx = 1 };
    if ((st = backend_open(&be, m->device, m->isa, 1, &small, err)) == LLM_OK) st = kv_plan(&kv, m, &be.op, err);
    plan->kv_bytes = kv.bytes, plan->weight_bytes = m->weight_bytes, plan->owned_bytes = m->owned_bytes;
    plan->mapped_bytes = m->weight_bytes - m->released_bytes;
    plan->total_bytes = plan->mapped_bytes + plan->owned_bytes + plan->kv_bytes + plan->scratch_bytes;
    plan->available_bytes = device_available(m->device);
    if (!m->plan_only && plan->available_bytes < UINT64_MAX - m->owned_bytes) plan->available_bytes += m->owned_bytes;    /* taken already */
    kv_close(&kv);
    backend_close(&be);
    return st;
}

bool session_logits_reserve(llm_session *s, size_t n)
{
    size_t bytes;
    float *bigger;

    if (n <= s->cap_logits) return true;
    if (!ck_mul(n, (size_t)s->model->config.n_vocab, &bytes) || !ck_mul(bytes, sizeof(float), &bytes)) return false;
    if ((bigger = malloc(bytes)) == NULL) return false;     /* the old rows are about to be replaced */
    free(s->logits);
    s->logits = bigger, s->cap_logits = n, s->n_logits = 0;
    return true;
}

static llm_status step_open(llm_session *s, const llm_session_options *o, llm_error *err)
{
    size_t n = (size_t)o->n_batch;

    s->token = calloc(n, sizeof *s->token), s->pos = calloc(n, sizeof *s->pos), s->seq = calloc(n, sizeof *s->seq);
    s->origin = calloc(n, sizeof *s->origin), s->want = calloc(n, 1), s->span = calloc(n, sizeof *s->span);
    s->n_row_seq = calloc((size_t)o->n_seq, sizeof *s->n_row_seq);
    s->row = calloc((size_t)s->model->config.n_vocab, sizeof *s->row);
    if (s->token && s->pos && s->seq && s->origin && s->want && s->span && s->n_row_seq && s->row
        && session_logits_reserve(s, (size_t)o->n_seq))
        return LLM_OK;
    return llm_fail_memory(err, step_bytes(o, s->model), "the rows of a step");
}

static void warn_beyond_training(const llm_model *m, const llm_session_options *o)
{
    char line[128];

    if (m->log == NULL || m->config.n_ctx <= 0 || o->n_ctx <= m->config.n_ctx) return;
    snprintf(line, sizeof line, "n_ctx is %d, the model was trained for %d tokens", o->n_ctx, m->config.n_ctx);
    m->log(m->user, LLM_LOG_WARN, line);
}

llm_status session_open(llm_session **out, llm_model *m, const llm_session_options *o, llm_error *err)
{
    llm_session *s = calloc(1, sizeof *s);
    llm_limits limits;
    uint64_t scratch;
    llm_status st;

    if (s == NULL) return llm_fail_memory(err, sizeof *s, "a session");
    s->model = m;
    if ((st = limits_of(&limits, m, o, err)) != LLM_OK) goto fail;
    if ((st = scratch_bytes(m, o, &limits, &scratch, err)) != LLM_OK || (st = fits(m, o, 0, scratch, err)) != LLM_OK) goto fail;
    if ((st = backend_open(&s->be, m->device, m->isa, o->n_threads, &limits, err)) != LLM_OK) goto fail;
    s->kv = kv_of(o);
    if ((st = kv_plan(&s->kv, m, &s->be.op, err)) != LLM_OK || (st = fits(m, o, s->kv.bytes, scratch, err)) != LLM_OK) goto fail;
    s->kv.be = &s->be;
    if ((st = kv_map(&s->kv, err)) != LLM_OK) goto fail;
    if ((st = run_open(&s->run, m, &s->be, s->kv.layer, o->n_batch, err)) != LLM_OK) goto fail;
    if ((st = step_open(s, o, err)) != LLM_OK) goto fail;
    warn_beyond_training(m, o);
    *out = s;
    return LLM_OK;
fail:
    llm_session_close(s);
    return st;
}

void llm_session_close(llm_session *s)
{
    if (s == NULL) return;
    run_close(&s->run);
    kv_close(&s->kv);
    backend_close(&s->be);
    free(s->token), free(s->pos), free(s->seq), free(s->origin), free(s->want), free(s->span);
    free(s->n_row_seq), free(s->row), free(s->logits);
    free(s);
}
