#include "harmony_render.h"
#include "text_buf.h"

typedef struct { text_buf text, span; llm_status status; llm_error *err; } writer;

/* Text of the format itself: the one place where control tokens may be. */
static void own(writer *w, const char *s)
{
    text_span span = { w->text.len, w->text.len + strlen(s) }, *last = NULL;

    if (w->span.len > 0) last = (text_span *)(void *)w->span.data + w->span.len / sizeof span - 1;
    buf_add(&w->text, s, strlen(s));
    if (last && last->end == span.begin) last->end = span.end;
    else if (span.end > span.begin) buf_add(&w->span, &span, sizeof span);
}

static void data(writer *w, const char *s) { buf_add(&w->text, s, strlen(s)); }

static const char *str(const json_t *o, const char *key, const char *dflt)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : dflt;
}

static void blanks(writer *w, int n)
{
    for (; n > 0; n--) own(w, " ");
}

static void comment(writer *w, const char *s, int indent)
{
    while (*s) {
        size_t n = strcspn(s, "\n");
        blanks(w, indent), own(w, "// ");
        buf_add(&w->text, s, n);
        own(w, "\n");
        s += n + (s[n] == '\n');
    }
}

/* The text of key in one go, whatever line breaks it has: as the library of the format does inside of a schema. */
static void remark(writer *w, const json_t *schema, const char *key, int indent)
{
    if (!json_is_string(json_object_get(schema, key))) return;
    blanks(w, indent), own(w, "// "), data(w, str(schema, key, "")), own(w, "\n");
}

static void json_text(writer *w, const json_t *j)
{
    char *s = json_text_of(j, JSON_ENCODE_ANY);

    if (s) data(w, s); else w->text.failed = true;
    free(s);
}

/* ---- JSON schema as TypeScript ---- */

/* A type begins where the line stands; what follows on lines of its own is indented. */
static void type_of(writer *w, const json_t *schema, int depth, int indent);

/* quoted: a text stands in quotation marks even where it is one of an enum. */
static void default_value(writer *w, const json_t *schema, bool quoted)
{
    const json_t *value = json_object_get(schema, "default");

    own(w, "default: ");
    if (json_is_string(value) && json_object_get(schema, "enum") && !quoted) data(w, json_string_value(value)); else json_text(w, value);
}

/* A type, and null where the schema allows it and the type does not say so already. */
static void value_type(writer *w, const json_t *s, int depth, int indent)
{
    size_t at = w->text.len;

    type_of(w, s, depth, indent);
    if (!json_is_true(json_object_get(s, "nullable")) || w->text.failed) return;
    if (memmem(w->text.data + at, w->text.len - at, "null", 4) == NULL) own(w, " | null");
}

/* One alternative a line, its description and default behind it. */
static void one_of(writer *w, const json_t *list, int depth, int indent, bool nested)
{
    size_t i;
    json_t *s;

    json_array_foreach((json_t *)list, i, s) {
        own(w, "\n"), blanks(w, indent), own(w, " | ");
        value_type(w, s, depth + 1, indent + 3);
        if (json_object_get(s, "description")) own(w, " // "), data(w, str(s, "description", ""));
        if (json_object_get(s, "default")) own(w, json_object_get(s, "description") ? " " : " // "), default_value(w, s, nested);
    }
}

static void property(writer *w, const char *name, const json_t *s, bool required, int depth, int indent)
{
    const json_t *examples = json_object_get(s, "examples"), *list = json_object_get(s, "oneOf");
    size_t i;
    json_t *e;

    if (json_is_string(json_object_get(s, "title"))) remark(w, s, "title", indent), blanks(w, indent), own(w, "//\n");
    remark(w, s, "description", indent);
    if (json_array_size(examples) > 0) {
        blanks(w, indent), own(w, "// Examples:\n");
        json_array_foreach((json_t *)examples, i, e) blanks(w, indent), own(w, "// - "), json_text(w, e), own(w, "\n");
    }
    if (list && json_object_get(s, "default")) blanks(w, indent), own(w, "// "), default_value(w, s, false), own(w, "\n");
    blanks(w, indent), data(w, name);
    own(w, required ? ":" : "?:");
    if (list) one_of(w, list, depth, indent, false), own(w, "\n"), blanks(w, indent);
    else own(w, " "), value_type(w, s, depth + 1, indent + 4);
    own(w, ",");
    if (!list && json_object_get(s, "default")) own(w, " // "), default_value(w, s, false);
    own(w, "\n");
}

static bool is_required(const json_t *schema, const char *name)
{
    size_t i;
    json_t *r;

    json_array_foreach(json_object_get(schema, "required"), i, r)
        if (json_is_string(r) && strcmp(json_string_value(r), name) == 0) return true;
    return false;
}

static void object_type(writer *w, const json_t *schema, int depth, int indent)
{
    const char *name;
    json_t *s;

    remark(w, schema, "description", indent);
    own(w, "{\n");
    json_object_foreach(json_object_get(schema, "properties"), name, s) property(w, name, s, is_required(schema, name), depth, indent);
    blanks(w, indent), own(w, "}");
}

static void enum_type(writer *w, const json_t *list)
{
    size_t i;
    json_t *e;

    json_array_foreach((json_t *)list, i, e) {
        if (i) own(w, " | ");
        json_text(w, e);
    }
}

static void type_of(writer *w, const json_t *schema, int depth, int indent)
{
    const json_t *items = json_object_get(schema, "items"), *type = json_object_get(schema, "type");
    const char *name = json_string_value(type);

    if (depth > JSON_MAX_DEPTH) { own(w, "any"); return; }
    if (json_object_get(schema, "oneOf")) one_of(w, json_object_get(schema, "oneOf"), depth, indent, true);
    else if (json_is_array(type)) {
        size_t i;
        json_t *t;
        json_array_foreach((json_t *)type, i, t) if (json_is_string(t)) own(w, i ? " | " : ""), data(w, strcmp(json_string_value(t), "integer") ? json_string_value(t) : "number");
    } else if (json_array_size(json_object_get(schema, "enum")) > 0) enum_type(w, json_object_get(schema, "enum"));
    else if (name == NULL) own(w, "any");
    else if (strcmp(name, "object") == 0) object_type(w, schema, depth, indent);
    else if (strcmp(name, "array") == 0 && items == NULL) own(w, "Array<any>");
    else if (strcmp(name, "array") == 0) type_of(w, items, depth + 1, indent), own(w, "[]");
    else if (strcmp(name, "integer") == 0 || strcmp(name, "number") == 0) own(w, "number");
    else if (strcmp(name, "string") == 0 || strcmp(name, "boolean") == 0) own(w, name);
    else own(w, "any");
}

static void function(writer *w, const json_t *f)
{
    const json_t *parameters = json_object_get(f, "parameters");

    comment(w, str(f, "description", ""), 0);
    own(w, "type "), data(w, str(f, "name", "")), own(w, " = (");
    if (json_is_object(parameters)) own(w, "_: "), type_of(w, parameters, 0, 0);
    own(w, ") => any;\n\n");
}

/* ---- system and developer messages ---- */

/* What the model learned to call its browser by; a text of the format. */
static const char browser[] =
    "## browser\n\n"
    "// Tool for browsing.\n"
    "// The `cursor` appears in brackets before each browsing display: `[{cursor}]`.\n"
    "// Cite information from the tool using the following format:\n"
    "// `\u3010{cursor}\u2020L{line_start}(-L{line_end})?\u3011`, for example: `\u30106\u2020L9-L11\u3011` or `\u30108\u2020L3\u3011`.\n"
    "// Do not quote more than 10 words directly from the tool output.\n"
    "// sources=web (default: web)\n"
    "namespace browser {\n\n"
    "// Searches for information related to `query` and displays `topn` results.\n"
    "type search = (_: {\nquery: string,\ntopn?: number, // default: 10\nsource?: string,\n}) => any;\n\n"
    "// Opens the link `id` from the page indicated by `cursor` starting at line number `loc`, showing `num_lines` lines.\n"
    "// Valid link ids are displayed with the formatting: `\u3010{id}\u2020.*\u3011`.\n"
    "// If `cursor` is not provided, the most recent page is implied.\n"
    "// If `id` is a string, it is treated as a fully qualified URL associated with `source`.\n"
    "// If `loc` is not provided, the viewport will be positioned at the beginning of the document or centered on the most relevant passage, if available.\n"
    "// Use this function without `id` to scroll to a new location of an opened page.\n"
    "type open = (_: {\nid?: number | string, // default: -1\ncursor?: number, // default: -1\nloc?: number, // default: -1\n"
    "num_lines?: number, // default: -1\nview_source?: boolean, // default: false\nsource?: string,\n}) => any;\n\n"
    "// Finds exact matches of `pattern` in the current page, or the page given by `cursor`.\n"
    "type find = (_: {\npattern: string,\ncursor?: number, // default: -1\n}) => any;\n\n"
    "} // namespace browser\n\n";

/* A system or developer message as the library of the format writes it: a list that holds {"type": "system_content", ...}; or NULL. */
static const json_t *library_part(const json_t *m, const char *type)
{
    const json_t *list = json_object_get(m, "content");
    size_t i;
    json_t *part;

    json_array_foreach((json_t *)list, i, part)
        if (json_is_object(part) && strcmp(str(part, "type", ""), type) == 0) return part;
    return NULL;
}

static bool any_functions(const json_t *messages)
{
    size_t i;
    json_t *m;

    json_array_foreach((json_t *)messages, i, m) {
        const json_t *tools = json_object_get(library_part(m, "developer_content"), "tools");
        if (json_array_size(json_object_get(json_object_get(m, "content"), "function_tools")) > 0) return true;
        if (json_array_size(json_object_get(json_object_get(tools, "functions"), "tools")) > 0) return true;
    }
    return false;
}

static void lines(writer *w, const char *s)
{
    for (; *s; s += *s == '\n') {
        size_t n = strcspn(s, "\n");
        buf_add(&w->text, s, n);
        own(w, "\n");
        s += n;
    }
}

/* A namespace of tools: built-in ones have a description, python nothing else. The text has no line break at its end. */
static void tool_space(writer *w, const json_t *space)
{
    const json_t *tools = json_object_get(space, "tools");
    const char *name = str(space, "name", ""), *about = str(space, "description", "");
    size_t i;
    json_t *f;

    own(w, "\n\n## "), data(w, name), own(w, "\n");
    if (json_array_size(tools) == 0) {
        if (*about) own(w, "\n"), lines(w, about), w->text.len--;
        return;
    }
    own(w, "\n"), comment(w, about, 0);
    own(w, "namespace "), data(w, name), own(w, " {\n\n");
    json_array_foreach((json_t *)tools, i, f) function(w, f);
    own(w, "} // namespace "), data(w, name);
}

/* All of them, in the order of their names. */
static void tool_spaces(writer *w, const json_t *tools)
{
    enum { MOST = 64 };
    const char *last = NULL;

    if (json_object_size(tools) > MOST) {
        w->status = llm_fail(w->err, LLM_ERR_ARG, "harmony: %zu namespaces of tools, at most %d are taken", json_object_size(tools), MOST);
        return;
    }
    own(w, "# Tools");
    for (size_t n = json_object_size(tools); n > 0; n--) {
        const char *key, *next = NULL;
        json_t *v;
        json_object_foreach((json_t *)tools, key, v)
            if ((last == NULL || strcmp(key, last) > 0) && (next == NULL || strcmp(key, next) < 0)) next = key;
        tool_space(w, json_object_get(tools, next));
        last = next;
    }
}

/* Puts label and the text of key on a line of its own; begun: there is a line above. */
static bool labelled(writer *w, const json_t *c, const char *label, const char *key, bool begun)
{
    if (!json_is_string(json_object_get(c, key))) return begun;
    own(w, begun ? "\n" : ""), own(w, label), data(w, str(c, key, ""));
    return true;
}

/* As the library has it, nothing is said of what is not there. Sections are a blank line apart. */
static void library_system(writer *w, const json_t *c, bool functions)
{
    const json_t *config = json_object_get(c, "channel_config"), *channels = json_object_get(config, "valid_channels");
    bool begun = labelled(w, c, "", "model_identity", false);
    size_t i;
    json_t *name;

    begun = labelled(w, c, "Knowledge cutoff: ", "knowledge_cutoff", begun);
    begun = labelled(w, c, "Current date: ", "conversation_start_date", begun);
    if (json_is_string(json_object_get(c, "reasoning_effort"))) {
        char effort[32];
        snprintf(effort, sizeof effort, "%s", str(c, "reasoning_effort", ""));
        for (char *p = effort; *p; p++) *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        own(w, begun ? "\n\n" : ""), own(w, "Reasoning: "), data(w, effort), begun = true;
    }
    if (json_object_size(json_object_get(c, "tools")) > 0) own(w, begun ? "\n\n" : ""), tool_spaces(w, json_object_get(c, "tools")), begun = true;
    if (json_array_size(channels) == 0) return;
    own(w, begun ? "\n\n" : ""), own(w, "# Valid channels: ");
    json_array_foreach((json_t *)channels, i, name) if (json_is_string(name)) own(w, i ? ", " : ""), data(w, json_string_value(name));
    own(w, ".");
    if (json_is_true(json_object_get(config, "channel_required"))) own(w, " Channel must be included for every message.");
    if (functions) own(w, "\nCalls to these tools must go to the commentary channel: 'functions'.");
}

static void library_developer(writer *w, const json_t *c)
{
    const char *instructions = str(c, "instructions", NULL);

    if (instructions) own(w, "# Instructions\n\n"), data(w, instructions);
    if (json_object_size(json_object_get(c, "tools")) > 0) own(w, instructions ? "\n\n" : ""), tool_spaces(w, json_object_get(c, "tools"));
}

static void system_content(writer *w, const json_t *c, bool functions)
{
    const json_t *channels = json_object_get(c, "required_channels");
    size_t i;
    json_t *name;

    data(w, str(c, "model_identity", "You are ChatGPT, a large language model trained by OpenAI."));
    own(w, "\nKnowledge cutoff: "), data(w, str(c, "knowledge_cutoff", "2024-06")), own(w, "\n");
    if (json_object_get(c, "conversation_start_date")) own(w, "Current date: "), data(w, str(c, "conversation_start_date", "")), own(w, "\n");
    own(w, "\nReasoning: "), data(w, str(c, "reasoning_effort", "medium")), own(w, "\n\n");
    if (json_is_true(json_object_get(c, "browser_tool"))) own(w, "# Tools\n\n"), own(w, browser);
    own(w, "# Valid channels: ");
    if (json_is_array(channels)) {
        json_array_foreach((json_t *)channels, i, name) if (json_is_string(name)) own(w, i ? ", " : ""), data(w, json_string_value(name));
    } else own(w, "analysis, commentary, final");
    own(w, ". Channel must be included for every message.");
    if (functions) own(w, "\nCalls to these tools must go to the commentary channel: 'functions'.");
}

static void developer_content(writer *w, const json_t *c)
{
    const json_t *tools = json_object_get(c, "function_tools");
    const char *instructions = str(c, "instructions", NULL);
    size_t i;
    json_t *f;

    if (instructions) own(w, "# Instructions\n\n"), data(w, instructions);
    if (json_array_size(tools) == 0) return;
    if (instructions) own(w, "\n\n");
    own(w, "# Tools\n\n## functions\n\nnamespace functions {\n\n");
    json_array_foreach((json_t *)tools, i, f) function(w, f);
    own(w, "} // namespace functions");
}

/* ---- messages ---- */

static bool field_is(const json_t *m, const char *key, const char *what) { return strcmp(str(m, key, ""), what) == 0; }

static void header(writer *w, const json_t *m)
{
    const char *name = str(m, "name", NULL), *to = str(m, "recipient", NULL), *channel = str(m, "channel", NULL), *type = str(m, "content_type", NULL);
    static const char constrain[] = "<|constrain|>";

    own(w, "<|start|>");
    if (field_is(m, "role", "tool") && name) data(w, name);
    else {
        data(w, str(m, "role", ""));
        if (name) own(w, ":"), data(w, name);
    }
    if (to && strcmp(to, "all") != 0) own(w, " to="), data(w, to);
    if (channel) own(w, "<|channel|>"), data(w, channel);
    if (type) {
        bool marked = strncmp(type, constrain, sizeof constrain - 1) == 0;
        own(w, marked ? " <|constrain|>" : " ");
        data(w, marked ? type + sizeof constrain - 1 : type);
    }
    own(w, "<|message|>");
}

static void content(writer *w, const json_t *m, bool functions)
{
    const json_t *c = json_object_get(m, "content"), *system = library_part(m, "system_content"), *developer = library_part(m, "developer_content");
    size_t i;
    json_t *part;

    if (system) library_system(w, system, functions);
    else if (developer) library_developer(w, developer);
    else if (json_is_string(c)) data(w, json_string_value(c));
    else if (json_is_array(c)) { json_array_foreach((json_t *)c, i, part) data(w, str(part, "text", "")); }
    else if (json_is_object(c) && field_is(m, "role", "system")) system_content(w, c, functions);
    else if (json_is_object(c) && field_is(m, "role", "developer")) developer_content(w, c);
    else w->status = llm_fail(w->err, LLM_ERR_ARG, "harmony: a %s message without a content that is known", str(m, "role", ""));
}

static bool is_final(const json_t *m) { return field_is(m, "role", "assistant") && field_is(m, "channel", "final"); }

/* Index of the first message that keeps its analysis. */
static size_t analysis_from(const json_t *messages)
{
    size_t i, first = SIZE_MAX;
    json_t *m, *last = NULL;

    json_array_foreach((json_t *)messages, i, m) {
        if (field_is(m, "role", "assistant")) last = m;
        if (is_final(m) && first == SIZE_MAX) first = i;
    }
    return last && is_final(last) ? first : 0;
}

static void message(writer *w, const json_t *m, bool functions, bool returns)
{
    if (!json_is_object(m) || !json_is_string(json_object_get(m, "role"))) {
        w->status = llm_fail(w->err, LLM_ERR_ARG, "harmony: a message without a role");
        return;
    }
    header(w, m);
    content(w, m, functions);
    own(w, returns ? "<|return|>" : field_is(m, "role", "assistant") && json_object_get(m, "recipient") && !field_is(m, "recipient", "all") ? "<|call|>" : "<|end|>");
}

llm_status harmony_render(const json_t *conversation, harmony_mode mode, const char *next_role, bool keep_analysis, template_output *out, llm_error *err)
{
    const json_t *messages = json_object_get(conversation, "messages");
    size_t n = json_array_size(messages), from = keep_analysis ? 0 : analysis_from(messages);
    bool functions = any_functions(messages);
    writer w = { .err = err };

    *out = (template_output){ 0 };
    if (!json_is_array(messages)) return llm_fail(err, LLM_ERR_ARG, "harmony: a conversation needs a list \"messages\"");
    for (size_t i = 0; i < n && w.status == LLM_OK; i++) {
        const json_t *m = json_array_get(messages, i);
        if (i < from && field_is(m, "role", "assistant") && field_is(m, "channel", "analysis")) continue;
        message(&w, m, functions, mode == HARMONY_TRAINING && i + 1 == n && is_final(m));
    }
    if (mode == HARMONY_COMPLETION) own(&w, "<|start|>"), own(&w, next_role ? next_role : "assistant");
    buf_byte(&w.text, '\0');
    if (w.status == LLM_OK && (w.text.failed || w.span.failed)) w.status = llm_fail_memory(err, w.text.len, "a conversation");
    if (w.status != LLM_OK) {
        buf_free(&w.text), buf_free(&w.span);
        return w.status;
    }
    out->text = w.text.data, out->len = w.text.len - 1;
    out->trusted = (text_span *)(void *)w.span.data, out->n_trusted = w.span.len / sizeof(text_span);
    return LLM_OK;
}
