#!/usr/bin/env python3
"""Public configurations and their parameter counts: published.py OUT.jsonl CONFIG_DIR

CONFIG_DIR holds folders "publisher__model" with config.json files as published; a model that is not
there is composed from its dimension table in its family's own keys. Each count comes from shapes.py
and must equal the figure below, which is the one published or computed elsewhere.
"""
import json
import os
import sys

import shapes


def _qwen2(d, layers, f, heads, kv, vocab=151936, tied=False, theta=1000000.0, ctx=32768, eps=1e-6, **kw):
    return {"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": d, "initializer_range": 0.02,
            "intermediate_size": f, "max_position_embeddings": ctx, "max_window_layers": layers,
            "model_type": "qwen2", "num_attention_heads": heads, "num_hidden_layers": layers,
            "num_key_value_heads": kv, "rms_norm_eps": eps, "rope_theta": theta, "sliding_window": ctx,
            "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "use_cache": True,
            "use_sliding_window": False, "vocab_size": vocab, **kw}


def _qwen2moe(d, layers, f, heads, kv, experts, used, width, shared, **kw):
    return _qwen2(d, layers, f, heads, kv, **kw) | {
        "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "decoder_sparse_step": 1,
        "moe_intermediate_size": width, "norm_topk_prob": False, "num_experts": experts,
        "num_experts_per_tok": used, "output_router_logits": False, "router_aux_loss_coef": 0.001,
        "shared_expert_intermediate_size": shared}


def _qwen1(d, layers, f, heads, vocab, base=10000, seq=8192, ntk=True):
    return {"architectures": ["QWenLMHeadModel"], "attn_dropout_prob": 0.0, "emb_dropout_prob": 0.0,
            "hidden_size": d, "initializer_range": 0.02, "intermediate_size": 2 * f, "kv_channels": 128,
            "layer_norm_epsilon": 1e-6, "max_position_embeddings": 8192, "model_type": "qwen", "no_bias": True,
            "num_attention_heads": heads, "num_hidden_layers": layers, "onnx_safe": None,
            "rotary_emb_base": base, "rotary_pct": 1.0, "scale_attn_weights": True, "seq_length": seq,
            "tie_word_embeddings": False, "tokenizer_class": "QWenTokenizer", "use_cache": True,
            "use_dynamic_ntk": ntk, "use_logn_attn": ntk, "vocab_size": vocab}


def _qwen3(d, layers, f, heads, kv, tied=False, theta=1000000, ctx=40960):
    return {"architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": d, "initializer_range": 0.02, "intermediate_size": f,
            "max_position_embeddings": ctx, "max_window_layers": layers, "model_type": "qwen3",
            "num_attention_heads": heads, "num_hidden_layers": layers, "num_key_value_heads": kv,
            "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": theta, "sliding_window": None,
            "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "use_cache": True,
            "use_sliding_window": False, "vocab_size": 151936}


def _llama(d, layers, f, heads, kv, vocab, theta=10000.0, ctx=4096, eps=1e-5, tied=False, scaling=None, **kw):
    return {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "hidden_act": "silu", "hidden_size": d, "initializer_range": 0.02, "intermediate_size": f,
            "max_position_embeddings": ctx, "mlp_bias": False, "model_type": "llama",
            "num_attention_heads": heads, "num_hidden_layers": layers, "num_key_value_heads": kv,
            "pretraining_tp": 1, "rms_norm_eps": eps, "rope_scaling": scaling, "rope_theta": theta,
            "tie_word_embeddings": tied, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": vocab, **kw}


def _gemma2(d, layers, f, heads, kv, hd, scalar):
    return {"architectures": ["Gemma2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid",
            "eos_token_id": 1, "final_logit_softcapping": 30.0, "head_dim": hd,
            "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": d,
            "initializer_range": 0.02, "intermediate_size": f, "max_position_embeddings": 8192,
            "model_type": "gemma2", "num_attention_heads": heads, "num_hidden_layers": layers,
            "num_key_value_heads": kv, "pad_token_id": 0, "query_pre_attn_scalar": scalar,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096, "torch_dtype": "bfloat16",
            "use_cache": True, "vocab_size": 256000}


def _gemma3_text(d, layers, f, **kw):
    return {"architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "attn_logit_softcapping": None, "bos_token_id": 2, "eos_token_id": [1, 106],
            "final_logit_softcapping": None, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": d, "initializer_range": 0.02, "intermediate_size": f,
            "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
            "num_hidden_layers": layers, "num_key_value_heads": 1, "pad_token_id": 0,
            "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000,
            "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
            "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 262144, **kw}


def _gemma3(**text):
    """4B and up leave to the defaults of Gemma3TextConfig what is not in `text`: heads, vocabulary, rotation."""
    return {"architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999,
            "eoi_token_index": 256000, "eos_token_id": [1, 106], "image_token_index": 262144,
            "initializer_range": 0.02, "mm_tokens_per_image": 256, "model_type": "gemma3",
            "text_config": {"model_type": "gemma3_text", "sliding_window": 1024,
                            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, **text},
            "torch_dtype": "bfloat16",
            "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
                              "model_type": "siglip_vision_model", "num_attention_heads": 16,
                              "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192, "rope_type": "llama3"}
LLAMA31 = {"theta": 500000.0, "ctx": 131072, "scaling": LLAMA3}
LLAMA32 = {**LLAMA31, "tied": True, "scaling": {**LLAMA3, "factor": 32.0}}
DS_LLM = {"bos_token_id": 100000, "eos_token_id": 100001}
R1_LLAMA = {**LLAMA31, "bos_token_id": 128000, "eos_token_id": 128001}
BIG = {"vocab": 152064}

DEEPSEEK_MOE = {
    "architectures": ["DeepseekForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1,
    "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944,
    "max_position_embeddings": 4096, "model_type": "deepseek", "moe_intermediate_size": 1408,
    "moe_layer_freq": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": False,
    "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 28, "num_key_value_heads": 16,
    "pretraining_tp": 1, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 10000,
    "scoring_func": "softmax", "seq_aux": True, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "use_cache": True, "vocab_size": 102400}
DEEPSEEK_V2 = {  # over V2-Lite
    "hidden_size": 5120, "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_group": 8,
    "n_routed_experts": 160, "num_attention_heads": 128, "num_hidden_layers": 60, "num_key_value_heads": 128,
    "q_lora_rank": 1536, "routed_scaling_factor": 16.0, "topk_group": 3, "topk_method": "group_limited_greedy"}
GEMMA_7B = {"hidden_size": 3072, "intermediate_size": 24576, "num_attention_heads": 16,
            "num_hidden_layers": 28, "num_key_value_heads": 16}

# name, parameters, config: a folder of CONFIG_DIR, a dict, or (folder, changes)
MODELS = [
    ("gpt-oss-20b", 20_914_757_184, "openai__gpt-oss-20b"),
    ("gpt-oss-120b", 116_829_156_672, "openai__gpt-oss-120b"),
    ("Qwen-1.8B", 1_836_828_672, _qwen1(2048, 24, 5504, 16, 151936)),
    ("Qwen-7B", 7_721_324_544, "Qwen__Qwen-7B-Chat"),
    ("Qwen-14B", 14_167_290_880, _qwen1(5120, 40, 13696, 40, 152064, seq=2048)),
    ("Qwen-72B", 72_287_920_128, _qwen1(8192, 80, 24576, 64, 152064, base=1000000, seq=32768, ntk=False)),
    ("Qwen1.5-0.5B", 463_987_712, _qwen2(1024, 24, 2816, 16, 16, tied=True)),
    ("Qwen1.5-1.8B", 1_836_828_672, _qwen2(2048, 24, 5504, 16, 16)),
    ("Qwen1.5-4B", 3_950_369_280, _qwen2(2560, 40, 6912, 20, 20, theta=5000000.0)),
    ("Qwen1.5-7B", 7_721_324_544, _qwen2(4096, 32, 11008, 32, 32)),
    ("Qwen1.5-14B", 14_167_290_880, _qwen2(5120, 40, 13696, 40, 40, **BIG)),
    ("Qwen1.5-32B", 32_512_218_112, _qwen2(5120, 64, 27392, 40, 8, **BIG)),
    ("Qwen1.5-72B", 72_287_920_128, _qwen2(8192, 80, 24576, 64, 64, **BIG)),
    ("Qwen1.5-110B", 111_209_914_368, _qwen2(8192, 80, 49152, 64, 8, **BIG)),
    ("Qwen1.5-MoE-A2.7B", 14_315_784_192, _qwen2moe(2048, 24, 5632, 16, 16, 60, 4, 1408, 5632, ctx=8192)),
    ("Qwen2-57B-A14B", 57_408_658_944, _qwen2moe(3584, 28, 18944, 28, 4, 64, 8, 2560, 20480)),
    ("Qwen2-0.5B", 494_032_768, _qwen2(896, 24, 4864, 14, 2, tied=True, ctx=131072)),
    ("Qwen2-1.5B", 1_543_714_304, _qwen2(1536, 28, 8960, 12, 2, tied=True, ctx=131072)),
    ("Qwen2-7B", 7_615_616_512, _qwen2(3584, 28, 18944, 28, 4, ctx=131072, **BIG)),
    ("Qwen2-72B", 72_706_203_648, _qwen2(8192, 80, 29568, 64, 8, ctx=131072, eps=1e-5, **BIG)),
    ("Qwen2.5-0.5B", 494_032_768, _qwen2(896, 24, 4864, 14, 2, tied=True)),
    ("Qwen2.5-1.5B", 1_543_714_304, _qwen2(1536, 28, 8960, 12, 2, tied=True, ctx=131072)),
    ("Qwen2.5-3B", 3_085_938_688, _qwen2(2048, 36, 11008, 16, 2, tied=True)),
    ("Qwen2.5-7B-Instruct", 7_615_616_512, "Qwen__Qwen2.5-7B-Instruct"),
    ("Qwen2.5-14B", 14_770_033_664, _qwen2(5120, 48, 13824, 40, 8, ctx=131072, eps=1e-5, **BIG)),
    ("Qwen2.5-32B", 32_763_876_352, _qwen2(5120, 64, 27648, 40, 8, ctx=131072, eps=1e-5, **BIG)),
    ("Qwen2.5-72B", 72_706_203_648, _qwen2(8192, 80, 29568, 64, 8, ctx=131072, eps=1e-5, **BIG)),
    ("Qwen3-0.6B", 596_049_920, "Qwen__Qwen3-0.6B"),
    ("Qwen3-1.7B", 1_720_574_976, "Qwen__Qwen3-1.7B"),
    ("Qwen3-4B", 4_022_468_096, _qwen3(2560, 36, 9728, 32, 8, tied=True)),
    ("Qwen3-4B-Instruct-2507", 4_022_468_096, _qwen3(2560, 36, 9728, 32, 8, True, 5000000, 262144)),
    ("Qwen3-8B", 8_190_735_360, "Qwen__Qwen3-8B"),
    ("Qwen3-14B", 14_768_307_200, _qwen3(5120, 40, 17408, 40, 8)),
    ("Qwen3-32B", 32_762_123_264, "Qwen__Qwen3-32B"),
    ("Qwen3-30B-A3B", 30_532_122_624, "Qwen__Qwen3-30B-A3B"),
    ("Qwen3-30B-A3B-Instruct-2507", 30_532_122_624,
     ("Qwen__Qwen3-30B-A3B", {"rope_theta": 10000000, "max_position_embeddings": 262144})),
    ("Qwen3-235B-A22B", 235_093_634_560, "Qwen__Qwen3-235B-A22B"),
    ("Qwen3-235B-A22B-Thinking-2507", 235_093_634_560,
     ("Qwen__Qwen3-235B-A22B", {"rope_theta": 5000000, "max_position_embeddings": 262144})),
    ("Qwen3-Coder-480B-A35B", 480_154_875_392, "Qwen__Qwen3-Coder-480B-A35B-Instruct"),
    ("gemma-2b", 2_506_172_416, "google__gemma-2b-it"),
    ("gemma-7b", 8_537_680_896, ("google__gemma-2b-it", GEMMA_7B)),
    ("gemma-2-2b", 2_614_341_888, "google__gemma-2-2b-it"),
    ("gemma-2-9b", 9_241_705_984, _gemma2(3584, 42, 14336, 16, 8, 256, 256)),
    ("gemma-2-27b", 27_227_128_320, _gemma2(4608, 46, 36864, 32, 16, 128, 144)),
    ("gemma-3-270m", 268_098_176, _gemma3_text(640, 18, 2048)),
    ("gemma-3-1b", 999_885_952, _gemma3_text(1152, 26, 6912)),
    ("gemma-3-4b", 3_880_263_168, _gemma3(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34)),
    ("gemma-3-12b", 11_766_034_176, _gemma3(hidden_size=3840, intermediate_size=15360, num_hidden_layers=48,
                                            num_attention_heads=16, num_key_value_heads=8)),
    ("gemma-3-27b", 27_009_346_304, _gemma3(head_dim=128, hidden_size=5376, intermediate_size=21504,
                                            num_attention_heads=32, num_hidden_layers=62,
                                            num_key_value_heads=16, query_pre_attn_scalar=168)),
    ("medgemma-27b", 27_009_346_304, "google__medgemma-27b-it"),
    ("deepseek-llm-7b", 6_910_365_696, _llama(4096, 30, 11008, 32, 32, 102400, eps=1e-6, **DS_LLM)),
    ("deepseek-llm-67b", 67_425_001_472, _llama(8192, 95, 22016, 64, 8, 102400, eps=1e-6, **DS_LLM)),
    ("deepseek-moe-16b", 16_375_728_128, DEEPSEEK_MOE),
    ("DeepSeek-V2-Lite", 15_706_484_224, "deepseek-ai__DeepSeek-V2-Lite"),
    ("DeepSeek-V2", 235_741_434_880, ("deepseek-ai__DeepSeek-V2-Lite", DEEPSEEK_V2)),
    ("DeepSeek-V3", 671_026_419_200, "deepseek-ai__DeepSeek-V3"),
    ("DeepSeek-R1", 671_026_419_200, "deepseek-ai__DeepSeek-R1"),
    ("DeepSeek-V3.1", 671_026_419_200, ("deepseek-ai__DeepSeek-V3", {"quantization_config": {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0",
        "weight_block_size": [128, 128]}})),
    ("DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000, _qwen2(1536, 28, 8960, 12, 2, theta=10000, ctx=131072)),
    ("DeepSeek-R1-Distill-Qwen-7B", 7_615_616_512, _qwen2(3584, 28, 18944, 28, 4, theta=10000, ctx=131072, **BIG)),
    ("DeepSeek-R1-Distill-Qwen-14B", 14_770_033_664, _qwen2(5120, 48, 13824, 40, 8, ctx=131072, eps=1e-5, **BIG)),
    ("DeepSeek-R1-Distill-Qwen-32B", 32_763_876_352, _qwen2(5120, 64, 27648, 40, 8, ctx=131072, eps=1e-5, **BIG)),
    ("DeepSeek-R1-Distill-Llama-8B", 8_030_261_248, _llama(4096, 32, 14336, 32, 8, 128256, **R1_LLAMA)),
    ("DeepSeek-R1-Distill-Llama-70B", 70_553_706_496, _llama(8192, 80, 28672, 64, 8, 128256, **R1_LLAMA)),
    ("Llama-2-7b", 6_738_415_616, _llama(4096, 32, 11008, 32, 32, 32000)),
    ("Llama-2-13b", 13_015_864_320, _llama(5120, 40, 13824, 40, 40, 32000)),
    ("Llama-2-70b", 68_976_648_192, _llama(8192, 80, 28672, 64, 8, 32000)),
    ("Meta-Llama-3-8B", 8_030_261_248, _llama(4096, 32, 14336, 32, 8, 128256, theta=500000.0, ctx=8192)),
    ("Meta-Llama-3-70B", 70_553_706_496, _llama(8192, 80, 28672, 64, 8, 128256, theta=500000.0, ctx=8192)),
    ("Llama-3.1-8B", 8_030_261_248, "meta-llama__Meta-Llama-3.1-8B"),
    ("Llama-3.1-70B", 70_553_706_496, "meta-llama__Meta-Llama-3.1-70B"),
    ("Llama-3.1-405B", 405_853_388_800, "meta-llama__Meta-Llama-3.1-405B"),
    ("Llama-3.2-1B", 1_235_814_400, _llama(2048, 16, 8192, 32, 8, 128256, head_dim=64, **LLAMA32)),
    ("Llama-3.2-3B", 3_212_749_824, _llama(3072, 28, 8192, 24, 8, 128256, head_dim=128, **LLAMA32)),
]


def load(folder, config_dir):
    with open(os.path.join(config_dir, folder, "config.json")) as f:
        return json.load(f)


def main():
    out, config_dir = sys.argv[1:]
    lines, wrong = [], 0
    for name, params, cfg in MODELS:
        source = "composed"
        if isinstance(cfg, str):
            cfg, source = load(cfg, config_dir), cfg
        elif isinstance(cfg, tuple):
            source = cfg[0] + " with changes"
            cfg = load(cfg[0], config_dir) | cfg[1]
        for key in ("_name_or_path", "auto_map"):
            cfg.pop(key, None)
        got = shapes.n_params(cfg)
        if got != params:
            wrong += 1
            print(f"{name}: {got:,}, expected {params:,} (difference {got - params:,})")
        lines.append(json.dumps({"name": name, "params": got, "tensors": len(shapes.tensors(cfg)),
                                 "source": source, "config": cfg}))
    if wrong:
        raise SystemExit(f"{wrong} counts differ")
    with open(out, "w") as f:
        f.write("\n".join(lines) + "\n")
    print(f"{len(lines)} models")


if __name__ == "__main__":
    main()
