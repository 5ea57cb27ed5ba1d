"""Runs the official implementation (transformers, eager attention, float32 on the CPU) and records taps.

Tap names are those of the engine: "embed" (-1), per layer "attn_norm", "q", "k", "v" (after rotation),
"attn" (heads concatenated, before the output projection), "attn_out" and "layer_out" (the residual
stream), then "result_norm" (-1). q, k, v and attn exist for grouped-query attention only.
"""
import sys

import torch
from transformers import AutoModelForCausalLM


def _rows(x):
    """[1, heads, n, d] -> [n, heads * d]"""
    return x[0].transpose(0, 1).reshape(x.shape[2], -1)


def _hook_attention(model, taps, n_layer):
    """Wraps eager_attention_forward of the model's own module; the name is looked up at each call."""
    module = sys.modules[type(model).__module__]
    plain = module.eager_attention_forward

    def wrapped(layer, query, key, value, *args, **kwargs):
        out = plain(layer, query, key, value, *args, **kwargs)
        il = layer.layer_idx
        taps[il, "q"], taps[il, "k"], taps[il, "v"] = _rows(query), _rows(key), _rows(value)
        taps[il, "attn"] = out[0][0].reshape(out[0].shape[1], -1)
        return out

    module.eager_attention_forward = wrapped
    return lambda: setattr(module, "eager_attention_forward", plain)


def int8_rows(x, block=32):
    """x rounded to int8 by blocks of the last dimension, as an engine with integer dot products sees it."""
    b = x.reshape(*x.shape[:-1], -1, block)
    scale = b.abs().amax(-1, keepdim=True) / 127
    return (torch.round(b / scale.clamp_min(1e-30)) * scale).reshape(x.shape)


def _hook_int8(model, block):
    """Rounds the input of every quantized matrix: all linear layers, or gpt-oss's experts alone."""
    hooks, experts = [], [m for m in model.modules() if type(m).__name__ == "GptOssExperts"]
    for m in experts or [m for m in model.modules() if isinstance(m, torch.nn.Linear)]:
        hooks.append(m.register_forward_pre_hook(lambda m, a: (int8_rows(a[0], block), *a[1:])))
    for m in experts:
        m._apply_gate = lambda x, plain=m._apply_gate: int8_rows(plain(x), block)
    return hooks


def run(folder, tokens, dtype=torch.float32, int8_block=0):
    """-> (logits [n, n_vocab], {(layer, name): rows}, "class name"). Fails if a weight is missing or left over.
    int8_block: round activations as a quantized engine would, to learn what that costs."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    missing = [k for k in info["missing_keys"] if not k.endswith("lm_head.weight")]
    if missing or info["mismatched_keys"]:
        raise SystemExit(f"{folder}: missing {missing}, mismatched {info['mismatched_keys']}")
    left = [k for k in info["unexpected_keys"] if "rotary_emb" not in k and not _is_mtp(k, model.config)]
    if left:
        raise SystemExit(f"{folder}: nothing reads {left}")
    model.eval()
    body, taps = model.model, {}
    is_mla = hasattr(model.config, "kv_lora_rank")
    undo = (lambda: None) if is_mla else _hook_attention(model, taps, len(body.layers))
    hooks = _hook_int8(model, int8_block) if int8_block else []
    for il, layer in enumerate(body.layers):
        # The norm that reads the residual stream after attention has another name in the sandwich families.
        after = getattr(layer, "pre_feedforward_layernorm", layer.post_attention_layernorm)
        hooks += [
            layer.input_layernorm.register_forward_hook(
                lambda m, a, out, il=il: taps.__setitem__((il, "attn_norm"), out[0])),
            after.register_forward_pre_hook(
                lambda m, a, il=il: taps.__setitem__((il, "attn_out"), a[0][0])),
            layer.register_forward_hook(
                lambda m, a, out, il=il: taps.__setitem__(
                    (il, "layer_out"), (out if torch.is_tensor(out) else out[0])[0])),
        ]
    hooks += [
        body.layers[0].register_forward_pre_hook(lambda m, a: taps.__setitem__((-1, "embed"), a[0][0])),
        body.norm.register_forward_hook(lambda m, a, out: taps.__setitem__((-1, "result_norm"), out[0])),
    ]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    undo()
    for h in hooks:
        h.remove()
    taps = {k: v.detach().reshape(len(tokens), -1).clone() for k, v in taps.items()}
    return logits, taps, type(model).__name__


def _is_mtp(name, config):
    """Weights of the multi-token prediction layers, which come after the last layer and are not run."""
    parts = name.split(".")
    return "layers" in parts and int(parts[parts.index("layers") + 1]) >= config.num_hidden_layers
