/* work.h - what a model must read and multiply, counted from its config and weights, and the least time that takes a machine. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H
#include "machine.h"
#include "model.h"

/* Bytes and multiplications of weights. Weights whose products are of floats (F32, F16, BF16, FP8) are counted apart from those
 * that multiply 8-bit values. A head that is the embedding table counts once. */
typedef struct {
    const llm_config *config;           /* borrowed */
    int n_layer;                        /* of the config when it was counted */
    double dense_bytes;                 /* read by every step: all but experts and the embedding table, the head included */
    double expert_bytes;                /* of all experts of all layers */
    double embed_row;                   /* bytes of one row of the embedding table */
    double int8_macs, float_macs;       /* of one row, active experts only, without the head */
    double head_int8, head_float;       /* of one row of logits */
    llm_dtype kv_type;
} model_work;

/* m may be a shape (shape.h). The config must outlive the result. */
model_work work_of(const llm_model *m, llm_dtype kv_type);

double work_token_bytes(const model_work *w);   /* weights that one token reads */
/* Bytes of keys and values that a query at position pos reads, all layers; windows and latents as they are kept. */
double work_kv_bytes(const model_work *w, int pos);

/* A prompt of so many tokens behind depth others in pieces of batch rows, then generate steps of n_seq sequences one token each;
 * every sequence has depth and prompt of its own. */
typedef struct { int prompt, generate, depth, batch, n_seq; } work_test;
typedef struct { double seconds, bytes, int8_ops, float_ops; } work_floor;

/* Seconds that the machine needs at least: the longer of reading and computing, for the prompt and for the generation. */
work_floor work_least(const model_work *w, const work_test *t, const machine_limits *m);
#endif
