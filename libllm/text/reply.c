/* reply.c - from tokens to events. The parser (convo.h) holds the messages; events are what it says beyond what was reported. */
#include "reply.h"
#include "chat_history.h"
#include "reply_control.h"
#include "text_buf.h"

struct llm_reply {
    const llm_tokenizer *t;
    convo_family family;
    convo_parser *parser;
    reply_control control;
    llm_event *ev;                      /* [n_ev] of the last call */
    size_t n_ev, cap_ev;
    size_t message, sent;               /* the message being reported, and how much of its text was */
    bool begun, ended, finished;
    convo_part part;                    /* as it was reported */
    size_t first;                       /* messages that were the prompt's, not the reply's */
    size_t count[4], n_format, n_forced;
    size_t pending, n_mark;             /* tokens that may still become a mark; marks when none was pending last */
    uint32_t hash;                      /* of the tokens: names the calls */
    json_t *tools;                      /* or NULL */
    char *json;
};

/* ---- events ---- */

static bool add_event(llm_reply *r, llm_event_kind kind, const convo_message *m)
{
    llm_event *e;

    if (r->n_ev == r->cap_ev) {
        size_t cap = r->cap_ev ? 2 * r->cap_ev : 8;
        if ((e = realloc(r->ev, cap * sizeof *e)) == NULL) return false;
        r->ev = e, r->cap_ev = cap;
    }
    e = &r->ev[r->n_ev++];
    *e = (llm_event){ .kind = kind, .part = (llm_part)r->part, .message = r->message - r->first, .text = "" };
    e->name = m->call ? m->call : r->part == CONVO_PART_OTHER ? m->name : NULL;
    e->role = m->role, e->content_type = m->content_type;
    e->channel = r->family == CONVO_HARMONY ? m->channel : NULL, e->recipient = m->recipient;
    if (kind == LLM_EVENT_TEXT) e->text = m->text + r->sent, e->len = m->len - r->sent;
    if (kind == LLM_EVENT_END) e->error = m->error;
    return true;
}

/* The first answer turned out to be reasoning: so did its tokens. */
static bool relabel(llm_reply *r, const convo_message *m)
{
    r->count[convo_part_of(m)] += r->count[r->part];
    r->count[r->part] = 0;
    r->part = convo_part_of(m);
    return add_event(r, LLM_EVENT_RELABEL, m);
}

static llm_status report(llm_reply *r, llm_error *err)
{
    size_t n;
    const convo_message *list = convo_messages(r->parser, &n);
    bool good = true;

    for (; good && r->message < n; r->message++, r->begun = false) {
        const convo_message *m = &list[r->message];
        if (!r->begun) {
            r->begun = true, r->sent = 0, r->part = convo_part_of(m);
            good = add_event(r, LLM_EVENT_BEGIN, m);
        } else if (convo_part_of(m) != r->part) good = relabel(r, m);
        if (good && m->len > r->sent) good = add_event(r, LLM_EVENT_TEXT, m), r->sent = m->len;
        if (!m->closed) break;
        good = good && add_event(r, LLM_EVENT_END, m);
    }
    return good ? LLM_OK : llm_fail_memory(err, r->cap_ev * sizeof *r->ev, "events");
}

/* ---- opening ---- */

/* Where the prompt stops: inside the reasoning, or (harmony) behind "<|start|>assistant", or from from on within another message. */
typedef struct { bool reasoning, tight, assistant; size_t from; } prompt_end;

static bool ends_with(const char *s, size_t n, const char *what)
{
    size_t k = strlen(what);
    return n >= k && memcmp(s + n - k, what, k) == 0;
}

static bool is_spelled(const llm_reply *r, llm_token t, const char *what)
{
    size_t n;
    const char *s = tokenizer_bytes(r->t, t, &n);
    return n == strlen(what) && memcmp(s, what, n) == 0;
}

static prompt_end end_of_prompt(const llm_reply *r, const llm_token *ids, size_t n)
{
    enum { LOOK_BACK = 16 };
    char tail[512];
    size_t len = 0, bare;
    prompt_end e = { .from = n };

    if (r->family == CONVO_HARMONY) {
        llm_token start = tokenizer_find(r->t, "<|start|>", 9);
        for (size_t i = n; i > 0 && n - i < 4 * LOOK_BACK; i--)
            if (ids[i - 1] == start) { e.from = i - 1; break; }
        if (e.from + 2 == n && is_spelled(r, ids[n - 1], "assistant")) e.assistant = true, e.from = n;
        return e;
    }
    for (size_t i = n > LOOK_BACK ? n - LOOK_BACK : 0; i < n; i++) {
        size_t k;
        const char *s = tokenizer_bytes(r->t, ids[i], &k);
        if (k > sizeof tail - len) len = 0;                 /* only the end counts */
        if (k > sizeof tail) continue;
        memcpy(tail + len, s, k), len += k;
    }
    for (bare = len; bare > 0 && strchr(" \r\n", tail[bare - 1]) && tail[bare - 1];) bare--;
    e.reasoning = (r->family == CONVO_QWEN || r->family == CONVO_DEEPSEEK) ? ends_with(tail, bare, "<think>")
                : r->family == CONVO_GEMMA && ends_with(tail, bare, "<|channel>thought");
    e.tight = e.reasoning && bare == len;
    return e;
}

static llm_status push_token(llm_reply *r, llm_token t, llm_error *err)
{
    size_t n;
    const char *s = tokenizer_bytes(r->t, t, &n);
    return convo_push(r->parser, s, n, tokenizer_is_control(r->t, t), err);
}

/* Header and text of the message that the prompt leaves open are the prompt's. */
static llm_status replay(llm_reply *r, const llm_token *ids, size_t n, llm_error *err)
{
    llm_status st = LLM_OK;
    const convo_message *list;

    for (size_t i = 0; i < n && st == LLM_OK; i++) st = push_token(r, ids[i], err);
    list = convo_messages(r->parser, &r->message);
    if (r->message > 0 && !list[r->message - 1].closed) {
        const convo_message *m = &list[--r->message];
        r->begun = true, r->sent = m->len, r->part = convo_part_of(m);
    }
    r->first = r->message, r->n_mark = convo_now(r->parser).n_mark;
    return st;
}

llm_status reply_open(llm_reply **out, const chat_model *m, const llm_reply_options *opt, llm_error *err)
{
    llm_reply *r = calloc(1, sizeof *r);
    prompt_end e;
    llm_status st;

    *out = NULL;
    if (r == NULL) return llm_fail_memory(err, sizeof *r, "a reply");
    r->t = m->tokenizer, r->family = m->family, r->hash = 2166136261u;
    if (opt->chat) r->family = history_family(opt->chat);
    if (opt->family) chat_family_find(opt->family, &r->family);
    e = end_of_prompt(r, opt->prompt, opt->n_prompt);
    st = convo_open(&r->parser, r->family, e.reasoning, e.assistant, err);
    if (st == LLM_OK && opt->chat) {
        r->tools = json_incref((json_t *)history_tools(opt->chat));
        convo_set_tools(r->parser, r->tools);
    }
    if (st == LLM_OK && e.from < opt->n_prompt) st = replay(r, opt->prompt + e.from, opt->n_prompt - e.from, err);
    if (st == LLM_OK) st = control_open(&r->control, r->t, r->family, e.tight, opt->budget, !opt->no_nudge, opt->cycle_repeats, err);
    if (st != LLM_OK) {
        reply_close(r);
        return st;
    }
    control_watch(&r->control, convo_now(r->parser).part == CONVO_PART_REASONING, 0, true);
    *out = r;
    return LLM_OK;
}

void reply_close(llm_reply *r)
{
    if (r == NULL) return;
    convo_close(r->parser);
    json_decref(r->tools);
    control_close(&r->control);
    free(r->ev), free(r->json);
    free(r);
}

/* ---- tokens ---- */

llm_token reply_forced(const llm_reply *r) { return r->ended || r->finished ? -1 : control_forced(&r->control); }

/* One more token, with those before it that waited, into the count it belongs to. */
static void count(llm_reply *r, const convo_state *now, bool closing)
{
    size_t n = r->pending + 1;

    if (now->waits && !closing) { r->pending = n; return; }
    if (closing || now->n_mark != r->n_mark) r->n_format += n;
    else r->count[now->part] += n;
    r->pending = 0, r->n_mark = now->n_mark;
}

static bool wants_tools(const llm_reply *r)
{
    size_t n;
    const convo_message *list = convo_messages(r->parser, &n);

    for (size_t i = r->first; i < n; i++)
        if (list[i].call) return true;
    return false;
}

static bool ends_line(const llm_reply *r, llm_token t)
{
    size_t n;
    const char *s = tokenizer_bytes(r->t, t, &n);
    return n > 0 && s[n - 1] == '\n';
}

llm_status reply_push(llm_reply *r, llm_token t, const llm_event **ev, size_t *n_ev, llm_over *over, llm_error *err)
{
    bool forced = reply_forced(r) >= 0, closing = forced && control_closing(&r->control), end = tokenizer_is_end(r->t, t), cycle;
    convo_state now;
    llm_status st;

    r->n_ev = 0, *n_ev = 0, *ev = r->ev, *over = LLM_OVER_NOT;
    if (r->finished) return llm_fail(err, LLM_ERR_ARG, "llm_reply_push: the reply is finished");
    if (forced && t != reply_forced(r)) return llm_fail(err, LLM_ERR_ARG, "llm_reply_push: token %d, want %d, which llm_reply_forced gave", (int)t, (int)reply_forced(r));
    if (end && r->family != CONVO_HARMONY) st = convo_push_end(r->parser, err);
    else st = push_token(r, t, err);
    if (st == LLM_OK) st = report(r, err);
    if (st != LLM_OK) return st;
    now = convo_now(r->parser);
    r->hash = (r->hash ^ (uint32_t)t) * 16777619u;
    count(r, &now, closing || end);
    r->n_forced += forced;
    cycle = control_push(&r->control, t);
    if (end || (now.ended && !r->ended)) *over = wants_tools(r) ? LLM_OVER_CALLS : LLM_OVER_END;
    else if (cycle && now.part == CONVO_PART_REASONING && r->control.close.n > 0 && !r->control.closed) control_end_reasoning(&r->control);
    else if (cycle) *over = LLM_OVER_CYCLE;
    if (*over) r->ended = true;
    else control_watch(&r->control, now.part == CONVO_PART_REASONING && !now.waits, r->count[CONVO_PART_REASONING], ends_line(r, t));
    *ev = r->ev, *n_ev = r->n_ev;
    return LLM_OK;
}

llm_status reply_finish(llm_reply *r, const llm_event **ev, size_t *n_ev, llm_error *err)
{
    convo_state now;
    llm_status st;

    r->n_ev = 0;
    st = r->finished ? LLM_OK : convo_finish(r->parser, err);
    if (st == LLM_OK && !r->finished) st = report(r, err);
    now = convo_now(r->parser);
    r->count[now.part == CONVO_PART_OTHER ? CONVO_PART_ANSWER : now.part] += r->pending;
    r->pending = 0, r->finished = true;
    *ev = r->ev, *n_ev = r->n_ev;
    return st;
}

void reply_stats(const llm_reply *r, llm_reply_stats *s)
{
    s->n_reasoning = r->count[CONVO_PART_REASONING], s->n_call = r->count[CONVO_PART_CALL];
    s->n_answer = r->count[CONVO_PART_ANSWER] + r->count[CONVO_PART_OTHER];
    s->n_format = r->n_format + r->pending, s->n_forced = r->n_forced;
    s->cycle_length = r->control.cycle, s->budget_spent = r->control.spent;
}

/* ---- the finished message ---- */

static bool is_blank(const convo_message *m) { return strspn(m->text, " \t\r\n") == m->len; }

/* Puts the texts of one part together, an empty line between them; NULL: there is none. Blanks between calls are none. */
static char *join(const convo_message *list, size_t n, convo_part part, size_t *len, bool *failed)
{
    text_buf b = { 0 };

    for (size_t i = 0; i < n; i++) {
        convo_part p = convo_part_of(&list[i]);
        if (p == CONVO_PART_OTHER && strcmp(list[i].role, "assistant") == 0) p = CONVO_PART_ANSWER;     /* malformed calls are text */
        if (p != part || list[i].len == 0 || (n > 1 && is_blank(&list[i]))) continue;
        if (b.len > 0) buf_add(&b, "\n\n", 2);
        buf_add(&b, list[i].text, list[i].len);
    }
    *failed |= b.failed;
    *len = b.len;
    return b.data;
}

static json_t *text_or(json_t *other, char *text, size_t len)
{
    json_t *j = text ? json_stringn(text, len) : other;

    if (text) json_decref(other);
    free(text);
    return j;
}

static json_t *calls_of(const llm_reply *r, const convo_message *list, size_t n)
{
    json_t *calls = json_array();

    for (size_t i = 0; i < n && calls; i++) {
        if (list[i].call == NULL) continue;
        json_t *c = json_pack("{s:o,s:s,s:{s:s,s:o}}", "id", json_sprintf("call_%08x%02zx", (unsigned)r->hash, json_array_size(calls)), "type", "function", "function",
                              "name", list[i].call, "arguments", json_stringn(list[i].text, list[i].len));
        if (json_array_append_new(calls, c) != 0) json_decref(calls), calls = NULL;
    }
    return calls;
}

llm_status reply_message(llm_reply *r, const char **json, size_t *len, llm_error *err)
{
    size_t n, n_text;
    const convo_message *list = convo_messages(r->parser, &n);
    bool failed = false;
    json_t *o, *calls;
    char *text;

    if (!r->finished) return llm_fail(err, LLM_ERR_ARG, "llm_reply_message: the reply is not finished");
    if (n > r->first) list += r->first, n -= r->first;
    else n = 0;
    o = json_object(), calls = calls_of(r, list, n);
    failed = o == NULL || calls == NULL || json_object_set_new(o, "role", json_string("assistant")) != 0;
    if (!failed && (text = join(list, n, CONVO_PART_REASONING, &n_text, &failed)) != NULL)
        failed |= json_object_set_new(o, "reasoning_content", text_or(NULL, text, n_text)) != 0;
    if (!failed) {
        text = join(list, n, CONVO_PART_ANSWER, &n_text, &failed);
        failed |= json_object_set_new(o, "content", text_or(json_array_size(calls) > 0 ? json_null() : json_string(""), text, n_text)) != 0;
    }
    if (!failed && json_array_size(calls) > 0) failed = json_object_set(o, "tool_calls", calls) != 0;
    free(r->json);
    r->json = failed ? NULL : json_text_of(o, JSON_COMPACT);
    json_decref(o), json_decref(calls);
    if (r->json == NULL) return llm_fail_memory(err, 0, "a message");
    *json = r->json, *len = strlen(r->json);
    return LLM_OK;
}
