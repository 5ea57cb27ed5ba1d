"""Writes a tiny checkpoint as GGUF (version 3) with PyPI gguf, converted as llama.cpp's converter does.

The conversions are facts of the format (see the comments); there is no tokenizer, so tokenizer.ggml.model
is "none" and the vocabulary size is its own key.
"""
import math
import re

import gguf
import numpy as np
import torch

import shapes

ARCH = {"llama": "llama", "qwen": "qwen", "qwen2": "qwen2", "qwen2_moe": "qwen2moe", "qwen3": "qwen3",
        "qwen3_moe": "qwen3moe", "gemma": "gemma", "gemma2": "gemma2", "gemma3_text": "gemma3",
        "gpt_oss": "gpt-oss", "deepseek": "deepseek", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2"}

PLAIN = [  # (pattern after "model.layers.N.", GGUF name after "blk.N.")
    (r"self_attn\.([qkv])_proj", r"attn_\1"), (r"self_attn\.o_proj", "attn_output"),
    (r"self_attn\.([qk])_norm", r"attn_\1_norm"), (r"self_attn\.sinks$", "attn_sinks.weight"),
    (r"self_attn\.q_a_proj", "attn_q_a"), (r"self_attn\.q_a_layernorm", "attn_q_a_norm"),
    (r"self_attn\.q_b_proj", "attn_q_b"), (r"self_attn\.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    (r"self_attn\.kv_a_layernorm", "attn_kv_a_norm"), (r"self_attn\.kv_b_proj", "attn_kv_b"),
    (r"mlp\.shared_experts?\.(gate|up|down)_proj", r"ffn_\1_shexp"),
    (r"mlp\.shared_expert_gate", "ffn_gate_inp_shexp"),
    (r"mlp\.gate\.e_score_correction_bias", "exp_probs_b.bias"),
    (r"mlp\.(gate|router)\.", "ffn_gate_inp."),
    (r"mlp\.(gate|up|down)_proj", r"ffn_\1"), (r"input_layernorm", "attn_norm"),
    (r"pre_feedforward_layernorm", "ffn_norm"), (r"post_feedforward_layernorm", "post_ffw_norm"),
]
QWEN1 = [(r"attn\.c_attn", "attn_qkv"), (r"attn\.c_proj", "attn_output"), (r"ln_1", "attn_norm"),
         (r"ln_2", "ffn_norm"), (r"mlp\.w1", "ffn_up"), (r"mlp\.w2", "ffn_gate"), (r"mlp\.c_proj", "ffn_down")]
GLOBAL = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
          "lm_head.weight": "output.weight", "transformer.wte.weight": "token_embd.weight",
          "transformer.ln_f.weight": "output_norm.weight"}


def interleave_rotary(w, n_head):
    """Rows of each head from half-split to interleaved pairs: new[2j] = old[j], new[2j+1] = old[j + D/2]."""
    d = w.shape[0] // n_head
    return w.reshape(n_head, 2, d // 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape).contiguous()


def split_rotary(w, n_head):
    """The inverse of interleave_rotary."""
    d = w.shape[0] // n_head
    return w.reshape(n_head, d // 2, 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape).contiguous()


def _rename(cfg, rest):
    """Name of a layer tensor after "blk.N."; the post-attention norm has three meanings."""
    if rest.startswith("post_attention_layernorm"):
        sandwich = cfg["model_type"] in ("gemma2", "gemma3_text", "gpt_oss")
        return rest.replace("post_attention_layernorm", "post_attention_norm" if sandwich else "ffn_norm")
    for pattern, new in (QWEN1 if cfg["model_type"] == "qwen" else PLAIN):
        if re.match(pattern, rest):
            return re.sub(pattern, new, rest, count=1)
    raise SystemExit(f"no GGUF name for {rest}")


def _split_kv_b(cfg, w):
    """kv_b [heads * (nope + v), rank] -> k_b [heads, rank, nope] (transposed) and v_b [heads, v, rank]."""
    w = w.reshape(cfg["num_attention_heads"], -1, cfg["kv_lora_rank"])
    k, v = w.split([cfg["qk_nope_head_dim"], cfg["v_head_dim"]], dim=1)
    return k.transpose(1, 2).contiguous(), v.contiguous()


def _layer_tensors(cfg, p, rest, w, old_mla):
    """One checkpoint tensor -> [(GGUF name, tensor)]. p is "blk.N."."""
    kind = cfg["model_type"]
    if rest.startswith("mlp.experts.") and kind == "gpt_oss":
        name = rest[len("mlp.experts."):]
        bias = ".bias" if name.endswith("_bias") else ".weight"
        if not name.endswith("_bias"):
            w = w.transpose(1, 2)                     # [expert, in, out] -> [expert, out, in]
        if name.startswith("down"):
            return [(p + "ffn_down_exps" + bias, w)]
        return [(p + "ffn_gate_exps" + bias, w[:, 0::2]), (p + "ffn_up_exps" + bias, w[:, 1::2])]
    if rest.endswith("kv_b_proj.weight") and not old_mla:
        k, v = _split_kv_b(cfg, w)
        return [(p + "attn_k_b.weight", k), (p + "attn_v_b.weight", v)]
    if kind in ("llama", "deepseek"):
        if ".q_proj." in rest:
            w = interleave_rotary(w, cfg["num_attention_heads"])
        if ".k_proj." in rest:
            w = interleave_rotary(w, cfg["num_key_value_heads"])
    if rest == "mlp.shared_expert_gate.weight":
        w = w.reshape(-1)
    return [(p + _rename(cfg, rest), w)]


def convert(cfg, tensors, old_mla=False):
    """Checkpoint tensors -> {GGUF name: float32 tensor}, experts stacked."""
    out, stacks = {}, {}
    for name, w in tensors.items():
        if name in GLOBAL:
            out[GLOBAL[name]] = w
            continue
        il, rest = re.match(r"(?:model\.layers|transformer\.h)\.(\d+)\.(.*)", name).groups()
        if int(il) >= cfg["num_hidden_layers"] or rest.endswith("inv_freq"):
            continue
        expert = re.match(r"mlp\.experts\.(\d+)\.(gate|up|down)_proj\.weight", rest)
        if expert:
            stacks.setdefault(f"blk.{il}.ffn_{expert[2]}_exps.weight", {})[int(expert[1])] = w
            continue
        out.update(_layer_tensors(cfg, f"blk.{il}.", rest, w, old_mla))
    for name, parts in stacks.items():
        out[name] = torch.stack([parts[e] for e in range(len(parts))])
    if cfg["model_type"].startswith("gemma"):         # GGUF holds 1 + w
        out = {n: w + 1 if n.endswith("norm.weight") else w for n, w in out.items()}
    if (cfg.get("rope_scaling") or {}).get("rope_type") == "llama3":
        out["rope_freqs.weight"] = _llama3_divisors(cfg)
    return out


def _llama3_divisors(cfg):
    s, d = cfg["rope_scaling"], cfg.get("head_dim") or cfg["hidden_size"] // cfg["num_attention_heads"]
    low, high, old = s["low_freq_factor"], s["high_freq_factor"], s["original_max_position_embeddings"]
    out = []
    for i in range(0, d, 2):
        wave = 2 * math.pi * cfg["rope_theta"] ** (i / d)
        t = (old / wave - low) / (high - low)
        out.append(1.0 if wave < old / high else s["factor"] if wave > old / low
                   else 1 / ((1 - t) / s["factor"] + t))
    return torch.tensor(out, dtype=torch.float32)


def _rope(w, cfg):
    s = cfg.get("rope_scaling") or {}
    kind = s.get("rope_type", s.get("type"))
    if kind in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(kind))
        w.add_rope_scaling_factor(s["factor"])
    if kind == "yarn":
        w.add_rope_scaling_orig_ctx_len(s["original_max_position_embeddings"])
        if "beta_fast" in s:
            w.add_rope_scaling_yarn_beta_fast(s["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(s["beta_slow"])
    if cfg["model_type"] == "deepseek":
        w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    if cfg["model_type"] not in ("gemma", "gemma2"):   # files of these families rely on the default
        new = cfg.get("rope_parameters", {})
        w.add_rope_freq_base(float(new.get("rope_theta") or cfg.get("rope_theta") or cfg["rotary_emb_base"]))


def _moe(w, cfg):
    kind = cfg["model_type"]
    n = cfg.get("num_local_experts") or cfg.get("num_experts") or cfg.get("n_routed_experts")
    if not n:
        return
    w.add_expert_count(n)
    w.add_expert_used_count(cfg["num_experts_per_tok"])
    w.add_expert_feed_forward_length(cfg.get("moe_intermediate_size", cfg["intermediate_size"]))
    if "shared_expert_intermediate_size" in cfg:
        w.add_expert_shared_feed_forward_length(cfg["shared_expert_intermediate_size"])
    if not kind.startswith("deepseek"):
        return
    w.add_leading_dense_block_count(cfg["first_k_dense_replace"])
    w.add_expert_shared_count(cfg["n_shared_experts"])
    w.add_expert_weights_scale(cfg.get("routed_scaling_factor", 1.0))
    if cfg.get("n_group"):
        w.add_expert_group_count(cfg["n_group"])
        w.add_expert_group_used_count(cfg["topk_group"])
    if cfg.get("norm_topk_prob"):
        w.add_expert_weights_norm(True)
    sigmoid = cfg["scoring_func"] == "sigmoid"
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)


def _heads(w, cfg, old_mla):
    heads = cfg["num_attention_heads"]
    w.add_head_count(heads)
    if "kv_lora_rank" not in cfg:
        w.add_head_count_kv(cfg.get("num_key_value_heads", heads))
        hd = cfg.get("head_dim")
        if hd:
            w.add_key_length(hd)
            w.add_value_length(hd)
        if cfg["model_type"] in ("llama", "deepseek", "qwen"):
            w.add_rope_dimension_count(hd or cfg["hidden_size"] // heads)
        return
    rank, rope = cfg["kv_lora_rank"], cfg["qk_rope_head_dim"]
    qk = cfg["qk_nope_head_dim"] + rope
    if cfg["q_lora_rank"]:
        w.add_q_lora_rank(cfg["q_lora_rank"])
    w.add_kv_lora_rank(rank)
    w.add_rope_dimension_count(rope)
    if old_mla:                                        # files from before the split of kv_b
        w.add_head_count_kv(heads)
        w.add_key_length(qk)
        w.add_value_length(cfg["v_head_dim"])
    else:
        w.add_head_count_kv(1)
        w.add_key_length(rank + rope)
        w.add_value_length(rank)
        w.add_key_length_mla(qk)
        w.add_value_length_mla(cfg["v_head_dim"])
    if "mscale_all_dim" in (cfg.get("rope_scaling") or {}):
        w.add_rope_scaling_yarn_log_mul(0.1 * cfg["rope_scaling"]["mscale_all_dim"])


def write(path, cfg, tensors, old_mla=False, raw=None, matrix_type=None):
    """cfg: the text config. tensors: float32 checkpoint tensors. raw: {GGUF name: (bytes array, type)} replaces
    the float32 form of those tensors; matrix_type is the type of the other matrices (default float32)."""
    arch = ARCH[cfg["model_type"]]
    w = gguf.GGUFWriter(path, arch)
    w.add_name("tiny seeded " + arch)
    w.add_file_type(0)
    w.add_block_count(cfg["num_hidden_layers"])
    w.add_context_length(cfg["max_position_embeddings"])
    w.add_embedding_length(cfg["hidden_size"])
    w.add_feed_forward_length(cfg["intermediate_size"])  # arch qwen keeps the doubled number
    w.add_vocab_size(cfg["vocab_size"])
    w.add_layer_norm_rms_eps(cfg.get("rms_norm_eps", cfg.get("layer_norm_epsilon")))
    _heads(w, cfg, old_mla)
    _rope(w, cfg)
    _moe(w, cfg)
    if cfg.get("sliding_window") and cfg["model_type"] in ("gpt_oss", "gemma2", "gemma3_text"):
        w.add_sliding_window(cfg["sliding_window"])
    if cfg["model_type"] == "gemma2":
        w.add_attn_logit_softcapping(cfg["attn_logit_softcapping"])
        w.add_final_logit_softcapping(cfg["final_logit_softcapping"])
    w.add_tokenizer_model("none")
    raw = raw or {}
    for name, x in convert(cfg, tensors, old_mla).items():
        if name in raw:
            data, kind = raw[name]
            w.add_tensor(name, data, raw_dtype=kind)
        elif matrix_type and x.ndim > 1:
            kind = gguf.GGMLQuantizationType[matrix_type]
            w.add_tensor(name, gguf.quants.quantize(x.numpy(), kind), raw_dtype=kind)
        else:
            w.add_tensor(name, np.ascontiguousarray(x.float().numpy()))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
