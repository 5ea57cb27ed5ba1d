/* chat.h - conversations as tokens, for the families' published chat formats. */
#ifndef LLM_CHAT_H
#define LLM_CHAT_H
#include "chat_model.h"

/* Name of the format that the vocabulary's control tokens and the model's template (NULL: it has none) point to, or NULL. */
const char *chat_format(const llm_tokenizer *t, const char *template_text);

/* As llm_chat_render in llm.h. */
llm_status chat_render(const chat_model *m, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                       llm_token *out, size_t cap, size_t *n, llm_error *err);
#endif
