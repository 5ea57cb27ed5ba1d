/* run.h - what the parts of llm-run share: its options, and one function per part.
 *
 * llm-run.c holds the option table and main; run_once.c a prompt from the command line, a file or a pipe; turn.c computes a prompt and
 * writes an answer; sampling.c turns options into a sampler. */
#ifndef RUN_H
#define RUN_H
#include "answer.h"
#include "common.h"
#include "options.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    model_choice choice;
    const char *prompt_text, *prompt_file, *system_text, *chat_name, *effort, *kv_type, *save_path, *restore_path;
    int n_predict, n_ctx, n_batch, top_k, last_n;
    float temperature, top_p, min_p, typical_p, repeat_penalty, frequency_penalty, presence_penalty;  /* below 0 (penalties: 0): the model's */
    uint64_t seed;
    const char *manifest;
    bool list, verify;
    bool raw, show_tokens, show_prompt, quiet, greedy, ignore_end, think, no_think, show_thinking, trusted;
    opt_list stops, biases;
} run_options;

extern const opt_table run_table;           /* llm-run.c; for opt_fail */

/* run_once.c. Answers one prompt; the exit code. started: tool_seconds() when the program began. */
int run_once(const run_options *o, llm_model *m, double started);

/* turn.c */
extern volatile sig_atomic_t run_interrupted;   /* Ctrl-C presses since run_catch_interrupt */
void run_catch_interrupt(void);             /* the first Ctrl-C is counted, the second ends the program */
typedef struct { double load, prompt, answer; size_t n_prompt, n_answer; } run_timings;
llm_session *run_open_session(const run_options *o, llm_model *m);
/* Computes ids in pieces, so that Ctrl-C is heard and a terminal sees how far it is. */
void run_prompt(const run_options *o, llm_session *s, const llm_token *ids, size_t n);

/* Writes the answer to a. True when it ended because the context is full. */
bool run_generate(const run_options *o, const llm_model *m, llm_session *s, llm_sampler *p, answer *a, run_timings *t);

/* sampling.c. A sampler of the options over the model's defaults; dies on failure. */
llm_sampler *run_open_sampler(const run_options *o, const llm_model *m);
#endif
