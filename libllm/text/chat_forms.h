/* chat_forms.h - messages as an application writes them, turned into what a template, or gpt-oss's format, takes. */
#ifndef LLM_CHAT_FORMS_H
#define LLM_CHAT_FORMS_H
#include "chat_model.h"

/* How a template wants assistant messages with tool calls. text_apart: a call beside a text would be left out, so the text goes before
 * it as a message of its own. */
typedef struct { bool arguments_as_text, content_as_text, text_apart; } call_form;

/* Tried with a call of its own; the first form that shows name and arguments. */
llm_status call_form_find(call_form *f, const chat_model *m, const json_t *tools, const char *now, llm_error *err);
/* A copy of the messages in that form; harmony: reasoning goes by "thinking". NULL: out of memory. */
json_t *messages_in_form(const json_t *messages, const call_form *f, bool harmony);

/* Are there tools, calls, or harmony's own fields, so that only harmony's own rendering says all of this conversation? */
bool needs_harmony(const json_t *request);
/* The conversation for harmony_render: system and developer content, tools, channels, recipients. NULL: out of memory. */
json_t *harmony_conversation(const json_t *request, const char *effort, const char *date);
#endif
