#include "measure.h"
#include "session.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { WARM_PROMPT = 64 };              /* tokens: enough that nearly every expert is used */
static const double LIMITS_AGE = 1;     /* seconds after which limits are taken again: a shared machine is another one then */

static volatile sig_atomic_t stopped;
void measure_stop(void) { stopped = 1; }
bool measure_stopped(void) { return stopped; }

void measure_name(const work_test *t, char *out, size_t cap)
{
    int n = t->prompt && t->generate ? snprintf(out, cap, "pp%d+tg%d", t->prompt, t->generate)
          : t->prompt ? snprintf(out, cap, "pp%d", t->prompt) : snprintf(out, cap, "tg%d", t->generate);

    if (t->n_seq > 1 && (size_t)n < cap) n += snprintf(out + n, cap - (size_t)n, " x%d", t->n_seq);
    if (t->depth > 0 && (size_t)n < cap) snprintf(out + n, cap - (size_t)n, " @ d%d", t->depth);
}

llm_session_options measure_session(const bench_test *t, const measure_options *o)
{
    const work_test *w = &t->what;
    int n_ctx = w->prompt + w->generate + w->depth + 1;

    return (llm_session_options){ .size = sizeof(llm_session_options), .n_ctx = n_ctx > WARM_PROMPT + 2 ? n_ctx : WARM_PROMPT + 2, .n_seq = w->n_seq,
                                  .n_batch = w->batch, .n_threads = t->threads, .kv_type = o->kv_type, .memory_limit = o->memory_limit,
                                  .allow_paging = o->allow_paging, .deterministic = o->deterministic };
}

/* ---- memory -------------------------------------------------------------------------- */

/* The highest resident size from now on; where the system does not forget the old one, from the program's beginning. */
static void peak_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");

    if (f == NULL) return;
    fputs("5", f);
    fclose(f);
}

static double peak_mib(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    struct rusage u;
    char line[256];
    double kib = 0;

    while (f && kib == 0 && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0) kib = strtod(line + 6, NULL);
    if (f) fclose(f);
    if (kib == 0 && getrusage(RUSAGE_SELF, &u) == 0) kib = (double)u.ru_maxrss;
    return kib / 1024;
}

/* ---- tokens ---------------------------------------------------------------------------- */

/* filled: every sequence begins with the depth tokens of the test. greedy: picks every sequence's next token, or NULL; pick, pos, next [n_seq]. */
typedef struct { llm_session *s; const work_test *t; const measure_options *o; llm_row *row; int n_vocab; bool filled; llm_sampler *greedy, **pick; uint64_t *pos; llm_token *next; llm_error *err; } feeder;

static llm_token token(const feeder *f, int seq, int i) { return (llm_token)((((uint64_t)i * 257 + (uint64_t)seq) * 2654435761u + 17) % (uint64_t)f->n_vocab); }

/* n tokens of one sequence; logits of the last. */
static llm_status prompt(const feeder *f, int seq, int n)
{
    if (n < 1) return LLM_OK;
    for (int i = 0; i < n; i++) f->row[i] = (llm_row){ token(f, seq, i), seq, i == n - 1 };
    return llm_session_decode_rows(f->s, f->row, (size_t)n, f->err);
}

/* The next token of every sequence, so that what it takes is measured; the test goes on with its own, whose experts are spread evenly. */
static llm_status pick(const feeder *f, int step)
{
    if (f->greedy == NULL) return LLM_OK;
    for (int seq = 0; seq < f->t->n_seq; seq++) f->pick[seq] = f->greedy, f->pos[seq] = (uint64_t)step;
    return llm_session_pick_rows(f->s, (size_t)f->t->n_seq, f->pick, f->pos, f->next, f->err);
}

/* n steps of one token for every sequence. */
static llm_status generate(const feeder *f, int n)
{
    llm_status st = LLM_OK;

    for (int i = 0; i < n && st == LLM_OK; i++) {
        for (int seq = 0; seq < f->t->n_seq; seq++) f->row[seq] = (llm_row){ token(f, seq, i), seq, 1 };
        st = llm_session_decode_rows(f->s, f->row, (size_t)f->t->n_seq, f->err);
        if (st == LLM_OK) st = pick(f, i);
    }
    return st;
}

static llm_status truncate_all(const feeder *f, int n)
{
    llm_status st = LLM_OK;
    for (int seq = 0; seq < f->t->n_seq && st == LLM_OK; seq++) st = llm_session_truncate(f->s, seq, n, f->err);
    return st;
}

/* Puts depth tokens into an empty sequence, all with the same keys and values: finite ones, whatever the type. */
static llm_status fill(const feeder *f, int seq, int depth)
{
    llm_kv *kv = &f->s->kv;
    size_t bytes = kv_block_bytes(kv);
    char *rows = malloc(bytes);
    llm_status st = LLM_OK;

    if (rows == NULL) return llm_fail_memory(f->err, bytes, "made-up keys and values");
    memset(rows, 0x2a, bytes);
    kv_reserve(kv, seq, depth);
    for (int il = 0; il < kv->n_layer; il++) {
        char *v = kv->layer[il].latent ? NULL : rows + KV_BLOCK * kv_row_bytes(&kv->layer[il], false);
        for (int pos = kv_first(kv, il, depth); pos < depth && st == LLM_OK; pos += KV_BLOCK)
            st = kv_write(kv, il, seq, pos, depth - pos < KV_BLOCK ? depth - pos : KV_BLOCK, rows, v, f->err);
    }
    for (int i = 0; i < depth; i++) kv_tokens(kv, seq)[i] = token(f, seq, i);
    if (st == LLM_OK) kv_commit(kv, seq, depth);
    free(rows);
    return st;
}

/* The same computed, once, and copied to the other sequences. */
static llm_status compute(const feeder *f, int depth)
{
    llm_status st = prompt(f, 0, depth);
    for (int seq = 1; seq < f->t->n_seq && st == LLM_OK; seq++) st = llm_session_copy(f->s, 0, seq, f->err);
    return st;
}

/* Every sequence holds depth tokens: again, where the window of some layer lets it go back, else anew. */
static llm_status reset(feeder *f)
{
    int depth = f->t->depth;
    llm_status st;

    if (f->filled && truncate_all(f, depth) == LLM_OK) return LLM_OK;
    st = truncate_all(f, 0);
    if (depth > 0 && st == LLM_OK && !f->o->fill) st = compute(f, depth);
    for (int seq = 0; depth > 0 && f->o->fill && seq < f->t->n_seq && st == LLM_OK; seq++) st = fill(f, seq, depth);
    f->filled = st == LLM_OK;
    return st;
}

static llm_status warm(const feeder *f)
{
    llm_status st = llm_session_warm_up(f->s, f->err);

    if (st == LLM_OK) st = prompt(f, 0, WARM_PROMPT);
    return st == LLM_OK ? generate(f, 1) : st;
}

static llm_status once(feeder *f, double *seconds)
{
    llm_status st = reset(f);
    double start = machine_seconds();

    f->s->be[SITE_DEVICE].seconds = 0;
    for (int seq = 0; seq < f->t->n_seq && st == LLM_OK; seq++) st = prompt(f, seq, f->t->prompt);
    if (st == LLM_OK) st = generate(f, f->t->generate);
    *seconds = machine_seconds() - start;
    return st;
}

/* One more run, by the device's clock, which takes a little time itself. */
static llm_status measure_device(feeder *f, measure_result *out)
{
    llm_backend *be = &f->s->be[SITE_DEVICE];
    llm_status st;
    double seconds;

    out->device_share = 0;
    if (be->remote == NULL) return LLM_OK;
    be->timed = true;
    if ((st = once(f, &seconds)) == LLM_OK) out->device_share = be->seconds / seconds;
    be->timed = false;
    return st;
}

/* ---- a test ------------------------------------------------------------------------------ */

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)what, (void)done, (void)total;
    return stopped;
}

typedef struct { double sum, squares; } moments;
static void add(moments *m, double x) { m->sum += x, m->squares += x * x; }
static double mean(const moments *m, int n) { return m->sum / n; }
static double deviation(const moments *m, int n) { return n > 1 ? sqrt(fmax(0, (m->squares - m->sum * m->sum / n) / (n - 1))) : 0; }

/* The means of limits that are taken again as they grow old. */
typedef struct { const llm_model *m; const measure_options *o; int threads, n; double taken; machine_limits sum; } limits_log;

static void limits_take(limits_log *l)
{
    machine_limits x;

    if (l->o->limits == NULL || (l->n > 0 && machine_seconds() - l->taken < LIMITS_AGE)) return;
    x = l->o->limits(l->m, l->threads);
    l->sum.read_gbs += x.read_gbs, l->sum.int8_gops += x.int8_gops, l->sum.f32_gflops += x.f32_gflops;
    l->n++, l->taken = machine_seconds();
}

static machine_limits limits_mean(const limits_log *l)
{
    double n = l->n > 0 ? l->n : 1;
    return (machine_limits){ l->sum.read_gbs / n, l->sum.int8_gops / n, l->sum.f32_gflops / n };
}

static llm_status repeat(feeder *f, limits_log *l, measure_result *out)
{
    const measure_options *o = f->o;
    double tokens = (double)(f->t->prompt + f->t->generate) * f->t->n_seq, seconds;
    moments time = { 0 }, rate = { 0 };
    llm_status st = o->warmup ? warm(f) : LLM_OK;

    for (int i = 0; i < o->repetitions && st == LLM_OK; i++) {
        if ((st = once(f, &seconds)) != LLM_OK) break;
        add(&time, seconds), add(&rate, tokens / seconds);
        out->peak_mib = fmax(out->peak_mib, peak_mib());
        limits_take(l);
        peak_reset();                   /* which forgets the memory that limits took */
    }
    out->seconds = mean(&time, o->repetitions), out->seconds_dev = deviation(&time, o->repetitions);
    out->rate = mean(&rate, o->repetitions), out->rate_dev = deviation(&rate, o->repetitions);
    out->limits = limits_mean(l);
    return st == LLM_OK ? measure_device(f, out) : st;
}

static llm_status feeder_open(feeder *f, int n_row)
{
    size_t n = (size_t)f->t->n_seq;

    f->row = malloc((size_t)n_row * sizeof *f->row), f->pick = malloc(n * sizeof *f->pick), f->pos = malloc(n * sizeof *f->pos), f->next = malloc(n * sizeof *f->next);
    if (f->row && f->pick && f->pos && f->next) return LLM_OK;
    *f->err = (llm_error){ .status = LLM_ERR_MEMORY };
    snprintf(f->err->text, sizeof f->err->text, "out of memory: the rows of a test");
    return LLM_ERR_MEMORY;
}

llm_status measure_test(llm_model *m, const bench_test *t, const measure_options *o, measure_result *out, llm_error *err)
{
    static const llm_sampler_options greedy = { .size = sizeof greedy };
    llm_session_options opt = measure_session(t, o);
    llm_model_info info = { .size = sizeof info };
    int most = opt.n_ctx > t->what.n_seq ? opt.n_ctx : t->what.n_seq;
    feeder f = { .t = &t->what, .o = o, .err = err };
    limits_log log = { .m = m, .o = o, .threads = t->threads };
    llm_status st;

    *out = (measure_result){ 0 };
    llm_model_get_info(m, &info);
    f.n_vocab = info.n_vocab;
    limits_take(&log);
    peak_reset();
    st = feeder_open(&f, most);
    if (st == LLM_OK) st = llm_session_open(&f.s, m, &opt, err);
    if (st == LLM_OK && o->pick) st = llm_sampler_open(&f.greedy, m, &greedy, err);
    if (st == LLM_OK) {
        llm_session_set_progress(f.s, on_progress, NULL);
        st = repeat(&f, &log, out);
    }
    llm_sampler_close(f.greedy), llm_session_close(f.s);
    free(f.row), free(f.pick), free(f.pos), free(f.next);
    return st;
}
