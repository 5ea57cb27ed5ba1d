/* answer.h - turns the tokens of an answer into text on a stream: thinking set apart, stop strings held back. */
#ifndef TOOL_ANSWER_H
#define TOOL_ANSWER_H
#include "llm.h"
#include <stdbool.h>
#include <stdio.h>

typedef struct answer answer;
typedef struct {
    FILE *out, *thinking;               /* thinking NULL: not shown */
    const char *const *stop;            /* [n_stop] the answer ends before the first of these */
    size_t n_stop;
    bool harmony;                       /* gpt-oss channels: only final is the answer */
} answer_options;

answer *answer_open(const llm_model *m, const answer_options *opt);
/* Writes what t makes certain. True: a stop string was reached and the answer is over. */
bool answer_push(answer *a, llm_token t);
/* Writes what was held back, and frees. */
void answer_close(answer *a);
#endif
