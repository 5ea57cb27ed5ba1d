"""The tiny models. Each config has the published spelling of its family's config.json; sizes are odd on
purpose, and prompts are longer than the sliding windows.

A case is a dict: config, and optionally
  store      how the Hugging Face weights are kept: f32 (default), bf16, f16, mxfp4, fp8, gptq, awq
  seed       appended to the name for drawing
  shards     number of safetensors files (0: one file without index)
  gguf       False where llama.cpp has no way to say it
  matrix_type  GGUF type of the matrices (default F32)
  gguf_types {end of GGUF name: type}: no Hugging Face folder, matrices quantized in GGUF; the first match counts
  old_mla    also writes model-old.gguf with kv_b unsplit
  extra      {name: shape} tensors that belong to the checkpoint but not to the language model
  generation generation_config.json
  int8_block block length of int8 activations, where an engine may round them; sets tol
  exact      with int8_block: float32 activations are expected too, so tol stays tight and tol_int8 is the other
"""
from gguf import GGMLQuantizationType as T

COMMON = {"attention_dropout": 0.0, "initializer_range": 0.02, "rms_norm_eps": 1e-6, "use_cache": True}


def _llama(**kw):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False,
            "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 40,
            "intermediate_size": 72, "max_position_embeddings": 4096, "mlp_bias": False,
            "num_attention_heads": 5, "num_hidden_layers": 2, "num_key_value_heads": 5,
            "pretraining_tp": 1, "rope_scaling": None, "rope_theta": 10000.0,
            "tie_word_embeddings": False, "torch_dtype": "float32", "vocab_size": 131, **COMMON, **kw}


def _qwen2(**kw):
    return {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "bos_token_id": 1,
            "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 48, "intermediate_size": 88,
            "max_position_embeddings": 32768, "max_window_layers": 2, "num_attention_heads": 6,
            "num_hidden_layers": 2, "num_key_value_heads": 2, "rope_theta": 1000000.0,
            "sliding_window": 131072, "tie_word_embeddings": True, "torch_dtype": "float32",
            "use_sliding_window": False, "vocab_size": 151, **COMMON, **kw}


def _qwen3(**kw):
    return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False,
            "bos_token_id": 1, "eos_token_id": 2, "head_dim": 24, "hidden_act": "silu", "hidden_size": 40,
            "intermediate_size": 72, "max_position_embeddings": 40960, "max_window_layers": 3,
            "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2,
            "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
            "tie_word_embeddings": True, "torch_dtype": "float32", "use_sliding_window": False,
            "vocab_size": 151, **COMMON, **kw}


def _qwen1(**kw):
    return {"architectures": ["QWenLMHeadModel"], "attn_dropout_prob": 0.0, "bf16": False,
            "emb_dropout_prob": 0.0, "fp16": True, "fp32": False, "hidden_size": 48,
            "initializer_range": 0.02, "intermediate_size": 152, "kv_channels": 12,
            "layer_norm_epsilon": 1e-3, "max_position_embeddings": 32768, "model_type": "qwen",
            "no_bias": True, "num_attention_heads": 4, "num_hidden_layers": 2, "onnx_safe": None,
            "rotary_emb_base": 10000, "rotary_pct": 1.0, "scale_attn_weights": True,
            "seq_length": 8192, "tie_word_embeddings": False, "torch_dtype": "float32",
            "tokenizer_class": "QWenTokenizer", "use_cache": True, "use_dynamic_ntk": True,
            "use_flash_attn": False, "use_logn_attn": True, "vocab_size": 151, **kw}


def _gemma(kind, cls, **kw):
    return {"architectures": [cls], "model_type": kind, "attention_bias": False, "bos_token_id": 2,
            "eos_token_id": 1, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 40,
            "intermediate_size": 56, "max_position_embeddings": 8192, "num_attention_heads": 4,
            "num_hidden_layers": 3, "num_key_value_heads": 2, "pad_token_id": 0, "rope_theta": 10000.0,
            "torch_dtype": "float32", "vocab_size": 139, **COMMON, **kw}


def _gemma2(**kw):
    return _gemma("gemma2", "Gemma2ForCausalLM", hidden_act="gelu_pytorch_tanh", cache_implementation="hybrid",
                  attn_logit_softcapping=5.0, final_logit_softcapping=6.0, query_pre_attn_scalar=16,
                  sliding_window=16, **kw)


def _gemma3(**kw):
    cfg = _gemma("gemma3_text", "Gemma3ForCausalLM", attn_logit_softcapping=None,
                 final_logit_softcapping=None, query_pre_attn_scalar=16, sliding_window=16,
                 rope_local_base_freq=10000.0, rope_scaling={"factor": 8.0, "rope_type": "linear"},
                 sliding_window_pattern=6)
    return {**cfg, "num_hidden_layers": 7, "num_key_value_heads": 1, "hidden_size": 36, "intermediate_size": 44,
            "rope_theta": 1000000.0, **kw}


def _gpt_oss(**kw):
    layers = kw.get("num_hidden_layers", 3)
    return {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "attention_bias": True,
            "eos_token_id": 2, "experts_per_token": 3, "head_dim": 24, "hidden_act": "silu",
            "hidden_size": 64, "initial_context_length": 64, "intermediate_size": 32,
            "layer_types": ["full_attention" if il % 2 else "sliding_attention" for il in range(layers)],
            "max_position_embeddings": 2048, "num_attention_heads": 4, "num_experts_per_tok": 3,
            "num_hidden_layers": layers, "num_key_value_heads": 2, "num_local_experts": 7,
            "output_router_logits": False, "pad_token_id": 0,
            "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
                             "original_max_position_embeddings": 64, "rope_type": "yarn", "truncate": False},
            "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 16, "swiglu_limit": 7.0,
            "tie_word_embeddings": False, "vocab_size": 151, **COMMON, "rms_norm_eps": 1e-5, **kw}


def _deepseek(**kw):
    """DeepSeek-V2-Lite's keys; V2 and V3 change some."""
    return {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "attention_bias": False,
            "aux_loss_alpha": 0.001, "bos_token_id": 1, "eos_token_id": 2, "first_k_dense_replace": 1,
            "hidden_act": "silu", "hidden_size": 48, "intermediate_size": 72, "kv_lora_rank": 24,
            "max_position_embeddings": 2048, "moe_intermediate_size": 12, "moe_layer_freq": 1, "n_group": 1,
            "n_routed_experts": 8, "n_shared_experts": 2, "norm_topk_prob": False, "num_attention_heads": 4,
            "num_experts_per_tok": 3, "num_hidden_layers": 3, "num_key_value_heads": 4, "pretraining_tp": 1,
            "q_lora_rank": None, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
            "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707,
                             "mscale_all_dim": 0.707, "original_max_position_embeddings": 64, "type": "yarn"},
            "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": True,
            "tie_word_embeddings": False, "topk_group": 1, "topk_method": "greedy", "torch_dtype": "float32",
            "v_head_dim": 12, "vocab_size": 137, **COMMON, **kw}


def _deepseek3(**kw):
    cfg = _deepseek(architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", ep_size=1, n_group=4,
                    topk_group=2, num_experts_per_tok=3, n_shared_experts=1, norm_topk_prob=True,
                    num_nextn_predict_layers=1, q_lora_rank=28, routed_scaling_factor=2.5,
                    scoring_func="sigmoid", topk_method="noaux_tc", first_k_dense_replace=1, **kw)
    cfg["rope_scaling"] = {**cfg["rope_scaling"], "mscale": 1.0, "mscale_all_dim": 1.0}
    return cfg


def _mtp(cfg):
    """A few weights of the prediction layer that follows the last one; an engine may ignore them."""
    p, d = f"model.layers.{cfg['num_hidden_layers']}.", cfg["hidden_size"]
    return {p + "enorm.weight": (d,), p + "hnorm.weight": (d,), p + "eh_proj.weight": (d, 2 * d),
            p + "shared_head.norm.weight": (d,), p + "input_layernorm.weight": (d,)}


YARN4 = {"factor": 4.0, "original_max_position_embeddings": 64, "type": "yarn"}
GEN = {"bos_token_id": 1, "eos_token_id": [2, 3], "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}

CASES = {
    "qwen3": {"config": _qwen3(), "generation": GEN},
    "mistral": {"config": _llama(architectures=["MistralForCausalLM"], model_type="mistral", num_attention_heads=4,
                                 head_dim=12, num_key_value_heads=2, sliding_window=16), "gguf": False},
    "llama2": {"config": _llama() | {"rms_norm_eps": 1e-3},
               "extra": {f"model.layers.{il}.self_attn.rotary_emb.inv_freq": (4,) for il in range(2)}},
    "gpt-oss": {"config": _gpt_oss(), "store": "mxfp4", "shards": 3, "int8_block": 32, "seed": "10",
                "generation": {"bos_token_id": 1, "do_sample": True, "eos_token_id": [2, 4], "pad_token_id": 0}},
    "gpt-oss-f32": {"config": _gpt_oss(num_hidden_layers=2, hidden_size=40, intermediate_size=20,
                                       num_local_experts=5, num_experts_per_tok=2, experts_per_token=2)},
    "gemma3": {"config": _gemma3()},
    "gemma3-mm": {"config": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 133, "eoi_token_index": 134,
        "eos_token_id": [1, 106], "image_token_index": 135, "mm_tokens_per_image": 4, "model_type": "gemma3",
        "text_config": _gemma3(query_pre_attn_scalar=9, num_hidden_layers=6, layer_types=[
            "full_attention" if il % 3 == 2 else "sliding_attention" for il in range(6)]),
        "torch_dtype": "float32",
        "vision_config": {"hidden_size": 8, "image_size": 28, "intermediate_size": 12, "model_type": "siglip_vision_model",
                          "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 14, "vision_use_head": False}},
        "extra": {"vision_tower.vision_model.embeddings.position_embedding.weight": (4, 8),
                  "multi_modal_projector.mm_input_projection_weight": (8, 36),
                  "multi_modal_projector.mm_soft_emb_norm.weight": (8,)},
        "gguf": False},
    "deepseek-v3": {"config": _deepseek3()},
    "deepseek-v2-lite": {"config": _deepseek(), "store": "bf16", "old_mla": True},
    "qwen2": {"config": _qwen2(), "generation": GEN},
    "qwen2-untied": {"config": _qwen2(tie_word_embeddings=False), "shards": 3, "store": "f16", "matrix_type": "F16"},
    "qwen2-yarn": {"config": _qwen2(rope_scaling=YARN4, rope_theta=10000.0), "store": "bf16", "matrix_type": "BF16"},
    "qwen2moe": {"config": {**_qwen2(tie_word_embeddings=False, intermediate_size=72, num_key_value_heads=6),
                            "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe",
                            "decoder_sparse_step": 1, "moe_intermediate_size": 12, "norm_topk_prob": False,
                            "num_experts": 7, "num_experts_per_tok": 4, "output_router_logits": False,
                            "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 44}},
    "qwen3moe": {"config": {**_qwen3(tie_word_embeddings=False, intermediate_size=60, num_hidden_layers=2, head_dim=16),
                            "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
                            "decoder_sparse_step": 1, "mlp_only_layers": [], "moe_intermediate_size": 12,
                            "norm_topk_prob": True, "num_experts": 8, "num_experts_per_tok": 3,
                            "output_router_logits": False, "router_aux_loss_coef": 0.001}},
    "qwen2moe-mixed": {"config": {**_qwen2(tie_word_embeddings=False, intermediate_size=56, num_hidden_layers=4),
                                  "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe",
                                  "decoder_sparse_step": 2, "mlp_only_layers": [3], "moe_intermediate_size": 12,
                                  "norm_topk_prob": True, "num_experts": 5, "num_experts_per_tok": 2,
                                  "shared_expert_intermediate_size": 20}, "store": "bf16", "gguf": False},
    "gemma1": {"config": _gemma("gemma", "GemmaForCausalLM", hidden_act="gelu", rope_scaling=None)
               | {"num_key_value_heads": 1, "num_hidden_layers": 2}},
    "gemma2": {"config": _gemma2()},
    "llama3": {"config": _llama(bos_token_id=1, eos_token_id=[2, 3], num_key_value_heads=2,
                                num_attention_heads=4, hidden_size=48, intermediate_size=80,
                                tie_word_embeddings=True, rope_theta=500000.0, max_position_embeddings=512,
                                rope_scaling={"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                              "original_max_position_embeddings": 64, "rope_type": "llama3"})},
    "qwen1": {"config": _qwen1()},
    "qwen1-long": {"config": _qwen1(seq_length=24, use_dynamic_ntk=False), "gguf": False},
    "deepseek-moe": {"store": "bf16", "config": {"architectures": ["DeepseekForCausalLM"], "model_type": "deepseek",
                                "attention_bias": False, "aux_loss_alpha": 0.001, "bos_token_id": 1,
                                "eos_token_id": 2, "first_k_dense_replace": 1, "hidden_act": "silu",
                                "hidden_size": 48, "intermediate_size": 72, "max_position_embeddings": 4096,
                                "moe_intermediate_size": 12, "moe_layer_freq": 1, "n_routed_experts": 7,
                                "n_shared_experts": 2, "norm_topk_prob": False, "num_attention_heads": 4,
                                "num_experts_per_tok": 3, "num_hidden_layers": 3, "num_key_value_heads": 4,
                                "pretraining_tp": 1, "rope_scaling": None, "rope_theta": 10000,
                                "scoring_func": "softmax", "seq_aux": True, "tie_word_embeddings": False,
                                "torch_dtype": "float32", "vocab_size": 137, **COMMON}},
    "deepseek-v2": {"store": "bf16", "config": _deepseek(n_group=4, topk_group=2, topk_method="group_limited_greedy",
                                        routed_scaling_factor=16.0, q_lora_rank=28, n_routed_experts=8)},
}
CASES["llama3"]["config"]["rms_norm_eps"] = 1e-5
del CASES["gemma1"]["config"]["hidden_activation"]
NEW = CASES["qwen3moe"]["config"]                             # as transformers 5 writes it
for key in ("rope_theta", "rope_scaling", "torch_dtype"):
    del NEW[key]
NEW |= {"dtype": "float32", "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}}
for key in ("rope_theta", "rope_local_base_freq", "rms_norm_eps", "sliding_window_pattern"):
    del CASES["gemma3-mm"]["config"]["text_config"][key]       # as published: the defaults count
CASES["deepseek-v3"]["extra"] = _mtp(CASES["deepseek-v3"]["config"])

GPTQ = {"bits": 4, "damp_percent": 0.01, "desc_act": False, "group_size": 32, "quant_method": "gptq",
        "static_groups": False, "sym": True, "true_sequential": True}
AWQ = {"bits": 4, "group_size": 32, "quant_method": "awq", "version": "gemm", "zero_point": True}
INT4 = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}

CASES |= {
    "deepseek-v3-fp8": {
        "config": _deepseek3() | {"hidden_size": 192, "intermediate_size": 136, "kv_lora_rank": 32,
                                  "q_lora_rank": 140, "n_routed_experts": 6, "n_group": 3, "topk_group": 2,
                                  "num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_hidden_layers": 2,
                                  "num_nextn_predict_layers": 0, "vocab_size": 101},
        "store": "fp8", "gguf": False},
    "qwen2-gptq": {"config": _qwen2(**INT4, quantization_config=GPTQ), "store": "gptq", "gguf": False,
                   "int8_block": 32, "exact": True},
    "qwen2-gptq-act": {"config": _qwen2(**INT4, quantization_config={**GPTQ, "desc_act": True, "sym": False}),
                       "store": "gptq", "gguf": False, "int8_block": 32, "exact": True},
    "qwen2-awq": {"config": _qwen2(**INT4, quantization_config=AWQ), "store": "awq", "gguf": False,
                  "int8_block": 32, "exact": True},
    "qwen3-q8_0": {"config": _qwen3(hidden_size=64, intermediate_size=96, head_dim=16, num_hidden_layers=2),
                   "gguf_types": {"weight": T.Q8_0}, "int8_block": 32},
    "llama-kquants": {
        "config": _llama(hidden_size=256, intermediate_size=256, num_attention_heads=4, num_key_value_heads=1,
                         vocab_size=101),
        "gguf_types": {
            "0.attn_q.weight": T.Q4_K, "0.attn_k.weight": T.Q5_K, "0.attn_v.weight": T.Q6_K,
            "0.attn_output.weight": T.Q3_K, "0.ffn_gate.weight": T.Q2_K, "0.ffn_up.weight": T.Q4_K,
            "0.ffn_down.weight": T.Q6_K, "1.attn_q.weight": T.IQ4_XS, "1.attn_k.weight": T.Q4_0,
            "1.attn_v.weight": T.Q5_0, "1.attn_output.weight": T.Q5_1, "1.ffn_gate.weight": T.IQ4_XS,
            "1.ffn_up.weight": T.Q4_1, "1.ffn_down.weight": T.Q5_K, "token_embd.weight": T.Q4_K,
            "output.weight": T.Q6_K},
        "int8_block": 256},
}
