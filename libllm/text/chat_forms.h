/* chat_forms.h - messages as an application writes them, turned into what a template, or gpt-oss's format, takes. */
#ifndef LLM_CHAT_FORMS_H
#define LLM_CHAT_FORMS_H
#include "chat_model.h"

/* How a template wants assistant messages with tool calls. */
typedef struct { bool arguments_as_text, content_as_text; } call_form;

/* Tried with a call of its own; the first form that shows name and arguments. */
llm_status call_form_find(call_form *f, const chat_model *m, const json_t *tools, const char *now, llm_error *err);
/* A copy of the messages in that form; harmony: reasoning goes by "thinking". NULL: out of memory. */
json_t *messages_in_form(const json_t *messages, const call_form *f, bool harmony);

/* Can only harmony's own rendering say these messages? */
bool messages_need_harmony(const json_t *messages);
/* The conversation for harmony_render: system and developer content, tools, channels, recipients. NULL: out of memory. */
json_t *harmony_conversation(const json_t *request, const char *effort, const char *date);
#endif
