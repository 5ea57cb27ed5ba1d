#include "chat_forms.h"
#include "chat_template.h"
#include <string.h>

static const char *str(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static bool is_role(const json_t *m, const char *role) { return str(m, "role") && strcmp(str(m, "role"), role) == 0; }

/* The part of a tool call that has name and arguments. */
static json_t *function_of(const json_t *call)
{
    json_t *f = json_object_get(call, "function");
    return json_is_object(f) ? f : (json_t *)call;
}

/* ---- for templates ---- */

/* Arguments as JSON, or as its text; what is neither an object nor the text of one stays. */
static json_t *arguments_in_form(json_t *a, bool as_text)
{
    json_t *other = NULL;

    if (as_text && json_is_object(a)) {
        char *text = json_text_of(a, 0);
        other = text ? json_string(text) : NULL;
        free(text);
        return other;
    }
    if (!as_text && json_is_string(a)) {
        llm_status st = json_read_text(&other, json_string_value(a), json_string_length(a), "arguments", NULL);
        if (st == LLM_OK && json_is_object(other)) return other;
        json_decref(other);
        if (st == LLM_ERR_MEMORY) return NULL;
    }
    return json_incref(a);
}

static json_t *call_in_form(json_t *call, const call_form *f)
{
    json_t *copy = json_copy_whole(call), *function = function_of(call), *arguments = json_object_get(function, "arguments");
    bool bad = copy == NULL;

    if (bad || arguments == NULL) return copy;
    if (function == call) bad = json_object_set_new(copy, "arguments", arguments_in_form(arguments, f->arguments_as_text)) != 0;
    else {
        json_t *inner = json_copy_whole(function);
        bad = inner == NULL || json_object_set_new(inner, "arguments", arguments_in_form(arguments, f->arguments_as_text)) != 0;
        if (bad) json_decref(inner);
        else bad = json_object_set_new(copy, "function", inner) != 0;
    }
    if (bad) json_decref(copy);
    return bad ? NULL : copy;
}

static json_t *message_in_form(json_t *m, const call_form *f, bool harmony)
{
    json_t *calls = json_object_get(m, "tool_calls"), *reasoning = json_object_get(m, "reasoning_content"), *content = json_object_get(m, "content"), *list;
    json_t *copy = json_copy_whole(m);
    bool bad = copy == NULL;

    if (bad || !json_is_object(m)) return copy;
    if (harmony && reasoning && !json_object_get(m, "thinking")) bad = json_object_set(copy, "thinking", reasoning) != 0;
    if (!json_is_array(calls) || json_array_size(calls) == 0) {
        if (calls) json_object_del(copy, "tool_calls");     /* templates look whether there are any by its name alone */
        if (content == NULL || json_is_null(content)) bad = bad || json_object_set_new(copy, "content", json_string("")) != 0;
    } else {
        size_t i;
        json_t *call;
        list = json_array(), bad = bad || list == NULL;
        json_array_foreach(calls, i, call) bad = bad || json_array_append_new(list, call_in_form(call, f)) != 0;
        if (bad) json_decref(list);
        else bad = json_object_set_new(copy, "tool_calls", list) != 0;
        if (!bad && f->content_as_text && (content == NULL || json_is_null(content))) bad = json_object_set_new(copy, "content", json_string("")) != 0;
        else if (!bad && !f->content_as_text && (content == NULL || (json_is_string(content) && json_string_length(content) == 0)))
            bad = json_object_set_new(copy, "content", json_null()) != 0;
    }
    if (bad) json_decref(copy);
    return bad ? NULL : copy;
}

static bool has_text(const json_t *m, const char *key)
{
    const json_t *j = json_object_get(m, key);
    return json_is_string(j) ? json_string_length(j) > 0 : json_is_array(j) && json_array_size(j) > 0;
}

/* The text of m as a message, and m without it. */
static bool append_apart(json_t *list, json_t *m, const call_form *f, bool harmony)
{
    json_t *text = json_copy_whole(m), *rest = json_copy_whole(m);
    bool good = text && rest && json_object_set_new(rest, "content", json_null()) == 0;

    if (good) json_object_del(text, "tool_calls");
    good = good && json_array_append_new(list, message_in_form(text, f, harmony)) == 0 && json_array_append_new(list, message_in_form(rest, f, harmony)) == 0;
    json_decref(text), json_decref(rest);
    return good;
}

json_t *messages_in_form(const json_t *messages, const call_form *f, bool harmony)
{
    json_t *list = json_array(), *m;
    bool good = list != NULL;
    size_t i;

    json_array_foreach((json_t *)messages, i, m) {
        bool apart = f->text_apart && has_text(m, "content") && json_array_size(json_object_get(m, "tool_calls")) > 0;
        if (!good) break;
        good = apart ? append_apart(list, m, f, harmony) : json_array_append_new(list, message_in_form(m, f, harmony)) == 0;
    }
    if (!good) json_decref(list);
    return good ? list : NULL;
}

/* A call in a form, with a text beside it or without: does it show? text NULL: none. */
static llm_status shows(bool *yes, const call_form *f, const char *text, const chat_model *m, const json_t *tools, const char *now, llm_error *err)
{
    json_t *plain = json_pack("[{s:s,s:s},{s:s,s:s?,s:[{s:s,s:s,s:{s:s,s:{s:s}}}]},{s:s,s:s,s:s,s:s}]", "role", "user", "content", "u", "role", "assistant",
                              "content", text, "tool_calls", "id", "call_1", "type", "function", "function", "name", "probe_name", "arguments", "probe_key", "probe_value",
                              "role", "tool", "name", "probe_name", "tool_call_id", "call_1", "content", "r");
    json_t *messages = plain ? messages_in_form(plain, f, m->family == CONVO_HARMONY) : NULL, *vars = json_object();
    template_output out = { 0 };
    llm_error why;
    bool bad = messages == NULL || vars == NULL || json_object_set(vars, "messages", messages) != 0
               || (tools && json_object_set(vars, "tools", (json_t *)tools) != 0);
    llm_status st = bad ? llm_fail_memory(&why, 0, "a conversation") : chat_template_request(m, vars, now, &out, &why);

    *yes = st == LLM_OK && strstr(out.text, "probe_name") && strstr(out.text, "probe_value") && !strstr(out.text, "\\\"probe_key") && (text == NULL || strstr(out.text, text));
    if (st == LLM_ERR_MEMORY) llm_fail(err, st, "%s", why.text);
    template_output_free(&out);
    json_decref(plain), json_decref(messages), json_decref(vars);
    return st == LLM_ERR_MEMORY ? st : LLM_OK;
}

llm_status call_form_find(call_form *f, const chat_model *m, const json_t *tools, const char *now, llm_error *err)
{
    static const call_form forms[] = { { false, false, false }, { false, true, false }, { true, false, false }, { true, true, false } };
    llm_status st = LLM_OK;
    bool found = false, beside = false, apart = false;

    *f = forms[1];                                          /* a template without tools */
    for (size_t i = 0; st == LLM_OK && i < sizeof forms / sizeof forms[0] && !found; i++) {
        st = shows(&found, &forms[i], NULL, m, tools, now, err);
        if (st == LLM_OK && found) *f = forms[i];
    }
    if (st == LLM_OK && found) st = shows(&beside, f, "a-text-to-look-for", m, tools, now, err);
    if (st == LLM_OK && found && !beside) {
        call_form other = *f;
        other.text_apart = true;
        st = shows(&apart, &other, "a-text-to-look-for", m, tools, now, err);
        if (st == LLM_OK && apart) *f = other;
    }
    return st;
}

/* ---- for harmony ---- */

static const json_t *reasoning_of(const json_t *m)
{
    const json_t *r = json_object_get(m, "thinking");
    return json_is_string(r) ? r : json_object_get(m, "reasoning_content");
}

bool needs_harmony(const json_t *request)
{
    size_t i;
    json_t *m;

    if (json_array_size(json_object_get(request, "tools")) > 0) return true;
    json_array_foreach(json_object_get(request, "messages"), i, m) {
        if (json_object_get(m, "channel") || json_object_get(m, "recipient") || json_object_get(m, "content_type")) return true;
        if (json_is_object(json_object_get(m, "content")) || json_is_array(json_object_get(m, "content"))) return true;
        if (is_role(m, "tool") || json_array_size(json_object_get(m, "tool_calls")) > 0) return true;
    }
    return false;
}

static bool append(json_t *list, json_t *m) { return json_array_append_new(list, m) == 0; }

/* NULL: nothing to set. (A "s*" of json_pack would pass over a text it has no memory for.) */
static bool set_text(json_t *o, const char *key, const char *text) { return text == NULL || json_object_set_new(o, key, json_string(text)) == 0; }

/* recipient and channel may be NULL. */
static json_t *harmony_message(const char *role, const char *channel, const char *recipient, const json_t *content)
{
    json_t *m = json_pack("{s:s,s:O}", "role", role, "content", content);

    if (m && set_text(m, "channel", channel) && set_text(m, "recipient", recipient)) return m;
    json_decref(m);
    return NULL;
}

/* Functions live in a namespace; built-in tools bring their own. */
static json_t *full_name(const char *name) { return strchr(name, '.') ? json_string(name) : json_sprintf("functions.%s", name); }

static bool add_call(json_t *list, const json_t *call)
{
    const json_t *f = function_of(call), *arguments = json_object_get(f, "arguments");
    const char *name = str(f, "name");
    bool built_in = name && strchr(name, '.');
    json_t *to = full_name(name ? name : "unknown"), *text = NULL, *m;
    char *dumped = json_is_string(arguments) ? NULL : json_text_of(arguments ? arguments : json_true(), JSON_ENCODE_ANY);

    if (json_is_string(arguments)) text = json_incref((json_t *)arguments);
    else if (dumped) text = json_string(arguments ? dumped : "{}");
    free(dumped);
    m = to && text ? harmony_message("assistant", built_in ? "analysis" : "commentary", json_string_value(to), text) : NULL;
    if (m && json_object_set_new(m, "content_type", json_string(built_in ? "code" : "<|constrain|>json")) != 0) json_decref(m), m = NULL;
    json_decref(to), json_decref(text);
    return append(list, m);
}

static bool add_assistant(json_t *list, const json_t *m)
{
    const json_t *calls = json_object_get(m, "tool_calls"), *reasoning = reasoning_of(m);
    size_t i;
    json_t *call;
    bool good = true;

    if (json_is_string(reasoning) && json_string_length(reasoning) > 0) good = append(list, harmony_message("assistant", "analysis", NULL, reasoning));
    if (has_text(m, "content") || json_array_size(calls) == 0) {
        json_t *content = json_is_null(json_object_get(m, "content")) || !json_object_get(m, "content") ? json_string("") : json_incref(json_object_get(m, "content"));
        good = good && append(list, harmony_message("assistant", json_array_size(calls) > 0 ? "commentary" : "final", NULL, content));
        json_decref(content);
    }
    json_array_foreach((json_t *)calls, i, call) good = good && add_call(list, call);
    return good;
}

/* The name of the function whose call an id belongs to; without an id, of the last call before. */
static const char *called(const json_t *messages, size_t before, const char *id)
{
    for (size_t i = before; i > 0; i--) {
        const json_t *calls = json_object_get(json_array_get(messages, i - 1), "tool_calls");
        for (size_t k = json_array_size(calls); k > 0; k--) {
            const json_t *call = json_array_get(calls, k - 1);
            if (id == NULL || (str(call, "id") && strcmp(str(call, "id"), id) == 0)) return str(function_of(call), "name");
        }
    }
    return NULL;
}

static bool add_result(json_t *list, const json_t *messages, size_t i)
{
    const json_t *m = json_array_get(messages, i), *content = json_object_get(m, "content");
    const char *name = str(m, "name") ? str(m, "name") : called(messages, i, str(m, "tool_call_id"));
    json_t *full, *out, *empty = json_string("");

    if (name == NULL) name = called(messages, i, NULL);
    full = full_name(name ? name : "unknown");
    out = full && empty ? harmony_message("tool", name && strchr(name, '.') ? "analysis" : "commentary", "assistant", content && !json_is_null(content) ? content : empty) : NULL;
    if (out && json_object_set(out, "name", full) != 0) json_decref(out), out = NULL;
    json_decref(full), json_decref(empty);
    return append(list, out);
}

static json_t *system_message(const json_t *request, const char *effort, const char *date)
{
    json_t *content = json_object(), *m, *tools = json_object_get(request, "builtin_tools"), *tool;
    bool good = content && set_text(content, "model_identity", str(request, "model_identity")) && set_text(content, "reasoning_effort", effort) && set_text(content, "conversation_start_date", date);
    size_t i;

    json_array_foreach(tools, i, tool)
        if (good && json_is_string(tool) && strcmp(json_string_value(tool), "browser") == 0) good = json_object_set_new(content, "browser_tool", json_true()) == 0;
    m = good ? harmony_message("system", NULL, NULL, content) : NULL;
    json_decref(content);
    return m;
}

/* instructions may be NULL. */
static json_t *developer_message(const json_t *instructions, const json_t *tools)
{
    json_t *content = json_object(), *list = json_array(), *tool, *m;
    size_t i;
    bool good = content && list;

    json_array_foreach((json_t *)tools, i, tool) good = good && json_array_append(list, function_of(tool)) == 0;
    if (good && instructions) good = json_object_set(content, "instructions", (json_t *)instructions) == 0;
    if (good && json_array_size(list) > 0) good = json_object_set(content, "function_tools", list) == 0;
    m = good ? harmony_message("developer", NULL, NULL, content) : NULL;
    json_decref(content), json_decref(list);
    return m;
}

json_t *harmony_conversation(const json_t *request, const char *effort, const char *date)
{
    const json_t *messages = json_object_get(request, "messages"), *tools = json_object_get(request, "tools"), *first = json_array_get(messages, 0);
    json_t *out, *list = json_array(), *m;
    bool good = list != NULL, own_system = is_role(first, "system") && json_is_object(json_object_get(first, "content")), told = own_system;
    size_t i;

    if (good && !own_system) good = append(list, system_message(request, effort, date));
    json_array_foreach((json_t *)messages, i, m) {
        bool instructs = is_role(m, "system") || is_role(m, "developer");
        const json_t *content = json_object_get(m, "content");
        if (!good) break;
        if (!told && !instructs && json_array_size(tools) > 0) good = append(list, developer_message(NULL, tools));
        if (!instructs) told = true;
        if (json_is_object(content) || str(m, "channel") || str(m, "recipient")) good = good && json_array_append(list, m) == 0;
        else if (instructs) good = append(list, developer_message(json_is_string(content) ? content : NULL, told ? NULL : tools)), told = true;
        else if (is_role(m, "assistant")) good = good && add_assistant(list, m);
        else if (is_role(m, "tool")) good = good && add_result(list, messages, i);
        else good = good && json_array_append(list, m) == 0;
    }
    out = good ? json_pack("{s:O}", "messages", list) : NULL;
    json_decref(list);
    return out;
}
