#include "chat.h"
#include <stdlib.h>
#include <string.h>

#define ASSISTANT "Assistant\xef\xbd\x9c>"          /* the end of DeepSeek's mark, with its full-width bar */

static bool has_token(const llm_tokenizer *t, const char *text) { return tokenizer_find(t, text, strlen(text)) >= 0; }

convo_family chat_family(const llm_tokenizer *t, const char *text)
{
    static const struct { const char *in_template; convo_family family; } row[] = {
        { "<|channel>", CONVO_GEMMA }, { "<start_of_turn>", CONVO_GEMMA }, { ASSISTANT, CONVO_DEEPSEEK }, { "DSML", CONVO_DEEPSEEK },
        { "<|im_start|>", CONVO_QWEN }, { "<think>", CONVO_QWEN }, { "<tool_call>", CONVO_QWEN },
    };
    bool harmony = has_token(t, "<|start|>") && has_token(t, "<|channel|>") && has_token(t, "<|message|>");

    if (harmony && (text == NULL || strstr(text, "<|channel|>"))) return CONVO_HARMONY;
    for (size_t i = 0; text && i < sizeof row / sizeof row[0]; i++)
        if (strstr(text, row[i].in_template)) return row[i].family;
    return CONVO_PLAIN;
}

static const char *const names[] = {
    [CONVO_HARMONY] = "harmony", [CONVO_QWEN] = "qwen", [CONVO_DEEPSEEK] = "deepseek", [CONVO_GEMMA] = "gemma", [CONVO_PLAIN] = "plain",
};

const char *chat_family_name(convo_family f) { return names[f]; }

bool chat_family_find(const char *name, convo_family *f)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) return *f = (convo_family)i, true;
    return false;
}

static llm_status parse(chat_own_template *own, llm_error *err)
{
    llm_status st;

    if (own->text == NULL) return LLM_OK;
    st = template_parse(&own->parsed, own->text, strlen(own->text), &own->why);
    return st == LLM_ERR_MEMORY ? llm_fail(err, st, "%s", own->why.text) : LLM_OK;
}

/* A template that is there and not empty. */
static const char *text_of(llm_meta *m, const char *gguf, const char *hf)
{
    const char *text;
    return m && meta_str(m, gguf, hf, &text) && *text ? text : NULL;
}

llm_status chat_model_make(chat_model **out, const llm_tokenizer *t, const char *plain, const char *tools, llm_error *err)
{
    chat_model *c = calloc(1, sizeof *c);
    llm_status st;

    *out = NULL;
    if (c == NULL) return llm_fail_memory(err, sizeof *c, "a model's chat");
    c->tokenizer = t;
    c->plain.text = plain ? plain : tools;
    c->tools.text = plain ? tools : NULL;
    c->format = chat_format(t, c->plain.text);
    c->family = chat_family(t, c->plain.text);
    st = parse(&c->plain, err);
    if (st == LLM_OK) st = parse(&c->tools, err);
    if (st != LLM_OK) {
        chat_model_close(c);
        return st;
    }
    *out = c;
    return LLM_OK;
}

llm_status chat_model_open(chat_model **out, const llm_tokenizer *t, llm_meta *m, llm_error *err)
{
    bool named = m && meta_has(m, NULL, "tokenizer:chat_template.default");     /* several: an object by name (meta_chat.c) */

    return chat_model_make(out, t, text_of(m, "tokenizer.chat_template", named ? "tokenizer:chat_template.default" : "tokenizer:chat_template"),
                           text_of(m, "tokenizer.chat_template.tool_use", named ? "tokenizer:chat_template.tool_use" : NULL), err);
}

void chat_model_close(chat_model *c)
{
    if (c == NULL) return;
    template_close(c->plain.parsed), template_close(c->tools.parsed);
    free(c);
}

const chat_own_template *chat_model_template(const chat_model *c, const json_t *request)
{
    const json_t *tools = json_object_get(request, "tools");
    return c->tools.text && tools && !json_is_null(tools) ? &c->tools : &c->plain;
}
