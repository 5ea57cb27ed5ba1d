#include "talk.h"
#include "file_text.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static llm_status fail(llm_error *err, llm_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static llm_status fail(llm_error *err, llm_status st, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return err->status = st;
}

/* ---- the conversation ---- */

void talk_date(const run_options *o, char date[16])
{
    time_t now = time(NULL);

    if (o->date) snprintf(date, 16, "%.15s", o->date);
    else strftime(date, 16, "%Y-%m-%d", localtime(&now));
}

static llm_chat_options chat_options(const run_options *o, char date[16])
{
    talk_date(o, date);
    return (llm_chat_options){ .size = sizeof(llm_chat_options), .format = o->chat_name, .effort = o->effort, .date = date,
                               .think = o->think ? 1 : o->no_think ? -1 : 0 };
}

llm_status talk_update(talk *t, llm_error *err)
{
    char date[16];
    llm_chat_options opt = chat_options(t->o, date);

    return t->c ? llm_chat_set_options(t->c, &opt, err) : LLM_OK;
}

/* A file with a list of tools as OpenAI's interface has them, or an object with "tools". */
static void set_tools(talk *t)
{
    size_t len, n;
    char *text, *list;
    json_error_t why;
    json_t *all, *tools;
    llm_error err;

    if (t->o->tools_path == NULL) return;
    if (t->c == NULL) tool_die_text(EXIT_USAGE, "--tools: this is plain completion, without a chat format that could say tools");
    text = tool_read_file(t->o->tools_path, &len);
    all = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (all == NULL) tool_die_text(EXIT_FAILED, "%s: line %d: %s", t->o->tools_path, why.line, why.text);
    tools = json_is_object(all) ? json_object_get(all, "tools") : all;
    if (!json_is_array(tools)) tool_die_text(EXIT_FAILED, "%s: want a list of tools, or an object with \"tools\"", t->o->tools_path);
    if (!t->info.has_tools) tool_die_text(EXIT_MODEL, "--tools: this model's chat template takes none");
    list = json_dumps(tools, JSON_COMPACT);
    n = list ? strlen(list) : 0;
    if (list == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory for the tools");
    if (llm_chat_set(t->c, "tools", list, n, &err) != LLM_OK) tool_die(&err);
    free(list), free(text);
    json_decref(all);
}

static llm_status add_text(talk *t, const llm_token *ids, size_t n, llm_error *err)
{
    if (t->n_text + n > t->cap_text) {
        size_t cap = 2 * (t->n_text + n);
        llm_token *more = realloc(t->text, cap * sizeof *more);
        if (more == NULL) return fail(err, LLM_ERR_MEMORY, "out of memory for %zu tokens", cap);
        t->text = more, t->cap_text = cap;
    }
    if (n > 0) memcpy(t->text + t->n_text, ids, n * sizeof *ids);
    t->n_text += n;
    return LLM_OK;
}

/* A session from a file: the conversation comes behind what it holds, or (--load) is what it holds. */
static void restore(talk *t)
{
    llm_error err;

    if (talk_session(t, 0, &err) != LLM_OK || llm_session_restore(t->s, t->o->restore_path, &err) != LLM_OK) tool_die(&err);
    if (t->c && t->o->load_path) return;
    if (add_text(t, llm_session_tokens(t->s, 0), (size_t)llm_session_length(t->s, 0), &err) != LLM_OK) tool_die(&err);
}

void talk_open(talk *t, run_options *o, llm_model *m, show *out)
{
    char date[16];
    llm_chat_options opt = chat_options(o, date);
    llm_error err;

    *t = (talk){ .o = o, .m = m, .out = out, .info = { .size = sizeof t->info } };
    if (llm_chat_get_info(m, &t->info) != LLM_OK) t->info.family = "plain";
    if (!o->raw && (o->chat_name || t->info.has_template || t->info.format))
        if (llm_chat_open(&t->c, m, &opt, &err) != LLM_OK) tool_die(&err);
    if (o->load_path && talk_load_file(t, o->load_path, &err) != LLM_OK) tool_die_text(EXIT_FAILED, "%s", err.text);
    set_tools(t);
    if (o->restore_path) restore(t);
    if (o->system_text && t->c && talk_set_system(t, o->system_text, &err) != LLM_OK) tool_die(&err);
}

llm_status talk_load_file(talk *t, const char *path, llm_error *err)
{
    llm_error why;
    llm_status st;
    size_t len;
    char *text;

    if (t->c == NULL) return fail(err, LLM_ERR_UNSUPPORTED, "%s: this is plain completion; a conversation needs a chat format", path);
    if ((text = text_file_read(path, &len, err)) == NULL) return err->status;
    st = llm_chat_load(t->c, text, len, &why);
    free(text);
    return st == LLM_OK ? st : fail(err, st, "%s: %.400s", path, why.text);
}

llm_status talk_save_file(talk *t, const char *path, llm_error *err)
{
    const char *json;
    size_t len;
    llm_status st;

    if (t->c == NULL) return fail(err, LLM_ERR_UNSUPPORTED, "%s: this is plain completion; --save-session keeps its tokens", path);
    if ((st = llm_chat_save(t->c, &json, &len, err)) != LLM_OK) return st;
    return text_file_write(path, json, len, err);
}

think_mode run_think_mode(const run_options *o, think_mode usual)
{
    if (o->thinking == NULL) return o->show_thinking ? THINK_SHOW : o->hide_thinking ? THINK_HIDE : usual;
    if (strcmp(o->thinking, "show") == 0) return THINK_SHOW;
    if (strcmp(o->thinking, "hide") == 0) return THINK_HIDE;
    if (strcmp(o->thinking, "count") == 0) return THINK_COUNT;
    opt_fail(&run_table, "--thinking: got '%s', want show, hide or count", o->thinking);
}

void talk_close(talk *t)
{
    llm_chat_close(t->c);
    llm_session_close(t->s);
    free(t->text), free(t->made), free(t->prompt);
}

llm_status talk_set_system(talk *t, const char *text, llm_error *err)
{
    const char *saved;
    size_t len;
    json_t *all, *list;
    char *changed;
    const char *role;
    llm_status st;

    if (t->c == NULL) return fail(err, LLM_ERR_UNSUPPORTED, "plain completion has no system message");
    if ((st = llm_chat_save(t->c, &saved, &len, err)) != LLM_OK) return st;
    if ((all = json_loadb(saved, len, 0, NULL)) == NULL) return fail(err, LLM_ERR_MEMORY, "out of memory for the conversation");
    list = json_object_get(all, "messages");
    role = json_string_value(json_object_get(json_array_get(list, 0), "role"));
    if (role && strcmp(role, "system") == 0) json_array_remove(list, 0);
    if (text && json_array_insert_new(list, 0, json_pack("{s:s, s:s}", "role", "system", "content", text)) != 0) {
        json_decref(all);
        return fail(err, LLM_ERR_ARG, "the system text is not UTF-8");
    }
    changed = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if (changed == NULL) return fail(err, LLM_ERR_MEMORY, "out of memory for the conversation");
    st = llm_chat_load(t->c, changed, strlen(changed), err);
    free(changed);
    return st;
}

llm_status talk_user(talk *t, const char *text, size_t len, llm_error *err)
{
    unsigned flags = t->o->trusted ? LLM_TOKENIZE_SPECIAL : 0;
    bool first = t->n_text == 0;
    llm_token *ids;
    llm_status st;
    size_t n;

    if (t->c) return llm_chat_add_text(t->c, "user", text, len, err);
    ids = tool_tokenize(t->m, text, len, flags | (first ? LLM_TOKENIZE_BOS : 0u), &n);
    st = add_text(t, ids, n, err);
    free(ids);
    return st;
}

json_t *talk_calls(talk *t)
{
    size_t len, n = t->c ? llm_chat_count(t->c) : 0;
    const char *text;
    json_t *message, *calls;
    llm_error err;

    if (n == 0 || llm_chat_get(t->c, n - 1, &text, &len, &err) != LLM_OK || (message = json_loadb(text, len, 0, NULL)) == NULL) return NULL;
    calls = json_incref(json_object_get(message, "tool_calls"));
    json_decref(message);
    return calls;
}

llm_status talk_result(talk *t, const json_t *call, const char *text, llm_error *err)
{
    const char *name = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
    json_t *id = json_object_get(call, "id"), *message = json_pack("{s:s, s:s, s:s}", "role", "tool", "name", name ? name : "tool", "content", text);
    char *sent = NULL;
    llm_status st;

    if (message && id) json_object_set(message, "tool_call_id", id);
    if (message) sent = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (sent == NULL) return fail(err, LLM_ERR_ARG, "what the tool says is not UTF-8");
    st = llm_chat_add(t->c, sent, strlen(sent), err);
    free(sent);
    return st;
}

llm_status talk_prompt(talk *t, llm_token **ids, size_t *n, llm_error *err)
{
    const llm_token *chat = NULL, *held = t->s ? llm_session_tokens(t->s, 0) : NULL;
    size_t n_held = t->s ? (size_t)llm_session_length(t->s, 0) : 0, n_chat = 0;
    llm_status st = LLM_OK;

    if (n_held < t->n_text) n_held = t->n_text;
    if (t->c) st = llm_chat_prompt(t->c, held ? held + t->n_text : NULL, held ? n_held - t->n_text : 0, &chat, &n_chat, err);
    if (st != LLM_OK) return st;
    *n = t->n_text + n_chat;
    if (*n == 0) return fail(err, LLM_ERR_ARG, "the prompt is empty and this model has no beginning token");
    *ids = tool_alloc(*n, sizeof **ids);
    if (t->n_text > 0) memcpy(*ids, t->text, t->n_text * sizeof **ids);
    if (n_chat > 0) memcpy(*ids + t->n_text, chat, n_chat * sizeof **ids);
    return LLM_OK;
}

/* ---- a turn ---- */

llm_session_options run_session_options(const run_options *o)
{
    return (llm_session_options){ .size = sizeof(llm_session_options), .n_ctx = o->n_ctx, .n_batch = o->n_batch,
                                  .n_threads = o->choice.n_threads, .kv_type = tool_kv_type(&run_table, o->kv_type),
                                  .pin_threads = o->pin, .deterministic = o->deterministic };
}

/* Without -c: 4096 as the library has it, or where the text needs more, that and an answer, as far as the model was trained. */
llm_status talk_session(talk *t, size_t n_prompt, llm_error *err)
{
    enum { USUAL = 4096, ROOMY = 16384 };
    const run_options *o = t->o;
    llm_session_options opt = run_session_options(o);
    size_t usual = t->roomy ? ROOMY : USUAL;
    llm_model_info info = { .size = sizeof info };
    size_t want = n_prompt + (o->n_predict >= 0 ? (size_t)o->n_predict : USUAL), trained;
    llm_status st;

    llm_model_get_info(t->m, &info);
    trained = info.n_ctx_train > 0 ? (size_t)info.n_ctx_train : USUAL;
    if (want < usual) want = usual;
    if (opt.n_ctx == 0 && want > USUAL && trained > USUAL) opt.n_ctx = (int)(want < trained ? want : trained);
    while ((st = llm_session_open(&t->s, t->m, &opt, err)) == LLM_ERR_MEMORY && o->n_ctx == 0 && opt.n_ctx / 2 >= USUAL && (size_t)opt.n_ctx / 2 > n_prompt)
        opt.n_ctx /= 2;
    if (st != LLM_OK) return st;
    show_start(t->out, t->m, llm_session_n_ctx(t->s));
    return LLM_OK;
}

static llm_status too_long(const talk *t, llm_error *err)
{
    llm_model_info info = { .size = sizeof info };
    int n_ctx = llm_session_n_ctx(t->s);

    llm_model_get_info(t->m, &info);
    if (info.n_ctx_train > n_ctx)
        return fail(err, LLM_ERR_CONTEXT, "the prompt has %zu tokens and the context holds %d tokens; -c gives a larger one (the model was trained for %d)",
                    t->n_prompt, n_ctx, info.n_ctx_train);
    if (info.n_ctx_train < n_ctx)
        return fail(err, LLM_ERR_CONTEXT, "the prompt has %zu tokens and the context holds %d tokens, more than the %d that the model was trained for",
                    t->n_prompt, n_ctx, info.n_ctx_train);
    return fail(err, LLM_ERR_CONTEXT, "the prompt has %zu tokens and the context holds %d tokens, which is all that the model was trained for",
                t->n_prompt, n_ctx);
}

/* Adds what was answered to the conversation. */
static llm_status keep_answer(talk *t, llm_reply *reply, llm_error *err)
{
    const char *json;
    size_t len;
    llm_status st;

    if (t->c == NULL) return add_text(t, t->made, t->n_made, err);
    if ((st = llm_reply_message(reply, &json, &len, err)) != LLM_OK) return st;
    return llm_chat_add(t->c, json, len, err);
}

llm_status talk_compute(talk *t, uint64_t seed, turn_result *r, llm_error *err)
{
    double began = tool_seconds();
    llm_reply *reply = NULL;
    llm_status st;

    if (t->n_prompt > (size_t)llm_session_n_ctx(t->s)) return too_long(t, err);
    r->n_prompt = t->n_prompt;
    if ((st = llm_session_reuse(t->s, 0, t->prompt, t->n_prompt, &r->n_cached, NULL, err)) != LLM_OK) return st;
    show_prompt(t->out, r->n_prompt, r->n_cached);
    if ((st = turn_prompt(t, t->prompt + r->n_cached, t->n_prompt - r->n_cached, err)) != LLM_OK) return st;
    r->prompt = tool_seconds() - began;
    if ((st = turn_reply(t, &reply, err)) != LLM_OK) return st;
    st = turn_answer(t, reply, seed, r, err);
    if (st == LLM_OK) st = keep_answer(t, reply, err);
    llm_reply_close(reply);
    return st;
}

llm_status talk_turn(talk *t, uint64_t seed, turn_result *r, llm_error *err)
{
    llm_status st;
    llm_token *ids = NULL;
    size_t n = 0;

    *r = (turn_result){ .load = t->load, .finish = "error" };
    if (t->s == NULL) {
        if ((st = talk_prompt(t, &ids, &n, err)) != LLM_OK) return st;
        free(ids), ids = NULL;
        if ((st = talk_session(t, n, err)) != LLM_OK) return st;
    }
    if ((st = talk_prompt(t, &ids, &n, err)) != LLM_OK) return st;
    free(t->prompt);
    t->prompt = ids, t->n_prompt = n;
    t->load = 0;
    return talk_compute(t, seed, r, err);
}
