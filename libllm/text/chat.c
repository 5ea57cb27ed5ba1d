/* A format is a row of texts. Inside them \1 switches between plain text and the spelling of a control
 * token: "\1<|im_start|>\1user\n" is one control token followed by text. Adjacent texts are joined before
 * they are tokenized, as the reference tokenizers do; message texts are always plain.
 *
 * Sources: openai/harmony docs/format.md; the chat templates published with Qwen, Gemma, DeepSeek and Llama models. */
#include "chat.h"
#include "chat_template.h"
#include <stdlib.h>
#include <string.h>

#define C(token) "\1" token "\1"
#define DS(word) C("<\xef\xbd\x9c" word "\xef\xbd\x9c>")                          /* full-width bars */
#define DS_BOS DS("begin\xe2\x96\x81of\xe2\x96\x81sentence")
#define DS_EOS DS("end\xe2\x96\x81of\xe2\x96\x81sentence")

typedef struct {
    const char *name;
    const char *mark[2];                /* control tokens it needs, or NULL */
    const char *in_template;            /* text by which the model's template is known to mean it; a model without a template has no format */
    const char *begin;
    const char *system[2], *user[2], *assistant[2];     /* before and after the text; system[0] NULL: put in front of the first user text */
    const char *generate, *think_on, *think_off;        /* what follows generate with thinking forced on or off */
    bool trim;
} chat_format_row;

static const chat_format_row formats[] = {
    { "harmony", { "<|start|>", "<|channel|>" }, "<|channel|>", "",
      { C("<|start|>") "developer" C("<|message|>") "# Instructions\n\n", C("<|end|>") },
      { C("<|start|>") "user" C("<|message|>"), C("<|end|>") },
      { C("<|start|>") "assistant" C("<|channel|>") "final" C("<|message|>"), C("<|end|>") },
      C("<|start|>") "assistant", "", "", false },
    { "chatml", { "<|im_start|>", "<|im_end|>" }, "<|im_start|>", "",
      { C("<|im_start|>") "system\n", C("<|im_end|>") "\n" }, { C("<|im_start|>") "user\n", C("<|im_end|>") "\n" },
      { C("<|im_start|>") "assistant\n", C("<|im_end|>") "\n" },
      C("<|im_start|>") "assistant\n", "", "<think>\n\n</think>\n\n", false },
    { "gemma", { "<start_of_turn>", "<end_of_turn>" }, "<start_of_turn>", C("<bos>"),
      { NULL, "\n\n" }, { C("<start_of_turn>") "user\n", C("<end_of_turn>") "\n" },
      { C("<start_of_turn>") "model\n", C("<end_of_turn>") "\n" }, C("<start_of_turn>") "model\n", "", "", true },
    { "llama3", { "<|start_header_id|>", "<|eot_id|>" }, "<|start_header_id|>", C("<|begin_of_text|>"),
      { C("<|start_header_id|>") "system" C("<|end_header_id|>") "\n\n", C("<|eot_id|>") },
      { C("<|start_header_id|>") "user" C("<|end_header_id|>") "\n\n", C("<|eot_id|>") },
      { C("<|start_header_id|>") "assistant" C("<|end_header_id|>") "\n\n", C("<|eot_id|>") },
      C("<|start_header_id|>") "assistant" C("<|end_header_id|>") "\n\n", "", "", true },
    { "deepseek", { "<\xef\xbd\x9cUser\xef\xbd\x9c>", "<\xef\xbd\x9c" "Assistant\xef\xbd\x9c>" }, "Assistant\xef\xbd\x9c>", DS_BOS,
      { "", "" }, { DS("User"), "" }, { DS("Assistant"), DS_EOS }, DS("Assistant"), "<think>\n", "<think>\n\n</think>\n\n", false },
    { "deepseek-llm", { "<\xef\xbd\x9c" "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", NULL }, "'Assistant:'", DS_BOS,
      { "", "\n\n" }, { "User: ", "\n\n" }, { "Assistant: ", DS_EOS }, "Assistant:", "", "", false },
    { "llama2", { NULL, NULL }, "[INST]", C("<s>"),
      { NULL, "" }, { "[INST] ", " [/INST]" }, { " ", " " C("</s>") C("<s>") }, "", "", "", true },
};
enum { N_FORMAT = sizeof formats / sizeof formats[0] };

static bool has_token(const llm_tokenizer *t, const char *text)
{
    return text && tokenizer_find(t, text, strlen(text)) >= 0;
}

static const chat_format_row *format_of(const llm_tokenizer *t, const char *text)
{
    for (int i = 0; i < N_FORMAT; i++) {
        const chat_format_row *f = &formats[i];
        bool tokens = (f->mark[0] == NULL || has_token(t, f->mark[0])) && (f->mark[1] == NULL || has_token(t, f->mark[1]));
        if (tokens && text && strstr(text, f->in_template)) return f;
    }
    return NULL;
}

const char *chat_format(const llm_tokenizer *t, const char *template_text)
{
    const chat_format_row *f = format_of(t, template_text);
    return f ? f->name : NULL;
}

/* The conversation as it is put together: a run of plain text waiting to be tokenized, and the ids so far. */
typedef struct {
    const llm_tokenizer *t;
    char *run;
    size_t run_len, run_cap;
    llm_token *out;
    size_t cap, n;
    llm_status status;
    llm_error *err;
} builder;

static void put_text(builder *b, const char *text, size_t len)
{
    if (b->status != LLM_OK || len == 0) return;
    if (len > b->run_cap - b->run_len) {
        size_t cap = b->run_cap ? b->run_cap : 1024;
        char *more;
        while (cap - b->run_len < len) cap *= 2;
        more = realloc(b->run, cap);
        if (more == NULL) { b->status = llm_fail_memory(b->err, cap, "a conversation"); return; }
        b->run = more, b->run_cap = cap;
    }
    memcpy(b->run + b->run_len, text, len);
    b->run_len += len;
}

static void flush(builder *b)
{
    size_t room = b->n < b->cap ? b->cap - b->n : 0, n = 0;

    if (b->status != LLM_OK || b->run_len == 0) return;
    b->status = tokenizer_encode(b->t, b->run, b->run_len, 0, room ? b->out + b->n : NULL, room, &n, b->err);
    b->n += n, b->run_len = 0;
}

static void put_control(builder *b, const char *text, size_t len)
{
    llm_token id = tokenizer_find(b->t, text, len);

    flush(b);
    if (b->status != LLM_OK) return;
    if (id < 0) {
        b->status = llm_fail(b->err, LLM_ERR_UNSUPPORTED, "chat format: the vocabulary has no token '%.*s'", (int)len, text);
        return;
    }
    if (b->n < b->cap) b->out[b->n] = id;
    b->n++;
}

static void put_markup(builder *b, const char *s)
{
    for (bool control = false; *s; control = !control) {
        size_t len = strcspn(s, "\1");
        if (control) put_control(b, s, len); else put_text(b, s, len);
        s += len;
        if (*s == '\1') s++;
    }
}

static void put_message(builder *b, const chat_format_row *f, const char *text)
{
    size_t len = strlen(text);

    while (f->trim && len > 0 && strchr(" \t\r\n", text[len - 1])) len--;
    while (f->trim && len > 0 && strchr(" \t\r\n", *text)) text++, len--;
    put_text(b, text, len);
}

/* gpt-oss begins with a system message of its own (harmony docs/format.md, "System Message"). */
static void put_harmony_system(builder *b, const llm_chat_options *opt)
{
    put_markup(b, C("<|start|>") "system" C("<|message|>")
                  "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n");
    if (opt->date) put_text(b, "Current date: ", 14), put_text(b, opt->date, strlen(opt->date)), put_text(b, "\n", 1);
    put_text(b, "\nReasoning: ", 12);
    put_text(b, opt->effort ? opt->effort : "medium", strlen(opt->effort ? opt->effort : "medium"));
    put_markup(b, "\n\n# Valid channels: analysis, commentary, final. Channel must be included for every message." C("<|end|>"));
}

static const char *default_system(const chat_format_row *f, const char *text)
{
    if (strcmp(f->name, "chatml") != 0 || text == NULL) return NULL;
    if (strstr(text, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."))
        return "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
    return strstr(text, "You are a helpful assistant.") ? "You are a helpful assistant." : NULL;
}

static llm_status put_messages(builder *b, const chat_format_row *f, const char *template_text, const llm_chat_message *msg, size_t n)
{
    const char *pending = NULL;         /* system text of formats without a system turn */

    if (n == 0 || strcmp(msg[0].role, "system") != 0) {
        const char *text = default_system(f, template_text);
        if (text) put_markup(b, f->system[0]), put_text(b, text, strlen(text)), put_markup(b, f->system[1]);
    }
    for (size_t i = 0; i < n && b->status == LLM_OK; i++) {
        bool system = strcmp(msg[i].role, "system") == 0, user = strcmp(msg[i].role, "user") == 0;
        const char *const *turn = system ? f->system : user ? f->user : f->assistant;
        if (!system && !user && strcmp(msg[i].role, "assistant") != 0)
            return llm_fail(b->err, LLM_ERR_UNSUPPORTED, "chat message %zu: role '%s', want system, user or assistant", i, msg[i].role);
        if (system && f->system[0] == NULL) {
            if (i > 0) return llm_fail(b->err, LLM_ERR_UNSUPPORTED, "chat message %zu: format %s takes a system text first only", i, f->name);
            pending = msg[i].text;
            continue;
        }
        put_markup(b, turn[0]);
        if (user && pending) {
            if (strcmp(f->name, "llama2") == 0) put_text(b, "<<SYS>>\n", 8);
            put_message(b, f, pending);
            if (strcmp(f->name, "llama2") == 0) put_text(b, "\n<</SYS>>\n\n", 11);
            put_text(b, f->system[1], strlen(f->system[1]));
            pending = NULL;
        }
        put_message(b, f, msg[i].text);
        put_markup(b, turn[1]);
    }
    return b->status;
}

static const chat_format_row *choose(const chat_model *m, const char *name, llm_error *err)
{
    const chat_format_row *f = name ? NULL : format_of(m->tokenizer, m->plain.text);

    for (int i = 0; name && i < N_FORMAT; i++)
        if (strcmp(formats[i].name, name) == 0) f = &formats[i];
    if (f == NULL && name)
        llm_fail(err, LLM_ERR_UNSUPPORTED, "chat format '%s' is none of harmony, chatml, gemma, llama3, deepseek, deepseek-llm, llama2", name);
    else if (f == NULL)
        llm_fail(err, LLM_ERR_UNSUPPORTED, "this model's vocabulary and template show no known chat format");
    return f;
}

/* The model's own template goes first, unless it asks for a date that nobody gave and a built-in format does not. */
static bool by_template(const chat_model *m, const llm_chat_options *opt, const chat_format_row *f)
{
    const char *own = m->plain.text;
    return own && opt->format == NULL && (f == NULL || opt->date || strstr(own, "strftime_now") == NULL);
}

llm_status chat_render(const chat_model *m, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                       llm_token *out, size_t cap, size_t *n, llm_error *err)
{
    builder b = { .t = m->tokenizer, .out = out, .cap = cap, .err = err };
    const chat_format_row *f = choose(m, opt->format, err);
    int think = opt->think;

    *n = 0;
    if (by_template(m, opt, f)) return chat_template_messages(m, msg, n_msg, opt, out, cap, n, err);
    if (f == NULL) return LLM_ERR_UNSUPPORTED;
    put_markup(&b, f->begin);
    if (strcmp(f->name, "harmony") == 0) put_harmony_system(&b, opt);
    put_messages(&b, f, m->plain.text, msg, n_msg);
    put_markup(&b, f->generate);
    if (think == 0 && strcmp(f->name, "deepseek") == 0 && m->plain.text && strstr(m->plain.text, "Assistant\xef\xbd\x9c><think>\\n")) think = 1;   /* R1 opens it itself */
    put_markup(&b, think > 0 ? f->think_on : think < 0 ? f->think_off : "");
    flush(&b);
    free(b.run);
    *n = b.n;
    return b.status;
}
