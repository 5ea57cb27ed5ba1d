/* chat_model.h - what is known of a model's chat when it is opened: its templates, parsed once, and how its output is read.
 * Immutable; any number of threads may share it. */
#ifndef LLM_CHAT_MODEL_H
#define LLM_CHAT_MODEL_H
#include "convo.h"
#include "template.h"
#include "tokenizer.h"

typedef struct {
    const char *text;                   /* owned by the metadata; NULL: the model has none */
    llm_template *parsed;               /* NULL where it cannot be parsed: why says it */
    llm_error why;
} chat_own_template;

typedef struct chat_model {
    const llm_tokenizer *tokenizer;
    chat_own_template plain, tools;     /* tools: the one named "tool_use" */
    const char *format;                 /* built-in format, or NULL */
    convo_family family;
} chat_model;

/* m may be NULL (a tokenizer on its own). A template that cannot be parsed is no failure here, it is one when it is used. */
llm_status chat_model_open(chat_model **out, const llm_tokenizer *t, llm_meta *m, llm_error *err);
/* The same of two templates, either of which may be NULL; they must outlive it. */
llm_status chat_model_make(chat_model **out, const llm_tokenizer *t, const char *plain, const char *tools, llm_error *err);
void chat_model_close(chat_model *c);

/* The template for a conversation: that for tools where it has some and the model has one. */
const chat_own_template *chat_model_template(const chat_model *c, const json_t *request);
/* The family whose parser reads what a model with this template (NULL: none) writes. */
convo_family chat_family(const llm_tokenizer *t, const char *template_text);
const char *chat_family_name(convo_family f);                       /* "harmony", "qwen", "deepseek", "gemma", "plain" */
bool chat_family_find(const char *name, convo_family *f);           /* of such a name */
#endif
