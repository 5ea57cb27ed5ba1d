/* show.h - where an answer goes as it streams: text on a terminal or a pipe, or one JSON object a line. */
#ifndef SHOW_H
#define SHOW_H
#include "llm.h"
#include <stdbool.h>
#include <stdio.h>

typedef enum { THINK_SHOW, THINK_HIDE, THINK_COUNT } think_mode;

typedef struct show show;
typedef struct {
    FILE *out, *think;                  /* the answer; the reasoning */
    think_mode thinking;
    bool colour;                        /* think takes escape sequences */
    bool json;                          /* events on out instead of text */
    bool quiet;                         /* no complaint about broken tool calls */
} show_options;

/* What a turn came to. */
typedef struct {
    size_t n_prompt, n_cached;          /* tokens of the prompt; of them already computed */
    llm_reply_stats stats;
    double load, prompt, answer;        /* seconds */
    const char *finish;                 /* stop, length, context, tool_calls, stop_text, cycle, interrupted */
} turn_result;

show *show_open(const show_options *opt);
void show_close(show *s);
/* The model and the context; once (JSON only). */
void show_start(show *s, const llm_model *m, int n_ctx);
void show_prompt(show *s, size_t n_prompt, size_t n_cached);
/* n_reasoning: tokens of reasoning so far. */
void show_event(show *s, const llm_event *e, size_t n_reasoning);
/* The end of the answer: text ends with a newline, JSON with the counts. */
void show_end(show *s, const turn_result *r);
/* {"event": "error"}; nothing where text is shown. */
void show_error(show *s, int code, const char *text);
/* "load 0.1 s | prompt 12 tokens ..." */
void show_timings(FILE *f, const turn_result *r);
/* Escape sequences are wanted on f: --color (auto, always, never), NO_COLOR, and whether f is a terminal. */
bool show_colour(const char *color, FILE *f);
#endif
