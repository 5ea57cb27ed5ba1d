#include "chat_loop.h"
#include "receipt.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void chat_say(const chat *c, const char *fmt, ...)
{
    va_list ap;

    if (c->look.colour) fputs("\033[2m", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    fputs(c->look.colour ? "\033[0m\n" : "\n", stdout);
    fflush(stdout);
}

size_t chat_mark(const chat *c) { return c->t.c ? llm_chat_count(c->t.c) : c->t.n_text; }

void chat_back(chat *c, size_t mark)
{
    llm_error err;

    if (c->t.c == NULL) c->t.n_text = mark < c->t.n_text ? mark : c->t.n_text;
    else if (llm_chat_drop(c->t.c, mark, &err) != LLM_OK) chat_say(c, "%s", err.text);
}

void chat_reshow(chat *c)
{
    c->look.thinking = run_think_mode(c->o, THINK_SHOW);
    show_close(c->t.out);
    c->t.out = show_open(&c->look);
}

/* What the user should know about how the answer ended. */
static void say_end(const chat *c, const turn_result *r)
{
    if (strcmp(r->finish, "context") == 0)
        chat_say(c, "The context of %d tokens is full: /clear begins anew, -c gives a larger one.", llm_session_n_ctx(c->t.s));
    else if (strcmp(r->finish, "cycle") == 0)
        chat_say(c, "The answer went round in circles (%zu tokens) and was ended; --cycle-break 0 lets it.", r->stats.cycle_length);
    else if (strcmp(r->finish, "interrupted") == 0)
        chat_say(c, "(stopped)");
    else if (strcmp(r->finish, "length") == 0)
        chat_say(c, "(-n %d tokens reached)", c->o->n_predict);
}

/* ---- tools ---- */

/* Asks the user for what each called tool says, and adds it. False: the user did not want to. */
static bool tool_results(chat *c)
{
    json_t *calls = talk_calls(&c->t), *call;
    bool done = calls != NULL;
    llm_error err;
    size_t i;

    chat_say(c, "The model calls a tool. Type or paste what the tool answers (Ctrl-C: none).");
    json_array_foreach(calls, i, call) {
        const char *name = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
        char prompt[48], *answer = NULL;

        snprintf(prompt, sizeof prompt, "%.40s> ", name ? name : "tool");
        if (!(done = chat_line_read(c->line, prompt, &answer) == LINE_TEXT)) break;
        done = talk_result(&c->t, call, answer, &err) == LLM_OK;
        free(answer);
        if (!done) { chat_say(c, "%s", err.text); break; }
    }
    json_decref(calls);
    return done;
}

/* ---- turns ---- */

static bool one_turn(chat *c)
{
    turn_result r;
    llm_error err;
    llm_status st;

    run_interrupted = run_leaving;
    st = talk_turn(&c->t, c->o->seed + c->n_again, &r, &err);
    if (st == LLM_ERR_CANCELLED) chat_say(c, "(stopped before the answer; the message is taken back)");
    else if (st != LLM_OK) chat_say(c, "%s", err.text);
    if (st != LLM_OK) return false;
    show_end(c->t.out, &r);
    c->last = r;
    c->total_reasoning += r.stats.n_reasoning, c->total_answer += r.stats.n_answer;
    say_end(c, &r);
    if (!c->o->quiet) {
        if (c->look.colour) fputs("\033[2m", stdout);
        show_timings(stdout, &r);
        fputs(c->look.colour ? "\033[0m\n" : "\n", stdout), fflush(stdout);
    }
    if (c->o->receipt_path) receipt_write(&c->t, &r, c->o->receipt_path);
    run_interrupted = run_leaving;
    return true;
}

bool chat_answer(chat *c)
{
    for (;;) {
        size_t mark = chat_mark(c);
        if (!one_turn(c)) return false;
        if (strcmp(c->last.finish, "tool_calls") != 0 || c->t.c == NULL) return true;
        if (!tool_results(c)) { chat_back(c, mark); chat_say(c, "(the call is taken back)"); return true; }
    }
}

void chat_user(chat *c, const char *text)
{
    size_t n = strlen(text), mark = chat_mark(c), len = c->n_attached + n + 2;
    char *whole = tool_alloc(len + 1, 1);
    llm_error err;

    if (c->attached) {
        memcpy(whole, c->attached, c->n_attached);
        memcpy(whole + c->n_attached, "\n\n", 2);
        memcpy(whole + c->n_attached + 2, text, n + 1);
    } else {
        memcpy(whole, text, n + 1);
        len = n;
    }
    c->n_again = 0;
    if (talk_user(&c->t, whole, len, &err) != LLM_OK) chat_say(c, "%s", err.text);
    else if (!chat_answer(c)) chat_back(c, mark);
    else free(c->attached), c->attached = NULL, c->n_attached = 0;
    free(whole);
}

/* ---- begin and end ---- */

static void greet(const chat *c)
{
    llm_model_info info = { .size = sizeof info };
    const char *name = strrchr(c->o->choice.path, '/');

    if (c->o->quiet) return;
    llm_model_get_info(c->t.m, &info);
    printf("%s (%s, %.2g billion parameters)\n", *info.name ? info.name : name ? name + 1 : c->o->choice.path, info.arch, (double)info.n_param / 1e9);
    if (c->t.c == NULL) printf("This model has no chat format: it goes on from what you write.\n");
    printf("/help lists the commands; \"\"\" begins and ends several lines; Ctrl-C stops an answer, Ctrl-D leaves.\n\n");
}

static void loop(chat *c)
{
    while (!c->over && !run_leaving) {
        char *text = NULL;
        line_kind kind;

        run_interrupted = run_leaving;
        kind = chat_line_read(c->line, c->attached ? "(file) >>> " : ">>> ", &text);
        if (kind == LINE_END) break;
        if (kind == LINE_INTERRUPT) { chat_say(c, "Ctrl-D or /bye leaves."); continue; }
        chat_line_remember(c->line, text);
        if (text[0] == '/') chat_command(c, text);
        else if (text[strspn(text, " \t\n")] != '\0' || (c->t.c == NULL && text[0])) chat_user(c, text[0] == ' ' && text[1] == '/' ? text + 1 : text);
        free(text);
    }
}

int run_chat(run_options *o, llm_model *m, double started)
{
    chat c = { .o = o, .look = { .out = stdout, .think = stdout, .quiet = o->quiet } };
    char history[4096], *first;
    bool keep = !o->no_history && chat_state_file("history", history, sizeof history);
    size_t len;

    c.look.colour = show_colour(o->color, stdout);
    c.look.thinking = run_think_mode(o, THINK_SHOW);
    talk_open(&c.t, o, m, show_open(&c.look));
    c.t.load = tool_seconds() - started, c.t.roomy = true;
    run_catch_chat();
    greet(&c);
    c.line = chat_line_open(keep ? history : NULL, chat_command_words);
    if ((first = run_read_prompt(o, false, &len)) != NULL) chat_user(&c, first);
    free(first);
    loop(&c);
    chat_line_close(c.line);
    if (o->keep_path && chat_mark(&c) > 0) {
        llm_error err;
        if (talk_save_file(&c.t, o->keep_path, &err) != LLM_OK) tool_die(&err);
    }
    show_close(c.t.out);
    talk_close(&c.t);
    for (size_t i = 0; i < c.n_kept; i++) free(c.kept[i]);
    free(c.kept), free(c.attached);
    return EXIT_OK;
}
