/* quant_parts.h - what the files of quant/ share: the list of tensors a GGUF file is to hold, and where each comes from. */
#ifndef LLM_QUANT_PARTS_H
#define LLM_QUANT_PARTS_H
#include "gguf_write.h"
#include "imatrix.h"
#include "mix.h"
#include "model.h"

enum { ITEM_PARTS = 3 };

typedef struct {
    const char *name;                   /* owned by the plan */
    llm_dtype dtype;                    /* in the file to be written */
    int n_dim;
    int64_t dim[4];                     /* outermost first */
    const store_tensor *stored;         /* of a GGUF source: the tensor; else NULL */
    int il;                             /* else: the layer, -1: none */
    llm_slot slot[ITEM_PARTS];          /* whose rows follow one another */
    int n_slot;                         /* 0: no slot of a layer */
    const llm_tensor *whole;            /* a weight outside layers, or NULL */
    const float *values;                /* [dim[0]] computed ones, or NULL; owned by the plan */
    int heads[ITEM_PARTS];              /* above 0: the rows of so many heads go from halves to pairs */
    float offset;                       /* added to every value */
    bool fell_back;                     /* rows are not whole blocks of the type of the mix */
} quant_item;

typedef struct {
    quant_item *item;                   /* [n] in the order of the file */
    size_t n, cap;
    name_pool text;
    float *owned;                       /* of values */
    gguf_out out;                       /* keys; the tensors are added when their types are known */
    mix_model mix;
} quant_plan;

llm_status plan_add(quant_plan *p, const char *name, const quant_item *item, llm_error *err);
void plan_free(quant_plan *p);
/* The type of every item under a mix; p->mix is filled in but for n_value. What is not quantized keeps its type, F32 without one. */
llm_status plan_types(quant_plan *p, llm_mix mix, llm_error *err);
bool plan_quantizes(const quant_item *it);

/* convert.c: keys and tensors of the GGUF form of a model that was opened from safetensors with plan_only. UNSUPPORTED with the
 * reason where GGUF has no words for it. */
llm_status convert_plan(quant_plan *p, llm_model *m, llm_error *err);
/* The file at path, header only, read back: the same config and tokenizer as m, or UNSUPPORTED saying what differs. */
llm_status convert_check(llm_model *m, const char *path, llm_error *err);
#endif
