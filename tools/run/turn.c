#include "run.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t run_interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    if (run_interrupted++) _exit(EXIT_INTERRUPTED);
}

void run_catch_interrupt(void)
{
    run_interrupted = 0;
    signal(SIGINT, on_interrupt);
}

llm_session *run_open_session(const run_options *o, llm_model *m)
{
    llm_session_options opt = { .size = sizeof opt, .n_ctx = o->n_ctx, .n_batch = o->n_batch, .n_threads = o->choice.n_threads };
    llm_session *s;
    llm_error err;

    opt.kv_type = tool_kv_type(&run_table, o->kv_type);
    if (llm_session_open(&s, m, &opt, &err) != LLM_OK) tool_die(&err);
    if (o->restore_path && llm_session_restore(s, o->restore_path, &err) != LLM_OK) tool_die(&err);
    return s;
}

void run_prompt(const run_options *o, llm_session *s, const llm_token *ids, size_t n)
{
    size_t piece = o->n_batch > 0 ? (size_t)o->n_batch : 512, room = (size_t)(llm_session_n_ctx(s) - llm_session_length(s, 0));
    bool terminal = !o->quiet && isatty(STDERR_FILENO);
    llm_error err;

    if (n > room)
        tool_die_text(EXIT_NO_ROOM, "the prompt has %zu tokens and the context holds %d (%zu free); -c gives a larger one", n, llm_session_n_ctx(s), room);
    for (size_t at = 0; at < n && !run_interrupted; at += piece) {
        if (llm_session_decode(s, ids + at, n - at < piece ? n - at : piece, &err) != LLM_OK) tool_die(&err);
        if (terminal && n > piece) fprintf(stderr, "\rprompt %3d %%", (int)(100 * (at + piece < n ? at + piece : n) / n));
    }
    if (terminal && n > piece) fprintf(stderr, "\r\033[K");
    if (run_interrupted) exit(EXIT_INTERRUPTED);
}

bool run_generate(const run_options *o, const llm_model *m, llm_session *s, llm_sampler *p, answer *a, run_timings *t)
{
    llm_error err;

    for (int i = 0; (o->n_predict < 0 || i < o->n_predict) && !run_interrupted; i++) {
        int pos = llm_session_length(s, 0);
        llm_token id = llm_sampler_pick(p, llm_session_logits(s), (uint64_t)pos, &err);
        if (id < 0) tool_die(&err);
        if (!o->ignore_end && llm_token_is_end(m, id)) return false;
        t->n_answer++;
        if (answer_push(a, id)) return false;
        if (i + 1 == o->n_predict) return false;
        if (pos >= llm_session_n_ctx(s)) return true;
        if (llm_sampler_accept(p, id, &err) != LLM_OK || llm_session_decode(s, &id, 1, &err) != LLM_OK) tool_die(&err);
    }
    return false;
}
