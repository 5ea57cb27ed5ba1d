"""Small float32 reference models for what transformers does not have: Qwen 1 and DeepSeek-MoE 16B.

Written from the papers (Qwen technical report; DeepSeekMoE, arXiv 2401.06066) and checked against
llama.cpp. Same taps as official.py.

Qwen 1's dynamic NTK is left out on purpose: the official code fixes its factor by the length of the first
prompt and keeps it while decoding, so a prompt of up to seq_length tokens never changes the rotation, however
long the answer. The cases have the result of such a session.
"""
import math

import torch
import torch.nn.functional as F


def _norm(x, w, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w


def _rotate(x, theta):
    """x [n, heads, d], position = row; pairs are (i, i + d/2)."""
    n, _, d = x.shape
    f = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    a = torch.arange(n, dtype=torch.float64)[:, None] * f
    c, s = a.cos().to(x.dtype)[:, None], a.sin().to(x.dtype)[:, None]
    u, v = x[..., :d // 2], x[..., d // 2:]
    return torch.cat([u * c - v * s, v * c + u * s], -1)


def _attend(q, k, v):
    """q [n, heads, d], k and v [n, kv heads, d] -> [n, heads * d]"""
    n, heads, d = q.shape
    rep = heads // k.shape[1]
    k, v = k.repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
    s = torch.einsum("ihd,jhd->hij", q, k) / d ** 0.5
    s = s.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
    return torch.einsum("hij,jhd->ihd", s.softmax(-1), v).reshape(n, heads * d)


def _glu(h, gate, up, down):
    return F.linear(F.silu(F.linear(h, gate)) * F.linear(h, up), down)


def _moe(h, t, p, cfg):
    """Softmax over all experts, the best k with their probabilities as they are, plus the merged shared experts."""
    prob = F.linear(h, t[p + "gate.weight"]).softmax(-1)
    weight, expert = prob.topk(cfg["num_experts_per_tok"], -1)
    if cfg.get("norm_topk_prob"):
        weight = weight / weight.sum(-1, keepdim=True)
    ffn = lambda x, n: _glu(x, t[n + "gate_proj.weight"], t[n + "up_proj.weight"], t[n + "down_proj.weight"])
    out = ffn(h, p + "shared_experts.")
    for i in range(h.shape[0]):
        for w, e in zip(weight[i], expert[i]):
            out[i] += w * ffn(h[i], f"{p}experts.{int(e)}.")
    return out


def run(cfg, t, tokens, dtype=torch.float32):
    """-> (logits, taps, name). cfg and tensors as in the checkpoint."""
    t = {k: v.to(dtype) for k, v in t.items()}
    qwen, taps = cfg["model_type"] == "qwen", {}
    heads, eps = cfg["num_attention_heads"], cfg["layer_norm_epsilon" if qwen else "rms_norm_eps"]
    x = t["transformer.wte.weight" if qwen else "model.embed_tokens.weight"][torch.tensor(tokens)]
    taps[-1, "embed"] = x
    for il in range(cfg["num_hidden_layers"]):
        p = f"transformer.h.{il}." if qwen else f"model.layers.{il}."
        h = _norm(x, t[p + ("ln_1" if qwen else "input_layernorm") + ".weight"], eps)
        taps[il, "attn_norm"] = h
        if qwen:
            q, k, v = F.linear(h, t[p + "attn.c_attn.weight"], t[p + "attn.c_attn.bias"]).chunk(3, -1)
            theta, wo, kv = cfg["rotary_emb_base"], t[p + "attn.c_proj.weight"], heads
        else:
            q, k, v = (F.linear(h, t[f"{p}self_attn.{c}_proj.weight"]) for c in "qkv")
            theta, wo, kv = cfg["rope_theta"], t[p + "self_attn.o_proj.weight"], cfg["num_key_value_heads"]
        split = lambda y, n: y.reshape(len(tokens), n, -1)
        q, k, v = _rotate(split(q, heads), theta), _rotate(split(k, kv), theta), split(v, kv)
        if cfg.get("use_logn_attn"):               # the official code applies it to queries past seq_length
            pos, train = torch.arange(1, len(tokens) + 1, dtype=dtype), cfg["seq_length"]
            q = q * torch.where(pos > train, pos.log() / math.log(train), torch.ones_like(pos))[:, None, None]
        a = _attend(q, k, v)
        taps[il, "q"], taps[il, "k"], taps[il, "v"], taps[il, "attn"] = q, k, v, a
        x = x + F.linear(a, wo)
        taps[il, "attn_out"] = x
        h = _norm(x, t[p + ("ln_2" if qwen else "post_attention_layernorm") + ".weight"], eps)
        if qwen:                                   # w2 is the gate, w1 the other half
            x = x + _glu(h, *(t[f"{p}mlp.{n}.weight"] for n in ("w2", "w1", "c_proj")))
        elif p + "mlp.gate.weight" in t:
            x = x + _moe(h, t, p + "mlp.", cfg)
        else:
            x = x + _glu(h, *(t[f"{p}mlp.{n}_proj.weight"] for n in ("gate", "up", "down")))
        taps[il, "layer_out"] = x
    x = _norm(x, t["transformer.ln_f.weight" if qwen else "model.norm.weight"], eps)
    taps[-1, "result_norm"] = x
    logits = F.linear(x, t["lm_head.weight"])
    return logits, {k: v.reshape(len(tokens), -1) for k, v in taps.items()}, "own.py"
