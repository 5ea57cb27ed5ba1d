/* talk.h - a conversation under way: model, session, history, and where the answers go. */
#ifndef TALK_H
#define TALK_H
#include "progress.h"
#include "run.h"
#include "show.h"
#include <jansson.h>

typedef struct {
    run_options *o;
    llm_model *m;
    llm_session *s;                     /* NULL until there is something to compute */
    llm_chat *c;                        /* NULL: plain completion, and the text is in text[] */
    show *out;
    llm_chat_info info;
    llm_token *text;                    /* [n_text] plain completion: prompts and answers so far; else what a restored session held */
    size_t n_text, cap_text;
    llm_token *made;                    /* [n_made] what the model wrote in the last turn, ends included */
    size_t n_made, cap_made;
    llm_token *prompt;                  /* [n_prompt] what it followed */
    size_t n_prompt;
    uint64_t seed;                      /* of the last turn */
    bool roomy;                         /* a chat: more context than one answer needs, where there is memory for it */
    double load;                        /* seconds until the first turn; 0 afterwards */
} talk;

/* --date, or today. */
void talk_date(const run_options *o, char date[16]);
/* Dies on failure. */
void talk_open(talk *t, run_options *o, llm_model *m, show *out);
void talk_close(talk *t);
/* The options that the conversation itself depends on (effort, thinking, date) are taken over again. */
llm_status talk_update(talk *t, llm_error *err);
/* Puts the system text in front, or replaces or (NULL) removes it. */
llm_status talk_set_system(talk *t, const char *text, llm_error *err);
/* Appends what the user says; may be any bytes (in a conversation wrong UTF-8 is an error). */
llm_status talk_user(talk *t, const char *text, size_t len, llm_error *err);
/* The tool calls of the last message, a list to be released, or NULL; and what the tool of one of them says. */
json_t *talk_calls(talk *t);
llm_status talk_result(talk *t, const json_t *call, const char *text, llm_error *err);
/* Tokens that the next turn begins with; *ids malloc'ed. */
llm_status talk_prompt(talk *t, llm_token **ids, size_t *n, llm_error *err);
/* Writes the conversation as JSON, to a temporary name that is then renamed; and reads one in place of this. */
llm_status talk_save_file(talk *t, const char *path, llm_error *err);
llm_status talk_load_file(talk *t, const char *path, llm_error *err);
/* One turn: computes what is new of the prompt, and answers. On failure (CONTEXT: too long, CANCELLED: Ctrl-C before the answer) the
 * conversation is as before the turn. */
llm_status talk_turn(talk *t, uint64_t seed, turn_result *r, llm_error *err);
/* The same for t->prompt [n_prompt] as it is. */
llm_status talk_compute(talk *t, uint64_t seed, turn_result *r, llm_error *err);
/* A session for n_prompt tokens: -c, or the default, made larger where the prompt and an answer need it and the model can. */
llm_status talk_session(talk *t, size_t n_prompt, llm_error *err);

/* --thinking and its short forms; usual where none is given. */
think_mode run_think_mode(const run_options *o, think_mode usual);

/* turn.c: the answer that follows prompt [n] in t->s, whose last logits are at hand. Fills stats, finish and t->made. reply as the
 * caller opened it. */
llm_status turn_answer(talk *t, llm_reply *reply, uint64_t seed, turn_result *r, llm_error *err);
/* Computes ids [n] with a progress bar; CANCELLED where Ctrl-C was pressed. */
llm_status turn_prompt(talk *t, const llm_token *ids, size_t n, llm_error *err);
/* How t's answers are read: for llm_reply_options.family. */
const char *turn_family(const talk *t);
int turn_cycle(const talk *t);          /* repetitions that end an answer; 0: none do */
llm_status turn_reply(talk *t, llm_reply **reply, llm_error *err);
#endif
