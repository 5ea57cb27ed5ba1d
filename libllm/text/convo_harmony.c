/* Harmony (openai/harmony docs/format.md): <|start|>header<|message|>content<|end|>. Only control tokens structure the output; the
 * same words as plain text are text. Headers are read leniently: a recipient may stand before or behind the channel, unknown words
 * are the content type. */
#include "convo_parts.h"

static bool is(const char *s, size_t n, const char *what) { return strlen(what) == n && memcmp(s, what, n) == 0; }
static bool ends_message(const char *s, size_t n) { return is(s, n, "<|end|>") || is(s, n, "<|call|>") || is(s, n, "<|return|>"); }

static void replace(convo_parser *p, char **field, const char *s, size_t n)
{
    free(*field);
    *field = convo_copy(p, s, n);
}

/* One word of the header behind the role; a recipient, else part of the content type. */
static void header_word(convo_parser *p, convo_message *m, const char *s, size_t n)
{
    size_t old;
    char *joined;

    if (n > 3 && memcmp(s, "to=", 3) == 0) { replace(p, &m->recipient, s + 3, n - 3); return; }
    if (m->content_type == NULL) { m->content_type = convo_copy(p, s, n); return; }
    old = strlen(m->content_type);
    joined = malloc(old + n + 2);
    if (joined == NULL) { p->failed = true; return; }
    memcpy(joined, m->content_type, old);
    if (old > 0 && joined[old - 1] != '>') joined[old++] = ' ';      /* "<|constrain|>json" stays together */
    memcpy(joined + old, s, n);
    replace(p, &m->content_type, joined, old + n);
    free(joined);
}

/* Words of the header; \1 is a channel mark, \2 the constrain mark. first: the role is still to come. */
static void read_header(convo_parser *p, convo_message *m)
{
    const char *s = p->header.data;
    size_t n = p->header.len;
    bool role = !p->has_role, channel = false;

    for (size_t at = 0; at < n;) {
        size_t end = at;
        if (s[at] == ' ' || s[at] == '\n' || s[at] == '\t' || s[at] == '\r') { at++; continue; }
        if (s[at] == '\1') { channel = true, role = false, at++; continue; }
        if (s[at] == '\2') { header_word(p, m, "<|constrain|>", 13), role = channel = false, at++; continue; }
        while (end < n && !strchr(" \n\t\r\1\2", s[end])) end++;
        if (end == at) end++;                               /* a NUL byte */
        if (channel) replace(p, &m->channel, s + at, end - at), channel = false;
        else if (role && is(s + at, end - at, "assistant")) role = false;
        else if (role) {
            bool known = is(s + at, end - at, "user") || is(s + at, end - at, "system") || is(s + at, end - at, "developer") || is(s + at, end - at, "tool");
            if (!known) replace(p, &m->name, s + at, end - at);
            replace(p, &m->role, known ? s + at : "tool", known ? end - at : 4);
            role = false;
        } else header_word(p, m, s + at, end - at);
        at = end;
    }
}

static void begin_content(convo_parser *p)
{
    convo_slot *s = convo_begin(p, "assistant", NULL);
    static const char functions[] = "functions.";

    if (s == NULL) return;
    read_header(p, &s->m);
    if (s->m.recipient && s->m.role && strcmp(s->m.role, "assistant") == 0 && strcmp(s->m.recipient, "assistant") != 0) {
        const char *name = s->m.recipient;
        if (strncmp(name, functions, sizeof functions - 1) == 0) name += sizeof functions - 1;
        s->m.call = convo_copy(p, name, strlen(name));
    }
    p->in_header = p->has_role = false, p->header.len = 0;
}

/* A header that no <|message|> followed: its words are text. */
static void header_as_text(convo_parser *p)
{
    if (p->header.len > 0 && convo_begin(p, "assistant", NULL)) {
        for (size_t i = 0; i < p->header.len; i++) {
            char c = p->header.data[i];
            if (c == '\1') convo_put(p, "<|channel|>", 11);
            else if (c == '\2') convo_put(p, "<|constrain|>", 13);
            else convo_put(p, &c, 1);
        }
        convo_error(p, CONVO_NO_HEADER);
        convo_end(p);
    }
    p->in_header = p->has_role = false, p->header.len = 0;
}

/* The pieces of a header are held as they come; bytes 1 and 2 in plain text would be taken for marks, so they become '?'. */
static void header_text(convo_parser *p, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) buf_byte(&p->header, s[i] == '\1' || s[i] == '\2' ? '?' : s[i]);
}

static void control_token(convo_parser *p, const char *s, size_t n)
{
    if (is(s, n, "<|start|>")) {
        if (p->open) convo_error(p, CONVO_NO_END), convo_end(p);
        header_as_text(p);
        p->in_header = true;
    } else if (is(s, n, "<|channel|>") && !p->open) {
        if (!p->in_header) p->in_header = p->has_role = true;
        buf_byte(&p->header, '\1');
    } else if (is(s, n, "<|constrain|>") && p->in_header) buf_byte(&p->header, '\2');
    else if (is(s, n, "<|message|>") && !p->open) begin_content(p);
    else if (ends_message(s, n)) {
        if (p->in_header) header_as_text(p);
        else convo_end(p);
        p->in_header = p->has_role = false;
    } else {
        if (p->in_header) header_as_text(p);
        if (!p->open) convo_begin(p, "assistant", NULL);
        if (p->failed) return;
        convo_error(p, CONVO_STRAY);
        convo_put(p, s, n);
    }
}

void harmony_push(convo_parser *p, const char *s, size_t n, bool control)
{
    if (control) {
        bool text = p->open && !is(s, n, "<|start|>") && !ends_message(s, n);
        if (!text) p->n_mark_seen++;
        control_token(p, s, n);
        return;
    }
    if (n == 0) return;
    if (p->in_header) { header_text(p, s, n); return; }
    if (!p->open) {
        if (convo_begin(p, "assistant", NULL) == NULL) return;
        convo_error(p, CONVO_NO_HEADER);
    }
    convo_put(p, s, n);
}

void harmony_finish(convo_parser *p)
{
    if (p->in_header) header_as_text(p);
    if (p->open && p->slot[p->n - 1].m.call) convo_error(p, CONVO_CUT_CALL);
}
