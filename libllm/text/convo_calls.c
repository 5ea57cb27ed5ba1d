/* The bodies of tool calls: JSON ({"name", "arguments"}), <function=..><parameter=..>, DeepSeek's name and separator, DSML, and Gemma 4's
 * call:NAME{...}. Arguments come out as JSON text. A value without quotes that reads as JSON is that value, else a string. */
#include "convo_parts.h"
#include "json.h"
#include "unicode.h"

#define BAR "\xef\xbd\x9c"
#define TOOL_SEP "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>"

typedef struct { const char *s; size_t n; } view;

static view trimmed(view v)
{
    while (v.n && strchr(" \t\r\n", v.s[0]) && v.s[0]) v.s++, v.n--;
    while (v.n && strchr(" \t\r\n", v.s[v.n - 1]) && v.s[v.n - 1]) v.n--;
    return v;
}

static bool starts(view v, const char *with) { return v.n >= strlen(with) && memcmp(v.s, with, strlen(with)) == 0; }
static view after(view v, size_t n) { return (view){ v.s + n, v.n - n }; }

/* Cuts v at the first what: the part before it; *rest is behind it. False where there is none. */
static bool cut(view v, const char *what, view *before, view *rest)
{
    const char *hit = v.n ? memmem(v.s, v.n, what, strlen(what)) : NULL;

    if (hit == NULL) return false;
    *before = (view){ v.s, (size_t)(hit - v.s) };
    *rest = after(v, before->n + strlen(what));
    return true;
}

static bool is_utf8(view v)
{
    const uint8_t *s = (const uint8_t *)v.s, *end = s + v.n;
    uint32_t cp = 0;

    while (s < end && cp != UC_INVALID) s += utf8_decode(s, end, &cp);
    return cp != UC_INVALID;
}

static bool add_call(convo_parser *p, view name, const json_t *arguments)
{
    char *text = json_text_of(arguments, JSON_COMPACT | JSON_ENCODE_ANY);
    convo_slot *s;

    if (text == NULL) return p->failed = true, false;
    s = convo_begin(p, "assistant", "commentary");
    if (s) {
        s->m.call = convo_copy(p, name.s, name.n);
        convo_put(p, text, strlen(text));
        convo_end(p);
    }
    free(text);
    return s != NULL;
}

static json_t *parse(convo_parser *p, view v)
{
    json_t *j = NULL;
    llm_status st = v.n ? json_read_text(&j, v.s, v.n, "a tool call", NULL) : LLM_ERR_FORMAT;

    if (st == LLM_ERR_MEMORY) p->failed = true;
    return st == LLM_OK ? j : NULL;
}

/* A text as JSON; NULL: it is no UTF-8, or (failed) there is no memory. */
static json_t *text_value(convo_parser *p, view v)
{
    json_t *j = json_stringn(v.s, v.n);

    if (j == NULL && is_utf8(v)) p->failed = true;
    return j;
}

static bool one_json_call(convo_parser *p, const json_t *o)
{
    const json_t *name = json_object_get(o, "name"), *args = json_object_get(o, "arguments");
    json_t *inner = NULL;
    bool good;

    if (args == NULL) args = json_object_get(o, "parameters");
    if (!json_is_string(name) || json_string_length(name) == 0) return false;
    if (json_is_string(args)) args = inner = parse(p, (view){ json_string_value(args), json_string_length(args) });
    good = json_is_object(args) && add_call(p, (view){ json_string_value(name), json_string_length(name) }, args);
    json_decref(inner);
    return good;
}

static bool json_call(convo_parser *p, view v)
{
    json_t *o = parse(p, v);
    bool good = one_json_call(p, o);

    json_decref(o);
    return good;
}

/* A value as it stands between tags; text: always a string. Invalid UTF-8: NULL. */
static json_t *tag_value(convo_parser *p, view v, bool text)
{
    json_t *j = text ? NULL : parse(p, v);

    if (j && !json_is_string(j)) return j;
    json_decref(j);
    return text_value(p, v);
}

static bool set_value(convo_parser *p, json_t *args, view key, json_t *value)
{
    char *k;

    if (args == NULL || value == NULL || key.n == 0 || memchr(key.s, '\0', key.n) || !is_utf8(key)) {
        p->failed |= args == NULL;
        json_decref(value);
        return false;
    }
    k = strndup(key.s, key.n);
    if (k == NULL) json_decref(value);
    if (k == NULL || json_object_set_new(args, k, value) != 0) p->failed = true;
    free(k);
    return !p->failed;
}

/* Does the schema of a function say that an argument is a text and nothing else? */
static bool is_text(const convo_parser *p, view function, view key)
{
    size_t i;
    json_t *tool;

    json_array_foreach((json_t *)p->tools, i, tool) {
        const json_t *f = json_object_get(tool, "function"), *name = json_object_get(f ? f : tool, "name"), *property, *type;
        if (!json_is_string(name) || json_string_length(name) != function.n || memcmp(json_string_value(name), function.s, function.n) != 0) continue;
        property = json_object_getn(json_object_get(json_object_get(f ? f : tool, "parameters"), "properties"), key.s, key.n);
        type = json_object_get(property, "type");
        return json_is_string(type) && strcmp(json_string_value(type), "string") == 0;
    }
    return false;
}

/* <function=NAME> <parameter=KEY>\nVALUE\n</parameter> ... </function> */
static bool xml_call(convo_parser *p, view v)
{
    view name, rest, key, value;
    json_t *args = json_object();
    bool good = cut(after(v, strlen("<function=")), ">", &name, &rest) && name.n > 0;

    while (good && starts(rest = trimmed(rest), "<parameter=")) {
        good = cut(after(rest, strlen("<parameter=")), ">", &key, &rest) && cut(rest, "</parameter>", &value, &rest);
        if (!good) break;
        if (value.n && value.s[0] == '\n') value = after(value, 1);
        if (value.n && value.s[value.n - 1] == '\n') value.n--;
        good = set_value(p, args, key, tag_value(p, value, is_text(p, name, key)));
    }
    good = good && (rest.n == 0 || (starts(rest, "</function>") && trimmed(after(rest, strlen("</function>"))).n == 0)) && add_call(p, name, args);
    json_decref(args);
    return good;
}

/* function SEP NAME \n ```json ARGS ```, or NAME SEP ARGS */
static bool deepseek_call(convo_parser *p, view v)
{
    view name, rest, args;
    json_t *o;
    bool good;

    if (!cut(v, TOOL_SEP, &name, &rest)) return false;
    name = trimmed(name), args = trimmed(rest);
    if (cut(rest, "```json", &rest, &args)) {
        name = trimmed(rest);
        if (!cut(args, "```", &args, &rest)) return false;
    }
    o = parse(p, trimmed(args));
    good = name.n > 0 && json_is_object(o) && add_call(p, name, o);
    json_decref(o);
    return good;
}

/* <｜DSML｜invoke name="N"> <｜DSML｜parameter name="K" string="true">V</｜DSML｜parameter> ... </｜DSML｜invoke> */
static bool dsml_call(convo_parser *p, view *v)
{
    static const char invoke[] = "<" BAR "DSML" BAR "invoke name=\"", parameter[] = "<" BAR "DSML" BAR "parameter name=\"";
    view name, rest, key, kind, value;
    json_t *args = json_object();
    bool good = starts(*v, invoke) && cut(after(*v, strlen(invoke)), "\">", &name, &rest) && name.n > 0;

    while (good && starts(rest = trimmed(rest), parameter)) {
        good = cut(after(rest, strlen(parameter)), "\" string=\"", &key, &rest) && cut(rest, "\">", &kind, &rest)
               && cut(rest, "</" BAR "DSML" BAR "parameter>", &value, &rest);
        if (good) good = set_value(p, args, key, tag_value(p, value, starts(kind, "true")));
    }
    good = good && starts(rest, "</" BAR "DSML" BAR "invoke>") && add_call(p, name, args);
    if (good) *v = trimmed(after(rest, strlen("</" BAR "DSML" BAR "invoke>")));
    json_decref(args);
    return good;
}

/* ---- Gemma 4: {key:<|"|>text<|"|>,n:1,l:[..],o:{..}} written as JSON ---- */

static bool gemma_value(view *v, text_buf *out, int depth);

static void skip_blanks(view *v)
{
    while (v->n && strchr(" \t\r\n", v->s[0]) && v->s[0]) *v = after(*v, 1);
}

static bool gemma_string(view *v, text_buf *out)
{
    view s, rest;
    json_t *j;
    char *text;

    if (!cut(after(*v, 5), "<|\"|>", &s, &rest)) return false;
    j = json_stringn(s.s, s.n), text = j ? json_text_of(j, JSON_ENCODE_ANY) : NULL;
    if (text) buf_add(out, text, strlen(text));
    else if (j || is_utf8(s)) out->failed = true;
    *v = rest;
    json_decref(j);
    free(text);
    return text != NULL;
}

static bool gemma_items(view *v, text_buf *out, bool object, int depth)
{
    char close = object ? '}' : ']';

    buf_byte(out, v->s[0]);
    *v = after(*v, 1);
    skip_blanks(v);
    for (bool first = true; v->n && v->s[0] != close; first = false) {
        if (!first) {
            if (v->s[0] != ',') return false;
            *v = after(*v, 1), buf_byte(out, ',');
            skip_blanks(v);
        }
        if (object) {
            size_t n = 0;
            if (starts(*v, "<|\"|>")) { if (!gemma_string(v, out)) return false; }
            else {
                while (n < v->n && strchr(":,{}[]\"\\<", v->s[n]) == NULL && (unsigned char)v->s[n] >= 0x20) n++;
                if (n == 0) return false;
                buf_byte(out, '"'), buf_add(out, v->s, n), buf_byte(out, '"');
                *v = after(*v, n);
            }
            if (v->n == 0 || v->s[0] != ':') return false;
            *v = after(*v, 1), buf_byte(out, ':');
        }
        if (!gemma_value(v, out, depth + 1)) return false;
        skip_blanks(v);
    }
    if (v->n == 0) return false;
    *v = after(*v, 1), buf_byte(out, close);
    return true;
}

static bool gemma_value(view *v, text_buf *out, int depth)
{
    size_t n = 0;

    skip_blanks(v);
    if (v->n == 0 || depth > 100) return false;
    if (starts(*v, "<|\"|>")) return gemma_string(v, out);
    if (v->s[0] == '{' || v->s[0] == '[') return gemma_items(v, out, v->s[0] == '{', depth);
    while (n < v->n && v->s[n] && strchr(",}] \n", v->s[n]) == NULL) n++;
    buf_add(out, v->s, n);
    *v = after(*v, n);
    return n > 0;
}

static bool gemma_call(convo_parser *p, view v)
{
    view name, rest;
    text_buf text = { 0 };
    json_t *o = NULL;
    bool good = cut(after(v, strlen("call:")), "{", &name, &rest) && name.n > 0;

    if (good) {
        rest = (view){ rest.s - 1, rest.n + 1 };
        good = gemma_value(&rest, &text, 0) && trimmed(rest).n == 0;
    }
    if (text.failed) p->failed = true;
    else if (good) o = parse(p, (view){ text.data, text.len });
    good = json_is_object(o) && add_call(p, name, o);
    json_decref(o);
    buf_free(&text);
    return good;
}

bool convo_calls(convo_parser *p, const char *s, size_t n)
{
    view v = trimmed((view){ s ? s : "", n });
    size_t before = p->n;

    if (p->family == CONVO_GEMMA && starts(v, "call:")) return gemma_call(p, v);
    if (p->family == CONVO_DEEPSEEK && starts(v, "<" BAR "DSML")) {
        while (v.n > 0 && dsml_call(p, &v)) {}
        if (v.n == 0 && p->n > before) return true;
        convo_drop(p, before);                              /* all of them or none */
        return false;
    }
    if (p->family == CONVO_DEEPSEEK) return deepseek_call(p, v);
    if (starts(v, "<function=")) return xml_call(p, v);
    return starts(v, "{") && json_call(p, v);
}
