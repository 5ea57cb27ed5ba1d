"""The gpt-oss architecture for training on a CPU: float32, grouped experts, attention with sinks.

The same function as transformers' GptOssForCausalLM, written for speed on two cores: the experts run
over tokens sorted by expert, attention goes through PyTorch's CPU flash kernel. The sinks enter by
correcting the kernel's log-sum-exp: with z the sink of a head, lse' = log(exp(lse) + exp(z)), the
output is scaled by exp(lse - lse'), and the kernel's own backward is right when given lse' and the
scaled output, because dS = P * (dP - rowsum(dO * O)) holds for the softmax with the sink as well.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F

ALPHA, LIMIT = 1.702, 7.0  # of the clamped SwiGLU


@dataclasses.dataclass
class Config:
    n_vocab: int = 4096
    d_model: int = 256
    n_layer: int = 6
    n_head: int = 8
    n_head_kv: int = 2
    d_head: int = 32
    n_expert: int = 16
    n_expert_used: int = 4
    d_ff: int = 96
    window: int = 128           # even layers; odd layers see everything
    rms_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_factor: float = 4.0    # YaRN, ramp bounds not rounded
    rope_original: int = 256
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    n_ctx: int = 1024


def rope_table(c, n):
    """cos and sin [n, d_head/2] of YaRN, both times the attention factor."""
    dim = c.d_head
    freq = c.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)

    def corr(rotations):
        return dim * math.log(c.rope_original / (rotations * 2 * math.pi)) / (2 * math.log(c.rope_theta))

    low, high = max(corr(c.beta_fast), 0), min(corr(c.beta_slow), dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    inv = ramp / (c.rope_factor * freq) + (1 - ramp) / freq
    angle = torch.arange(n, dtype=torch.float32)[:, None] * inv
    factor = 0.1 * math.log(c.rope_factor) + 1.0
    return angle.cos() * factor, angle.sin() * factor


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class SinkAttention(torch.autograd.Function):
    """Softmax attention whose denominator also holds exp(sink). q, k, v [B, H, T, D]; sink [1, H, 1]."""

    @staticmethod
    def forward(ctx, q, k, v, sink, mask, causal):
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=mask)
        lse_sink = torch.logaddexp(lse, sink)
        out = out * (lse - lse_sink).exp().unsqueeze(-1)
        ctx.save_for_backward(q, k, v, out, lse_sink, sink, mask)
        ctx.causal = causal
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, lse, sink, mask = ctx.saved_tensors
        grad = grad.contiguous()
        gq, gk, gv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, ctx.causal, attn_mask=mask)
        gsink = -((grad * out).sum(-1) * (sink - lse).exp()).sum((0, 2), keepdim=True)
        return gq, gk, gv, gsink, None, None


def window_blocks(x, w):
    """[B, H, T, D] -> [B*T/w, H, 2w, D]: each block of w keys after the block before it."""
    b, h, t, d = x.shape
    y = F.pad(x, (0, 0, w, 0)).unfold(2, 2 * w, w)  # [B, H, T/w, D, 2w]
    return y.permute(0, 2, 1, 4, 3).reshape(b * (t // w), h, 2 * w, d)


def window_mask(batch, n_block, w):
    """Additive mask [batch*n_block, 1, w, 2w]: row r sees columns r < c <= r + w, none before the text."""
    r, c = torch.arange(w)[:, None], torch.arange(2 * w)[None]
    ok = ((c > r) & (c <= r + w)).repeat(n_block, 1, 1)
    ok[0, :, :w] = False
    mask = torch.zeros(ok.shape).masked_fill(~ok, float("-inf"))
    return mask.repeat(batch, 1, 1).unsqueeze(1)


class Experts(torch.autograd.Function):
    """sum_k wt[n,k] * (w2[e] act(w1[e] x[n] + b1[e]) + b2[e]), e = idx[n,k].

    x [N, d]; w1 [E, 2f, d] (gate rows, then up rows); w2 [E, d, f]; idx, wt [N, k].
    """

    @staticmethod
    def forward(ctx, x, w1, b1, w2, b2, idx, wt):
        n, k = idx.shape
        order = torch.argsort(idx.reshape(-1), stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(n * k)
        bounds = [0] + torch.bincount(idx.reshape(-1), minlength=w1.shape[0]).cumsum(0).tolist()
        f = w2.shape[2]
        xs = x.index_select(0, order // k)
        h = xs.new_empty(n * k, 2 * f)
        act = xs.new_empty(n * k, f)
        y = torch.empty_like(xs)
        for e, (s, t) in enumerate(zip(bounds, bounds[1:])):
            torch.addmm(b1[e], xs[s:t], w1[e].t(), out=h[s:t])
            g, u = h[s:t, :f].clamp(max=LIMIT), h[s:t, f:].clamp(-LIMIT, LIMIT)
            torch.mul(g * torch.sigmoid(g * ALPHA), u + 1, out=act[s:t])
            torch.addmm(b2[e], act[s:t], w2[e].t(), out=y[s:t])
        ys = y.index_select(0, inverse).view(n, k, -1)
        ctx.save_for_backward(xs, h, act, ys, w1, w2, wt, order, inverse)
        ctx.bounds = bounds
        return torch.bmm(wt.unsqueeze(1), ys).squeeze(1)

    @staticmethod
    def backward(ctx, grad):
        xs, h, act, ys, w1, w2, wt, order, inverse = ctx.saved_tensors
        n, k = wt.shape
        f = w2.shape[2]
        gwt = torch.bmm(ys, grad.unsqueeze(2)).squeeze(2)
        gy = grad.index_select(0, order // k) * wt.reshape(-1)[order].unsqueeze(1)
        gw1, gw2 = torch.empty_like(w1), torch.empty_like(w2)
        gb1, gb2 = w1.new_empty(w1.shape[:2]), w2.new_empty(w2.shape[:2])
        gxs = torch.empty_like(xs)
        for e, (s, t) in enumerate(zip(ctx.bounds, ctx.bounds[1:])):
            gye = gy[s:t]
            torch.mm(gye.t(), act[s:t], out=gw2[e])
            gb2[e] = gye.sum(0)
            ga = gye @ w2[e]
            gate, up = h[s:t, :f], h[s:t, f:]
            g, u1 = gate.clamp(max=LIMIT), up.clamp(-LIMIT, LIMIT) + 1
            sig = torch.sigmoid(g * ALPHA)
            gs = g * sig
            gh = torch.empty_like(h[s:t])
            gh[:, :f] = ga * u1 * (sig + ALPHA * gs * (1 - sig)) * (gate <= LIMIT)
            gh[:, f:] = ga * gs * (up.abs() <= LIMIT)
            torch.mm(gh.t(), xs[s:t], out=gw1[e])
            gb1[e] = gh.sum(0)
            torch.mm(gh, w1[e], out=gxs[s:t])
        gx = gxs.index_select(0, inverse).view(n, k, -1).sum(1)
        return gx, gw1, gb1, gw2, gb2, None, gwt


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of softmax(h head^T) against the targets; rows in pieces that stay in cache."""

    @staticmethod
    def forward(ctx, h, head, target):
        n, rows = h.shape[0], 512
        gh, ghead, total = torch.empty_like(h), torch.zeros_like(head), 0.0
        z = h.new_empty(rows, head.shape[0])
        for s in range(0, n, rows):
            x, y = h[s:s + rows], target[s:s + rows].unsqueeze(1)
            part = torch.mm(x, head.t(), out=z[:len(x)])
            part -= part.amax(1, keepdim=True)
            right = part.gather(1, y)
            part.exp_()
            norm = part.sum(1, keepdim=True)
            total += (norm.log() - right).sum().item()
            part *= 1 / (n * norm)
            part.scatter_add_(1, y, torch.full_like(right, -1 / n))
            torch.mm(part, head, out=gh[s:s + rows])
            ghead.addmm_(part.t(), x)
        ctx.save_for_backward(gh, ghead)
        return h.new_tensor(total / n)

    @staticmethod
    def backward(ctx, grad):
        gh, ghead = ctx.saved_tensors
        return grad * gh, grad * ghead, None


def mxfp4_parts(w):
    """Codes and scale exponents of MXFP4 blocks of 32 along the last axis.

    The exponent is the smallest e with max|w| <= 7 * 2^e, so nothing is off by more than the usual
    rounding; magnitudes are rounded to {0, .5, 1, 1.5, 2, 3, 4, 6}. Returns (values [.., 32] in
    units of the scale, e [..] float).
    """
    blocks = w.reshape(*w.shape[:-1], -1, 32)
    top = blocks.abs().amax(-1).clamp(min=2.0 ** -100)
    e = torch.ceil(torch.log2(top / 7.0))
    x = blocks * torch.exp2(-e).unsqueeze(-1)
    a = x.abs().clamp(max=6.0)
    q = torch.where(a < 2, (a * 2).round() * 0.5, torch.where(a < 4, a.round(), (a * 0.5).round() * 2))
    return torch.copysign(q, x), e


def mxfp4_round(w):
    """w after a trip through MXFP4."""
    q, e = mxfp4_parts(w)
    return (q * torch.exp2(e).unsqueeze(-1)).reshape(w.shape)


def init_params(c, seed):
    """Name -> float32 parameter. Linear weights are [out, in]; expert gate and up rows are kept apart."""
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape, std):
        return torch.randn(*shape, generator=gen) * std

    d, q, kv = c.d_model, c.n_head * c.d_head, c.n_head_kv * c.d_head
    deep = 1 / math.sqrt(2 * c.n_layer)
    p = {"embed": normal(c.n_vocab, d, std=0.1), "norm": torch.ones(d), "head": normal(c.n_vocab, d, std=0.02)}
    for i in range(c.n_layer):
        p[f"{i}.attn_norm"] = torch.ones(d)
        p[f"{i}.wq"], p[f"{i}.bq"] = normal(q, d, std=d ** -0.5), torch.zeros(q)
        p[f"{i}.wk"], p[f"{i}.bk"] = normal(kv, d, std=d ** -0.5), torch.zeros(kv)
        p[f"{i}.wv"], p[f"{i}.bv"] = normal(kv, d, std=d ** -0.5), torch.zeros(kv)
        p[f"{i}.wo"], p[f"{i}.bo"] = normal(d, q, std=deep * q ** -0.5), torch.zeros(d)
        p[f"{i}.sink"] = torch.zeros(c.n_head)
        p[f"{i}.ffn_norm"] = torch.ones(d)
        p[f"{i}.router"], p[f"{i}.router_bias"] = normal(c.n_expert, d, std=0.02), torch.zeros(c.n_expert)
        p[f"{i}.w1"] = normal(c.n_expert, 2 * c.d_ff, d, std=d ** -0.5)
        p[f"{i}.b1"] = torch.zeros(c.n_expert, 2 * c.d_ff)
        p[f"{i}.w2"] = normal(c.n_expert, d, c.d_ff, std=deep * c.d_ff ** -0.5)
        p[f"{i}.b2"] = torch.zeros(c.n_expert, d)
    return p


def attention(c, p, i, x, rope):
    """One attention block: x [B, T, d] -> [B, T, d]. T is a multiple of the window on even layers."""
    b, t, _ = x.shape
    q = F.linear(x, p[f"{i}.wq"], p[f"{i}.bq"]).view(b, t, c.n_head, c.d_head).transpose(1, 2)
    k = F.linear(x, p[f"{i}.wk"], p[f"{i}.bk"]).view(b, t, c.n_head_kv, c.d_head).transpose(1, 2)
    v = F.linear(x, p[f"{i}.wv"], p[f"{i}.bv"]).view(b, t, c.n_head_kv, c.d_head).transpose(1, 2)
    cos, sin = rope[0][:t], rope[1][:t]
    group = c.n_head // c.n_head_kv
    q = rotate(q, cos, sin)
    k = rotate(k, cos, sin).repeat_interleave(group, dim=1)
    v = v.repeat_interleave(group, dim=1)
    sink = p[f"{i}.sink"].view(1, -1, 1)
    w = c.window
    if i % 2 == 0 and t > w:
        n = t // w
        q = q.reshape(b, c.n_head, n, w, c.d_head).transpose(1, 2).reshape(b * n, c.n_head, w, c.d_head)
        o = SinkAttention.apply(q, window_blocks(k, w), window_blocks(v, w), sink, window_mask(b, n, w), False)
        o = o.view(b, n, c.n_head, w, c.d_head).permute(0, 1, 3, 2, 4)
    else:
        o = SinkAttention.apply(q, k, v, sink, None, True).transpose(1, 2)
    return F.linear(o.reshape(b, t, -1), p[f"{i}.wo"], p[f"{i}.bo"])


def forward(c, p, tokens, rope, quantize=False):
    """Final hidden states [B*T, d] after the last norm, and the load-balance loss.

    quantize: expert weights pass through MXFP4, the gradient goes straight to the float weights.
    """
    b, t = tokens.shape
    x = F.embedding(tokens, p["embed"])
    balance = x.new_zeros(())
    for i in range(c.n_layer):
        x = x + attention(c, p, i, F.rms_norm(x, (c.d_model,), p[f"{i}.attn_norm"], c.rms_eps), rope)
        h = F.rms_norm(x, (c.d_model,), p[f"{i}.ffn_norm"], c.rms_eps).view(b * t, -1)
        logits = F.linear(h, p[f"{i}.router"], p[f"{i}.router_bias"])
        top, idx = logits.topk(c.n_expert_used, dim=-1)
        used = torch.bincount(idx.reshape(-1), minlength=c.n_expert) / idx.numel()
        balance = balance + c.n_expert * (used * logits.softmax(-1).mean(0)).sum()
        w1, w2 = p[f"{i}.w1"], p[f"{i}.w2"]
        if quantize:
            w1 = w1 + (mxfp4_round(w1.detach()) - w1.detach())
            w2 = w2 + (mxfp4_round(w2.detach()) - w2.detach())
        y = Experts.apply(h, w1, p[f"{i}.b1"], w2, p[f"{i}.b2"], idx, top.softmax(-1))
        x = x + y.view(b, t, -1)
    x = F.rms_norm(x, (c.d_model,), p["norm"], c.rms_eps)
    return x.view(b * t, -1), balance / c.n_layer
