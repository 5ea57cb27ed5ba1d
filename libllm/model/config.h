/* config.h - the one description of a language model that the engine runs. */
#ifndef LLM_CONFIG_H
#define LLM_CONFIG_H
#include "backend.h"
#include "meta.h"

typedef enum { MIX_ATTN, MIX_MLA } llm_mixer;
typedef enum { FFN_DENSE, FFN_MOE } llm_ffn_kind;

/* How a rotation is scaled for long contexts; expanded into llm_rope at load. arXiv 2309.00071 for YaRN. */
typedef enum { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN } llm_rope_kind;
typedef struct {
    llm_rope_kind kind;
    float base, factor, orig_ctx;
    float low_freq, high_freq;            /* llama3 */
    float beta_fast, beta_slow;           /* YaRN */
    float mscale, mscale_all_dim;         /* YaRN of DeepSeek; 0: not given */
    float attention_factor;               /* YaRN, of cos and sin; 0: follows from factor and the two above */
    bool  truncate;                       /* YaRN: the ramp's ends are rounded outwards */
} llm_rope_spec;

enum { ROPE_GLOBAL, ROPE_LOCAL, N_ROPE };

typedef struct {              /* what may change from one layer to the next */
    llm_mixer    mixer;
    llm_ffn_kind ffn;
    int          window;      /* keys a query may see; 0 = all */
    int          rope;        /* ROPE_GLOBAL or ROPE_LOCAL: which of llm_config.rope */
    int          n_kv_head, head_dim, d_ff;
} llm_layer_config;

typedef struct {
    int   n_layer, d_model, n_vocab, n_ctx, n_head, n_kv_head, head_dim, d_ff;
    int   n_expert, n_expert_used, n_expert_shared, d_ff_expert, d_ff_shared, n_dense_lead, n_group, n_group_used;
    int   q_lora, kv_lora, d_nope, d_rope, d_v;           /* MLA, DeepSeek-V2 sec. 2.1 */
    int   window;
    int   n_rot;                                          /* values of a head that rotate */
    int   n_ctx_hard;                                     /* no answer is defined beyond this; 0: no such limit */
    int   logn_ctx;                                       /* Qwen 1: a query at p >= logn_ctx grows by log_{logn_ctx}(p+1); 0: off */
    float norm_eps, norm_offset;                          /* y = x/rms * (w + offset) */
    float latent_eps;                                     /* eps of the two latent norms of MLA */
    float embed_scale, attn_scale, attn_softcap, logit_softcap, expert_scale, act_limit;
    bool  expert_renorm, group_top2;                      /* see llm_route_args */
    bool  expert_interleaved;                             /* fused gate_up rows alternate (gpt-oss), else gate first */
    bool  tied;                                           /* the head is the embedding table */
    llm_act act; llm_rope_style rope_style; llm_gate gate;
    llm_rope_spec rope_spec[N_ROPE];
    llm_rope rope[N_ROPE];                                /* freq points into rope_freq */
    float *rope_freq;                                     /* [N_ROPE * n_rot/2], owned */
    llm_layer_config *layer;                              /* [n_layer], owned */
} llm_config;

/* Shape symbols; config_dim() turns one into a number for a given layer. */
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
    X(down_s,        "ffn_down_shexp.weight",  "mlp.shared_experts.down_proj.weight", D_MODEL, D_FFS, _1) \
    X(gate_inp_s,    "ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight",    _1, D_MODEL, _1)

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
    const char *gguf_name;                 /* general.architecture; NULL: none, or another row has it */
    const char *hf_name;                   /* config.json model_type; NULL likewise */
    llm_status (*config)(llm_meta *, llm_config *, llm_error *);  /* after the shared keys were read */
    llm_weight_set (*weights)(const llm_config *, int il);  /* what layer il must and may have */
    const llm_alias *alias;                /* names that differ from the table; NULL: none */
    void (*defaults)(llm_config *);        /* what config.json may leave out; NULL: nothing */
} llm_arch;

/* What several families read the same way (config.c). Each returns LLM_OK or fills err.
 * config_windows: which layers slide, from layer_types or sliding_window_pattern, else all but each period-th
 * (period 0: none). config_sparse: which layers are MoE, from mlp_only_layers and decoder_sparse_step.
 * config_late_windows (Qwen 2 and 3): where use_sliding_window is set, layers from max_window_layers on slide.
 * config_lead_dense: the first first_k_dense_replace layers are dense, the others MoE with shared experts. */
llm_status config_windows(llm_meta *m, llm_config *c, int period, llm_error *err);
llm_status config_sparse(llm_meta *m, llm_config *c, llm_error *err);
llm_status config_late_windows(llm_meta *m, llm_config *c, llm_error *err);
llm_status config_lead_dense(llm_meta *m, llm_config *c, llm_error *err);
/* DeepSeek's m (V2, arXiv 2405.04434, appendix B): the softmax scale grows by its square. 1 without YaRN. */
float config_yarn_scale(const llm_rope_spec *r);

/* Sets that most families share. */
#define ATTN_GQA (SLOT(attn_norm) | SLOT(wq) | SLOT(wk) | SLOT(wv) | SLOT(wo))
#define FFN_GATED (SLOT(ffn_norm) | SLOT(gate) | SLOT(up) | SLOT(down))
#define FFN_EXPERTS (SLOT(ffn_norm) | SLOT(router) | SLOT(gate_x) | SLOT(up_x) | SLOT(down_x))
#define FFN_SHARED (SLOT(gate_s) | SLOT(up_s) | SLOT(down_s))
#endif
