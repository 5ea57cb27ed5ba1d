/* config.h - the one description of a language model that the engine runs. */
#ifndef LLM_CONFIG_H
#define LLM_CONFIG_H
#include "backend.h"
#include "meta.h"

typedef enum { MIX_ATTN, MIX_MLA } llm_mixer;
typedef enum { FFN_DENSE, FFN_MOE } llm_ffn_kind;

typedef struct {              /* what may change from one layer to the next */
    llm_mixer    mixer;
    llm_ffn_kind ffn;
    int          window;      /* keys a query may see; 0 = all */
    const llm_rope *rope;
    int          n_kv_head, head_dim, d_ff;
} llm_layer_config;

typedef struct {
    int   n_layer, d_model, n_vocab, n_ctx, n_head, n_kv_head, head_dim, d_ff;
    int   n_expert, n_expert_used, n_expert_shared, d_ff_expert, n_dense_lead, n_group, n_group_used;
    int   q_lora, kv_lora, d_nope, d_rope, d_v;           /* MLA, DeepSeek-V2 sec. 2.1 */
    int   window;
    float norm_eps, norm_offset;                          /* y = x/rms * (w + offset) */
    float embed_scale, attn_scale, attn_softcap, logit_softcap, expert_scale, act_limit;
    bool  expert_renorm;
    llm_act act; llm_rope_style rope_style; llm_gate gate;
    llm_layer_config *layer;                              /* [n_layer] */
} llm_config;

/* Shape symbols; llm_dim() turns one into a number for a given layer. */
typedef enum { _1, D_MODEL, D_VOCAB, D_Q, D_KV, D_HEAD, D_FF, D_FFX, D_FFS, N_EXPERT, N_HEAD,
               D_QLORA, D_KVLORA, D_KVA, D_O, D_NOPE, D_V } llm_sym;

/*   slot            GGUF, after "blk.N."     safetensors, after "model.layers.N."   shape, outermost first */
#define LLM_LAYER_WEIGHTS(X) \
    X(attn_norm,     "attn_norm.weight",       "input_layernorm.weight",              D_MODEL, _1, _1) \
    X(wq,            "attn_q.weight",          "self_attn.q_proj.weight",             D_Q, D_MODEL, _1) \
    X(wk,            "attn_k.weight",          "self_attn.k_proj.weight",             D_KV, D_MODEL, _1) \
    X(wv,            "attn_v.weight",          "self_attn.v_proj.weight",             D_KV, D_MODEL, _1) \
    X(bq,            "attn_q.bias",            "self_attn.q_proj.bias",               D_Q, _1, _1) \
    X(bk,            "attn_k.bias",            "self_attn.k_proj.bias",               D_KV, _1, _1) \
    X(bv,            "attn_v.bias",            "self_attn.v_proj.bias",               D_KV, _1, _1) \
    X(q_norm,        "attn_q_norm.weight",     "self_attn.q_norm.weight",             D_HEAD, _1, _1) \
    X(k_norm,        "attn_k_norm.weight",     "self_attn.k_norm.weight",             D_HEAD, _1, _1) \
    X(wo,            "attn_output.weight",     "self_attn.o_proj.weight",             D_MODEL, D_O, _1) \
    X(bo,            "attn_output.bias",       "self_attn.o_proj.bias",               D_MODEL, _1, _1) \
    X(sinks,         "attn_sinks.weight",      "self_attn.sinks",                     N_HEAD, _1, _1) \
    X(wq_a,          "attn_q_a.weight",        "self_attn.q_a_proj.weight",           D_QLORA, D_MODEL, _1) \
    X(q_a_norm,      "attn_q_a_norm.weight",   "self_attn.q_a_layernorm.weight",      D_QLORA, _1, _1) \
    X(wq_b,          "attn_q_b.weight",        "self_attn.q_b_proj.weight",           D_Q, D_QLORA, _1) \
    X(wkv_a,         "attn_kv_a_mqa.weight",   "self_attn.kv_a_proj_with_mqa.weight", D_KVA, D_MODEL, _1) \
    X(kv_a_norm,     "attn_kv_a_norm.weight",  "self_attn.kv_a_layernorm.weight",     D_KVLORA, _1, _1) \
    X(wk_b,          "attn_k_b.weight",        "",                                    N_HEAD, D_KVLORA, D_NOPE) \
    X(wv_b,          "attn_v_b.weight",        "",                                    N_HEAD, D_V, D_KVLORA) \
    X(attn_post,     "post_attention_norm.weight", "post_attention_layernorm.weight", D_MODEL, _1, _1) \
    X(ffn_norm,      "ffn_norm.weight",        "post_attention_layernorm.weight",     D_MODEL, _1, _1) \
    X(gate,          "ffn_gate.weight",        "mlp.gate_proj.weight",                D_FF, D_MODEL, _1) \
    X(up,            "ffn_up.weight",          "mlp.up_proj.weight",                  D_FF, D_MODEL, _1) \
    X(down,          "ffn_down.weight",        "mlp.down_proj.weight",                D_MODEL, D_FF, _1) \
    X(ffn_post,      "post_ffw_norm.weight",   "post_feedforward_layernorm.weight",   D_MODEL, _1, _1) \
    X(router,        "ffn_gate_inp.weight",    "mlp.gate.weight",                     N_EXPERT, D_MODEL, _1) \
    X(router_b,      "ffn_gate_inp.bias",      "mlp.router.bias",                     N_EXPERT, _1, _1) \
    X(router_fix,    "exp_probs_b.bias",       "mlp.gate.e_score_correction_bias",    N_EXPERT, _1, _1) \
    X(gate_x,        "ffn_gate_exps.weight",   "",                                    N_EXPERT, D_FFX, D_MODEL) \
    X(up_x,          "ffn_up_exps.weight",     "",                                    N_EXPERT, D_FFX, D_MODEL) \
    X(down_x,        "ffn_down_exps.weight",   "",                                    N_EXPERT, D_MODEL, D_FFX) \
    X(bgate_x,       "ffn_gate_exps.bias",     "",                                    N_EXPERT, D_FFX, _1) \
    X(bup_x,         "ffn_up_exps.bias",       "",                                    N_EXPERT, D_FFX, _1) \
    X(bdown_x,       "ffn_down_exps.bias",     "",                                    N_EXPERT, D_MODEL, _1) \
    X(gate_s,        "ffn_gate_shexp.weight",  "mlp.shared_experts.gate_proj.weight", D_FFS, D_MODEL, _1) \
    X(up_s,          "ffn_up_shexp.weight",    "mlp.shared_experts.up_proj.weight",   D_FFS, D_MODEL, _1) \
    X(down_s,        "ffn_down_shexp.weight",  "mlp.shared_experts.down_proj.weight", D_MODEL, D_FFS, _1)


typedef struct {
#define X(slot, g, h, a, b, c) llm_tensor slot;
    LLM_LAYER_WEIGHTS(X)
#undef X
} llm_layer;

typedef enum {
#define X(slot, g, h, a, b, c) W_##slot,
    LLM_LAYER_WEIGHTS(X)
#undef X
    W_COUNT
} llm_slot;

typedef struct { llm_slot slot; const char *gguf, *hf; llm_sym dim[3]; } llm_weight_row;
extern const llm_weight_row llm_weight_table[W_COUNT];
typedef struct { llm_slot slot; const char *gguf, *hf; } llm_alias;   /* NULL: keep the table's; ends at W_COUNT */
typedef struct { uint64_t need, may; } llm_weight_set;                /* slots, as bits */

#define SLOT(s) (UINT64_C(1) << W_##s)
_Static_assert(W_COUNT <= 64, "slot sets are 64-bit masks");

typedef struct {
    const char *gguf_name;                 /* general.architecture */
    const char *hf_name;                   /* config.json model_type */
    llm_status (*config)(llm_meta *, llm_config *, llm_error *);  /* after the shared keys were read */
    llm_weight_set (*weights)(const llm_config *, int il);  /* what layer il must and may have */
    const llm_alias *alias;                /* names that differ from the table */
} llm_arch;

/* Sets that most families share. */
#define ATTN_GQA (SLOT(attn_norm) | SLOT(wq) | SLOT(wk) | SLOT(wv) | SLOT(wo))
#define FFN_GATED (SLOT(ffn_norm) | SLOT(gate) | SLOT(up) | SLOT(down))
#define FFN_EXPERTS (SLOT(ffn_norm) | SLOT(router) | SLOT(gate_x) | SLOT(up_x) | SLOT(down_x))
#define FFN_SHARED (SLOT(gate_s) | SLOT(up_s) | SLOT(down_s))
#endif
