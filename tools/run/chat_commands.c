#include "chat_loop.h"
#include "file_text.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char *name, *args, *help; void (*run)(chat *c, char *args); } command;

/* The options that /set changes: those that need neither the model nor the session opened again. */
static const char *const settable[] = {
    "temp", "top-k", "top-p", "min-p", "typical", "repeat-penalty", "frequency-penalty", "presence-penalty", "repeat-last-n", "seed", "greedy",
    "n-predict", "ignore-eos", "thinking", "effort", "reasoning-budget", "cycle-break", NULL,
};

/* Cuts the first word off *s; a word in double quotes may hold blanks. */
static char *word(char **s)
{
    char *p = *s + strspn(*s, " \t"), *end;

    if (*p == '"') end = strchr(++p, '"') ? strchr(p, '"') : p + strlen(p);
    else end = p + strcspn(p, " \t");
    *s = *end ? end + 1 : end;
    *end = '\0';
    *s += strspn(*s, " \t");
    return p;
}

/* A copy that lives as long as the chat. */
static char *keep(chat *c, const char *text)
{
    char *copy = strdup(text), **more = realloc(c->kept, (c->n_kept + 1) * sizeof *more);

    if (copy == NULL || more == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory");
    c->kept = more;
    return c->kept[c->n_kept++] = copy;
}

static void do_clear(chat *c, char *args)
{
    bool system = c->t.c && c->o->system_text;
    llm_error err;

    (void)args;
    chat_back(c, 0);
    free(c->attached), c->attached = NULL, c->n_attached = 0;
    if (system && talk_set_system(&c->t, c->o->system_text, &err) != LLM_OK) chat_say(c, "%s", err.text);
    chat_say(c, "The conversation is empty.");
}

static bool is_settable(const char *name)
{
    for (const char *const *s = settable; *s; s++)
        if (strcmp(*s, name) == 0) return true;
    return false;
}

/* Is text one of the words of "a|b|c"? Anything is where there are none. */
static bool is_choice(const char *words, const char *text)
{
    size_t n = strlen(text);

    if (words == NULL || strchr(words, '|') == NULL) return true;
    for (const char *p = words; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, text, n) == 0 && (p[n] == '|' || p[n] == '\0') && n > 0) return true;
    return false;
}

static void set_system(chat *c, const char *text)
{
    llm_error err;

    if (talk_set_system(&c->t, *text ? text : NULL, &err) != LLM_OK) { chat_say(c, "%s", err.text); return; }
    c->o->system_text = *text ? keep(c, text) : NULL;
    chat_say(c, *text ? "The system message is set." : "There is no system message now.");
}

/* What the model recommends for a setting that is left alone; "" where nothing is known. */
static void usual_value(const chat *c, const char *name, char *out, size_t cap)
{
    llm_sampler_options s = { .size = sizeof s };

    *out = '\0';
    llm_sampler_defaults(c->t.m, &s);
    if (strcmp(name, "temp") == 0) snprintf(out, cap, "%g", (double)s.temperature);
    if (strcmp(name, "top-k") == 0) snprintf(out, cap, "%d", s.top_k);
    if (strcmp(name, "top-p") == 0) snprintf(out, cap, "%g", (double)s.top_p);
    if (strcmp(name, "min-p") == 0) snprintf(out, cap, "%g", (double)s.min_p);
}

static void show_settings(const chat *c)
{
    for (const char *const *s = settable; *s; s++) {
        char value[80], usual[32];
        const opt_row *r = opt_find(&run_table, *s);
        if (r == NULL) continue;
        opt_value(r, value, sizeof value);
        usual_value(c, *s, usual, sizeof usual);
        if (value[0] == '-' || (strstr(*s, "penalty") && strcmp(value, "0") == 0))
            snprintf(value, sizeof value, "(%s)", *usual ? usual : "default");
        printf("  %-20s %-12s %s\n", *s, value, r->help);
    }
    printf("  %-20s %s\n  Values in brackets are the model's own.\n", "system", c->o->system_text ? c->o->system_text : "(default)");
    fflush(stdout);
}

static void do_set(chat *c, char *args)
{
    char *name = word(&args), why[400];
    const opt_row *r;
    llm_error err;

    if (*name == '\0') { show_settings(c); return; }
    if (strcmp(name, "system") == 0) { set_system(c, args); return; }
    r = opt_find(&run_table, name);
    if (r == NULL || !is_settable(r->name)) { chat_say(c, "/set: no setting is called %s; /set alone lists them", name); return; }
    if (!is_choice(r->arg, args)) { chat_say(c, "/set %s: got '%s', want %s", name, args, r->arg); return; }
    if (!opt_set(&run_table, name, *args ? keep(c, args) : NULL, why, sizeof why)) { chat_say(c, "%s", why); return; }
    if (talk_update(&c->t, &err) != LLM_OK) chat_say(c, "%s", err.text);
    if (strcmp(r->name, "effort") == 0 && !c->t.info.has_effort) chat_say(c, "(this model has no efforts of reasoning)");
    if (strcmp(r->name, "thinking") == 0) chat_reshow(c);
    opt_value(r, why, sizeof why);
    chat_say(c, "%s is %s.", r->name, why);
}

/* ---- /show ---- */

static void show_messages(chat *c)
{
    if (c->t.c == NULL) { chat_say(c, "plain completion: %zu tokens so far", c->t.n_text); return; }
    for (size_t i = 0, n = llm_chat_count(c->t.c); i < n; i++) {
        const char *text, *role, *content, *thought;
        size_t len;
        llm_error err;
        json_t *m;
        if (llm_chat_get(c->t.c, i, &text, &len, &err) != LLM_OK || (m = json_loadb(text, len, 0, NULL)) == NULL) continue;
        role = json_string_value(json_object_get(m, "role"));
        content = json_string_value(json_object_get(m, "content"));
        thought = json_string_value(json_object_get(m, "reasoning_content"));
        printf("%s: %s\n", role ? role : "?", content ? content : "");
        if (thought && *thought) chat_say(c, "  (with %zu bytes of reasoning)", strlen(thought));
        if (json_object_get(m, "tool_calls")) {
            char *calls = json_dumps(json_object_get(m, "tool_calls"), JSON_COMPACT);
            printf("  calls: %s\n", calls ? calls : "?");
            free(calls);
        }
        json_decref(m);
    }
    fflush(stdout);
}

/* What the model is given, control tokens as their spelling. */
static void show_rendered(chat *c)
{
    llm_token *ids;
    size_t n;
    llm_error err;

    if (talk_prompt(&c->t, &ids, &n, &err) != LLM_OK) { chat_say(c, "%s", err.text); return; }
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *b = llm_token_bytes(c->t.m, ids[i], &len);
        fwrite(b, 1, len, stdout);
    }
    chat_say(c, "\n(%zu tokens)", n);
    free(ids);
}

static void do_show(chat *c, char *args)
{
    llm_model_info info = { .size = sizeof info };
    char *what = word(&args);

    if (strcmp(what, "messages") == 0) { show_messages(c); return; }
    if (strcmp(what, "prompt") == 0) { show_rendered(c); return; }
    if (strcmp(what, "system") == 0) { printf("%s\n", c->o->system_text ? c->o->system_text : "(none)"); return; }
    if (*what && strcmp(what, "settings") != 0) { chat_say(c, "/show: got '%s', want messages, prompt, system or settings", what); return; }
    llm_model_get_info(c->t.m, &info);
    printf("  %-20s %s\n  %-20s %s, %d layers, %.3g billion parameters, %.2f GB of weights\n  %-20s %d\n", "model", c->o->choice.path, "family", info.arch,
           info.n_layer, (double)info.n_param / 1e9, (double)info.weight_bytes / 1e9, "trained context", info.n_ctx_train);
    if (c->t.s) printf("  %-20s %d\n", "context", llm_session_n_ctx(c->t.s));
    printf("  %-20s %s%s\n", "chat format", c->t.c == NULL ? "none (plain completion)" : c->t.info.format ? c->t.info.format : c->t.info.family,
           c->t.c && c->t.info.has_template ? ", by the model's own template" : "");
    show_settings(c);
}

/* ---- files ---- */

static void do_save(chat *c, char *args)
{
    char *path = word(&args);
    llm_error err;

    if (*path == '\0') chat_say(c, "/save needs a FILE");
    else if (talk_save_file(&c->t, path, &err) != LLM_OK) chat_say(c, "%s", err.text);
    else chat_say(c, "%s has the conversation.", path);
}

static void do_load(chat *c, char *args)
{
    char *path = word(&args);
    llm_error err;

    if (*path == '\0') chat_say(c, "/load needs a FILE");
    else if (talk_load_file(&c->t, path, &err) != LLM_OK) chat_say(c, "%s", err.text);
    else chat_say(c, "%zu messages.", llm_chat_count(c->t.c));
}

static void do_read(chat *c, char *args)
{
    char *path = word(&args), *text;
    size_t len, n;
    llm_error err;

    if (*path == '\0') { chat_say(c, "/read needs a FILE"); return; }
    if ((text = text_file_read(path, &len, &err)) == NULL) { chat_say(c, "%s", err.text); return; }
    if (memchr(text, '\0', len)) { chat_say(c, "%s: not a text, it has NUL bytes", path); free(text); return; }
    if (llm_tokenize(c->t.m, text, len, 0, NULL, 0, &n, &err) != LLM_OK) { chat_say(c, "%s", err.text); free(text); return; }
    if (c->t.s && n > (size_t)llm_session_n_ctx(c->t.s)) {
        chat_say(c, "%s has %zu tokens and the context holds %d; -c gives a larger one", path, n, llm_session_n_ctx(c->t.s));
        free(text);
        return;
    }
    free(c->attached);
    c->attached = text, c->n_attached = len;
    if (*args) chat_user(c, args);
    else chat_say(c, "%s: %zu bytes, %zu tokens. It goes before your next message.", path, len, n);
}

/* ---- turns ---- */

/* Number of messages up to the last of the user. */
static size_t last_user(chat *c)
{
    const char *text, *role;
    size_t len, n = llm_chat_count(c->t.c);
    llm_error err;

    for (; n > 0; n--) {
        json_t *m;
        bool is_user;
        if (llm_chat_get(c->t.c, n - 1, &text, &len, &err) != LLM_OK || (m = json_loadb(text, len, 0, NULL)) == NULL) return 0;
        role = json_string_value(json_object_get(m, "role"));
        is_user = role && strcmp(role, "user") == 0;
        json_decref(m);
        if (is_user) break;
    }
    return n;
}

static void do_regen(chat *c, char *args)
{
    size_t mark = c->t.c ? last_user(c) : c->t.n_text - (c->t.n_text >= c->t.n_made ? c->t.n_made : 0);

    (void)args;
    if (mark == 0 || c->last.n_prompt == 0) { chat_say(c, "There is nothing to answer again."); return; }
    chat_back(c, mark);
    c->n_again++;
    if (!chat_answer(c)) chat_say(c, "The last message has no answer now; /regen tries again.");
}

static void switch_thinking(chat *c, bool on)
{
    llm_error err;

    c->o->think = on, c->o->no_think = !on;
    if (talk_update(&c->t, &err) != LLM_OK) chat_say(c, "%s", err.text);
    else if (!c->t.info.can_switch_thinking) chat_say(c, "This model's thinking cannot be switched on or off.");
    else chat_say(c, on ? "The model thinks before it answers." : "The model answers without thinking.");
}

static void do_think(chat *c, char *args) { (void)args, switch_thinking(c, true); }
static void do_nothink(chat *c, char *args) { (void)args, switch_thinking(c, false); }
static void do_bye(chat *c, char *args) { (void)args, c->over = true; }

static void do_tokens(chat *c, char *args)
{
    size_t n;
    llm_error err;

    if (*args) {
        if (llm_tokenize(c->t.m, args, strlen(args), 0, NULL, 0, &n, &err) != LLM_OK) chat_say(c, "%s", err.text);
        else printf("%zu tokens\n", n);
        return;
    }
    if (c->t.s) printf("context: %d of %d tokens\n", llm_session_length(c->t.s, 0), llm_session_n_ctx(c->t.s));
    else printf("context: nothing computed yet\n");
    if (c->last.n_prompt > 0) printf("last turn: "), show_timings(stdout, &c->last);
    printf("all turns: reasoning %zu, answer %zu tokens\n", c->total_reasoning, c->total_answer);
    fflush(stdout);
}

static void do_help(chat *c, char *args);

static const command commands[] = {
    { "help", "", "this list", do_help },
    { "clear", "", "forget the conversation", do_clear },
    { "set", "[NAME VALUE]", "the settings, or change one: /set temp 0.7, /set system TEXT", do_set },
    { "show", "[messages|prompt|system]", "the model and the settings, or what was said", do_show },
    { "save", "FILE", "write the conversation to FILE", do_save },
    { "load", "FILE", "go on with the conversation in FILE", do_load },
    { "regen", "", "answer the last message again, with the next seed", do_regen },
    { "read", "FILE [TEXT]", "put a text file before TEXT, or before the next message", do_read },
    { "think", "", "let the model think first, where it can", do_think },
    { "nothink", "", "no thinking, where the model can", do_nothink },
    { "tokens", "[TEXT]", "how full the context is, or how many tokens TEXT has", do_tokens },
    { "bye", "", "leave", do_bye },
    { "exit", "", NULL, do_bye },
    { "quit", "", NULL, do_bye },
    { "?", "", NULL, do_help },
    { NULL, NULL, NULL, NULL },
};

static void do_help(chat *c, char *args)
{
    (void)args;
    for (const command *k = commands; k->name; k++) {
        char left[40];
        if (k->help == NULL) continue;
        snprintf(left, sizeof left, "/%s %s", k->name, k->args);
        printf("  %-26s %s\n", left, k->help);
    }
    printf("  %-26s %s\n", "\"\"\"", "begins and ends a text of several lines; or end a line with \\, or Alt-Enter");
    printf("  %-26s %s\n", "Ctrl-C, Ctrl-D", "stop the answer; leave");
    chat_say(c, "  A message that begins with / is sent with a blank in front; a line with a blank in front is not kept in the history.");
}

const char *const chat_command_words[] = {
    "/help", "/clear", "/set", "/show", "/save", "/load", "/regen", "/read", "/think", "/nothink", "/tokens", "/bye", NULL,
};

void chat_command(chat *c, char *line)
{
    char *args = line + 1, *name = word(&args);

    for (const command *k = commands; k->name; k++)
        if (strcmp(k->name, name) == 0) { k->run(c, args); return; }
    chat_say(c, "There is no command /%s; /help lists them. A message that begins with / is sent with a blank in front.", name);
}
