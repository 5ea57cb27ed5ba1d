/* chat_template.h - conversations rendered by a model's own chat template, as text and as tokens. */
#ifndef LLM_CHAT_TEMPLATE_H
#define LLM_CHAT_TEMPLATE_H
#include "chat_model.h"

/* Renders vars ("messages" ...). Where the template refuses or drops a system message in front, the text of that message goes
 * before the text of the first user message, a newline between them. vars is not changed. */
llm_status chat_template_text(const llm_template *t, const json_t *vars, const template_options *opt, template_output *out, llm_error *err);
/* Tokens of a rendered text: control tokens only in what the template wrote. BOS in front where the tokenizer adds one and the
 * template did not. */
llm_status chat_template_tokens(const llm_tokenizer *t, const template_output *text, llm_token *out, size_t cap, size_t *n, llm_error *err);
/* The text of the object request, by the model's template for it (one for tools where there are tools); add_generation_prompt is true
 * unless given. */
llm_status chat_template_request(const chat_model *m, const json_t *request, const char *now, template_output *out, llm_error *err);
/* As llm_chat_render_json in llm.h, of the object request. */
llm_status chat_template_render(const chat_model *m, const json_t *request, const char *now,
                                llm_token *out, size_t cap, size_t *n, llm_error *err);
/* As llm_chat_render in llm.h, by the model's own template. */
llm_status chat_template_messages(const chat_model *m, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                                  llm_token *out, size_t cap, size_t *n, llm_error *err);
#endif
