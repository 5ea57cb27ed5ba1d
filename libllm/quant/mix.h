/* mix.h - which tensor of a model gets which type: the usual recipes (Q4_K_M and the like), as data. */
#ifndef LLM_MIX_H
#define LLM_MIX_H
#include "dtype.h"

#define LLM_MIX_LIST(X) /* name, general.file_type, the type of most tensors */ \
    X(F32, 0, F32)          X(F16, 1, F16)          X(BF16, 32, BF16) \
    X(Q4_0, 2, Q4_0)        X(Q4_1, 3, Q4_1)        X(Q5_0, 8, Q5_0)        X(Q5_1, 9, Q5_1)        X(Q8_0, 7, Q8_0) \
    X(Q2_K, 10, Q2_K)       X(Q2_K_S, 21, Q2_K)     X(Q3_K_S, 11, Q3_K)     X(Q3_K_M, 12, Q3_K)     X(Q3_K_L, 13, Q3_K) \
    X(Q4_K_S, 14, Q4_K)     X(Q4_K_M, 15, Q4_K)     X(Q5_K_S, 16, Q5_K)     X(Q5_K_M, 17, Q5_K)     X(Q6_K, 18, Q6_K) \
    X(IQ4_NL, 25, IQ4_NL)   X(IQ4_XS, 30, IQ4_XS)   X(MXFP4_MOE, 38, MXFP4) \
    X(IQ1_S, 24, IQ1_S)     X(IQ1_M, 31, IQ1_M)     X(IQ2_XXS, 19, IQ2_XXS) X(IQ2_XS, 20, IQ2_XS)   X(IQ2_S, 28, IQ2_XS) \
    X(IQ2_M, 29, IQ2_S)     X(IQ3_XXS, 23, IQ3_XXS) X(IQ3_XS, 22, IQ3_S)    X(IQ3_S, 26, IQ3_S)     X(IQ3_M, 27, IQ3_S) \
    X(TQ1_0, 36, TQ1_0)     X(TQ2_0, 37, TQ2_0)

typedef enum {
#define X(name, file_type, base) MIX_##name,
    LLM_MIX_LIST(X)
#undef X
    N_MIX
} llm_mix;

typedef struct { const char *name; int file_type; llm_dtype base; } llm_mix_info;
const llm_mix_info *mix_info(llm_mix mix);
/* By name, letter case ignored; "Q4_K" is Q4_K_M and so on, "MXFP4" is MXFP4_MOE. False: there is none. */
bool mix_find(const char *name, llm_mix *out);

typedef struct {                        /* of the model */
    int n_layer, n_head, n_kv_head, n_expert;
    int n_value;                        /* tensors that mix_is_value */
    bool tied;                          /* no output.weight: the embedding table is the head */
    bool eighty;                        /* a Llama or Qwen 2 of 80 layers with grouped heads: attn_v is small */
    bool imatrix;
} mix_model;

typedef struct {                        /* of one tensor, under its GGUF name */
    const char *name;
    int n_dim;                          /* without trailing ones */
    int64_t row;                        /* values in a row */
    int value;                          /* how many mix_is_value came before it, by layer and then by name */
    int down;                           /* the same for mix_is_down */
} mix_tensor;

bool mix_is_value(const char *name);
bool mix_is_down(const char *name);
/* False for what is never quantized: vectors, norms, biases, routers. */
bool mix_quantizes(const mix_tensor *t);
/* The type of a tensor that mix_quantizes. */
llm_dtype mix_type(llm_mix mix, const mix_model *m, const mix_tensor *t);
/* type, or what takes its place for rows that are not whole blocks of it. */
llm_dtype mix_fallback(llm_dtype type, int64_t row);
#endif
