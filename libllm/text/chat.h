/* chat.h - conversations as tokens, for the families' published chat formats. */
#ifndef LLM_CHAT_H
#define LLM_CHAT_H
#include "tokenizer.h"

/* Name of the format that the vocabulary's control tokens and the model's template point to, or NULL. */
const char *chat_format(const llm_tokenizer *t, llm_meta *m);

/* As llm_chat_render in llm.h. meta may be NULL (no template to look at). */
llm_status chat_render(const llm_tokenizer *t, llm_meta *meta, const llm_chat_message *msg, size_t n_msg, const llm_chat_options *opt,
                       llm_token *out, size_t cap, size_t *n, llm_error *err);
#endif
