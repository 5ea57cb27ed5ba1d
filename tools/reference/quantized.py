"""The storage forms of the cases: what the checkpoint keeps, and the exact float32 values it stands for."""
import torch
import gguf

import shapes
import weights


def store(case, cfg, values, kind):
    """-> (config, kept tensors, float32 tensors they mean, {GGUF name: raw} or None)"""
    if kind == "f32":
        return cfg, values, values, None
    if kind == "bf16":
        exact = weights.round_bf16(values)
        return {**cfg, "torch_dtype": "bfloat16"}, {n: t.to(torch.bfloat16) for n, t in exact.items()}, exact, None
    return {"mxfp4": _mxfp4}[kind](case, cfg, values)


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
            raw[f"{p}{n}.weight"] = (d.copy(), gguf.GGMLQuantizationType.MXFP4)
    cfg = {**cfg, "quantization_config": {"modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
        "quant_method": "mxfp4"}}
    return cfg, kept, exact, raw
