/* session.c - opening and closing a session, and what it will cost. */
#include "peak.h"
#include "place.h"
#include "plan.h"
#include "threads.h"
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
    if (o->kv_type != LLM_KV_F32 && o->kv_type != LLM_KV_F16 && o->kv_type != LLM_KV_Q8_0 && o->kv_type != LLM_KV_F8_E4M3)
        return llm_fail(err, LLM_ERR_ARG, "session: kv_type is %d, want 0 (default), 1 (F32), 2 (F16), 3 (Q8_0) or 4 (F8_E4M3)", (int)o->kv_type);
    if (o->n_batch > (int64_t)o->n_ctx * o->n_seq) o->n_batch = o->n_ctx * o->n_seq;    /* more rows never come at once */
    return LLM_OK;
}

bool session_logits_reserve(llm_session *s, size_t n)
{
    size_t bytes;
    float *bigger, *peak;

    if (n <= s->cap_logits) return true;
    if (!ck_mul(n, (size_t)s->model->config.n_vocab, &bytes) || !ck_mul(bytes, sizeof(float), &bytes)) return false;
    s->n_peak = peaks_of((size_t)s->model->config.n_vocab);
    bigger = malloc(bytes), peak = malloc(n * s->n_peak * sizeof *peak);   /* the old rows are about to be replaced */
    if (bigger == NULL || peak == NULL) { free(bigger), free(peak); return false; }
    free(s->logits), free(s->peak);
    s->logits = bigger, s->peak = peak, s->cap_logits = n, s->n_logits = 0;
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
    return llm_fail_memory(err, (size_t)o->n_batch * sizeof *s->token, "the rows of a step");
}

int session_top_rows(const llm_model *m, int n_seq)
{
    return site_of_ends(m) == SITE_HOST ? 0 : n_seq < TOP_ROWS ? n_seq : TOP_ROWS;
}

static llm_status picks_open(llm_session *s, const llm_session_options *o, llm_error *err)
{
    if ((s->n_top = session_top_rows(s->model, o->n_seq)) == 0 || (s->top = calloc((size_t)s->n_top, sizeof *s->top)) != NULL) return LLM_OK;
    return llm_fail_memory(err, (size_t)s->n_top * sizeof *s->top, "what picks look at");
}

static void warn(const llm_model *m, const char *fmt, int a, int b)
{
    char line[160];

    if (m->log == NULL) return;
    snprintf(line, sizeof line, fmt, a, b);
    m->log(m->user, LLM_LOG_WARN, line);
}

static void warn_about(const llm_model *m, const llm_session_options *o)
{
    int cores = threads_available();

    if (m->config.n_ctx > 0 && o->n_ctx > m->config.n_ctx) warn(m, "n_ctx is %d, the model was trained for %d tokens", o->n_ctx, m->config.n_ctx);
    if (model_uses(m, SITE_HOST) && o->n_threads > cores)
        warn(m, "n_threads is %d, but this process may use %d cores: the threads will take turns and be slower for it", o->n_threads, cores);
}

static llm_status place(llm_session *s, bool pin, llm_error *err)
{
    core_list cores;

    threads_cores(&cores);
    return session_place(s, &cores, pin, err);
}

static llm_status site_open(llm_session *s, llm_site site, const llm_session_options *o, const llm_limits *limits, llm_error *err)
{
    llm_model *m = s->model;
    llm_status st = backend_open(&s->be[site], site == SITE_DEVICE ? m->device : NULL, m->isa, o->n_threads, limits, err);

    if (st != LLM_OK) return st;
    s->kv.be[site] = &s->be[site];
    return run_open(&s->run[site], m, site, &s->be[site], s->kv.layer, o->n_batch, err);
}

/* One run does everything, or each knows the other. */
static void join(llm_session *s)
{
    llm_run *host = &s->run[SITE_HOST], *device = &s->run[SITE_DEVICE];

    s->first = host->be ? host : device;
    if (host->be && device->be) host->other = device, device->other = host;
}

llm_status session_open(llm_session **out, llm_model *m, const llm_session_options *o, llm_error *err)
{
    llm_session *s = calloc(1, sizeof *s);
    llm_limits limits[N_SITE];
    session_cost cost;
    llm_status st;

    if (s == NULL) return llm_fail_memory(err, sizeof *s, "a session");
    s->model = m, s->kv = plan_kv(m, o);
    if ((st = kv_plan(&s->kv, m, err)) != LLM_OK || (st = plan_cost(m, o, &s->kv, limits, &cost, err)) != LLM_OK) goto fail;
    if ((st = plan_claim(s, o, &cost, err)) != LLM_OK) goto fail;
    for (int i = 0; i < N_SITE; i++)
        if (model_uses(m, (llm_site)i) && (st = site_open(s, (llm_site)i, o, &limits[i], err)) != LLM_OK) goto fail;
    join(s);
    if ((st = kv_map(&s->kv, err)) != LLM_OK || (st = step_open(s, o, err)) != LLM_OK || (st = picks_open(s, o, err)) != LLM_OK) goto fail;
    if (model_uses(m, SITE_HOST) && (st = place(s, o->pin_threads != 0, err)) != LLM_OK) goto fail;
    warn_about(m, o);
    *out = s;
    return LLM_OK;
fail:
    llm_session_close(s);
    return st;
}

void llm_session_close(llm_session *s)
{
    if (s == NULL) return;
    for (int i = 0; i < N_SITE; i++) run_close(&s->run[i]);
    kv_close(&s->kv);
    for (int i = 0; i < N_SITE; i++) backend_close(&s->be[i]);
    free(s->token), free(s->pos), free(s->seq), free(s->origin), free(s->want), free(s->span);
    free(s->n_row_seq), free(s->row), free(s->logits), free(s->peak), free(s->top);
    plan_release(s);
    free(s);
}
