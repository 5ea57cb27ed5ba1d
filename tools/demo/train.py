"""Train the demo model: python tools/demo/train.py --data ../shared/data --build build/demo

Muon for the matrices inside the layers, AdamW for everything else. The rate warms up, stays, and falls
in a line to zero from DECAY_FROM of the steps on; from there the experts are trained through MXFP4
rounding, and the last part (LONG_FROM) uses the full context. The number of steps, not the clock, ends
the run, and nothing before DECAY_FROM depends on that number.
"""

import argparse
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F

import corpus
import model

BATCH_TOKENS = 8192
T_SHORT, T_LONG = 512, 1024
DECAY_FROM, LONG_FROM = 0.60, 0.85
WARMUP = 40
LR_MUON, LR_ADAM, WEIGHT_DECAY, BALANCE, CLIP = 1e-2, 4e-3, 0.1, 0.01, 1.0


def is_matrix(name):
    return name.split(".")[-1] in ("wq", "wk", "wv", "wo", "w1", "w2")


def rate(step, n_step):
    """Factor of the learning rates at a step."""
    return min(1.0, (step + 1) / WARMUP, (n_step - step) / (n_step * (1 - DECAY_FROM)))


def orthogonal(g):
    """Newton-Schulz iteration towards the nearest orthogonal matrix, over the last two axes."""
    a, b, c = 3.4445, -4.7750, 2.0315
    flip = g.shape[-2] > g.shape[-1]
    x = g.transpose(-1, -2) if flip else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.transpose(-1, -2)
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.transpose(-1, -2) if flip else x


class Muon:
    """Momentum, orthogonalised; the step is scaled to the size of an AdamW step."""

    def __init__(self, params):
        self.params = params
        self.momentum = [torch.zeros_like(p) for p in params]

    def step(self, lr):
        for p, m in zip(self.params, self.momentum):
            m.mul_(0.95).add_(p.grad)
            g = p.grad.add(m, alpha=0.95)
            # gate and up rows are two matrices
            parts = g.chunk(2, dim=1) if p.dim() == 3 and p.shape[1] < p.shape[2] else [g]
            u = torch.cat([orthogonal(x) * 0.2 * math.sqrt(max(x.shape[-2:])) for x in parts], dim=-2)
            p.mul_(1 - lr * WEIGHT_DECAY).add_(u, alpha=-lr)


def windows(data, n_step, seed):
    """Yields, step by step, a [B, T+1] batch of the training ids; every epoch has its own shift and order."""
    rng = np.random.default_rng(seed)
    queue, queue_t = [], 0
    for step in range(n_step):
        t = T_LONG if step >= LONG_FROM * n_step else T_SHORT
        if t != queue_t:
            queue, queue_t = [], t
        n = BATCH_TOKENS // t
        if len(queue) < n:
            shift = int(rng.integers(0, t))
            starts = np.arange(shift, len(data) - t - 1, t)
            queue = list(rng.permutation(starts)) + queue
        rows = [queue.pop() for _ in range(n)]
        yield torch.from_numpy(np.stack([data[s:s + t + 1] for s in rows]).astype(np.int64))


def nll_sum(c, p, rope, ids, n_ctx, quantize=False):
    """(sum of negative log-likelihoods, tokens scored) over chunks of n_ctx; a chunk's first token is not scored."""
    total, count = 0.0, 0
    with torch.no_grad():
        for s in range(0, len(ids), n_ctx):
            chunk = torch.from_numpy(ids[s:s + n_ctx].astype(np.int64))
            if len(chunk) < 2:
                break
            pad = -len(chunk) % c.window  # causal: what comes after the text changes nothing
            x = F.pad(chunk, (0, pad)).unsqueeze(0)
            h, _ = model.forward(c, p, x, rope, quantize)
            logits = F.linear(h[:len(chunk) - 1], p["head"])
            total += F.cross_entropy(logits, chunk[1:], reduction="sum").item()
            count += len(chunk) - 1
    return total, count


def save(path, value):
    tmp = path.with_suffix(".tmp")
    torch.save(value, tmp)
    tmp.rename(path)


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    build = pathlib.Path(args.build)
    train_ids, held_ids = corpus.prepare(args.data, build)
    c = model.Config()
    p = model.init_params(c, args.seed)
    for t in p.values():
        t.requires_grad_(True)
    rope = model.rope_table(c, c.n_ctx)
    print(f"{sum(t.numel() for t in p.values())} parameters, {args.steps} steps", flush=True)
    muon = Muon([t for n, t in p.items() if is_matrix(n)])
    tables = [t for n, t in p.items() if n in ("head", "embed")]
    vectors = [t for n, t in p.items() if not is_matrix(n) and n not in ("head", "embed")]
    adam = torch.optim.AdamW([{"params": tables, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
                             betas=(0.9, 0.95), fused=True)
    first, spent = 0, 0.0
    if args.resume:
        state = torch.load(build / "state.pt")
        first, spent = state["step"], state["seconds"]
        for n, t in p.items():
            t.data.copy_(state["params"][n])
        for m, saved in zip(muon.momentum, state["muon"]):
            m.copy_(saved)
        adam.load_state_dict(state["adam"])
    log = open(build / "log.jsonl", "a" if args.resume else "w")
    began = time.time() - spent
    for step, batch in enumerate(windows(train_ids, args.steps, args.seed)):
        if step < first:
            continue
        if step >= args.stop:
            break
        h, balance = model.forward(c, p, batch[:, :-1], rope, step >= DECAY_FROM * args.steps)
        loss = model.HeadLoss.apply(h, p["head"], batch[:, 1:].reshape(-1))
        (loss + BALANCE * balance).backward()
        with torch.no_grad():
            norm = torch.nn.utils.clip_grad_norm_(tables + vectors, CLIP)
            muon.step(LR_MUON * rate(step, args.steps))
            for group in adam.param_groups:
                group["lr"] = LR_ADAM * rate(step, args.steps)
            adam.step()
            for t in p.values():
                t.grad = None
        last = step == min(args.steps, args.stop) - 1
        if step % 10 == 0 or last:
            row = {"step": step, "loss": round(loss.item(), 4), "balance": round(balance.item(), 4),
                   "norm": round(norm.item(), 3), "tokens": (step + 1) * BATCH_TOKENS,
                   "seconds": round(time.time() - began, 1)}
            if step % 100 == 0 or last:
                total, count = nll_sum(c, p, rope, held_ids, T_SHORT, True)
                row["heldout"] = round(total / count, 4)
            print(json.dumps(row), file=log, flush=True)
            print(row, flush=True)
        if step % 50 == 49 or last:
            params = {k: v.detach() for k, v in p.items()}
            save(build / "checkpoint.pt", params)
            save(build / "state.pt", {"step": step + 1, "seconds": time.time() - began, "params": params,
                                      "muon": muon.momentum, "adam": adam.state_dict()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--build", default="build/demo")
    parser.add_argument("--steps", type=int, default=1250, help="length of the schedule")
    parser.add_argument("--stop", type=int, default=1200, help="end at this step, where the rate is a tenth")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from BUILD/state.pt")
    train(parser.parse_args())
