/* reply.h - a model's output as it streams, for llm_reply of llm.h: events, counts, the finished message. */
#ifndef LLM_REPLY_H
#define LLM_REPLY_H
#include "chat_model.h"

/* opt is checked: its family is NULL or known to chat_family_find. */
llm_status reply_open(llm_reply **out, const chat_model *m, const llm_reply_options *opt, llm_error *err);
void reply_close(llm_reply *r);
llm_token reply_forced(const llm_reply *r);
llm_status reply_push(llm_reply *r, llm_token t, const llm_event **ev, size_t *n_ev, llm_over *over, llm_error *err);
llm_status reply_finish(llm_reply *r, const llm_event **ev, size_t *n_ev, llm_error *err);
llm_status reply_message(llm_reply *r, const char **json, size_t *len, llm_error *err);
void reply_stats(const llm_reply *r, llm_reply_stats *stats);
#endif
