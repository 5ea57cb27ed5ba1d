#include "convo_parts.h"
#include "unicode.h"

char *convo_copy(convo_parser *p, const char *s, size_t n)
{
    char *c = malloc(n + 1);
    const uint8_t *at = (const uint8_t *)s, *end = at + n;

    if (c == NULL) return p->failed = true, NULL;
    if (n > 0) memcpy(c, s, n);
    c[n] = '\0';
    while (at < end) {
        uint32_t cp;
        int k = utf8_decode(at, end, &cp);
        if (cp == UC_INVALID || cp == 0) c[at - (const uint8_t *)s] = '?';
        at += k;
    }
    return c;
}

static void put_bytes(convo_parser *p, const char *s, size_t n)
{
    text_buf *b = &p->slot[p->n - 1].text;

    buf_add(b, s, n);
    if (b->failed) p->failed = true;
}

static void put_part_as_wrong(convo_parser *p)
{
    if (p->n_part > 0) put_bytes(p, "\xef\xbf\xbd", 3);
    p->n_part = 0;
}

convo_slot *convo_begin(convo_parser *p, const char *role, const char *channel)
{
    convo_slot *s;

    convo_end(p);
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        convo_slot *slot = realloc(p->slot, cap * sizeof *slot);
        convo_message *list;
        if (slot == NULL) return p->failed = true, NULL;
        p->slot = slot;
        list = realloc(p->list, cap * sizeof *list);
        if (list == NULL) return p->failed = true, NULL;
        p->list = list, p->cap = cap;
    }
    s = &p->slot[p->n++];
    *s = (convo_slot){ 0 };
    p->open = true;
    s->m.role = convo_copy(p, role, strlen(role));
    if (channel) s->m.channel = convo_copy(p, channel, strlen(channel));
    return s;
}

void convo_end(convo_parser *p)
{
    if (!p->open) return;
    put_part_as_wrong(p);
    p->slot[p->n - 1].m.closed = true;
    p->open = false;
}

void convo_error(convo_parser *p, const char *error)
{
    if (p->n > 0 && p->slot[p->n - 1].m.error == NULL) p->slot[p->n - 1].m.error = error;
}

/* May c follow the bytes held, or begin a character (none held)? Unicode's table 3-7. */
static bool fits(const unsigned char *part, int n, unsigned char c)
{
    if (n == 0) return c >= 0xc2 && c <= 0xf4;
    if (n == 1) {
        unsigned char low = part[0] == 0xe0 ? 0xa0 : part[0] == 0xf0 ? 0x90 : 0x80, high = part[0] == 0xed ? 0x9f : part[0] == 0xf4 ? 0x8f : 0xbf;
        return c >= low && c <= high;
    }
    return c >= 0x80 && c <= 0xbf;
}

static int length_of(unsigned char c) { return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; }

static void put_byte(convo_parser *p, unsigned char c)
{
    if (p->n_part > 0 && !fits(p->part, p->n_part, c)) put_part_as_wrong(p);
    if (p->n_part == 0 && c < 0x80) { put_bytes(p, (const char *)&c, 1); return; }
    if (!fits(p->part, p->n_part, c)) { put_bytes(p, "\xef\xbf\xbd", 3); return; }
    p->part[p->n_part++] = c;
    if (p->n_part == length_of(p->part[0])) put_bytes(p, (const char *)p->part, (size_t)p->n_part), p->n_part = 0;
}

void convo_put(convo_parser *p, const char *s, size_t n)
{
    for (size_t i = 0; i < n && !p->failed; i++) put_byte(p, (unsigned char)s[i]);
}

llm_status convo_open(convo_parser **out, convo_family family, bool reasoning, bool assistant, llm_error *err)
{
    convo_parser *p = calloc(1, sizeof *p);

    *out = NULL;
    if (p == NULL) return llm_fail_memory(err, sizeof *p, "a parser");
    p->family = family;
    p->thinking = reasoning, p->trimming = reasoning;
    p->in_header = p->has_role = family == CONVO_HARMONY && assistant;
    if (family != CONVO_HARMONY) tags_open(p);
    *out = p;
    return LLM_OK;
}

void convo_set_tools(convo_parser *p, const json_t *tools) { p->tools = tools; }

void convo_drop(convo_parser *p, size_t n)
{
    while (p->n > n) {
        convo_message *m = &p->slot[--p->n].m;
        free(m->role), free(m->name), free(m->channel), free(m->recipient), free(m->content_type), free(m->call);
        buf_free(&p->slot[p->n].text);
    }
    p->open = false;
}

void convo_close(convo_parser *p)
{
    if (p == NULL) return;
    convo_drop(p, 0);
    buf_free(&p->header), buf_free(&p->body), buf_free(&p->hold);
    free(p->slot), free(p->list);
    free(p);
}

/* The list for the caller; texts end with NUL. */
static llm_status publish(convo_parser *p, llm_error *err)
{
    for (size_t i = 0; i < p->n; i++) {
        text_buf *b = &p->slot[i].text;
        if (!buf_room(b, 1)) { p->failed = true; break; }
        b->data[b->len] = '\0';
        p->list[i] = p->slot[i].m, p->list[i].text = b->data, p->list[i].len = b->len;
    }
    if (p->header.failed || p->body.failed || p->hold.failed) p->failed = true;
    return p->failed ? llm_fail_memory(err, 0, "the messages of an answer") : LLM_OK;
}

llm_status convo_push(convo_parser *p, const char *text, size_t len, bool control, llm_error *err)
{
    if (!p->failed && p->family == CONVO_HARMONY) harmony_push(p, text, len, control);
    else if (!p->failed) tags_push(p, text, len, control);
    return publish(p, err);
}

llm_status convo_finish(convo_parser *p, llm_error *err)
{
    if (!p->failed && p->family == CONVO_HARMONY) harmony_finish(p);
    else if (!p->failed) tags_finish(p);
    convo_end(p);
    return publish(p, err);
}

llm_status convo_push_end(convo_parser *p, llm_error *err)
{
    if (!p->failed && p->family != CONVO_HARMONY) tags_end(p);
    return publish(p, err);
}

static bool is_call_error(const char *error) { return error && (strcmp(error, CONVO_BAD_CALL) == 0 || strcmp(error, CONVO_CUT_CALL) == 0); }

convo_part convo_part_of(const convo_message *m)
{
    if (m->role && strcmp(m->role, "assistant") != 0) return CONVO_PART_OTHER;
    if (m->call) return CONVO_PART_CALL;
    if (m->channel && strcmp(m->channel, "analysis") == 0) return CONVO_PART_REASONING;
    return is_call_error(m->error) ? CONVO_PART_OTHER : CONVO_PART_ANSWER;
}

convo_state convo_now(const convo_parser *p)
{
    convo_state s = { .n_mark = p->n_mark_seen, .ended = p->ended };
    bool harmony = p->family == CONVO_HARMONY;

    s.waits = harmony ? p->in_header : p->header.len > 0;
    if (p->in_call) s.part = CONVO_PART_CALL;
    else if (p->open) s.part = convo_part_of(&p->slot[p->n - 1].m);
    else s.part = harmony ? CONVO_PART_OTHER : p->thinking ? CONVO_PART_REASONING : CONVO_PART_ANSWER;
    return s;
}

const convo_message *convo_messages(const convo_parser *p, size_t *n)
{
    *n = p->failed ? 0 : p->n;
    return p->list;
}
