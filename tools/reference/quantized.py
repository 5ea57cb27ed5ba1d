"""The storage forms of the cases: what a file keeps, and the exact float32 values it stands for."""
import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T

import gguf_out
import shapes
import weights


def store(case, cfg, values, kind):
    """-> (config, kept tensors, float32 tensors they mean, {GGUF name: (bytes, type)} or None)"""
    if kind == "f32":
        return cfg, values, values, None
    if kind in ("bf16", "f16"):
        to = torch.bfloat16 if kind == "bf16" else torch.float16
        kept = {n: t.to(to) for n, t in values.items()}
        return {**cfg, "torch_dtype": str(to)[6:]}, kept, {n: t.float() for n, t in kept.items()}, None
    return {"mxfp4": _mxfp4, "fp8": _fp8, "gptq": _gptq, "awq": _awq}[kind](case, cfg, values)


def _mxfp4(case, cfg, values):
    """gpt-oss: expert matrices as blocks and scales, the rest bfloat16."""
    exact = weights.round_bf16(values)
    kept, raw = {}, {}
    for name, t in values.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            kept[name] = exact[name].to(torch.bfloat16)
            continue
        e, cols, rows = t.shape
        blocks, scales = weights.mxfp4_random((case, name), e, rows, cols)
        kept[name + "_blocks"], kept[name + "_scales"] = torch.from_numpy(blocks), torch.from_numpy(scales)
        exact[name] = torch.from_numpy(weights.mxfp4_values(blocks, scales)).transpose(1, 2).contiguous()
        data, p = weights.mxfp4_ggml(blocks, scales), f"blk.{name.split('.')[2]}."
        parts = {"ffn_down_exps": data} if "down_proj" in name else {"ffn_gate_exps": data[:, 0::2],
                                                                     "ffn_up_exps": data[:, 1::2]}
        for n, d in parts.items():
            raw[f"{p}{n}.weight"] = (d.copy(), T.MXFP4)
    cfg = {**cfg, "quantization_config": {"modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
        "quant_method": "mxfp4"}}
    return cfg, kept, exact, raw


def _fp8(case, cfg, values):
    """DeepSeek-V3: every linear layer but the router and the head; the correction bias stays float32."""
    exact, kept = {}, {}
    for name, t in values.items():
        if name.endswith("_proj.weight") or name.endswith("kv_a_proj_with_mqa.weight"):
            kept[name], kept[name + "_scale_inv"], exact[name] = weights.fp8_blocks(t)
        elif name.endswith("e_score_correction_bias"):
            kept[name] = exact[name] = t
        else:
            kept[name] = t.to(torch.bfloat16)
            exact[name] = kept[name].float()
    cfg = {**cfg, "torch_dtype": "bfloat16", "quantization_config": {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}}
    return cfg, kept, exact, None


def _int4(cfg, values, pack):
    """Linear layers of the blocks through pack(name, weight), everything else float16."""
    exact, kept = {}, {}
    for name, t in values.items():
        if name.endswith("_proj.weight"):
            parts, exact[name] = pack(name, t)
            kept.update({name[:-len("weight")] + n: p for n, p in parts.items()})
        else:
            kept[name] = t.to(torch.float16)
            exact[name] = kept[name].float()
    return {**cfg, "torch_dtype": "float16"}, kept, exact


def _gptq(case, cfg, values):
    q = cfg["quantization_config"]
    cfg, kept, exact = _int4(cfg, values, lambda n, w: weights.gptq(
        w, q["group_size"], q["sym"], q["desc_act"], (case, n)))
    return cfg, kept, exact, None


def _awq(case, cfg, values):
    size = cfg["quantization_config"]["group_size"]
    cfg, kept, exact = _int4(cfg, values, lambda n, w: weights.awq(w, size, (case, n)))
    return cfg, kept, exact, None


# ---- GGUF block types ----

# Where the float16 fields of a block are: scale, and the minimum that is subtracted.
SCALE_AT = {T.Q2_K: (80, 82), T.Q3_K: (108, None), T.Q4_K: (0, 2), T.Q5_K: (0, 2), T.Q6_K: (208, None),
            T.IQ4_XS: (0, None)}


def _random_blocks(key, kind, shape, std):
    """Blocks of random bytes whose scales give zero mean and the wanted spread: for types that are easier
    to draw than to quantize to. -> (bytes [rows, bytes per row], float32 values)"""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows, n = shape[0], shape[1] // block
    data = weights.rng(*key).integers(0, 256, (rows, n, size), dtype=np.uint8)
    at, at_min = SCALE_AT[kind]

    def with_scales(d, dmin):
        data[..., at:at + 2] = np.array([d], np.float16).view(np.uint8)
        if at_min is not None:
            data[..., at_min:at_min + 2] = np.array([dmin], np.float16).view(np.uint8)
        return gguf.quants.dequantize(data.reshape(rows, n * size), kind)

    ratio = 0.0
    if at_min is not None:
        ratio = -float(with_scales(1, 0).mean() / with_scales(0, 1).mean())
    d = std / float(with_scales(1, ratio).std())
    values = with_scales(d, d * ratio)
    return data.reshape(rows, n * size).copy(), values


def quantize(key, w, kind):
    """float32 [rows, columns] -> (bytes, the float32 values they mean)"""
    if kind in SCALE_AT:
        return _random_blocks(key, kind, w.shape, float(w.std()))
    data = gguf.quants.quantize(w, kind)
    return data, gguf.quants.dequantize(data, kind)


def in_gguf(case, cfg, values, types):
    """Quantizes the matrices of a checkpoint in their GGUF order. types: {GGUF name or suffix: type}.
    -> ({GGUF name: (bytes, type)}, exact float32 tensors in checkpoint order)"""
    raw, exact = {}, {}
    for name, w in values.items():
        (new, x), = gguf_out.convert(cfg, {name: w}).items()
        kind = next((k for suffix, k in types.items() if new.endswith(suffix)), None) if x.ndim == 2 else None
        exact[name] = w
        if kind is None:
            continue
        data, back = quantize((case, name), x.numpy(), kind)
        raw[new] = (data, kind)
        exact[name] = torch.from_numpy(back.astype(np.float32).copy())
        if cfg["model_type"] == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = cfg["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
            exact[name] = gguf_out.split_rotary(exact[name], heads)
    return raw, exact
