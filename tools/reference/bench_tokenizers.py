#!/usr/bin/env python3
"""Speed of PyPI tokenizers, tiktoken and sentencepiece on the same vocabularies and texts as bench/tokenizer-bench, one thread.

    bench_tokenizers.py DATA NAME TEXT... [--ours PROGRAM] [--rounds N]

NAME is one of the vocabularies of tokenizer_diff.py; a TEXT may be a folder, whose files (*.gz too) are tokenized one by one and counted together.
With PROGRAM, the tokenizer-bench built from bench/tokenizer-bench.c, both take turns, N rounds (5), and the medians and their ratio are printed. In
each round the best of three runs counts. CPU time.
"""
import argparse, glob, gzip, importlib.util, os, statistics, subprocess, sys, tempfile, time
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
spec = importlib.util.spec_from_file_location("tokenizer_diff", os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer_diff.py"))
diff = importlib.util.module_from_spec(spec)
spec.loader.exec_module(diff)


def texts(path):
    files = sorted(glob.glob(path + "/*")) if os.path.isdir(path) else [path]
    read = lambda p: (gzip.open(p) if p.endswith(".gz") else open(p, "rb")).read()
    return [read(p).decode("utf-8", "replace") for p in files]


def peer_seconds(encode, text):
    best, n = 1e9, 0
    for _ in range(3):
        start = time.process_time()
        n = len(encode(text))
        best = min(best, time.process_time() - start)
    return best, n


def our_seconds(program, vocab, files):
    lines = subprocess.run([program, vocab, *files, "-r", "3"], capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split() for line in lines if line.startswith("encode")]
    return sum(float(r[6]) / float(r[1]) / 1e6 for r in rows), sum(int(r[8]) for r in rows)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("data"), a.add_argument("name"), a.add_argument("text", nargs="+"), a.add_argument("--ours"), a.add_argument("--rounds", type=int, default=5)
    a = a.parse_args()
    vocab, make = diff.peers(a.data)[a.name]
    encode = make()
    for path in a.text:
        parts, name = texts(path), os.path.basename(path.rstrip("/"))
        size, peer, ours = sum(len(p.encode()) for p in parts), [], []
        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{i}" for i in range(len(parts))]
            for p, f in zip(parts, files):
                open(f, "w", encoding="utf-8", newline="").write(p)
            for _ in range(a.rounds if a.ours else 1):
                taken = [peer_seconds(encode, p) for p in parts]
                peer.append(sum(s for s, _ in taken))
                if not a.ours:
                    continue
                seconds, n = our_seconds(a.ours, vocab, files)
                ours.append(seconds)
                if n != sum(k for _, k in taken):
                    sys.exit(f"{a.name} {name}: {n} tokens, the peer has {sum(k for _, k in taken)}")
        line = f"{a.name:20} {name:12} {size / 1e6:6.2f} MB  {size / statistics.median(peer) / 1e6:7.2f} MB/s"
        if a.ours:
            line += f"  ours {size / statistics.median(ours) / 1e6:7.2f} MB/s  {statistics.median(p / o for p, o in zip(peer, ours)):5.2f}x"
        print(line, flush=True)


if __name__ == "__main__":
    main()
