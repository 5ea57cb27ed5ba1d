#!/usr/bin/env python3
"""Writes test/data/quant/encode_cases.bin: seeded rows, and how well ggml's own quantizers do on them.

Rows: gaussian, Laplace, Student t with columns of unequal size, and rows of a bfloat16 grid. File, little-endian: int32 rows,
columns; float32 values [rows, columns]; float32 importance [columns]; then for each type until the end: int32 id, float64 squared
error without importance, float64 error weighted with importance, int32 n, n bytes (the encoding without importance, for the types whose
rule leaves no choice; else 0). Usage: make_encode_cases.py LIBGGML_BASE.so OUT (the library is ggml's, built anywhere).
"""
import ctypes
import pathlib
import struct
import sys

import gguf
import numpy as np

FIXED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
TYPES = FIXED + ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
ROWS, COLS = 8, 768


def rows():
    rng = np.random.default_rng(7)
    spread = np.exp(0.4 * rng.standard_normal(COLS))
    x = np.concatenate([
        0.02 * rng.standard_normal((2, COLS)), 0.02 * rng.laplace(size=(2, COLS)),
        0.02 * spread * rng.standard_t(4, size=(2, COLS)), 0.05 * rng.standard_normal((2, COLS))]).astype(np.float32)
    x[6:] = (x[6:].view(np.uint32) & 0xFFFF0000).view(np.float32)
    w = (0.01 + rng.standard_normal(COLS) ** 2 * np.exp(rng.standard_normal(COLS))).astype(np.float32)
    return x, w


def pointer(a):
    return None if a is None else a.ctypes.data_as(ctypes.c_void_p)


def main():
    ggml = ctypes.CDLL(sys.argv[1])
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]
    x, w = rows()
    out = struct.pack("<2i", ROWS, COLS) + x.tobytes() + w.tobytes()
    for name in TYPES:
        qtype = gguf.GGMLQuantizationType[name]
        block, nbytes = gguf.GGML_QUANT_SIZES[qtype]
        err, plain = [], b""
        for imp in (None, w):
            got = np.zeros((ROWS, COLS // block * nbytes), np.uint8)
            ggml.ggml_quantize_chunk(int(qtype), pointer(x), pointer(got), 0, ROWS, COLS, pointer(imp))
            y = gguf.quants.dequantize(got, qtype)
            e = (y.astype(np.float64) - x) ** 2
            err.append((e if imp is None else e * imp).sum())
            plain = plain or got.tobytes()
        keep = plain if name in FIXED else b""
        out += struct.pack("<iddi", int(qtype), err[0], err[1], len(keep)) + keep
    pathlib.Path(sys.argv[2]).write_bytes(out)


main()
