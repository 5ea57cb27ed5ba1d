"""Measure the shipped weights with transformers and write test/data/demo/expected.json.

    python tools/demo/evaluate.py --build build/demo [--samples]

Everything runs in float32 on the shipped (quantized, then dequantized) weights.
Perplexity: the whole file is tokenized without special tokens and cut into chunks of N_CTX tokens
that do not overlap; each chunk is evaluated alone from position 0 with no token put before it; its
first token is not scored; a last short chunk counts if it has at least 2 tokens.
ppl = exp(sum of -ln p / number of scored tokens).
"""

import argparse
import json
import math
import pathlib
import re

import torch
import torch.nn.functional as F

import corpus
import export
import model

N_CTX = 512
N_GREEDY = 32
PROMPTS = [
    "In the beginning", "It was a cold evening in", '"My dear Mr. Bennet,"', "ROMEO:\n", "Prince Andrew looked at",
    "My fellow citizens,", "The creature", "Sherlock Holmes", "And the LORD said to Moses,", "Natasha",
    "We the people of the United States", "The old woman", "Elizabeth was", "KING RICHARD III:\n",
    "Mr. Speaker, Mr. President,", "Napoleon", '"What is it?" asked', "The next morning",
]
# of excerpts of the held-out text: (tokens of the prompt, how many are tried, how many are kept). Kept are
# those whose greedy answer is least open to rounding; the long ones reach past the sliding window
GREEDY = [(24, 64, 2), (160, 32, 1)]


def perplexity(net, ids, n_ctx):
    """(perplexity, scored tokens) of the rule above."""
    total, count = 0.0, 0
    with torch.no_grad():
        for s in range(0, len(ids), n_ctx):
            chunk = torch.tensor(ids[s:s + n_ctx])
            if len(chunk) < 2:
                break
            logits = net(chunk[None], use_cache=False).logits[0, :-1]
            total += F.cross_entropy(logits.double(), chunk[1:], reduction="sum").item()
            count += len(chunk) - 1
    return math.exp(total / count), count


def greedy(net, ids, n):
    """ids [B, T] -> (continuations [B, n], smallest gap [B] between best and second logit), without a cache."""
    start, gap = ids.shape[1], torch.full((ids.shape[0],), math.inf)
    with torch.no_grad():
        for _ in range(n):
            top = net(ids, use_cache=False).logits[:, -1].topk(2)
            gap = gap.minimum(top.values[:, 0] - top.values[:, 1])
            ids = torch.cat((ids, top.indices[:, :1]), dim=1)
    return ids[:, start:], gap


def greedy_cases(net, tok, ids, length, tried, kept):
    """Excerpts of the given length, evenly spaced; the kept ones with the widest smallest gap."""
    starts = [i * (len(ids) - length) // tried for i in range(tried)]
    prompts = [ids[s:s + length] for s in starts]
    prompts = [p for p in prompts if tok.encode(tok.decode(p), add_special_tokens=False).ids == p]
    out, gap = greedy(net, torch.tensor(prompts), N_GREEDY)
    best = sorted(range(len(prompts)), key=lambda i: -gap[i].item())[:kept]
    return [{"prompt": tok.decode(prompts[i]), "prompt_ids": prompts[i], "greedy_ids": out[i].tolist(),
             "text": tok.decode(out[i].tolist()), "smallest_gap": round(gap[i].item(), 4)} for i in best]


def sample(net, tok, prompt, n, temperature, top_p, seed):
    """Text drawn with a temperature and the smallest set of tokens of probability top_p."""
    gen = torch.Generator().manual_seed(seed)
    ids = tok.encode(prompt, add_special_tokens=False).ids
    with torch.no_grad():
        for _ in range(n):
            logits = net(torch.tensor(ids)[None], use_cache=False).logits[0, -1]
            p, order = (logits / temperature).softmax(-1).sort(descending=True)
            p = p * (p.cumsum(0) - p < top_p)
            nxt = order[torch.multinomial(p, 1, generator=gen)].item()
            if nxt == tok.token_to_id("<|endoftext|>"):
                break
            ids.append(nxt)
    return tok.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/demo")
    parser.add_argument("--out", default=str(corpus.HELDOUT.parent / "expected.json"))
    parser.add_argument("--samples", action="store_true", help="print sample texts only")
    args = parser.parse_args()
    torch.set_num_threads(2)
    c = model.Config()
    params = torch.load(pathlib.Path(args.build) / "checkpoint.pt")
    net, tok = export.reference(c, params), export.tokenizer()
    if args.samples:
        for i, prompt in enumerate(PROMPTS):
            print(f"--- {sample(net, tok, prompt, 120, 0.8, 0.9, i)}\n", flush=True)
        return
    text = corpus.HELDOUT.read_text(encoding="utf-8")
    ids = tok.encode(text, add_special_tokens=False).ids
    ppl, count = perplexity(net, ids, N_CTX)
    ppl_full, _ = perplexity(net, ids, c.n_ctx)
    result = {
        "reference": "transformers GptOssForCausalLM, float32, the weights of demo-gpt-oss.gguf dequantized",
        "heldout": {"file": "heldout.txt", "tokens": len(ids), "n_ctx": N_CTX, "scored": count,
                    "perplexity": round(ppl, 5), "perplexity_n_ctx_1024": round(ppl_full, 5),
                    "bits_per_byte": round(math.log2(ppl) * count / len(text.encode()), 4),
                    "first_ids": ids[:32]},
        "greedy": [case for rule in GREEDY for case in greedy_cases(net, tok, ids, *rule)],
    }
    lines = re.sub(r"\[[\d,\s]+\]", lambda m: "[" + " ".join(m.group()[1:-1].split()) + "]",
                   json.dumps(result, indent=1))
    pathlib.Path(args.out).write_text(lines + "\n", encoding="utf-8")
    print(json.dumps({"heldout": result["heldout"], "gaps": [c["smallest_gap"] for c in result["greedy"]]}))


if __name__ == "__main__":
    main()
