"""Seeded weights for the tiny models, and the storage forms that published checkpoints use.

Every tensor has its own generator, keyed by case and tensor name, so adding a tensor or a layer does
not change the others. Dequantizers here are written from the format descriptions, value by value
where that is short, and are what the references are computed from.
"""
import hashlib
import json
import os

import numpy as np
import torch
from safetensors.torch import save_file


def rng(*key):
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def _spread(name, shape, cfg):
    """(mean, standard deviation): norms away from one, biases away from zero, sums near unit size."""
    gemma = cfg["model_type"].startswith("gemma")
    d = cfg["hidden_size"]
    if "norm" in name.rsplit(".", 2)[-2] or ".ln_" in name:
        return (0.0 if gemma else 1.0), 0.3
    if name.endswith("e_score_correction_bias"):
        return 0.0, 0.1
    if name.endswith("sinks"):
        return 0.5, 1.0
    if name.endswith("gate_up_proj_bias"):        # wide, so that gpt-oss's clamp at 7 is met
        return 0.0, 4.0
    if name.endswith("bias"):
        return 0.0, 0.3
    if "embed_tokens" in name or "wte" in name:
        return 0.0, (0.15 if gemma else 0.3)
    if "lm_head" in name:
        return 0.0, 2.0 * d ** -0.5
    if name.endswith(("mlp.gate.weight", "router.weight", "shared_expert_gate.weight")):
        return 0.0, 2.0 * d ** -0.5
    fan_in = shape[-1]
    if name.endswith(("gate_up_proj", "experts.down_proj")):
        fan_in = shape[-2]                        # gpt-oss: [expert, in, out]
    return 0.0, 1.2 * fan_in ** -0.5


def fill(case, shapes, cfg):
    """{name: float32 torch tensor} for a table of shapes."""
    out = {}
    for name, shape in shapes.items():
        mean, std = _spread(name, shape, cfg)
        x = rng(case, name).normal(mean, std, shape).astype(np.float32)
        out[name] = torch.from_numpy(x)
    return out


def round_bf16(t):
    return {k: v.to(torch.bfloat16).float() for k, v in t.items()}


def save_hf(folder, cfg, tensors, generation=None, shards=0, first=1):
    """Writes config.json and model.safetensors, or `shards` files with an index. gpt-oss numbers its
    shards from 0 and counts one less (first=0); everyone else numbers from 1."""
    os.makedirs(folder, exist_ok=True)
    write_json(folder, "config.json", cfg)
    if generation:
        write_json(folder, "generation_config.json", generation)
    if not shards:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    names, where = list(tensors), {}
    last = shards if first else shards - 1
    for s in range(shards):
        part = names[s * len(names) // shards:(s + 1) * len(names) // shards]
        file = f"model-{s + first:05d}-of-{last:05d}.safetensors"
        save_file({n: tensors[n] for n in part}, os.path.join(folder, file), metadata={"format": "pt"})
        where.update({n: file for n in part})
    size = sum(v.numel() * v.element_size() for v in tensors.values())
    write_json(folder, "model.safetensors.index.json",
               {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))})


def write_json(folder, name, obj):
    with open(os.path.join(folder, name), "w") as f:
        json.dump(obj, f, indent=1)
        f.write("\n")


# ---- MXFP4 as gpt-oss publishes it: [expert, rows, columns/32, 16] bytes, low nibble first ----

E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def mxfp4_random(key, n_expert, rows, cols):
    """Random codes with exponents that give values near unit fan-in."""
    g = rng(*key)
    blocks = g.integers(0, 256, (n_expert, rows, cols // 32, 16), dtype=np.uint8)
    scales = g.integers(121, 124, (n_expert, rows, cols // 32), dtype=np.uint8)
    return blocks, scales


def mxfp4_values(blocks, scales):
    """-> float32 [expert, rows, columns]: W of y = W x."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:3], 32)
    v = E2M1[codes] * np.exp2(scales.astype(np.float32) - 127)[..., None]
    return v.reshape(*blocks.shape[:2], -1).astype(np.float32)


def mxfp4_ggml(blocks, scales):
    """-> bytes [expert, rows, 17 * columns/32]: scale, then value j low and value j+16 high."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:3], 32)
    packed = codes[..., :16] | codes[..., 16:] << 4
    return np.concatenate([scales[..., None], packed], axis=-1).reshape(*blocks.shape[:2], -1)


# ---- DeepSeek FP8: E4M3 with one float32 multiplier per 128 x 128 block ----

def fp8_blocks(w, size=128):
    """-> (float8_e4m3fn tensor, float32 scales, dequantized float32)."""
    rows, cols = w.shape
    scale = torch.empty(-(-rows // size), -(-cols // size))
    q = torch.empty(rows, cols, dtype=torch.float8_e4m3fn)
    back = torch.empty_like(w)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            r, c = slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size)
            scale[i, j] = w[r, c].abs().max() / 448
            q[r, c] = (w[r, c] / scale[i, j]).to(torch.float8_e4m3fn)
            back[r, c] = q[r, c].float() * scale[i, j]
    return q, scale, back


# ---- GPTQ and AWQ, 4 bits ----

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]              # column held by nibble slot 0..7 of a word


def _pack8(nibbles):
    """[..., 8] values 0..15, slot 0 in the low bits -> int32 [...]."""
    shift = np.arange(8, dtype=np.uint32) * 4
    return np.bitwise_or.reduce(nibbles.astype(np.uint32) << shift, axis=-1).view(np.int32)


def _groups(w, group, sym, key, desc_act):
    """Rounds W [out, in] to 4 bits by groups of inputs -> q [in, out], z [g, out], scale f16, group of each input."""
    n, k = w.shape
    g_idx = np.arange(k, dtype=np.int32) // group
    if desc_act:
        g_idx = rng(*key, "order").permutation(g_idx).astype(np.int32)
    x, n_group = w.T, k // group
    q, z, s = np.empty((k, n), np.int64), np.empty((n_group, n), np.int64), np.empty((n_group, n), np.float16)
    for g in range(n_group):
        part = x[g_idx == g]
        lo, hi = part.min(0), part.max(0)
        if sym:
            s[g] = (np.maximum(-lo, hi) / 7.5).astype(np.float16)
            z[g] = 8
        else:
            s[g] = ((hi - lo) / 15).astype(np.float16)
            z[g] = np.clip(np.rint(-lo / s[g].astype(np.float32)), 1, 15)
        q[g_idx == g] = np.clip(np.rint(part / s[g].astype(np.float32)) + z[g], 0, 15)
    return q, z, s, g_idx


def gptq(w, group, sym, desc_act, key):
    """-> ({suffix: tensor}, dequantized float32 [out, in]). The zero is stored one less (checkpoint format "gptq")."""
    q, z, s, g_idx = _groups(w.numpy(), group, sym, key, desc_act)
    k, n = q.shape
    back = (s[g_idx].astype(np.float32) * (q - z[g_idx])).T.astype(np.float32)
    t = {"qweight": _pack8(q.reshape(k // 8, 8, n).transpose(0, 2, 1)),
         "qzeros": _pack8((z - 1).reshape(-1, n // 8, 8)), "scales": s, "g_idx": g_idx}
    return {a: torch.from_numpy(np.ascontiguousarray(b)) for a, b in t.items()}, torch.from_numpy(back.copy())


def awq(w, group, key):
    """-> ({suffix: tensor}, dequantized float32 [out, in]), the "gemm" packing."""
    q, z, s, g_idx = _groups(w.numpy(), group, False, key, False)
    k, n = q.shape
    back = (s[g_idx].astype(np.float32) * (q - z[g_idx])).T.astype(np.float32)
    t = {"qweight": _pack8(q.reshape(k, n // 8, 8)[..., AWQ_ORDER]),
         "qzeros": _pack8(z.reshape(-1, n // 8, 8)[..., AWQ_ORDER]), "scales": s}
    return {a: torch.from_numpy(np.ascontiguousarray(b)) for a, b in t.items()}, torch.from_numpy(back.copy())
