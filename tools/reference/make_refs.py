#!/usr/bin/env python3
"""Writes the tiny seeded models and their reference activations: make_refs.py OUT_DIR [CASE ...]

For each case OUT_DIR/<case>/ gets hf/ (config.json, safetensors), model.gguf, tokens.npy int32 [n],
logits.npy float32 [n, n_vocab], tap.<layer>.<name>.npy float32 [4, width] (the last four positions;
layer -1 is the whole model) and case.json. See README.md.
"""
import json
import os
import shutil
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np                                                            # noqa: E402
import torch                                                                  # noqa: E402
import transformers                                                           # noqa: E402

import cases                                                                  # noqa: E402
import gguf_out                                                               # noqa: E402
import official                                                               # noqa: E402
import own                                                                    # noqa: E402
import quantized                                                              # noqa: E402
import shapes                                                                 # noqa: E402
import weights                                                                # noqa: E402

N_TOKENS, N_TAP = 44, 4


def plain_config(cfg):
    """The config of the dequantized language model alone, as the official classes read it."""
    cfg = dict(shapes.text_config(cfg))
    cfg.pop("quantization_config", None)
    return cfg


def plain_names(tensors):
    """Without the prefix of multimodal checkpoints and without what is not language model."""
    root = "language_model."
    if not any(n.startswith(root) for n in tensors):
        return dict(tensors)
    return {n[len(root):]: t for n, t in tensors.items() if n.startswith(root)}


def reference(cfg, tensors, tokens, int8_block=0):
    """(logits, taps, source) in float32, how far float32 is from float64 as a share of the largest logit,
    and how far int8 activations are."""
    out, int8 = {}, 0.0
    with tempfile.TemporaryDirectory() as tmp:
        if cfg["model_type"] not in ("qwen", "deepseek"):
            weights.save_hf(tmp, cfg, tensors)
        for dtype in (torch.float64, torch.float32):
            if cfg["model_type"] in ("qwen", "deepseek"):
                out[dtype] = own.run(cfg, tensors, tokens, dtype)
            else:
                out[dtype] = official.run(tmp, tokens, dtype)
        if int8_block:
            rough = official.run(tmp, tokens, torch.float32, int8_block)[0]
            plain = out[torch.float32][0]
            int8 = float((rough - plain).abs().max() / plain.abs().max())
    logits, taps, source = out[torch.float32]
    exact = out[torch.float64][0]
    noise = float((logits - exact).abs().max() / exact.abs().max())
    if source != "own.py":
        source = f"transformers {transformers.__version__} {source}"
    return logits.float().numpy(), taps, source, noise, int8


def tokens_of(case, n_vocab):
    g = weights.rng(case, "tokens")
    t = g.integers(3, n_vocab, N_TOKENS).astype(np.int32)
    t[0] = 1
    return t


def dump(folder, tokens, logits, taps, info):
    np.save(os.path.join(folder, "tokens.npy"), tokens)
    np.save(os.path.join(folder, "logits.npy"), logits)
    for (il, name), x in taps.items():
        np.save(os.path.join(folder, f"tap.{il}.{name}.npy"), x[-N_TAP:].float().numpy())
    weights.write_json(folder, "case.json", info)


def tolerance(spec, int8):
    """The largest difference to allow. Rounding activations to int8 costs what it costs the official code, twice."""
    info = {"tol": 2e-4}
    if spec.get("int8_block"):
        info["int8_diff"], loose = float(f"{int8:.2e}"), float(f"{2 * int8:.1e}")
        info["tol_int8" if spec.get("exact") else "tol"] = loose
    return info


def make(case, spec, folder):
    cfg, kind = spec["config"], spec.get("store", "f32")
    key, base = case + spec.get("seed", ""), shapes.text_config(cfg)
    values = weights.fill(key, shapes.tensors(cfg) | spec.get("extra", {}), base)
    if "gguf_types" in spec:                           # GGUF alone, quantized there
        raw, exact = quantized.in_gguf(key, cfg, values, spec["gguf_types"])
    else:
        cfg, kept, exact, raw = quantized.store(key, cfg, values, kind)
        weights.save_hf(os.path.join(folder, "hf"), cfg, kept, spec.get("generation"), spec.get("shards", 0),
                        first=0 if base["model_type"] == "gpt_oss" else 1)
    plain_cfg, plain = plain_config(cfg), plain_names(exact)
    tokens = tokens_of(key, base["vocab_size"])
    logits, taps, source, noise, int8 = reference(plain_cfg, plain, [int(t) for t in tokens],
                                                  spec.get("int8_block", 0))
    if noise > 2e-5:
        raise SystemExit(f"{case}: float32 is {noise:.1e} away from float64: a router tie? change the seed")
    info = {"family": base["model_type"], "hf": "gguf_types" not in spec, "gguf": spec.get("gguf", True),
            "store": kind, **tolerance(spec, int8), "source": source, "float32_noise": float(f"{noise:.2e}"),
            "n_params": shapes.n_params(cfg)}
    if info["gguf"]:
        info["arch"] = gguf_out.ARCH[base["model_type"]]
        if base["model_type"] in ("llama", "deepseek"):
            info["gguf_skip_taps"] = ["q", "k"]        # the same numbers in another order
        gguf_out.write(os.path.join(folder, "model.gguf"), plain_cfg, plain, raw=raw,
                       matrix_type=spec.get("matrix_type"))
    if spec.get("old_mla"):
        gguf_out.write(os.path.join(folder, "model-old.gguf"), plain_cfg, plain, old_mla=True)
        info["gguf_also"] = ["model-old.gguf"]
    dump(folder, tokens, logits, taps, info)
    print(f"{case}: max |logit| {np.abs(logits).max():.2f}, float32 noise {noise:.1e}, int8 {int8:.1e}, {source}",
          flush=True)


def main():
    out, wanted = sys.argv[1], sys.argv[2:]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for case, spec in cases.CASES.items():
        if wanted and case not in wanted:
            continue
        folder = os.path.join(out, case)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(case, spec, folder)


if __name__ == "__main__":
    main()
