/* weights.h - what binding (weights.c) and the load transforms (relayout.c) share. */
#ifndef LLM_WEIGHTS_H
#define LLM_WEIGHTS_H
#include "model.h"

typedef struct {
    llm_model *m;
    llm_error *err;
    llm_status status;                  /* LLM_ERR_MEMORY once weights_own has failed, for those who need not look */
    bool hf;
    bool plan;                          /* only sizes are wanted: memory is set aside as ever, but nothing is written to it */
    const struct weight_spelling *names;    /* of the tensors outside layers */
    const char *layers;                 /* safetensors: "model.layers." or another spelling */
    const char *quant;                  /* quantization_config.quant_method, or "" */
    int group_size;                     /* GPTQ, AWQ; -1: a whole column */
    bool zero_plus_one;                 /* GPTQ v1 stores zero - 1 */
} binder;

/* Zeroed memory owned by the model; NULL with b->err filled. Large pieces are mapped. */
void *weights_own(binder *b, size_t bytes, const char *what);
/* Notes that t is bound, for llm-inspect and the counts. slot is owned by the model or constant. */
void weights_mark(binder *b, const store_tensor *t, const char *slot);
/* The source of a re-laid weight is not needed in memory any more. */
void weights_release(binder *b, const store_tensor *t);
/* Fails where a value, or the scale of a block, is not finite. Reads tensors of up to 1 MiB only: a larger one would be
 * brought into memory as a whole before it is needed. */
llm_status weights_check(binder *b, const store_tensor *t);
/* "FILE: tensor 'NAME': ..." */
llm_status weights_fail(binder *b, const store_tensor *t, llm_status st, const char *fmt, ...) LLM_PRINTF(4, 5);

/* gpt-oss: blocks U8 [E, rows, n, 16] and scales U8 [E, rows, n] -> [E, rows/step, 32n] of every step-th row from first, where they lie
 * (F4_E2M1) if m->scales_apart allows it, else a copy as DT_MXFP4. */
llm_status relayout_mxfp4(binder *b, llm_tensor *out, const store_tensor *blocks, const store_tensor *scales, int64_t first, int64_t step);
/* Element types: src [E, n, k] seen as [E, k, n], every step-th k from first -> out [E, k/step, n]. */
llm_status relayout_transpose(binder *b, llm_tensor *out, const store_tensor *src, int64_t first, int64_t step);
/* Element types: every step-th value of each row from first: src [E, n] -> out [E, n/step]. */
llm_status relayout_every(binder *b, llm_tensor *out, const store_tensor *src, int64_t first, int64_t step);
/* GPTQ or AWQ int4 of one matrix [rows, cols] -> DT_Q4_G. base: the name before ".qweight". *perm is set for act-order. */
llm_status relayout_int4(binder *b, const char *base, int64_t rows, int64_t cols, void **data, const int32_t **perm, const char *slot);
/* kv_b [n_head * (d_nope + d_v), kv_lora] (its scale in src) -> wk_b [n_head, kv_lora, d_nope], a transposed copy that keeps the
 * type of floats and of FP8 whose tiles fit, else F32; and wv_b [n_head, d_v, kv_lora], views of src where that is possible. */
llm_status relayout_kv_b(binder *b, llm_tensor *wk_b, llm_tensor *wv_b, const llm_tensor *src, int n_head, int d_nope, int d_v);

/* One layer of a model opened with plan_only at a time: its weights are bound, load transforms and all; out gives back what in
 * made. *mark goes from one to the other, also when in fails. */
llm_status weights_layer_in(llm_model *m, int il, llm_owned **mark, llm_error *err);
void weights_layer_out(llm_model *m, llm_owned *mark);
/* What a GGUF file calls a weight, after "blk.N.". */
const char *weights_gguf_name(const llm_arch *arch, llm_slot slot);
llm_tensor *weights_slot(llm_layer *l, llm_slot slot);
#endif
