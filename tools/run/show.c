#include "show.h"
#include "common.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIM   "\033[2m"
#define CALL  "\033[36m"
#define PLAIN "\033[0m"

struct show {
    show_options opt;
    bool dim, counted;                  /* in the middle of shown reasoning; a count stands on the line */
    bool begun, at_line;                /* something was written; the last character was a newline */
    llm_part part;                      /* of the message under way */
    size_t message;
    char *call, *name;                  /* arguments so far [n_call]; the function */
    size_t n_call, cap_call;
};

show *show_open(const show_options *opt)
{
    show *s = tool_alloc(1, sizeof *s);

    s->opt = *opt;
    s->at_line = true;
    return s;
}

void show_close(show *s)
{
    if (s == NULL) return;
    free(s->call), free(s->name);
    free(s);
}

bool show_colour(const char *color, FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (color && strcmp(color, "always") == 0) return true;
    if (color && strcmp(color, "never") == 0) return false;
    return isatty(fileno(f)) && (no == NULL || *no == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

/* ---- JSON ---- */

/* One line; the object is freed. */
static void put_line(show *s, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    if (text == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory for an event");
    fputs(text, s->opt.out), fputc('\n', s->opt.out), fflush(s->opt.out);
    free(text);
    json_decref(object);
}

static void json_event(show *s, const llm_event *e)
{
    static const char *const part[] = { "answer", "reasoning", "tool_call", "other" };

    if (e->kind == LLM_EVENT_RELABEL) {
        put_line(s, json_pack("{s:s, s:I, s:s}", "event", "relabel", "message", (json_int_t)e->message, "part", part[e->part]));
    } else if (e->part == LLM_PART_CALL) {
        if (e->kind == LLM_EVENT_END)
            put_line(s, json_pack("{s:s, s:I, s:s, s:s%, s:s*}", "event", "tool_call", "message", (json_int_t)e->message, "name", s->name ? s->name : "",
                                  "arguments", s->call ? s->call : "", s->n_call, "error", e->error));
    } else if (e->kind == LLM_EVENT_TEXT && e->len > 0) {
        put_line(s, json_pack("{s:s, s:I, s:s%}", "event", part[e->part], "message", (json_int_t)e->message, "text", e->text, e->len));
    } else if (e->kind == LLM_EVENT_END && e->error) {
        put_line(s, json_pack("{s:s, s:I, s:s, s:s}", "event", "malformed", "message", (json_int_t)e->message, "part", part[e->part], "error", e->error));
    }
}

static void json_end(show *s, const turn_result *r)
{
    const llm_reply_stats *n = &r->stats;

    put_line(s, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:f, s:f}", "event", "end", "finish_reason", r->finish,
                          "prompt_tokens", (json_int_t)r->n_prompt, "cached_tokens", (json_int_t)r->n_cached,
                          "reasoning_tokens", (json_int_t)n->n_reasoning, "answer_tokens", (json_int_t)n->n_answer,
                          "tool_call_tokens", (json_int_t)n->n_call, "format_tokens", (json_int_t)n->n_format,
                          "forced_tokens", (json_int_t)n->n_forced, "cycle_tokens", (json_int_t)n->cycle_length, "budget_spent", n->budget_spent != 0,
                          "load_seconds", r->load, "prompt_seconds", r->prompt, "answer_seconds", r->answer));
}

/* ---- text ---- */

static void write_to(show *s, FILE *f, const char *text, size_t len)
{
    if (len == 0) return;
    fwrite(text, 1, len, f);
    fflush(f);
    s->begun = true, s->at_line = text[len - 1] == '\n';
}

static void clear_count(show *s)
{
    if (s->counted) fputs("\r\033[K", s->opt.think), fflush(s->opt.think);
    s->counted = false;
}

static void end_dim(show *s)
{
    if (!s->dim) return;
    fputs(s->opt.colour ? PLAIN : s->at_line ? "</thinking>" : "\n</thinking>", s->opt.think);
    fputs(s->at_line && s->opt.colour ? "\n" : "\n\n", s->opt.think), fflush(s->opt.think);
    s->dim = false, s->at_line = true;
}

static void reasoning(show *s, const llm_event *e, size_t n_reasoning)
{
    if (s->opt.thinking == THINK_HIDE || e->len == 0) return;
    if (s->opt.thinking == THINK_COUNT) {
        if (!isatty(fileno(s->opt.think))) return;
        fprintf(s->opt.think, "\r%sthinking: %zu tokens%s\033[K", s->opt.colour ? DIM : "", n_reasoning, s->opt.colour ? PLAIN : ""), fflush(s->opt.think);
        s->counted = true;
        return;
    }
    if (!s->dim) fputs(s->opt.colour ? DIM : "<thinking>\n", s->opt.think);
    s->dim = true;
    write_to(s, s->opt.think, e->text, e->len);
}

static void text_call(show *s, const llm_event *e)
{
    bool colour = s->opt.colour && isatty(fileno(s->opt.out));

    if (e->kind != LLM_EVENT_END) return;
    clear_count(s), end_dim(s);
    fprintf(s->opt.out, "%s%stool_call %s ", s->at_line ? "" : "\n", colour ? CALL : "", s->name ? s->name : "?");
    fwrite(s->call ? s->call : "", 1, s->n_call, s->opt.out);
    fprintf(s->opt.out, "%s\n", colour ? PLAIN : "");
    fflush(s->opt.out);
    s->begun = s->at_line = true;
    if (e->error && !s->opt.quiet) fprintf(stderr, "%s: %s\n", tool_name, e->error);
}

static void text_event(show *s, const llm_event *e, size_t n_reasoning)
{
    if (e->kind == LLM_EVENT_RELABEL) {
        if (s->opt.thinking != THINK_HIDE) fprintf(s->opt.think, "%s(that was the thinking)\n\n", s->at_line ? "" : "\n"), fflush(s->opt.think);
        s->at_line = true;
    } else if (e->part == LLM_PART_CALL) {
        text_call(s, e);
    } else if (e->part == LLM_PART_REASONING) {
        if (e->kind == LLM_EVENT_TEXT) reasoning(s, e, n_reasoning);
        if (e->kind == LLM_EVENT_END) clear_count(s), end_dim(s);
    } else if (e->kind == LLM_EVENT_TEXT) {
        clear_count(s), end_dim(s);
        if (e->message != s->message && s->begun && !s->at_line) write_to(s, s->opt.out, "\n", 1);
        s->message = e->message;
        write_to(s, s->opt.out, e->text, e->len);
    }
}

/* ---- both ---- */

/* The text of a call is gathered: it is shown when it is whole. */
static void gather(show *s, const llm_event *e)
{
    if (e->name && (s->name == NULL || strcmp(s->name, e->name) != 0)) {
        free(s->name);
        if ((s->name = strdup(e->name)) == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory");
    }
    if (e->kind == LLM_EVENT_BEGIN) s->n_call = 0;
    if (e->kind != LLM_EVENT_TEXT) return;
    if (s->n_call + e->len > s->cap_call) {
        s->cap_call = 2 * (s->n_call + e->len);
        if ((s->call = realloc(s->call, s->cap_call)) == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory");
    }
    memcpy(s->call + s->n_call, e->text, e->len);
    s->n_call += e->len;
}

void show_start(show *s, const llm_model *m, int n_ctx)
{
    llm_model_info info = { .size = sizeof info };
    llm_chat_info chat = { .size = sizeof chat };

    if (!s->opt.json || llm_model_get_info(m, &info) != LLM_OK || llm_chat_get_info(m, &chat) != LLM_OK) return;
    put_line(s, json_pack("{s:s, s:s, s:s, s:s, s:s, s:i}", "event", "start", "version", llm_version(), "arch", info.arch, "name", info.name,
                          "family", chat.family, "context", n_ctx));
}

void show_prompt(show *s, size_t n_prompt, size_t n_cached)
{
    if (s->opt.json)
        put_line(s, json_pack("{s:s, s:I, s:I}", "event", "prompt", "tokens", (json_int_t)n_prompt, "cached", (json_int_t)n_cached));
    s->begun = false, s->at_line = true, s->message = 0;
}

void show_event(show *s, const llm_event *e, size_t n_reasoning)
{
    if (e->part == LLM_PART_CALL) gather(s, e);
    if (s->opt.json) json_event(s, e);
    else text_event(s, e, n_reasoning);
}

void show_end(show *s, const turn_result *r)
{
    if (s->opt.json) { json_end(s, r); return; }
    clear_count(s), end_dim(s);
    if (!s->at_line || !s->begun) fputc('\n', s->opt.out);
    fflush(s->opt.out);
}

void show_error(show *s, int code, const char *text)
{
    if (s->opt.json) put_line(s, json_pack("{s:s, s:i, s:s}", "event", "error", "code", code, "text", text));
}

void show_timings(FILE *f, const turn_result *r)
{
    const llm_reply_stats *n = &r->stats;
    size_t computed = r->n_prompt - r->n_cached, made = n->n_reasoning + n->n_answer + n->n_call + n->n_format;

    if (r->load > 0) fprintf(f, "load %.2f s | ", r->load);
    fprintf(f, "prompt %zu tokens, %zu cached, %.2f s, %.1f tokens/s | reasoning %zu, answer %zu", r->n_prompt, r->n_cached, r->prompt,
            r->prompt > 0 ? (double)computed / r->prompt : 0, n->n_reasoning, n->n_answer);
    if (n->n_call) fprintf(f, ", tool calls %zu", n->n_call);
    if (n->n_format) fprintf(f, ", format %zu", n->n_format);
    fprintf(f, " tokens, %.2f s, %.1f tokens/s\n", r->answer, r->answer > 0 && made > 1 ? (double)(made - 1) / r->answer : 0);
    if (n->budget_spent) fprintf(f, "the reasoning budget was spent\n");
    if (n->cycle_length) fprintf(f, "a cycle of %zu tokens was broken\n", n->cycle_length);
}
