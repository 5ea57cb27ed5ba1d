/* shapes.c - numbers of the publishers' config.json files; test/bench/shape_test.c compares the parameter counts with the published ones. */
#include "shapes.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LAYERS(n, d_model, d_ff, n_head, n_kv_head) \
    "'num_hidden_layers':" #n ",'hidden_size':" #d_model ",'intermediate_size':" #d_ff ",'num_attention_heads':" #n_head ",'num_key_value_heads':" #n_kv_head ","
#define TIED "'tie_word_embeddings':true,"

#define GPT_OSS(n_expert) \
    "'model_type':'gpt_oss','vocab_size':201088,'head_dim':64,'max_position_embeddings':131072,'rms_norm_eps':1e-5,'rope_theta':150000,'sliding_window':128," \
    "'rope_scaling':{'rope_type':'yarn','factor':32,'beta_fast':32,'beta_slow':1,'original_max_position_embeddings':4096,'truncate':false}," \
    "'attention_bias':true,'swiglu_limit':7,'num_experts_per_tok':4,'tie_word_embeddings':false,'num_local_experts':" #n_expert ","

#define QWEN3_ALL "'vocab_size':151936,'head_dim':128,'max_position_embeddings':40960,'rms_norm_eps':1e-6,'rope_theta':1000000,"
#define QWEN3 "'model_type':'qwen3'," QWEN3_ALL
#define QWEN3_MOE(d_ff) \
    "'model_type':'qwen3_moe','num_experts':128,'num_experts_per_tok':8,'norm_topk_prob':true,'moe_intermediate_size':" #d_ff "," QWEN3_ALL

#define GEMMA2(d_head, scalar) \
    "'model_type':'gemma2','vocab_size':256000,'head_dim':" #d_head ",'query_pre_attn_scalar':" #scalar ",'max_position_embeddings':8192,'rms_norm_eps':1e-6," \
    "'hidden_activation':'gelu_pytorch_tanh','rope_theta':10000,'sliding_window':4096,'attn_logit_softcapping':50,'final_logit_softcapping':30,"
#define GEMMA3(d_head, scalar, window, vocab, ctx, more) \
    "'model_type':'gemma3_text','vocab_size':" #vocab ",'head_dim':" #d_head ",'query_pre_attn_scalar':" #scalar ",'max_position_embeddings':" #ctx "," \
    "'rms_norm_eps':1e-6,'hidden_activation':'gelu_pytorch_tanh','rope_theta':1000000,'rope_local_base_freq':10000,'sliding_window_pattern':6," \
    "'sliding_window':" #window "," more
#define BY_8 "'rope_scaling':{'rope_type':'linear','factor':8},"

#define DEEPSEEK(model, vocab, d_ff, n_expert, n_used, n_shared, n_dense) \
    "'model_type':'" model "','vocab_size':" #vocab ",'moe_intermediate_size':" #d_ff ",'n_routed_experts':" #n_expert ",'num_experts_per_tok':" #n_used "," \
    "'n_shared_experts':" #n_shared ",'first_k_dense_replace':" #n_dense ",'moe_layer_freq':1,'kv_lora_rank':512,'qk_nope_head_dim':128,'qk_rope_head_dim':64," \
    "'v_head_dim':128,'max_position_embeddings':163840,'rms_norm_eps':1e-6,'rope_theta':10000,'tie_word_embeddings':false,"
#define YARN_40(mscale) \
    "'rope_scaling':{'type':'yarn','factor':40,'beta_fast':32,'beta_slow':1,'mscale':" #mscale ",'mscale_all_dim':" #mscale ",'original_max_position_embeddings':4096},"

#define LLAMA3(d_head, factor) \
    "'model_type':'llama','vocab_size':128256,'head_dim':" #d_head ",'max_position_embeddings':131072,'rms_norm_eps':1e-5,'rope_theta':500000," \
    "'rope_scaling':{'rope_type':'llama3','factor':" #factor ",'low_freq_factor':1,'high_freq_factor':4,'original_max_position_embeddings':8192},"

static const shape_row rows[] = {
    { "gpt-oss-20b",      GPT_OSS(32) LAYERS(24, 2880, 2880, 64, 8) },
    { "gpt-oss-120b",     GPT_OSS(128) LAYERS(36, 2880, 2880, 64, 8) },
    { "qwen3-0.6b",       QWEN3 TIED LAYERS(28, 1024, 3072, 16, 8) },
    { "qwen3-1.7b",       QWEN3 TIED LAYERS(28, 2048, 6144, 16, 8) },
    { "qwen3-4b",         QWEN3 TIED LAYERS(36, 2560, 9728, 32, 8) },
    { "qwen3-8b",         QWEN3 LAYERS(36, 4096, 12288, 32, 8) },
    { "qwen3-14b",        QWEN3 LAYERS(40, 5120, 17408, 40, 8) },
    { "qwen3-32b",        QWEN3 LAYERS(64, 5120, 25600, 64, 8) },
    { "qwen3-30b-a3b",    QWEN3_MOE(768) LAYERS(48, 2048, 6144, 32, 4) },
    { "qwen3-235b-a22b",  QWEN3_MOE(1536) LAYERS(94, 4096, 12288, 64, 4) },
    { "gemma-2-2b",       GEMMA2(256, 256) LAYERS(26, 2304, 9216, 8, 4) },
    { "gemma-2-9b",       GEMMA2(256, 256) LAYERS(42, 3584, 14336, 16, 8) },
    { "gemma-2-27b",      GEMMA2(128, 144) LAYERS(46, 4608, 36864, 32, 16) },
    { "gemma-3-270m",     GEMMA3(256, 256, 512, 262144, 32768, "") LAYERS(18, 640, 2048, 4, 1) },
    { "gemma-3-1b",       GEMMA3(256, 256, 512, 262144, 32768, "") LAYERS(26, 1152, 6912, 4, 1) },
    { "gemma-3-4b",       GEMMA3(256, 256, 1024, 262208, 131072, BY_8) LAYERS(34, 2560, 10240, 8, 4) },
    { "gemma-3-12b",      GEMMA3(256, 256, 1024, 262208, 131072, BY_8) LAYERS(48, 3840, 15360, 16, 8) },
    { "gemma-3-27b",      GEMMA3(128, 168, 1024, 262208, 131072, BY_8) LAYERS(62, 5376, 21504, 32, 16) },
    { "deepseek-v2-lite", DEEPSEEK("deepseek_v2", 102400, 1408, 64, 6, 2, 1) YARN_40(0.707) LAYERS(27, 2048, 10944, 16, 16)
                          "'topk_method':'greedy','scoring_func':'softmax','norm_topk_prob':false,'routed_scaling_factor':1," },
    { "deepseek-v3",      DEEPSEEK("deepseek_v3", 129280, 2048, 256, 8, 1, 3) YARN_40(1) LAYERS(61, 7168, 18432, 128, 128)
                          "'q_lora_rank':1536,'n_group':8,'topk_group':4,'topk_method':'noaux_tc','scoring_func':'sigmoid','norm_topk_prob':true,"
                          "'routed_scaling_factor':2.5," },
    { "llama-3.1-8b",     LLAMA3(128, 8) LAYERS(32, 4096, 14336, 32, 8) },
    { "llama-3.1-70b",    LLAMA3(128, 8) LAYERS(80, 8192, 28672, 64, 8) },
    { "llama-3.2-1b",     LLAMA3(64, 32) TIED LAYERS(16, 2048, 8192, 32, 8) },
    { "llama-3.2-3b",     LLAMA3(128, 32) TIED LAYERS(28, 3072, 8192, 24, 8) },
};
enum { N_ROW = sizeof rows / sizeof rows[0] };

const shape_row *shapes_at(size_t i) { return i < N_ROW ? &rows[i] : NULL; }

const shape_row *shapes_find(const char *name, size_t len)
{
    for (size_t i = 0; i < N_ROW; i++)
        if (strlen(rows[i].name) == len && strncasecmp(rows[i].name, name, len) == 0) return &rows[i];
    return NULL;
}

void shapes_names(char *out, size_t cap)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < N_ROW && at < cap; i++) at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? ", " : "", rows[i].name);
}
