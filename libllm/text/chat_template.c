#include "chat_template.h"
#include "floats.h"
#include <string.h>

static bool has_role(const json_t *message, const char *role)
{
    const char *r = json_string_value(json_object_get(message, "role"));
    return r && strcmp(r, role) == 0;
}

/* Does the template write a system message that stands in front? Tried with one that says nothing else. */
static llm_status takes_system(bool *yes, const llm_template *t, const json_t *vars, const template_options *opt, llm_error *err)
{
    static const char needle[] = "a-system-text-to-look-for";
    json_t *probe = json_copy_whole(vars);
    json_t *messages = json_pack("[{s:s,s:s},{s:s,s:s}]", "role", "system", "content", needle, "role", "user", "content", "a-user-text");
    template_output out = { 0 };
    llm_error why;
    llm_status st = probe && messages && json_object_set(probe, "messages", messages) == 0 ? template_render(t, probe, opt, &out, &why) : llm_fail_memory(&why, 0, "a conversation");

    *yes = st == LLM_OK && strstr(out.text, needle) != NULL;
    template_output_free(&out);
    json_decref(probe), json_decref(messages);
    return st == LLM_ERR_MEMORY ? llm_fail(err, st, "%s", why.text) : LLM_OK;
}

/* A copy of vars whose first message has gone into the first user message; *out stays NULL where it cannot. */
static llm_status merge(json_t **out, const json_t *vars, llm_error *err)
{
    const json_t *messages = json_object_get(vars, "messages"), *first = json_array_get(messages, 0), *user = NULL;
    const char *system = json_string_value(json_object_get(first, "content")), *text;
    json_t *copy, *list;
    size_t at = 1;
    bool good;

    while (at < json_array_size(messages) && !has_role(user = json_array_get(messages, at), "user")) at++;
    text = json_string_value(json_object_get(user, "content"));
    if (system == NULL || text == NULL || at >= json_array_size(messages)) return LLM_OK;
    copy = json_copy_whole(vars), list = json_array();
    good = copy && list;
    for (size_t i = 1; good && i < json_array_size(messages); i++) {
        json_t *m = json_copy_whole(json_array_get(messages, i));
        if (i == at && m) good = json_object_set_new(m, "content", json_sprintf("%s\n%s", system, text)) == 0;
        good = json_array_append_new(list, m) == 0 && good;
    }
    good = good && json_object_set(copy, "messages", list) == 0;
    json_decref(list);
    if (!good) {
        json_decref(copy);
        return llm_fail_memory(err, 0, "a conversation");
    }
    *out = copy;
    return LLM_OK;
}

llm_status chat_template_text(const llm_template *t, const json_t *vars, const template_options *opt, template_output *out, llm_error *err)
{
    json_t *other = NULL;
    llm_status status = LLM_OK;
    bool takes = true;

    *out = (template_output){ 0 };
    if (!json_is_array(json_object_get(vars, "messages"))) return llm_fail(err, LLM_ERR_ARG, "a conversation needs a list \"messages\"");
    if (has_role(json_array_get(json_object_get(vars, "messages"), 0), "system")) status = takes_system(&takes, t, vars, opt, err);
    if (status == LLM_OK && !takes) status = merge(&other, vars, err);
    if (status == LLM_OK) status = template_render(t, other ? other : vars, opt, out, err);
    json_decref(other);
    return status;
}

llm_status chat_template_tokens(const llm_tokenizer *t, const template_output *text, llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    llm_token bos = tokenizer_bos(t);
    llm_status status;
    bool add = false;

    *n = 0;
    if (tokenizer_adds_bos(t) && bos >= 0) {
        size_t k;
        const char *spelling = tokenizer_bytes(t, bos, &k);
        add = k == 0 || k > text->len || memcmp(text->text, spelling, k) != 0 || text->n_trusted == 0 || text->trusted[0].begin > 0 || text->trusted[0].end < k;
    }
    if (add && cap > 0) out[0] = bos;
    status = tokenizer_encode_marked(t, text->text, text->len, text->trusted, text->n_trusted, cap > add ? out + add : NULL, cap > add ? cap - add : 0, n, err);
    *n += add;
    return status;
}

/* bos_token and eos_token as the vocabulary spells them. */
static json_t *token_names(const llm_tokenizer *t)
{
    json_t *o = json_object();
    llm_token id[2] = { tokenizer_bos(t), tokenizer_eos(t) };

    for (int i = 0; o && i < 2; i++) {
        size_t len = 0;
        const char *s = id[i] >= 0 ? tokenizer_bytes(t, id[i], &len) : "";
        json_t *text = json_stringn(s, len);
        if (text == NULL || json_object_set_new(o, i ? "eos_token" : "bos_token", text) != 0) { json_decref(o); return NULL; }
    }
    return o;
}

llm_status chat_template_request(const chat_model *m, const json_t *request, const char *now, template_output *out, llm_error *err)
{
    const chat_own_template *own = chat_model_template(m, request);
    json_t *vars = NULL, *names = NULL;
    llm_status status;

    *out = (template_output){ 0 };
    if (own->text == NULL) return llm_fail(err, LLM_ERR_UNSUPPORTED, "this model carries no chat template");
    if (own->parsed == NULL) return llm_fail(err, own->why.status, "%s", own->why.text);
    if (!json_is_object(request)) return llm_fail(err, LLM_ERR_ARG, "a conversation is a JSON object with \"messages\"");
    vars = json_copy_whole(request), names = token_names(m->tokenizer);
    if (vars == NULL || names == NULL || (!json_object_get(vars, "add_generation_prompt") && json_object_set_new(vars, "add_generation_prompt", json_true()) != 0))
        status = llm_fail_memory(err, 0, "a conversation");
    else status = chat_template_text(own->parsed, vars, &(template_options){ .now = now, .trusted = names }, out, err);
    json_decref(vars), json_decref(names);
    return status;
}

llm_status chat_template_render(const chat_model *m, const json_t *request, const char *now,
                                llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    template_output text;
    llm_status status = chat_template_request(m, request, now, &text, err);

    *n = 0;
    if (status == LLM_OK) status = chat_template_tokens(m->tokenizer, &text, out, cap, n, err);
    template_output_free(&text);
    return status;
}

/* The messages as a request; bytes that are no UTF-8 stay as they are. NULL: out of memory. */
static json_t *request_of(const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt)
{
    json_t *o = json_object(), *list = json_array();
    int bad = o == NULL || list == NULL;

    for (size_t i = 0; i < n_msg && !bad; i++) {
        json_t *m = json_object();
        bad = json_object_set_new(m, "role", json_string_nocheck(msg[i].role)) || json_object_set_new(m, "content", json_string_nocheck(msg[i].text));
        bad = json_array_append_new(list, m) || bad;
    }
    if (opt->effort) bad = bad || json_object_set_new(o, "reasoning_effort", json_string_nocheck(opt->effort));
    if (opt->think != 0) {
        bad = bad || json_object_set_new(o, "enable_thinking", json_boolean(opt->think > 0));
        bad = bad || json_object_set_new(o, "thinking", json_boolean(opt->think > 0));
    }
    bad = bad || json_object_set(o, "messages", list);
    json_decref(list);
    if (bad) json_decref(o);
    return bad ? NULL : o;
}

llm_status chat_template_messages(const chat_model *m, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                                  llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    json_t *request = request_of(msg, n_msg, opt);
    llm_status status;

    *n = 0;
    if (request == NULL) return llm_fail_memory(err, n_msg * sizeof *msg, "a conversation");
    status = chat_template_render(m, request, opt->date, out, cap, n, err);
    json_decref(request);
    return status;
}

llm_status llm_template_render(const char *text, size_t len, const char *vars, size_t vars_len, const char *now,
                               unsigned flags, char *out, size_t cap, size_t *n, llm_error *err)
{
    STANDARD_FLOATS;
    llm_template *t = NULL;
    template_output got = { 0 };
    const template_options opt = { .now = now };
    json_t *v = NULL;
    llm_status st;

    if (text == NULL || vars == NULL) return llm_fail(err, LLM_ERR_ARG, "llm_template_render: the template or its variables are NULL");
    if (n == NULL || (out == NULL && cap > 0)) return llm_fail(err, LLM_ERR_ARG, "llm_template_render: n or out is NULL");
    if (flags & ~(unsigned)LLM_TEMPLATE_CHAT) return llm_fail(err, LLM_ERR_ARG, "llm_template_render: flags are 0x%x", flags);
    *n = 0;
    if ((st = template_parse(&t, text, len, err)) == LLM_OK) st = json_read_text(&v, vars, vars_len, "the variables", err);
    if (st == LLM_OK && !json_is_object(v)) st = llm_fail(err, LLM_ERR_ARG, "llm_template_render: the variables are no JSON object");
    if (st == LLM_OK) st = flags & LLM_TEMPLATE_CHAT ? chat_template_text(t, v, &opt, &got, err) : template_render(t, v, &opt, &got, err);
    if (st == LLM_OK) {
        if (cap > 0 && got.len > 0) memcpy(out, got.text, got.len < cap ? got.len : cap);
        *n = got.len;
        template_output_free(&got);
    }
    json_decref(v);
    template_close(t);
    return st;
}
