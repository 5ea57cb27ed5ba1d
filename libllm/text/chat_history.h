/* chat_history.h - a conversation as JSON and as tokens, for llm_chat of llm.h. */
#ifndef LLM_CHAT_HISTORY_H
#define LLM_CHAT_HISTORY_H
#include "chat_model.h"

llm_status history_open(llm_chat **out, const chat_model *m, const llm_chat_options *opt, llm_error *err);
void history_close(llm_chat *c);
llm_status history_options(llm_chat *c, const llm_chat_options *opt, llm_error *err);
llm_status history_set(llm_chat *c, const char *key, const char *json, size_t len, llm_error *err);
llm_status history_add(llm_chat *c, const char *json, size_t len, llm_error *err);
llm_status history_add_text(llm_chat *c, const char *role, const char *text, size_t len, llm_error *err);
size_t history_count(const llm_chat *c);
llm_status history_get(llm_chat *c, size_t i, const char **json, size_t *len, llm_error *err);
llm_status history_drop(llm_chat *c, size_t n, llm_error *err);
llm_status history_save(llm_chat *c, const char **json, size_t *len, llm_error *err);
llm_status history_load(llm_chat *c, const char *json, size_t len, llm_error *err);
llm_status history_prompt(llm_chat *c, const llm_token *held, size_t n_held, const llm_token **ids, size_t *n, llm_error *err);
const json_t *history_tools(const llm_chat *c);     /* NULL: none */
convo_family history_family(const llm_chat *c);     /* the model's, or that of the format that was chosen */
#endif
