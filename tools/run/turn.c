#include "talk.h"
#include <stdlib.h>
#include <string.h>

typedef struct { talk *t; progress_bar bar; uint64_t done; size_t calls; int n_layer, n_batch; } watch;

/* Called before every layer: between two pieces of the prompt the layers say how far it is. */
static int on_decode(void *user, const char *what, uint64_t done, uint64_t total)
{
    watch *w = user;
    uint64_t piece = total - done < (uint64_t)w->n_batch ? total - done : (uint64_t)w->n_batch;
    double part;

    (void)what;
    if (done != w->done) w->done = done, w->calls = 0;
    part = w->n_layer > 0 && w->calls < (size_t)w->n_layer ? (double)w->calls / w->n_layer : 1;
    w->calls++;
    progress_draw(&w->bar, "prompt", (double)done + part * (double)piece, (double)total);
    return run_interrupted != 0;
}

llm_status turn_prompt(talk *t, const llm_token *ids, size_t n, llm_error *err)
{
    llm_model_info info = { .size = sizeof info };
    watch w = { .t = t, .bar = { .unit = "tokens", .off = t->o->quiet }, .n_batch = t->o->n_batch > 0 ? t->o->n_batch : 512 };
    llm_status st;

    if (llm_model_get_info(t->m, &info) == LLM_OK) w.n_layer = info.n_layer;
    llm_session_set_progress(t->s, on_decode, &w);
    st = llm_session_decode(t->s, ids, n, err);
    llm_session_set_progress(t->s, NULL, NULL);
    progress_clear(&w.bar);
    return st;
}

const char *turn_family(const talk *t)
{
    static const struct { const char *format, *family; } known[] = {
        { "harmony", "harmony" }, { "chatml", "qwen" }, { "gemma", "gemma" }, { "deepseek", "deepseek" }, { "deepseek-llm", "deepseek" },
    };

    if (t->c == NULL) return "plain";
    if (t->o->chat_name == NULL) return NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].format, t->o->chat_name) == 0) return known[i].family;
    return "plain";
}

int turn_cycle(const talk *t) { return t->o->cycle >= 0 ? t->o->cycle : t->c ? 32 : 0; }

llm_status turn_reply(talk *t, llm_reply **reply, llm_error *err)
{
    llm_reply_options opt = { .size = sizeof opt, .family = turn_family(t), .prompt = t->prompt, .n_prompt = t->n_prompt, .chat = t->c };

    opt.budget = t->o->budget < 0 ? 0 : t->o->budget == 0 ? -1 : t->o->budget;
    opt.cycle_repeats = turn_cycle(t);
    return llm_reply_open(reply, t->m, &opt, err);
}

/* Shows events; true: a stop string was reached in the answer. */
static bool show_events(talk *t, llm_stop *stop, llm_reply *reply, const llm_event *ev, size_t n, llm_status *st, llm_error *err)
{
    llm_reply_stats stats = { .size = sizeof stats };
    int hit = 0;

    llm_reply_get_stats(reply, &stats);
    for (size_t i = 0; i < n && !hit; i++) {
        llm_event e = ev[i];
        if (stop && e.kind == LLM_EVENT_TEXT && e.part == LLM_PART_ANSWER)
            if ((*st = llm_stop_push(stop, e.text, e.len, &e.text, &e.len, &hit, err)) != LLM_OK) return true;
        show_event(t->out, &e, stats.n_reasoning);
    }
    return hit;
}

/* Text that may have been the begin of a stop string comes out. */
static llm_status flush_stop(talk *t, llm_stop *stop, llm_error *err)
{
    llm_event e = { .kind = LLM_EVENT_TEXT, .part = LLM_PART_ANSWER };
    llm_status st = llm_stop_flush(stop, &e.text, &e.len, err);

    if (st == LLM_OK && e.len > 0) show_event(t->out, &e, 0);
    return st;
}

static void keep_made(talk *t, llm_token id)
{
    if (t->n_made == t->cap_made) {
        t->cap_made = t->cap_made ? 2 * t->cap_made : 256;
        if ((t->made = realloc(t->made, t->cap_made * sizeof *t->made)) == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory");
    }
    t->made[t->n_made++] = id;
}

/* Until something ends it; r->finish says what. */
static llm_status loop(talk *t, llm_reply *reply, llm_sampler *p, llm_stop *stop, turn_result *r, llm_error *err)
{
    const run_options *o = t->o;
    const llm_event *ev;
    llm_status st = LLM_OK;
    size_t n_ev;

    r->finish = "length";
    for (int i = 0; o->n_predict < 0 || i < o->n_predict; i++) {
        int pos = llm_session_length(t->s, 0);
        llm_token id = llm_reply_forced(reply);
        llm_over over = LLM_OVER_NOT;
        if (run_interrupted) { r->finish = "interrupted"; return LLM_OK; }
        if (id < 0 && (id = llm_session_pick(t->s, 0, p, (uint64_t)pos, err)) < 0) return err->status;
        keep_made(t, id);
        if (!o->ignore_end || !llm_token_is_end(t->m, id)) {
            if ((st = llm_reply_push(reply, id, &ev, &n_ev, &over, err)) != LLM_OK) return st;
            if (show_events(t, stop, reply, ev, n_ev, &st, err)) { r->finish = "stop_text"; return st; }
        }
        if (over) { r->finish = over == LLM_OVER_CALLS ? "tool_calls" : over == LLM_OVER_CYCLE ? "cycle" : "stop"; return LLM_OK; }
        if (i + 1 == o->n_predict) return LLM_OK;
        if (pos >= llm_session_n_ctx(t->s)) { r->finish = "context"; return LLM_OK; }
        if ((st = llm_sampler_accept(p, id, err)) != LLM_OK || (st = llm_session_decode(t->s, &id, 1, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}

llm_status turn_answer(talk *t, llm_reply *reply, uint64_t seed, turn_result *r, llm_error *err)
{
    double began = tool_seconds();
    llm_sampler *p = run_open_sampler(t->o, t->m, seed);
    llm_stop *stop = NULL;
    const llm_event *ev;
    size_t n_ev;
    llm_status st = LLM_OK;

    t->n_made = 0, t->seed = seed;
    for (size_t i = 0; i < t->n_prompt && st == LLM_OK; i++) st = llm_sampler_accept(p, t->prompt[i], err);
    if (st == LLM_OK && t->o->stops.n > 0) st = llm_stop_open(&stop, t->o->stops.item, NULL, t->o->stops.n, err);
    if (st == LLM_OK) st = loop(t, reply, p, stop, r, err);
    if (st == LLM_OK && (st = llm_reply_finish(reply, &ev, &n_ev, err)) == LLM_OK && strcmp(r->finish, "stop_text") != 0)
        show_events(t, stop, reply, ev, n_ev, &st, err);
    if (st == LLM_OK && stop) st = flush_stop(t, stop, err);
    r->stats.size = sizeof r->stats;
    llm_reply_get_stats(reply, &r->stats);
    r->answer = tool_seconds() - began;
    llm_stop_close(stop);
    llm_sampler_close(p);
    return st;
}
