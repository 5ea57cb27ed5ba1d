/* Formats whose structure is marks in the text: <think>, <tool_call>, <｜tool▁call▁begin｜>, <|channel> and their ends. Some
 * vocabularies have them as one token, others spell them, so both count.
 *
 * Reasoning loses the newlines around it, text those in front of a call and behind the reasoning. A call inside the reasoning is
 * reasoning. */
#include "convo_parts.h"

#define BAR "\xef\xbd\x9c"
#define SEP "\xe2\x96\x81"

static const convo_mark qwen[] = {
    { "<think>", MARK_THINK }, { "</think>", MARK_THINK_END }, { "<tool_call>", MARK_CALL }, { "</tool_call>", MARK_CALL_END },
    { "<|im_end|>", MARK_END }, { "<|endoftext|>", MARK_END },
};
static const convo_mark deepseek[] = {
    { "<think>", MARK_THINK }, { "</think>", MARK_THINK_END },
    { "<" BAR "tool" SEP "calls" SEP "begin" BAR ">", MARK_SKIP }, { "<" BAR "tool" SEP "calls" SEP "end" BAR ">", MARK_SKIP },
    { "<" BAR "tool" SEP "call" SEP "begin" BAR ">", MARK_CALL }, { "<" BAR "tool" SEP "call" SEP "end" BAR ">", MARK_CALL_END },
    { "<" BAR "DSML" BAR "function_calls>", MARK_CALL }, { "</" BAR "DSML" BAR "function_calls>", MARK_CALL_END },
    { "<" BAR "DSML" BAR "tool_calls>", MARK_CALL }, { "</" BAR "DSML" BAR "tool_calls>", MARK_CALL_END },
    { "<" BAR "end" SEP "of" SEP "sentence" BAR ">", MARK_END },
};
static const convo_mark gemma[] = {
    { "<|channel>thought\n", MARK_THINK }, { "<channel|>", MARK_THINK_END }, { "<|tool_call>", MARK_CALL }, { "<tool_call|>", MARK_CALL_END },
    { "<end_of_turn>", MARK_END }, { "<turn|>", MARK_END }, { "<|tool_response>", MARK_END }, { "<eos>", MARK_END },
};

void tags_open(convo_parser *p)
{
    if (p->family == CONVO_QWEN) p->mark = qwen, p->n_mark = sizeof qwen / sizeof qwen[0];
    if (p->family == CONVO_DEEPSEEK) p->mark = deepseek, p->n_mark = sizeof deepseek / sizeof deepseek[0];
    if (p->family == CONVO_GEMMA) p->mark = gemma, p->n_mark = sizeof gemma / sizeof gemma[0];
}

static bool is_newline(char c) { return c == '\n' || c == '\r'; }

/* One byte of text. Newlines wait in hold until something else follows. */
static void text_byte(convo_parser *p, char c)
{
    if (p->ended) {
        if (!p->open && is_newline(c)) return;
        if (!p->open && convo_begin(p, "assistant", "final")) convo_error(p, CONVO_AFTER_END);
        if (p->open) convo_put(p, &c, 1);
        return;
    }
    if (p->in_call) { buf_byte(&p->body, c); return; }
    if (p->trimming && is_newline(c)) return;
    if (is_newline(c)) { buf_byte(&p->hold, c); return; }
    if (!p->open && convo_begin(p, "assistant", p->thinking ? "analysis" : "final") == NULL) return;
    convo_put(p, p->hold.data, p->hold.len);
    p->hold.len = 0, p->trimming = false;
    convo_put(p, &c, 1);
}

static void drop_newlines(convo_parser *p) { p->hold.len = 0; }

static void keep_newlines(convo_parser *p)
{
    if (p->hold.len > 0 && (p->open || convo_begin(p, "assistant", p->thinking ? "analysis" : "final"))) convo_put(p, p->hold.data, p->hold.len);
    p->hold.len = 0;
}

static void end_call(convo_parser *p, const char *error)
{
    convo_slot *s;

    p->in_call = false, p->trimming = true;
    if (p->body.failed || (error == NULL && convo_calls(p, p->body.data, p->body.len))) { p->body.len = 0; return; }
    s = convo_begin(p, "assistant", "commentary");
    if (s) convo_put(p, p->body.data, p->body.len), convo_error(p, error ? error : CONVO_BAD_CALL);
    convo_end(p);
    p->body.len = 0;
}

static void text_of_mark(convo_parser *p, const char *s)
{
    for (; *s; s++) text_byte(p, *s);
}

static void mark(convo_parser *p, const convo_mark *m)
{
    if (p->ended) { if (m->kind != MARK_END) text_of_mark(p, m->text); return; }
    if (p->in_call && m->kind != MARK_CALL_END && m->kind != MARK_END) { text_of_mark(p, m->text); return; }
    if (p->thinking && m->kind != MARK_THINK_END && m->kind != MARK_END) { text_of_mark(p, m->text); return; }
    p->n_mark_seen++;
    switch (m->kind) {
    case MARK_THINK:
        keep_newlines(p);
        convo_end(p);
        p->thinking = p->trimming = true;
        break;
    case MARK_THINK_END:
        drop_newlines(p);
        if (!p->thinking) {                                 /* what came before was the reasoning */
            if (p->n == 1 && p->open) free(p->slot[0].m.channel), p->slot[0].m.channel = convo_copy(p, "analysis", 8);
            else if (p->n > 0) convo_error(p, CONVO_STRAY);
        }
        convo_end(p);
        p->thinking = false, p->trimming = true;
        break;
    case MARK_CALL:
        drop_newlines(p);
        convo_end(p);
        p->in_call = true, p->body.len = 0;
        break;
    case MARK_CALL_END:
        if (p->in_call) end_call(p, NULL); else text_of_mark(p, m->text), convo_error(p, CONVO_STRAY);
        break;
    case MARK_SKIP: drop_newlines(p); convo_end(p); break;
    case MARK_END:
        if (p->in_call) end_call(p, CONVO_CUT_CALL);
        drop_newlines(p);
        convo_end(p);
        p->ended = true;
        break;
    }
}

/* A mark at s [n]: its row. *more: it may become one with more text. */
static const convo_mark *mark_at(const convo_parser *p, const char *s, size_t n, bool *more)
{
    *more = false;
    for (size_t i = 0; i < p->n_mark; i++) {
        size_t len = strlen(p->mark[i].text);
        if (memcmp(p->mark[i].text, s, len < n ? len : n) != 0) continue;
        if (len <= n) return &p->mark[i];
        *more = true;
    }
    return NULL;
}

/* header holds text that is the begin of a mark. */
static void feed(convo_parser *p, char c)
{
    text_buf *w = &p->header;

    buf_byte(w, c);
    while (w->len > 0 && !w->failed) {
        bool more;
        const convo_mark *m = mark_at(p, w->data, w->len, &more);
        size_t used = m ? strlen(m->text) : 1;
        if (m == NULL && more) return;
        if (m) mark(p, m); else text_byte(p, w->data[0]);
        memmove(w->data, w->data + used, w->len - used);
        w->len -= used;
    }
}

void tags_push(convo_parser *p, const char *s, size_t n, bool control)
{
    (void)control;
    for (size_t i = 0; i < n && !p->failed; i++) feed(p, s[i]);
}

static void held_as_text(convo_parser *p)
{
    for (size_t i = 0; i < p->header.len && !p->failed; i++) text_byte(p, p->header.data[i]);
    p->header.len = 0;
}

void tags_end(convo_parser *p)
{
    held_as_text(p);
    mark(p, &(convo_mark){ "", MARK_END });
}

void tags_finish(convo_parser *p)
{
    held_as_text(p);
    if (p->in_call) end_call(p, CONVO_CUT_CALL);
    if (p->thinking) drop_newlines(p);
    if (p->thinking && p->open) convo_error(p, CONVO_NO_END);
    keep_newlines(p);
}
