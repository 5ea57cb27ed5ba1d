/* api_chat.c - the public functions of conversations: check arguments, call down. */
#include "api_parts.h"
#include "chat.h"
#include "chat_history.h"
#include "chat_template.h"
#include "floats.h"
#include "harmony_render.h"
#include "model.h"
#include "reply.h"

static llm_status no_tokenizer(const llm_model *m, llm_error *err)
{
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s: the model carries no tokenizer", m->store ? store_path(m->store) : "chat");
}

const char *llm_chat_format(const llm_model *m) { return m && m->chat ? m->chat->format : NULL; }

llm_status llm_chat_render(const llm_model *m, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                           llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    STANDARD_FLOATS;
    llm_chat_options own = { .size = sizeof own };
    llm_status st;

    if (m == NULL || n == NULL || (msg == NULL && n_msg > 0) || (out == NULL && cap > 0)) return null_arg("llm_chat_render", "m, n, msg or out", err);
    for (size_t i = 0; i < n_msg; i++)
        if (msg[i].role == NULL || msg[i].text == NULL) return null_arg("llm_chat_render", "the role or text of a message", err);
    if (opt && (st = take(&own, sizeof own, opt, "llm_chat_options", err)) != LLM_OK) return st;
    if (m->chat == NULL) return no_tokenizer(m, err);
    return chat_render(m->chat, msg, n_msg, &own, out, cap, n, err);
}

llm_status llm_chat_render_json(const llm_model *m, const char *json, size_t len, const char *now,
                                llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    STANDARD_FLOATS;
    json_t *request = NULL;
    llm_status st;

    if (m == NULL || json == NULL) return null_arg("llm_chat_render_json", "the model or the conversation", err);
    if (n == NULL || (out == NULL && cap > 0)) return null_arg("llm_chat_render_json", "n or out", err);
    *n = 0;
    if (m->chat == NULL) return no_tokenizer(m, err);
    if ((st = json_read_text(&request, json, len, "the conversation", err)) != LLM_OK) return st;
    st = chat_template_render(m->chat, request, now, out, cap, n, err);
    json_decref(request);
    return st;
}

static harmony_mode mode_of(const char *name, bool *known)
{
    static const char *const names[] = { [HARMONY_COMPLETION] = "completion", [HARMONY_CONVERSATION] = "conversation", [HARMONY_TRAINING] = "training" };

    *known = true;
    for (size_t i = 0; name && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) return (harmony_mode)i;
    *known = name == NULL;
    return HARMONY_COMPLETION;
}

llm_status llm_harmony_render(const char *json, size_t len, char *out, size_t cap, size_t *n, llm_error *err)
{
    STANDARD_FLOATS;
    json_t *o = NULL;
    template_output got = { 0 };
    const char *name;
    harmony_mode mode;
    bool known;
    llm_status st;

    if (json == NULL || n == NULL || (out == NULL && cap > 0)) return null_arg("llm_harmony_render", "the conversation, n or out", err);
    *n = 0;
    if ((st = json_read_text(&o, json, len, "the conversation", err)) != LLM_OK) return st;
    name = json_string_value(json_object_get(o, "mode"));
    mode = mode_of(name, &known);
    if (!known) st = llm_fail(err, LLM_ERR_ARG, "llm_harmony_render: mode '%s' is none of completion, conversation, training", name);
    else st = harmony_render(o, mode, json_string_value(json_object_get(o, "next_role")), json_is_false(json_object_get(o, "auto_drop_analysis")), &got, err);
    if (st == LLM_OK && cap > 0 && got.len > 0) memcpy(out, got.text, got.len < cap ? got.len : cap);
    *n = got.len;
    template_output_free(&got);
    json_decref(o);
    return st;
}

/* Does any template of the model speak of one of the words? */
static bool speaks_of(const chat_model *c, const char *word)
{
    return (c->plain.text && strstr(c->plain.text, word)) || (c->tools.text && strstr(c->tools.text, word));
}

llm_status llm_chat_get_info(const llm_model *m, llm_chat_info *info)
{
    llm_chat_info i = { .family = "plain" };

    if (m == NULL || info == NULL) return LLM_ERR_ARG;
    if (m->chat) {
        const chat_model *c = m->chat;
        i.family = chat_family_name(c->family), i.format = c->format;
        i.has_template = c->plain.text != NULL;
        i.has_tools = c->tools.text != NULL || speaks_of(c, "tools");
        i.has_effort = c->family == CONVO_HARMONY || speaks_of(c, "reasoning_effort");
        i.can_switch_thinking = speaks_of(c, "enable_thinking")
                                || (c->family == CONVO_DEEPSEEK && (speaks_of(c, "if thinking") || speaks_of(c, "if not thinking") || speaks_of(c, "set thinking")));
    }
    return give(info, &i, sizeof i);
}

/* ---- a conversation ---- */

llm_status llm_chat_open(llm_chat **out, const llm_model *m, const llm_chat_options *opt, llm_error *err)
{
    llm_chat_options own = { .size = sizeof own };
    llm_status st;

    if (out == NULL) return null_arg("llm_chat_open", "out", err);
    *out = NULL;
    if (m == NULL) return null_arg("llm_chat_open", "the model", err);
    if (opt && (st = take(&own, sizeof own, opt, "llm_chat_options", err)) != LLM_OK) return st;
    if (m->chat == NULL) return no_tokenizer(m, err);
    return history_open(out, m->chat, &own, err);
}

void llm_chat_close(llm_chat *c) { history_close(c); }

llm_status llm_chat_set_options(llm_chat *c, const llm_chat_options *opt, llm_error *err)
{
    llm_chat_options own;
    llm_status st;

    if (c == NULL || opt == NULL) return null_arg("llm_chat_set_options", "the conversation or opt", err);
    if ((st = take(&own, sizeof own, opt, "llm_chat_options", err)) != LLM_OK) return st;
    return history_options(c, &own, err);
}

llm_status llm_chat_set(llm_chat *c, const char *key, const char *json, size_t len, llm_error *err)
{
    STANDARD_FLOATS;
    if (c == NULL || key == NULL) return null_arg("llm_chat_set", "the conversation or key", err);
    return history_set(c, key, json, len, err);
}

llm_status llm_chat_add(llm_chat *c, const char *json, size_t len, llm_error *err)
{
    STANDARD_FLOATS;
    if (c == NULL || json == NULL) return null_arg("llm_chat_add", "the conversation or the message", err);
    return history_add(c, json, len, err);
}

llm_status llm_chat_add_text(llm_chat *c, const char *role, const char *text, size_t len, llm_error *err)
{
    if (c == NULL || role == NULL || (text == NULL && len > 0)) return null_arg("llm_chat_add_text", "the conversation, role or text", err);
    return history_add_text(c, role, text ? text : "", len, err);
}

size_t llm_chat_count(const llm_chat *c) { return c ? history_count(c) : 0; }

llm_status llm_chat_get(llm_chat *c, size_t i, const char **json, size_t *len, llm_error *err)
{
    if (c == NULL || json == NULL || len == NULL) return null_arg("llm_chat_get", "the conversation, json or len", err);
    return history_get(c, i, json, len, err);
}

llm_status llm_chat_drop(llm_chat *c, size_t n, llm_error *err)
{
    if (c == NULL) return null_arg("llm_chat_drop", "the conversation", err);
    return history_drop(c, n, err);
}

llm_status llm_chat_save(llm_chat *c, const char **json, size_t *len, llm_error *err)
{
    STANDARD_FLOATS;
    if (c == NULL || json == NULL || len == NULL) return null_arg("llm_chat_save", "the conversation, json or len", err);
    return history_save(c, json, len, err);
}

llm_status llm_chat_load(llm_chat *c, const char *json, size_t len, llm_error *err)
{
    STANDARD_FLOATS;
    if (c == NULL || json == NULL) return null_arg("llm_chat_load", "the conversation or json", err);
    return history_load(c, json, len, err);
}

llm_status llm_chat_prompt(llm_chat *c, const llm_token *held, size_t n_held, const llm_token **ids, size_t *n, llm_error *err)
{
    STANDARD_FLOATS;
    if (c == NULL || ids == NULL || n == NULL) return null_arg("llm_chat_prompt", "the conversation, ids or n", err);
    if (held == NULL && n_held > 0) return null_arg("llm_chat_prompt", "held", err);
    return history_prompt(c, held, n_held, ids, n, err);
}

/* ---- a reply ---- */

llm_status llm_reply_open(llm_reply **out, const llm_model *m, const llm_reply_options *opt, llm_error *err)
{
    llm_reply_options own = { .size = sizeof own };
    convo_family family;
    llm_status st;

    if (out == NULL) return null_arg("llm_reply_open", "out", err);
    *out = NULL;
    if (m == NULL) return null_arg("llm_reply_open", "the model", err);
    if (opt && (st = take(&own, sizeof own, opt, "llm_reply_options", err)) != LLM_OK) return st;
    if (own.prompt == NULL && own.n_prompt > 0) return null_arg("llm_reply_open", "prompt", err);
    if (own.budget < -1) return llm_fail(err, LLM_ERR_ARG, "llm_reply_open: budget is %d, want -1 (none), 0 (no limit) or tokens", own.budget);
    if (own.cycle_repeats < 0 || own.cycle_repeats == 1)
        return llm_fail(err, LLM_ERR_ARG, "llm_reply_open: cycle_repeats is %d, want 0 (off) or 2 and more", own.cycle_repeats);
    if (own.family && !chat_family_find(own.family, &family))
        return llm_fail(err, LLM_ERR_ARG, "llm_reply_open: family '%s' is none of harmony, qwen, deepseek, gemma, plain", own.family);
    if (m->chat == NULL) return no_tokenizer(m, err);
    return reply_open(out, m->chat, &own, err);
}

void llm_reply_close(llm_reply *r) { reply_close(r); }
llm_token llm_reply_forced(const llm_reply *r) { return r ? reply_forced(r) : -1; }

llm_status llm_reply_push(llm_reply *r, llm_token t, const llm_event **ev, size_t *n_ev, llm_over *over, llm_error *err)
{
    STANDARD_FLOATS;
    llm_over unused;

    if (r == NULL || ev == NULL || n_ev == NULL) return null_arg("llm_reply_push", "the reply, ev or n_ev", err);
    return reply_push(r, t, ev, n_ev, over ? over : &unused, err);
}

llm_status llm_reply_finish(llm_reply *r, const llm_event **ev, size_t *n_ev, llm_error *err)
{
    STANDARD_FLOATS;
    if (r == NULL || ev == NULL || n_ev == NULL) return null_arg("llm_reply_finish", "the reply, ev or n_ev", err);
    return reply_finish(r, ev, n_ev, err);
}

llm_status llm_reply_message(llm_reply *r, const char **json, size_t *len, llm_error *err)
{
    if (r == NULL || json == NULL || len == NULL) return null_arg("llm_reply_message", "the reply, json or len", err);
    return reply_message(r, json, len, err);
}

llm_status llm_reply_get_stats(const llm_reply *r, llm_reply_stats *stats)
{
    llm_reply_stats s = { 0 };

    if (r == NULL || stats == NULL) return LLM_ERR_ARG;
    reply_stats(r, &s);
    return give(stats, &s, sizeof s);
}
