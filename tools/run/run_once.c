/* One prompt from the command line, a file or a pipe, and its answer. */
#include "receipt.h"
#include "talk.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *run_read_prompt(const run_options *o, bool piped, size_t *len)
{
    const char *file = o->prompt_file;
    char *text, *joined;
    size_t extra = o->prompt_text ? strlen(o->prompt_text) : 0;

    if (file == NULL && o->prompt_text == NULL) {
        if (!piped) return NULL;
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

/* Where errors go when a program reads our events. */
static show *event_sink;
static void on_die(int code, const char *text) { show_error(event_sink, code, text); }

static show *open_show(const run_options *o)
{
    show_options opt = { .out = stdout, .think = stderr, .json = o->json, .quiet = o->quiet };
    show *s;

    opt.thinking = run_think_mode(o, o->quiet ? THINK_HIDE : THINK_COUNT);
    opt.colour = show_colour(o->color, stderr);
    s = show_open(&opt);
    if (o->json) event_sink = s, tool_on_die = on_die;
    return s;
}

/* --tool-result: what the tools say that the loaded conversation ends with calling, one text each. */
static void add_results(talk *t, const run_options *o)
{
    json_t *calls = talk_calls(t);
    llm_error err;

    if (json_array_size(calls) != o->results.n)
        tool_die_text(EXIT_USAGE, "--tool-result was given %zu times, and the conversation ends with %zu tool calls", o->results.n, json_array_size(calls));
    for (size_t i = 0; i < o->results.n; i++)
        if (talk_result(t, json_array_get(calls, i), o->results.item[i], &err) != LLM_OK) tool_die(&err);
    json_decref(calls);
}

/* What the user gave, as the next message. With --load, a conversation whose last message is not the assistant's needs none. */
static void add_prompt(talk *t, const run_options *o)
{
    size_t len;
    llm_error err;
    char *text;

    if (o->results.n > 0) add_results(t, o);
    text = run_read_prompt(o, !(o->load_path && t->c), &len);
    if (text == NULL) return;
    if (talk_user(t, text, len, &err) != LLM_OK)
        tool_die_text(err.status == LLM_ERR_ARG ? EXIT_FAILED : tool_exit_code(err.status), "%s: %s",
                      o->prompt_file ? o->prompt_file : o->prompt_text ? "-p" : "standard input", err.text);
    if (o->show_prompt && !o->json) fwrite(text, 1, len, stdout);
    free(text);
}

static int show_ids(talk *t)
{
    llm_token *ids;
    size_t n;
    llm_error err;

    if (talk_prompt(t, &ids, &n, &err) != LLM_OK) tool_die(&err);
    print_tokens(t->m, ids, n);
    free(ids);
    return EXIT_OK;
}

static void say_end(const run_options *o, const talk *t, const turn_result *r)
{
    if (strcmp(r->finish, "context") == 0)
        fprintf(stderr, "%s: the context of %d tokens is full; -c gives a larger one\n", tool_name, llm_session_n_ctx(t->s));
    if (strcmp(r->finish, "cycle") == 0)
        fprintf(stderr, "%s: the answer went round in circles and was ended (--cycle-break 0 lets it)\n", tool_name);
    if (!o->quiet && !o->json) show_timings(stderr, r);
}

static int answer(talk *t, run_options *o)
{
    turn_result r;
    llm_error err;
    llm_status st;

    run_catch_interrupt();
    st = talk_turn(t, o->seed, &r, &err);
    if (st == LLM_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st != LLM_OK) tool_die(&err);
    show_end(t->out, &r);
    say_end(o, t, &r);
    if (o->save_path && llm_session_save(t->s, o->save_path, &err) != LLM_OK) tool_die(&err);
    if (o->keep_path && talk_save_file(t, o->keep_path, &err) != LLM_OK) tool_die_text(EXIT_FAILED, "%s", err.text);
    if (o->receipt_path) receipt_write(t, &r, o->receipt_path);
    if (fflush(stdout) != 0 || ferror(stdout)) tool_die_text(EXIT_FAILED, "standard output: cannot write all of the answer");
    return strcmp(r.finish, "interrupted") == 0 && t->n_made == 0 ? EXIT_INTERRUPTED : EXIT_OK;
}

/* Options that this model cannot heed. */
static void say_unheard(const run_options *o, const talk *t)
{
    if (t->c == NULL || o->quiet || o->json) return;
    if (o->effort && !t->info.has_effort) fprintf(stderr, "%s: warning: this model has no efforts of reasoning, --effort changes nothing\n", tool_name);
    if ((o->think || o->no_think) && !t->info.can_switch_thinking)
        fprintf(stderr, "%s: warning: this model's thinking cannot be switched on or off, --%s changes nothing\n", tool_name, o->think ? "think" : "no-think");
}

int run_once(run_options *o, llm_model *m, double started)
{
    show *out = open_show(o);
    talk t;
    int code;

    talk_open(&t, o, m, out);
    say_unheard(o, &t);
    add_prompt(&t, o);
    t.load = tool_seconds() - started;
    code = o->show_tokens ? show_ids(&t) : answer(&t, o);
    talk_close(&t);
    tool_on_die = NULL;
    show_close(out);
    return code;
}
