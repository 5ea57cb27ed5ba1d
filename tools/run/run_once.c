/* One prompt from the command line, a file or a pipe, and its answer. */
#include "run.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* -f before -p, or standard input; malloc'ed. */
static char *read_prompt(const run_options *o, size_t *len)
{
    const char *file = o->prompt_file;
    char *text, *joined;
    size_t extra = o->prompt_text ? strlen(o->prompt_text) : 0;

    if (o->prompt_file == NULL && o->prompt_text == NULL) {
        if (isatty(STDIN_FILENO)) opt_fail(&run_table, "want a prompt: -p TEXT, -f FILE or standard input");
        file = "-";
    }
    if (file == NULL) {
        text = tool_alloc(extra + 1, 1);
        memcpy(text, o->prompt_text, extra);
        *len = extra;
        return text;
    }
    text = tool_read_file(file, len);
    if (o->prompt_text == NULL) return text;
    joined = tool_alloc(*len + extra + 3, 1);
    memcpy(joined, text, *len);
    memcpy(joined + *len, "\n\n", 2);
    memcpy(joined + *len + 2, o->prompt_text, extra);
    *len += extra + 2;
    free(text);
    return joined;
}

static llm_token *render(const run_options *o, const llm_model *m, const char *text, size_t len, bool first, size_t *n)
{
    llm_chat_message msg[2];
    llm_chat_options opt = { .size = sizeof opt, .format = o->chat_name, .effort = o->effort, .think = o->think ? 1 : o->no_think ? -1 : 0 };
    size_t n_msg = 0;
    llm_error err;
    llm_token *ids;
    char date[16];
    time_t now = time(NULL);

    if (o->raw || (o->chat_name == NULL && llm_chat_format(m) == NULL))
        return tool_tokenize(m, text, len, (first ? LLM_TOKENIZE_BOS : 0u) | (o->trusted ? LLM_TOKENIZE_SPECIAL : 0u), n);
    if (memchr(text, '\0', len)) tool_die_text(EXIT_FAILED, "the prompt has a NUL byte; use --raw for arbitrary bytes");
    strftime(date, sizeof date, "%Y-%m-%d", localtime(&now));
    opt.date = date;
    if (o->system_text) msg[n_msg++] = (llm_chat_message){ "system", o->system_text };
    msg[n_msg++] = (llm_chat_message){ "user", text };
    if (llm_chat_render(m, msg, n_msg, &opt, NULL, 0, n, &err) != LLM_OK) tool_die(&err);
    ids = tool_alloc(*n + 1, sizeof *ids);
    if (llm_chat_render(m, msg, n_msg, &opt, ids, *n, n, &err) != LLM_OK) tool_die(&err);
    return ids;
}

static void print_tokens(const llm_model *m, const llm_token *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const unsigned char *b = (const unsigned char *)llm_token_bytes(m, ids[i], &len);
        printf("%7d  %s\"", ids[i], llm_token_is_control(m, ids[i]) ? "control " : "");
        for (size_t k = 0; k < len; k++) {
            if (b[k] == '"' || b[k] == '\\') printf("\\%c", b[k]);
            else if (b[k] == '\n') printf("\\n");
            else if (b[k] < 0x20 || b[k] == 0x7f) printf("\\x%02x", b[k]);
            else putchar(b[k]);
        }
        printf("\"\n");
    }
}

static void print_timings(const run_timings *t)
{
    fprintf(stderr, "load %.2f s | prompt %zu tokens, %.2f s, %.1f tokens/s | answer %zu tokens, %.2f s, %.1f tokens/s\n", t->load,
            t->n_prompt, t->prompt, t->prompt > 0 ? (double)t->n_prompt / t->prompt : 0, t->n_answer, t->answer,
            t->answer > 0 && t->n_answer > 1 ? (double)(t->n_answer - 1) / t->answer : 0);
}

int run_once(const run_options *o, llm_model *m, double started)
{
    run_timings t = { 0 };
    size_t len, n;
    char *text = read_prompt(o, &len);
    llm_session *s = o->show_tokens ? NULL : run_open_session(o, m);
    llm_token *ids = render(o, m, text, len, s == NULL || llm_session_length(s, 0) == 0, &n);
    answer_options ao = { .out = stdout, .thinking = o->show_thinking ? stderr : NULL, .stop = o->stops.item, .n_stop = o->stops.n };
    llm_sampler *p;
    answer *a;
    llm_error err;
    bool full;

    if (o->show_tokens) { print_tokens(m, ids, n); free(ids), free(text); return EXIT_OK; }
    if (n == 0) tool_die_text(EXIT_FAILED, "the prompt is empty and this model has no beginning token");
    ao.harmony = !o->raw && strcmp(o->chat_name ? o->chat_name : llm_chat_format(m) ? llm_chat_format(m) : "", "harmony") == 0;
    p = run_open_sampler(o, m);
    for (size_t i = 0; i < n; i++)
        if (llm_sampler_accept(p, ids[i], &err) != LLM_OK) tool_die(&err);
    t.load = tool_seconds() - started, t.n_prompt = n;
    run_catch_interrupt();
    run_prompt(o, s, ids, n);
    t.prompt = tool_seconds() - started - t.load;
    if (o->show_prompt) fwrite(text, 1, len, stdout);
    a = answer_open(m, &ao);
    full = run_generate(o, m, s, p, a, &t);
    answer_close(a);
    t.answer = tool_seconds() - started - t.load - t.prompt;
    fputc('\n', stdout), fflush(stdout);
    if (full) fprintf(stderr, "llm-run: the context of %d tokens is full; -c gives a larger one\n", llm_session_n_ctx(s));
    if (!o->quiet) print_timings(&t);
    if (o->save_path && llm_session_save(s, o->save_path, &err) != LLM_OK) tool_die(&err);
    llm_sampler_close(p);
    llm_session_close(s);
    free(ids), free(text);
    return fflush(stdout) != 0 ? EXIT_FAILED : run_interrupted && t.n_answer == 0 ? EXIT_INTERRUPTED : EXIT_OK;
}
