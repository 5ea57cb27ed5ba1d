/* reply_control.h - keeps a reply within its bounds: the budget of its reasoning, and token cycles. Deterministic: what is forced
 * depends on the tokens alone. */
#ifndef LLM_REPLY_CONTROL_H
#define LLM_REPLY_CONTROL_H
#include "chat_model.h"

enum { CYCLE_MAX = 512, CYCLE_LEAST = 64 };     /* longest cycle looked for; fewest tokens that its repetitions must make up */

typedef struct {
    llm_token *id;
    size_t n;
} id_list;

typedef struct {
    id_list close, nudge, nudge_line;   /* ends the reasoning; words that lead there, within a line and at its begin */
    const id_list *forced;              /* what is being forced from at on, or NULL */
    size_t at;
    int budget;                         /* -1: none at all, 0: no limit */
    bool nudged, spent, closed;         /* closed: the reasoning was ended once; a cycle after that ends the reply */
    int repeats;                        /* 0: cycles are not looked for */
    llm_token last[CYCLE_MAX];          /* ring of the last tokens */
    uint32_t run[CYCLE_MAX + 1];        /* by length of a cycle: tokens in a row that equal the one a cycle before */
    size_t n_seen, cycle;               /* cycle: length of the one that was broken */
} reply_control;

/* tight: the format has no line breaks around the reasoning. */
llm_status control_open(reply_control *c, const llm_tokenizer *t, convo_family family, bool tight, int budget, bool nudge, int repeats, llm_error *err);
void control_close(reply_control *c);
llm_token control_forced(const reply_control *c);               /* or -1 */
bool control_closing(const reply_control *c);                   /* the reasoning is being ended */
/* A token came (that which was forced, where one was); true: a cycle is complete. */
bool control_push(reply_control *c, llm_token t);
/* reasoning: the next token would be reasoning; n: tokens of it so far; line: the last ended a line. */
void control_watch(reply_control *c, bool reasoning, size_t n, bool line);
void control_end_reasoning(reply_control *c);
#endif
