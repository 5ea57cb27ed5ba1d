/* dtype.h - every number format a weight can be stored in, and the one place that knows their sizes. */
#ifndef LLM_BASE_DTYPE_H
#define LLM_BASE_DTYPE_H
#include "checked.h"

/* Ids below 64 are GGUF's (ggml.h, enum ggml_type); 64 and up are ours, for what
 * only safetensors files hold. Each row: id, name, values per block, bytes per block. */
#define LLM_DTYPE_LIST(X) \
    X(F32,      0,  "F32",       1,   4) \
    X(F16,      1,  "F16",       1,   2) \
    X(Q4_0,     2,  "Q4_0",     32,  18) \
    X(Q4_1,     3,  "Q4_1",     32,  20) \
    X(Q5_0,     6,  "Q5_0",     32,  22) \
    X(Q5_1,     7,  "Q5_1",     32,  24) \
    X(Q8_0,     8,  "Q8_0",     32,  34) \
    X(Q2_K,    10,  "Q2_K",    256,  84) \
    X(Q3_K,    11,  "Q3_K",    256, 110) \
    X(Q4_K,    12,  "Q4_K",    256, 144) \
    X(Q5_K,    13,  "Q5_K",    256, 176) \
    X(Q6_K,    14,  "Q6_K",    256, 210) \
    X(Q8_K,    15,  "Q8_K",    256, 292) \
    X(IQ2_XXS, 16,  "IQ2_XXS", 256,  66) \
    X(IQ2_XS,  17,  "IQ2_XS",  256,  74) \
    X(IQ3_XXS, 18,  "IQ3_XXS", 256,  98) \
    X(IQ1_S,   19,  "IQ1_S",   256,  50) \
    X(IQ4_NL,  20,  "IQ4_NL",   32,  18) \
    X(IQ3_S,   21,  "IQ3_S",   256, 110) \
    X(IQ2_S,   22,  "IQ2_S",   256,  82) \
    X(IQ4_XS,  23,  "IQ4_XS",  256, 136) \
    X(I8,      24,  "I8",        1,   1) \
    X(I16,     25,  "I16",       1,   2) \
    X(I32,     26,  "I32",       1,   4) \
    X(I64,     27,  "I64",       1,   8) \
    X(F64,     28,  "F64",       1,   8) \
    X(IQ1_M,   29,  "IQ1_M",   256,  56) \
    X(BF16,    30,  "BF16",      1,   2) \
    X(TQ1_0,   34,  "TQ1_0",   256,  54) \
    X(TQ2_0,   35,  "TQ2_0",   256,  66) \
    X(MXFP4,   39,  "MXFP4",    32,  17) \
    X(F8_E4M3, 64,  "F8_E4M3",   1,   1)   /* scale beside it: llm_tensor.scale */ \
    X(F8_E5M2, 65,  "F8_E5M2",   1,   1) \
    X(Q4_G,    66,  "Q4_G",     32,  20)   /* GPTQ/AWQ int4: f16 d, u8 zero (0..16), u8 0, 16 bytes as in Q4_0; w = d * (q - zero) */ \
    X(U8,      67,  "U8",        1,   1) \
    X(U16,     68,  "U16",       1,   2) \
    X(U32,     69,  "U32",       1,   4) \
    X(U64,     70,  "U64",       1,   8) \
    X(BOOL,    71,  "BOOL",      1,   1) \
    X(F4_E2M1, 72,  "F4_E2M1",  32,  16)   /* OCP MX: byte j has values 2j low and 2j+1 high; a scale F8_E8M0 of each block beside it: llm_tensor.scale */ \
    X(F8_E8M0, 73,  "F8_E8M0",   1,   1)   /* 2^(e-127) */

typedef enum {
#define X(id, number, name, n, bytes) DT_##id = number,
    LLM_DTYPE_LIST(X)
#undef X
    DT_NONE = -1
} llm_dtype;

typedef struct { llm_dtype dtype; const char *name; int block; int block_bytes; } llm_dtype_info;

/* NULL for an id that is not in the list. */
const llm_dtype_info *dtype_info(int dtype);
/* By its name, letter case ignored ("q4_k"); NULL when there is none. */
const llm_dtype_info *dtype_find(const char *name);
const char *dtype_name(int dtype);                 /* "?" when unknown */
/* Bytes of n consecutive values. False when n is negative, not a multiple of the block, or the size wraps. */
bool dtype_bytes(int dtype, int64_t n, size_t *bytes);
#endif
