/* shape.h - a model of true shape without its weights: sizes and types of every tensor from a config.json, and on demand a GGUF
 * file in memory whose weights are random numbers. */
#ifndef BENCH_SHAPE_H
#define BENCH_SHAPE_H
#include "mix.h"
#include "model.h"

typedef struct shape shape;

/* text: NAME[:TYPE] with a name of shapes.h, or PATH[:TYPE] of a config.json or the folder that holds one. TYPE is a mix
 * (mix.h); without it MXFP4_MOE for gpt-oss, Q4_K_M for others. LLM_ERR_ARG lists the names or types there are. */
llm_status shape_open(shape **out, const char *text, llm_error *err);
void shape_close(shape *s);                     /* NULL is fine */

const char *shape_name(const shape *s);         /* "qwen3-0.6b" */
const char *shape_type(const shape *s);         /* "Q8_0" */
/* Config and weights as if the model were open: dim, dtype and row_bytes of every tensor are right, no data is there. Good for
 * counting and for llm_session_plan, not for sessions. */
const llm_model *shape_model(const shape *s);
uint64_t shape_params(const shape *s);
uint64_t shape_bytes(const shape *s);           /* of all weights */

int shape_layers(const shape *s);               /* of the whole model, whatever was cut */
/* The fewest layers that stand for all: one of each kind. The kinds repeat every shape_period layers from there on. */
int shape_least(const shape *s);
int shape_period(const shape *s);
/* Sizes and types of the model with its first n_layer layers only. */
llm_status shape_cut(shape *s, int n_layer, llm_error *err);

/* The model as it is cut, in memory, or on disk ($TMPDIR, /var/tmp, /tmp) where half of the memory there is is too little: *fd is a file without a
 * name, the caller's, that llm_model_open takes as /proc/self/fd/N.
 * Every page has its own bytes; routers are random, so that experts are chosen evenly. */
llm_status shape_write(const shape *s, int *fd, llm_progress_fn progress, llm_error *err);
#endif
