#!/usr/bin/env python3
"""Speed of PyPI tokenizers, tiktoken and sentencepiece on the same vocabularies and texts as bench/tokenizer-bench, one thread.

    bench_tokenizers.py DATA NAME TEXT...

NAME is one of the vocabularies of tokenizer_diff.py. CPU time of the best of three runs.
"""
import os, sys, time
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
args = sys.argv[1:]
import importlib.util
spec = importlib.util.spec_from_file_location("tokenizer_diff", os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer_diff.py"))
diff = importlib.util.module_from_spec(spec)
spec.loader.exec_module(diff)

encode = diff.peers(args[0])[args[1]][1]()
for path in args[2:]:
    text = open(path, encoding="utf-8", newline="").read()
    best, n = 1e9, 0
    for _ in range(3):
        start = time.process_time()
        n = len(encode(text))
        best = min(best, time.process_time() - start)
    print(f"{args[1]:24} {len(text.encode()) / best / 1e6:8.2f} MB/s  {n} tokens  {path}", flush=True)
