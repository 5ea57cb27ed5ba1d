#!/usr/bin/env python3
"""Writes test/data/quant/TYPE.bin: random blocks of every quantized type and the values they stand for.

Expected values come from the format owner's dequantizers (PyPI gguf), from torch for FP8, and from the definition for Q4_G.
File: int32 number of blocks, bytes per block, values per block; then the blocks; then float32 values. Usage: make_quant_cases.py OUTDIR
"""
import pathlib
import sys

import gguf
import numpy as np
import torch

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "IQ2_XS", "IQ2_S",
         "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4"]
SCALES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208],
          "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "IQ1_M": []}
N = 10


def halves(rng):
    """Scales of both signs, from subnormal to large, never infinite or NaN."""
    d = (rng.standard_normal(N) * 2.0 ** rng.integers(-16, 3, N)).astype(np.float16)
    d[0], d[1] = 0.0, 6e-8
    return d.view(np.uint8).reshape(N, 2)


def blocks(name, rng):
    qtype = gguf.GGMLQuantizationType[name]
    size, nbytes = gguf.GGML_QUANT_SIZES[qtype]
    b = rng.integers(0, 256, (N, nbytes), dtype=np.uint8)
    for at in SCALES.get(name, [0]):
        b[:, at:at + 2] = halves(rng)
    if name == "MXFP4":
        b[:, 0] = [0, 1, 2, 100, 120, 127, 128, 140, 250, 254]
    if name == "IQ1_M":                                 # the f16 scale is in the top nibbles of 4 words
        d = halves(rng).view(np.uint16).reshape(N)
        for i in range(4):
            b[:, 49 + 2 * i] = b[:, 49 + 2 * i] & 15 | (((d >> (4 * i)) & 15) << 4).astype(np.uint8)
    return b, gguf.quants.dequantize(b, qtype).astype(np.float32).reshape(N, size)


def write(folder, name, b, y):
    head = np.array([b.shape[0], b.shape[1], y.shape[1]], dtype="<i4")
    (folder / f"{name}.bin").write_bytes(head.tobytes() + b.tobytes() + y.astype("<f4").tobytes())


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(TYPES):
        write(folder, name, *blocks(name, np.random.default_rng(i + 1)))
    codes = np.arange(256, dtype=np.uint8).reshape(256, 1)
    for name, dtype in [("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)]:
        write(folder, name, codes, torch.from_numpy(codes).view(dtype).float().numpy())
    rng = np.random.default_rng(99)
    b = rng.integers(0, 256, (N, 20), dtype=np.uint8)
    b[:, 0:2], b[:, 2], b[:, 3] = halves(rng), rng.integers(0, 17, N), 0
    q = np.concatenate([b[:, 4:] & 15, b[:, 4:] >> 4], axis=1).astype(np.float32)
    write(folder, "Q4_G", b, (q - b[:, 2:3]) * b[:, 0:2].copy().view(np.float16).astype(np.float32))


main()
