#include "render_cases.h"
#include <stdlib.h>
#include <string.h>

static const char *str(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

static bool failed(const json_t *c, int line, const char *why)
{
    const char *name = str(c, "name") ? str(c, "name") : str(c, "test");
    return printf("line %d %s: %s\n", line, name ? name : "", why), false;
}

/* ---- templates: vars, or a conversation in the line itself. "error": true where the template is to refuse ---- */

static bool template_case(const json_t *c, int line)
{
    const json_t *text = json_object_get(c, "template"), *vars = json_object_get(c, "vars"), *want = json_object_get(c, "expected");
    const char *bos = str(c, "bos_token");
    char *json = json_dumps(vars ? vars : c, JSON_COMPACT), *out = NULL;
    size_t n = 0, skip = 0, len = json_string_length(want);
    llm_error err;
    llm_status st;
    bool same;

    if (json == NULL) tool_die_text(EXIT_FAILED, "out of memory");
    for (int pass = 0; pass < 2; pass++) {
        st = llm_template_render(json_string_value(text), json_string_length(text), json, strlen(json), str(c, "now"), vars ? 0 : LLM_TEMPLATE_CHAT, out, n, &n, &err);
        if (st != LLM_OK || pass == 1) break;
        out = tool_alloc(n + 1, 1);
    }
    if (st == LLM_OK && !vars && bos && n == len + strlen(bos) && memcmp(out, bos, strlen(bos)) == 0) skip = strlen(bos);
    same = st == LLM_OK ? json_is_string(want) && n - skip == len && memcmp(out + skip, json_string_value(want), len) == 0
                        : json_is_true(json_object_get(c, "error")) && st != LLM_ERR_MEMORY;
    free(out), free(json);
    return same || failed(c, line, st == LLM_OK ? "another text" : err.text);
}

/* ---- harmony: conversations ---- */

static bool conversation_case(const json_t *c, int line)
{
    const json_t *message = json_object_get(c, "message");
    json_t *o = message ? json_pack("{s:[O]}", "messages", message) : json_copy(json_object_get(c, "conversation")),
            *drop = json_object_get(json_object_get(c, "config"), "auto_drop_analysis");
    const char *mode = str(c, "mode"), *want = str(c, "expected"), *last = str(c, "expected_last_token");
    char *json, *out = NULL;
    size_t n = 0;
    llm_error err;
    llm_status st;
    bool same;

    if (mode && strncmp(mode, "for_", 4) == 0) mode += 4;
    if (mode) json_object_set_new(o, "mode", json_string(strcmp(mode, "message") == 0 ? "conversation" : mode));
    if (str(c, "next_role")) json_object_set(o, "next_role", json_object_get(c, "next_role"));
    if (drop) json_object_set(o, "auto_drop_analysis", drop);
    if ((json = json_dumps(o, JSON_COMPACT)) == NULL) tool_die_text(EXIT_FAILED, "out of memory");
    for (int pass = 0; pass < 2; pass++) {
        st = llm_harmony_render(json, strlen(json), out, n, &n, &err);
        if (st != LLM_OK || pass == 1) break;
        out = tool_alloc(n + 1, 1);
    }
    same = st == LLM_OK && (want ? n == strlen(want) && memcmp(out, want, n) == 0 : last && n >= strlen(last) && strcmp(out + n - strlen(last), last) == 0);
    free(out), free(json), json_decref(o);
    return same || failed(c, line, st == LLM_OK ? "another text" : err.text);
}

/* ---- harmony: what needs a vocabulary ---- */

static const llm_model *vocabulary(render_cases *r)
{
    static char path[4096];             /* kept by the one who says which file was cut */
    const char *end = strrchr(r->path, '/');

    if (r->model == NULL && r->choice->path == NULL) {
        snprintf(path, sizeof path, "%.*s/../tokenizers/gpt-oss", end ? (int)(end - r->path) : 1, end ? r->path : ".");
        r->choice->path = path;
    }
    if (r->model == NULL) r->model = tool_open_model(r->choice);
    return r->model;
}

typedef struct { llm_token *id; size_t n; } id_list;

/* Adds the ids of {"ids"} or {"text"}. */
static void add_part(const llm_model *m, id_list *l, const json_t *part)
{
    const json_t *ids = json_object_get(part, "ids"), *text = json_object_get(part, "text");
    size_t n = json_array_size(ids);
    llm_token *more = text ? tool_tokenize(m, json_string_value(text), json_string_length(text), LLM_TOKENIZE_SPECIAL, &n) : tool_alloc(n + 1, sizeof *more);

    for (size_t i = 0; !text && i < n; i++) more[i] = (llm_token)json_integer_value(json_array_get(ids, i));
    if ((l->id = realloc(l->id, (l->n + n + 1) * sizeof *more)) == NULL) tool_die_text(EXIT_FAILED, "out of memory");
    memcpy(l->id + l->n, more, n * sizeof *more);
    l->n += n;
    free(more);
}

/* The messages of events, as the case files have them. */
static void add_events(json_t *list, const llm_event *ev, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *m = json_array_get(list, json_array_size(list) - 1);
        if (ev[i].kind == LLM_EVENT_BEGIN)
            json_array_append_new(list, json_pack("{s:s,s:s,s:s*,s:s*,s:s*}", "role", ev[i].role, "content", "", "channel", ev[i].channel, "recipient", ev[i].recipient,
                                                  "content_type", ev[i].content_type));
        else if (ev[i].kind == LLM_EVENT_TEXT) json_object_set_new(m, "content", json_sprintf("%s%.*s", str(m, "content"), (int)ev[i].len, ev[i].text));
    }
}

static bool output_case(render_cases *r, const json_t *c, int line)
{
    const llm_model *m = vocabulary(r);
    const json_t *parts = json_object_get(c, "parts"), *want = json_object_get(c, "expected");
    id_list prompt = { 0 }, l = { 0 };
    llm_reply_options opt = { .size = sizeof opt, .family = "harmony" };
    json_t *got = json_array();
    const llm_event *ev;
    llm_reply *reply;
    llm_error err;
    size_t n;
    bool same;

    if (str(c, "role")) {
        json_t *header = json_pack("{s:o}", "text", json_sprintf("<|start|>%s", str(c, "role")));
        add_part(m, &prompt, header);
        json_decref(header);
        opt.prompt = prompt.id, opt.n_prompt = prompt.n;
    }
    if (parts == NULL) add_part(m, &l, c);
    for (size_t i = 0; i < json_array_size(parts); i++) add_part(m, &l, json_array_get(parts, i));
    if (llm_reply_open(&reply, m, &opt, &err) != LLM_OK) tool_die(&err);
    for (size_t i = 0; i < l.n; i++) {
        if (llm_reply_push(reply, l.id[i], &ev, &n, NULL, &err) != LLM_OK) tool_die(&err);
        add_events(got, ev, n);
    }
    if (llm_reply_finish(reply, &ev, &n, &err) != LLM_OK) tool_die(&err);
    add_events(got, ev, n);
    same = json_equal(got, (json_t *)want);
    json_decref(got);
    llm_reply_close(reply);
    free(prompt.id), free(l.id);
    return same || failed(c, line, "other messages");
}

static bool decode_case(render_cases *r, const json_t *c, int line)
{
    const llm_model *m = vocabulary(r);
    const json_t *list = json_object_get(c, "decode_utf8"), *want = json_object_get(c, "expected");
    char text[4096];
    size_t n = 0, len;
    bool good = true;
    json_t *got;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = llm_token_bytes(m, (llm_token)json_integer_value(json_array_get(list, i)), &len);
        if (len == 0 || len > sizeof text - n) good = false;
        else memcpy(text + n, s, len), n += len;
    }
    got = good ? json_stringn(text, n) : NULL;              /* NULL: no UTF-8 */
    good = got ? json_equal(got, (json_t *)want) : json_is_true(json_object_get(c, "expected_error"));
    json_decref(got);
    return good || failed(c, line, "another text");
}

static bool encode_case(render_cases *r, const json_t *c, int line)
{
    const json_t *text = json_object_get(c, "encode"), *want = json_object_get(c, "ids");
    bool special = json_object_get(json_object_get(c, "options"), "allowed_special") != NULL, same;
    size_t n;
    llm_token *ids = tool_tokenize(vocabulary(r), json_string_value(text), json_string_length(text), special ? LLM_TOKENIZE_SPECIAL : 0, &n);

    same = n == json_array_size(want);
    for (size_t i = 0; i < n && same; i++) same = ids[i] == json_integer_value(json_array_get(want, i));
    free(ids);
    return same || failed(c, line, "other ids");
}

bool render_case(render_cases *r, const json_t *c, int line)
{
    if (json_is_string(json_object_get(c, "template"))) return template_case(c, line);
    if (json_is_object(json_object_get(c, "conversation")) || json_is_object(json_object_get(c, "message"))) return conversation_case(c, line);
    if (json_is_array(json_object_get(c, "decode_utf8"))) return decode_case(r, c, line);
    if (json_is_string(json_object_get(c, "encode"))) return encode_case(r, c, line);
    if (json_is_array(json_object_get(c, "expected"))) return output_case(r, c, line);
    tool_die_text(EXIT_FAILED, "%s:%d: no template, conversation, output, encode or decode_utf8", r->path, line);
}
