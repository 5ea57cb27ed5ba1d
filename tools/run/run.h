/* run.h - what the parts of llm-run share: its options, signals, and a conversation under way.
 *
 * llm-run.c        the option table and main
 * run_once.c       one prompt from the command line, a file or a pipe
 * chat_loop.c      a conversation at a terminal; chat_commands.c its /commands, chat_line.c and line_edit.c what is typed
 * talk.c           a model, a session and a conversation; turn.c one prompt computed and one answer
 * show.c           where the answer goes as it streams: text, or JSON events
 * receipt.c        what was run and what came out, and running it again
 * sampling.c       options over the model's sampling defaults */
#ifndef RUN_H
#define RUN_H
#include "common.h"
#include "options.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    model_choice choice;
    const char *prompt_text, *prompt_file, *system_text, *chat_name, *effort, *kv_type, *save_path, *restore_path, *tools_path, *load_path,
        *keep_path, *thinking, *color, *receipt_path, *replay_path, *date;
    int n_predict, n_ctx, n_batch, top_k, last_n, budget, cycle;
    float temperature, top_p, min_p, typical_p, repeat_penalty, frequency_penalty, presence_penalty;  /* below 0 (penalties: 0): the model's */
    uint64_t seed;
    const char *manifest, *memory_limit;
    bool list, verify, plan, pin, deterministic;
    bool raw, show_tokens, show_prompt, quiet, greedy, ignore_end, think, no_think, show_thinking, hide_thinking, trusted, json, interactive,
        no_history, full_hash;
    opt_list stops, biases, results;
} run_options;

extern const opt_table run_table;           /* llm-run.c; for opt_fail and opt_set */

/* signals.c */
extern volatile sig_atomic_t run_interrupted, run_leaving, run_resized, run_continued;
void run_catch_interrupt(void);             /* one-shot: the first Ctrl-C is counted, the second ends the program */
void run_catch_chat(void);                  /* chat: every Ctrl-C is counted; a lost terminal and SIGTERM set run_leaving */
bool run_wait_input(int fd);                /* waits for something to read; false: a signal came before it */

/* run_once.c. Answers one prompt; the exit code. started: tool_seconds() when the program began. */
int run_once(run_options *o, llm_model *m, double started);
/* -f before -p, or standard input (only where piped); malloc'ed; NULL: nothing was given. */
char *run_read_prompt(const run_options *o, bool piped, size_t *len);
/* chat_loop.c */
int run_chat(run_options *o, llm_model *m, double started);

/* talk.c. -c, -b, -t and --kv-type. */
llm_session_options run_session_options(const run_options *o);

/* sampling.c. The options over the model's defaults; out->bias is malloc'ed. A wrong --logit-bias ends the program. */
void run_sampler_options(const run_options *o, const llm_model *m, uint64_t seed, llm_sampler_options *out);
llm_sampler *run_open_sampler(const run_options *o, const llm_model *m, uint64_t seed);      /* dies on failure */
#endif
