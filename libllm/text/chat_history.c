#include "chat_history.h"
#include "chat.h"
#include "chat_forms.h"
#include "chat_template.h"
#include "harmony_render.h"
#include "text_buf.h"
#include "unicode.h"

struct llm_chat {
    const chat_model *m;
    json_t *request;                    /* "messages", and the variables that were set */
    char *format, *effort, *date;       /* or NULL */
    int think;
    bool form_known;
    call_form form;
    char *json;                         /* handed out last */
    llm_token *ids, *joined;            /* [n_ids]; joined: with what a session held */
    size_t n_ids;
};

/* ---- opening, options ---- */

static llm_status keep(char **field, const char *s, llm_error *err)
{
    char *copy = s ? strdup(s) : NULL;

    if (s && copy == NULL) return llm_fail_memory(err, strlen(s), "an option");
    free(*field);
    *field = copy;
    return LLM_OK;
}

llm_status history_options(llm_chat *c, const llm_chat_options *opt, llm_error *err)
{
    llm_status st = keep(&c->format, opt->format, err);

    if (st == LLM_OK) st = keep(&c->effort, opt->effort, err);
    if (st == LLM_OK) st = keep(&c->date, opt->date, err);
    c->think = opt->think;
    return st;
}

llm_status history_open(llm_chat **out, const chat_model *m, const llm_chat_options *opt, llm_error *err)
{
    llm_chat *c = calloc(1, sizeof *c);
    llm_status st;

    *out = NULL;
    if (c == NULL) return llm_fail_memory(err, sizeof *c, "a conversation");
    c->m = m;
    c->request = json_pack("{s:[]}", "messages");
    st = c->request ? history_options(c, opt, err) : llm_fail_memory(err, 0, "a conversation");
    if (st != LLM_OK) {
        history_close(c);
        return st;
    }
    *out = c;
    return LLM_OK;
}

void history_close(llm_chat *c)
{
    if (c == NULL) return;
    json_decref(c->request);
    free(c->format), free(c->effort), free(c->date), free(c->json), free(c->ids), free(c->joined);
    free(c);
}

/* ---- messages ---- */

static json_t *messages_of(const llm_chat *c) { return json_object_get(c->request, "messages"); }

llm_status history_set(llm_chat *c, const char *key, const char *json, size_t len, llm_error *err)
{
    json_t *v = NULL;
    llm_status st;

    if (strcmp(key, "messages") == 0) return llm_fail(err, LLM_ERR_ARG, "llm_chat_set: messages are added with llm_chat_add");
    c->form_known = false;
    if (json == NULL) return json_object_del(c->request, key), LLM_OK;
    if ((st = json_read_text(&v, json, len, key, err)) != LLM_OK) return st;
    if (strcmp(key, "tools") == 0 && !json_is_array(v)) st = llm_fail(err, LLM_ERR_ARG, "llm_chat_set: tools are a list");
    else if (json_object_set(c->request, key, v) != 0) st = llm_fail_memory(err, len, "a variable");
    json_decref(v);
    return st;
}

static llm_status check_message(const json_t *m, llm_error *err)
{
    const json_t *calls = json_object_get(m, "tool_calls");

    if (!json_is_object(m)) return llm_fail(err, LLM_ERR_ARG, "a message is a JSON object");
    if (!json_is_string(json_object_get(m, "role"))) return llm_fail(err, LLM_ERR_ARG, "a message has a text \"role\"");
    if (calls && !json_is_array(calls) && !json_is_null(calls)) return llm_fail(err, LLM_ERR_ARG, "the \"tool_calls\" of a message are a list");
    return LLM_OK;
}

static llm_status append(llm_chat *c, json_t *m, llm_error *err)
{
    llm_status st = check_message(m, err);

    if (st == LLM_OK && json_array_append(messages_of(c), m) != 0) st = llm_fail_memory(err, 0, "a message");
    return st;
}

llm_status history_add(llm_chat *c, const char *json, size_t len, llm_error *err)
{
    json_t *m = NULL;
    llm_status st = json_read_text(&m, json, len, "a message", err);

    if (st == LLM_OK) st = append(c, m, err);
    json_decref(m);
    return st;
}

/* Bytes of text that are UTF-8, up to the first that is not. */
static size_t valid_until(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text, *end = s + len;
    uint32_t cp = 0;
    int n;

    for (; s < end; s += n)
        if (n = utf8_decode(s, end, &cp), cp == UC_INVALID) break;
    return (size_t)(s - (const uint8_t *)text);
}

llm_status history_add_text(llm_chat *c, const char *role, const char *text, size_t len, llm_error *err)
{
    json_t *r = json_string(role), *t = json_stringn(text, len), *m;
    llm_status st;

    if (r == NULL || t == NULL) {
        size_t at = valid_until(text, len);
        json_decref(r), json_decref(t);
        if (at == len) return llm_fail(err, LLM_ERR_ARG, "a message's role is UTF-8, and there is memory for its text");
        return llm_fail(err, LLM_ERR_ARG, "not a text: byte %zu of %zu (0x%02x) is not UTF-8", at, len, (unsigned char)text[at]);
    }
    m = json_pack("{s:o,s:o}", "role", r, "content", t);
    st = m ? append(c, m, err) : llm_fail_memory(err, len, "a message");
    json_decref(m);
    return st;
}

size_t history_count(const llm_chat *c) { return json_array_size(messages_of(c)); }

static llm_status hand_out(llm_chat *c, const json_t *j, const char **json, size_t *len, llm_error *err)
{
    free(c->json);
    if ((c->json = json_text_of(j, JSON_COMPACT)) == NULL) return llm_fail_memory(err, 0, "JSON");
    *json = c->json, *len = strlen(c->json);
    return LLM_OK;
}

llm_status history_get(llm_chat *c, size_t i, const char **json, size_t *len, llm_error *err)
{
    if (i >= history_count(c)) return llm_fail(err, LLM_ERR_ARG, "llm_chat_get: message %zu of %zu", i, history_count(c));
    return hand_out(c, json_array_get(messages_of(c), i), json, len, err);
}

llm_status history_drop(llm_chat *c, size_t n, llm_error *err)
{
    if (n > history_count(c)) return llm_fail(err, LLM_ERR_ARG, "llm_chat_drop: %zu messages are to stay, there are %zu", n, history_count(c));
    while (history_count(c) > n) json_array_remove(messages_of(c), history_count(c) - 1);
    return LLM_OK;
}

llm_status history_save(llm_chat *c, const char **json, size_t *len, llm_error *err) { return hand_out(c, c->request, json, len, err); }

llm_status history_load(llm_chat *c, const char *json, size_t len, llm_error *err)
{
    json_t *o = NULL, *list;
    llm_status st = json_read_text(&o, json, len, "the conversation", err);

    list = json_object_get(o, "messages");
    if (st == LLM_OK && !json_is_array(list)) st = llm_fail(err, LLM_ERR_ARG, "a conversation is a JSON object with a list \"messages\"");
    for (size_t i = 0; st == LLM_OK && i < json_array_size(list); i++) st = check_message(json_array_get(list, i), err);
    if (st != LLM_OK) {
        json_decref(o);
        return st;
    }
    json_decref(c->request);
    c->request = o, c->form_known = false;
    return LLM_OK;
}

const json_t *history_tools(const llm_chat *c) { return json_object_get(c->request, "tools"); }

convo_family history_family(const llm_chat *c)
{
    static const struct { const char *format; convo_family family; } row[] = {
        { "harmony", CONVO_HARMONY }, { "chatml", CONVO_QWEN }, { "gemma", CONVO_GEMMA }, { "deepseek", CONVO_DEEPSEEK },
    };

    if (c->format == NULL) return c->m->family;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (strcmp(row[i].format, c->format) == 0) return row[i].family;
    return CONVO_PLAIN;
}

/* ---- tokens ---- */

/* Room for the tokens of a text of n bytes and what goes before it; a second try has the exact count. */
static llm_status room(llm_chat *c, size_t n, llm_error *err)
{
    llm_token *ids = realloc(c->ids, (n + 1) * sizeof *ids);

    if (ids == NULL) return llm_fail_memory(err, n * sizeof *ids, "tokens");
    c->ids = ids;
    return LLM_OK;
}

static llm_status tokens_of(llm_chat *c, const template_output *text, llm_error *err)
{
    size_t cap = text->len / 3 + 64;
    llm_status st;

    for (;;) {
        if ((st = room(c, cap, err)) != LLM_OK) return st;
        if ((st = chat_template_tokens(c->m->tokenizer, text, c->ids, cap, &c->n_ids, err)) != LLM_OK || c->n_ids <= cap) return st;
        cap = c->n_ids;
    }
}

/* The variables for the template: the request, with the options and the messages as it takes them. */
static llm_status variables(llm_chat *c, json_t **out, llm_error *err)
{
    json_t *vars, *messages;
    bool bad;
    llm_status st;

    if (!c->form_known) {
        st = call_form_find(&c->form, c->m, json_object_get(c->request, "tools"), c->date, err);
        if (st != LLM_OK) return st;
        c->form_known = true;
    }
    vars = json_copy_whole(c->request), messages = messages_in_form(messages_of(c), &c->form, c->m->family == CONVO_HARMONY);
    bad = vars == NULL || messages == NULL || json_object_set(vars, "messages", messages) != 0;
    if (c->effort) bad = bad || json_object_set_new(vars, "reasoning_effort", json_string(c->effort)) != 0;
    if (c->think) bad = bad || json_object_set_new(vars, "enable_thinking", json_boolean(c->think > 0)) != 0
                        || json_object_set_new(vars, "thinking", json_boolean(c->think > 0)) != 0;
    json_decref(messages);
    if (bad) json_decref(vars);
    *out = bad ? NULL : vars;
    return bad ? llm_fail_memory(err, 0, "a conversation") : LLM_OK;
}

static llm_status by_template(llm_chat *c, llm_error *err)
{
    json_t *vars = NULL;
    template_output text = { 0 };
    llm_status st = variables(c, &vars, err);

    if (st == LLM_OK) st = chat_template_request(c->m, vars, c->date, &text, err);
    if (st == LLM_OK) st = tokens_of(c, &text, err);
    template_output_free(&text);
    json_decref(vars);
    return st;
}

static llm_status by_harmony(llm_chat *c, llm_error *err)
{
    const char *effort = c->effort ? c->effort : json_string_value(json_object_get(c->request, "reasoning_effort"));
    json_t *conversation = harmony_conversation(c->request, effort, c->date);
    template_output text = { 0 };
    harmony_mode mode = json_is_false(json_object_get(c->request, "add_generation_prompt")) ? HARMONY_CONVERSATION : HARMONY_COMPLETION;
    llm_status st = conversation ? harmony_render(conversation, mode, NULL, false, &text, err) : llm_fail_memory(err, 0, "a conversation");

    if (st == LLM_OK) st = tokens_of(c, &text, err);
    template_output_free(&text);
    json_decref(conversation);
    return st;
}

/* A built-in format: messages that are a role and a text. */
static llm_status by_format(llm_chat *c, const char *format, llm_error *err)
{
    size_t n = history_count(c), cap = 256;
    llm_chat_message *msg = calloc(n + 1, sizeof *msg);
    const llm_chat_options opt = { .size = sizeof opt, .format = format, .effort = c->effort, .date = c->date, .think = c->think };
    llm_status st = msg ? LLM_OK : llm_fail_memory(err, n * sizeof *msg, "messages");

    if (st == LLM_OK && json_object_get(c->request, "tools")) st = llm_fail(err, LLM_ERR_UNSUPPORTED, "chat format %s: it has no tools; the model's own template would be needed", format);
    for (size_t i = 0; st == LLM_OK && i < n; i++) {
        const json_t *m = json_array_get(messages_of(c), i), *content = json_object_get(m, "content");
        msg[i] = (llm_chat_message){ json_string_value(json_object_get(m, "role")), json_string_value(content) };
        if (msg[i].text == NULL || strlen(msg[i].text) != json_string_length(content))
            st = llm_fail(err, LLM_ERR_UNSUPPORTED, "chat format %s: message %zu has no text without NUL bytes", format, i);
    }
    while (st == LLM_OK && (st = room(c, cap, err)) == LLM_OK) {
        st = chat_render(c->m, msg, n, &opt, c->ids, cap, &c->n_ids, err);
        if (c->n_ids <= cap) break;
        cap = c->n_ids;
    }
    free(msg);
    return st;
}

/* gpt-oss's template has words for one call in a message and for no text beside it, and quotes what tools answer. With tools its
 * models' own format is written as the format's library does, from the first turn on, so that the prefix stays. */
static llm_status render(llm_chat *c, llm_error *err)
{
    const char *own = c->m->plain.text;
    bool harmony = c->m->family == CONVO_HARMONY;
    llm_status st;

    if (c->format) return strcmp(c->format, "harmony") == 0 ? by_harmony(c, err) : by_format(c, c->format, err);
    if (harmony && (own == NULL || c->date == NULL || needs_harmony(c->request))) return by_harmony(c, err);
    if (own == NULL) return llm_fail(err, LLM_ERR_UNSUPPORTED, "this model carries no chat template");
    st = by_template(c, err);
    return harmony && st != LLM_OK && st != LLM_ERR_MEMORY ? by_harmony(c, err) : st;
}

/* ---- what a session holds already ---- */

typedef struct { const llm_tokenizer *t; const llm_token *id; size_t n, at, byte; } id_stream;      /* byte: within token at */

/* The next byte of ordinary tokens, or -1 at a control token or the end. */
static int next_byte(id_stream *s)
{
    while (s->at < s->n && !tokenizer_is_control(s->t, s->id[s->at])) {
        size_t len;
        const char *text = tokenizer_bytes(s->t, s->id[s->at], &len);
        if (s->byte < len) return (unsigned char)text[s->byte++];
        s->at++, s->byte = 0;
    }
    return -1;
}

/* How many of the held tokens spell the begin of ids, up to a control token or the end of what is held; *same: how many of ids. */
static size_t agreeing(const llm_chat *c, const llm_token *held, size_t n_held, size_t *same)
{
    id_stream a = { c->m->tokenizer, held, n_held, 0, 0 }, b = { c->m->tokenizer, c->ids, c->n_ids, 0, 0 };
    size_t keep = 0;

    *same = 0;
    for (;;) {
        int x, y;
        do x = next_byte(&a), y = next_byte(&b); while (x == y && x >= 0);
        if (x != y) return keep;                            /* both stand at a control token, or at their end */
        if (a.at == a.n && b.at < b.n) return *same = b.at, a.at;
        if (a.at == a.n || b.at == b.n || a.id[a.at] != b.id[b.at]) return keep;
        keep = ++a.at, *same = ++b.at;
    }
}

llm_status history_prompt(llm_chat *c, const llm_token *held, size_t n_held, const llm_token **ids, size_t *n, llm_error *err)
{
    size_t keep, same;
    llm_status st;

    *ids = NULL, *n = 0;
    c->n_ids = 0;
    if ((st = render(c, err)) != LLM_OK) return st;
    keep = agreeing(c, held, n_held, &same);
    *ids = c->ids, *n = c->n_ids;
    if (keep == 0 || (keep == same && memcmp(held, c->ids, keep * sizeof *held) == 0)) return LLM_OK;
    free(c->joined);
    *n = keep + c->n_ids - same;
    if ((c->joined = malloc(*n * sizeof *held)) == NULL) return *ids = NULL, *n = 0, llm_fail_memory(err, (keep + c->n_ids) * sizeof *held, "tokens");
    memcpy(c->joined, held, keep * sizeof *held);
    memcpy(c->joined + keep, c->ids + same, (c->n_ids - same) * sizeof *held);
    *ids = c->joined;
    return LLM_OK;
}
