"""Tensor names and shapes of a Hugging Face checkpoint, from its config.json alone.

Written from the papers and the dimension tables, not from any implementation; make_refs.py loads
the resulting checkpoints with the official classes, which proves names and shapes on tiny sizes,
and published.py adds the products up to the published parameter counts.
"""
from math import prod


# What published Gemma 3 configs of 4B and up leave out (defaults of Gemma3TextConfig).
GEMMA3_DEFAULTS = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208}


def text_config(cfg):
    """The language part of a multimodal config, or the config itself."""
    if "text_config" not in cfg:
        return cfg
    return {**GEMMA3_DEFAULTS, **cfg["text_config"]}


def is_moe_layer(cfg, il):
    """Whether layer il has routed experts. Each family has its own keys for this."""
    kind = cfg["model_type"]
    if kind == "gpt_oss":
        return True
    if kind in ("qwen2_moe", "qwen3_moe"):
        step = cfg.get("decoder_sparse_step", 1)
        return il not in cfg.get("mlp_only_layers", []) and (il + 1) % step == 0
    if kind in ("deepseek", "deepseek_v2", "deepseek_v3"):
        return (cfg.get("n_routed_experts") is not None and il >= cfg["first_k_dense_replace"]
                and il % cfg.get("moe_layer_freq", 1) == 0)
    return False


def is_tied(cfg):
    """transformers' default of tie_word_embeddings where the key is absent."""
    default = text_config(cfg)["model_type"] in ("gemma", "gemma2", "gemma3_text")
    return cfg.get("tie_word_embeddings", default)


def _mlp(t, p, d, f):
    t[p + "gate_proj.weight"] = (f, d)
    t[p + "up_proj.weight"] = (f, d)
    t[p + "down_proj.weight"] = (d, f)


def _attention(t, cfg, p):
    """Grouped-query attention with the biases and norms of the family."""
    kind, d = cfg["model_type"], cfg["hidden_size"]
    heads = cfg["num_attention_heads"]
    kv = cfg.get("num_key_value_heads", heads)
    hd = cfg.get("head_dim") or d // heads
    qkv_bias = kind in ("qwen2", "qwen2_moe", "gpt_oss") or cfg.get("attention_bias", False)
    for name, rows in (("q", heads * hd), ("k", kv * hd), ("v", kv * hd)):
        t[p + f"{name}_proj.weight"] = (rows, d)
        if qkv_bias:
            t[p + f"{name}_proj.bias"] = (rows,)
    t[p + "o_proj.weight"] = (d, heads * hd)
    if kind == "gpt_oss":
        t[p + "o_proj.bias"] = (d,)
        t[p + "sinks"] = (heads,)
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        t[p + "q_norm.weight"] = (hd,)
        t[p + "k_norm.weight"] = (hd,)


def _mla(t, cfg, p):
    d, heads, rank = cfg["hidden_size"], cfg["num_attention_heads"], cfg["kv_lora_rank"]
    qk = cfg["qk_nope_head_dim"] + cfg["qk_rope_head_dim"]
    if cfg["q_lora_rank"]:
        t[p + "q_a_proj.weight"] = (cfg["q_lora_rank"], d)
        t[p + "q_a_layernorm.weight"] = (cfg["q_lora_rank"],)
        t[p + "q_b_proj.weight"] = (heads * qk, cfg["q_lora_rank"])
    else:
        t[p + "q_proj.weight"] = (heads * qk, d)
    t[p + "kv_a_proj_with_mqa.weight"] = (rank + cfg["qk_rope_head_dim"], d)
    t[p + "kv_a_layernorm.weight"] = (rank,)
    t[p + "kv_b_proj.weight"] = (heads * (cfg["qk_nope_head_dim"] + cfg["v_head_dim"]), rank)
    t[p + "o_proj.weight"] = (d, heads * cfg["v_head_dim"])


def _experts(t, cfg, p):
    kind, d = cfg["model_type"], cfg["hidden_size"]
    if kind == "gpt_oss":                         # transposed, gate and up interleaved in the last dim
        n, f = cfg["num_local_experts"], cfg["intermediate_size"]
        t[p + "router.weight"] = (n, d)
        t[p + "router.bias"] = (n,)
        t[p + "experts.gate_up_proj"] = (n, d, 2 * f)
        t[p + "experts.gate_up_proj_bias"] = (n, 2 * f)
        t[p + "experts.down_proj"] = (n, f, d)
        t[p + "experts.down_proj_bias"] = (n, d)
        return
    n = cfg.get("num_experts") or cfg.get("n_routed_experts")
    f = cfg["moe_intermediate_size"]
    t[p + "gate.weight"] = (n, d)
    if cfg.get("topk_method") == "noaux_tc":
        t[p + "gate.e_score_correction_bias"] = (n,)
    for e in range(n):
        _mlp(t, f"{p}experts.{e}.", d, f)
    if kind == "qwen2_moe":
        _mlp(t, p + "shared_expert.", d, cfg["shared_expert_intermediate_size"])
        t[p + "shared_expert_gate.weight"] = (1, d)
    if cfg.get("n_shared_experts"):
        _mlp(t, p + "shared_experts.", d, f * cfg["n_shared_experts"])


def _qwen1(cfg):
    """Qwen 1 has its own names, a fused qkv, and an intermediate_size of both halves together."""
    d, f, t = cfg["hidden_size"], cfg["intermediate_size"] // 2, {}
    proj = cfg["kv_channels"] * cfg["num_attention_heads"]
    t["transformer.wte.weight"] = (cfg["vocab_size"], d)
    for il in range(cfg["num_hidden_layers"]):
        p = f"transformer.h.{il}."
        t[p + "ln_1.weight"] = (d,)
        t[p + "attn.c_attn.weight"] = (3 * proj, d)
        t[p + "attn.c_attn.bias"] = (3 * proj,)
        t[p + "attn.c_proj.weight"] = (d, proj)
        t[p + "ln_2.weight"] = (d,)
        t[p + "mlp.w1.weight"] = (f, d)
        t[p + "mlp.w2.weight"] = (f, d)
        t[p + "mlp.c_proj.weight"] = (d, f)
    t["transformer.ln_f.weight"] = (d,)
    t["lm_head.weight"] = (cfg["vocab_size"], d)
    return t


def tensors(cfg):
    """{name: shape} of the language model; shapes are outermost first, as torch and safetensors have them."""
    if cfg["model_type"] == "qwen":
        return _qwen1(cfg)
    outer, cfg = cfg, text_config(cfg)
    root = "language_model." if outer is not cfg else ""
    kind, d, t = cfg["model_type"], cfg["hidden_size"], {}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if kind in ("gemma2", "gemma3_text"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    t[root + "model.embed_tokens.weight"] = (cfg["vocab_size"], d)
    for il in range(cfg["num_hidden_layers"]):
        p = f"{root}model.layers.{il}."
        (_mla if "kv_lora_rank" in cfg else _attention)(t, cfg, p + "self_attn.")
        if is_moe_layer(cfg, il):
            _experts(t, cfg, p + "mlp.")
        else:
            _mlp(t, p + "mlp.", d, cfg["intermediate_size"])
        for n in norms:
            t[f"{p}{n}.weight"] = (d,)
    t[root + "model.norm.weight"] = (d,)
    if not is_tied(outer):
        t[root + "lm_head.weight"] = (cfg["vocab_size"], d)
    return t


def n_params(cfg):
    """Number of parameters of the language model; a router's correction bias is counted, buffers are not."""
    return sum(prod(s) for s in tensors(cfg).values())
