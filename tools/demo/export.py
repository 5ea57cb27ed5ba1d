"""Write the trained demo model as files an engine reads.

    python tools/demo/export.py --build build/demo [--hf build/demo/hf]

The GGUF file holds the experts in MXFP4, the other matrices in Q8_0, and norms, biases, sinks and
the router in F32. --hf also writes a Hugging Face folder in the published layout (gate_up_proj_blocks
and _scales; the matrices of the GGUF file as their exact F32 values). Both hold the same numbers.
"""

import argparse
import json
import pathlib

import gguf
import numpy as np
import safetensors.numpy
import torch
from tokenizers import Tokenizer

import corpus
import model

GGUF_FILE = corpus.HERE / "demo-gpt-oss.gguf"
E2M1 = {0.0: 0, 0.5: 1, 1.0: 2, 1.5: 3, 2.0: 4, 3.0: 5, 4.0: 6, 6.0: 7}
MATRIX = ("embed", "head", "wq", "wk", "wv", "wo")


def leaf(name):
    return name.split(".")[-1]


def mxfp4_codes(w):
    """(codes u8 [.., 32] of 0..15, E8M0 scales u8 [..]) of the blocks of 32 along the last axis."""
    q, e = model.mxfp4_parts(w)
    table = torch.zeros(13, dtype=torch.uint8)
    for value, code in E2M1.items():
        table[int(value * 2)] = code
    codes = table[(q.abs() * 2).long()] + 8 * (q.signbit() & (q != 0)).to(torch.uint8)
    return codes.numpy(), (e + 127).to(torch.uint8).numpy()


def mxfp4_ggml(w):
    """Raw GGUF bytes [.., 17 * blocks]: scale, then value j low and value j+16 high nibble of byte j."""
    codes, scales = mxfp4_codes(w)
    packed = codes[..., :16] | codes[..., 16:] << 4
    raw = np.concatenate([scales[..., None], packed], axis=-1)
    return raw.reshape(*raw.shape[:-2], -1)


def mxfp4_hf(w):
    """(blocks u8 [.., 16], scales u8 [..]): value 2b low, value 2b+1 high nibble of byte b."""
    codes, scales = mxfp4_codes(w)
    return codes[..., 0::2] | codes[..., 1::2] << 4, scales


def q8_0_parts(w):
    """(quants int8 [.., 32], scales f16 [..]) of Q8_0 blocks."""
    blocks = w.reshape(*w.shape[:-1], -1, 32)
    d = blocks.abs().amax(-1) / 127
    q = torch.where(d > 0, 1 / d, 0.0).unsqueeze(-1) * blocks
    return q.round().to(torch.int8).numpy(), d.to(torch.float16).numpy()


def q8_0_ggml(w):
    q, d = q8_0_parts(w)
    raw = np.concatenate([d[..., None].view(np.uint8), q.view(np.uint8)], axis=-1)
    return raw.reshape(*raw.shape[:-2], -1)


def shipped(params):
    """The parameters as the files hold them: float32 values after Q8_0 and MXFP4."""
    out = {}
    for name, w in params.items():
        if leaf(name) in MATRIX:
            q, d = q8_0_parts(w)
            w = (torch.from_numpy(q).float() * torch.from_numpy(d).float().unsqueeze(-1)).reshape(w.shape)
        elif leaf(name) in ("w1", "w2"):
            w = model.mxfp4_round(w)
        out[name] = w.contiguous()
    return out


def gguf_tensors(c, params):
    """(GGUF name, kind, float32 tensor) in file order; kind is f32, q8 or mx."""
    f = c.d_ff
    yield "token_embd.weight", "q8", params["embed"]
    for i in range(c.n_layer):
        p = {leaf(n): w for n, w in params.items() if n.startswith(f"{i}.")}
        b = f"blk.{i}."
        yield b + "attn_norm.weight", "f32", p["attn_norm"]
        for ours, theirs in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output")):
            yield b + theirs + ".weight", "q8", p["w" + ours]
            yield b + theirs + ".bias", "f32", p["b" + ours]
        yield b + "attn_sinks.weight", "f32", p["sink"]
        yield b + "post_attention_norm.weight", "f32", p["ffn_norm"]
        yield b + "ffn_gate_inp.weight", "f32", p["router"]
        yield b + "ffn_gate_inp.bias", "f32", p["router_bias"]
        yield b + "ffn_gate_exps.weight", "mx", p["w1"][:, :f]
        yield b + "ffn_gate_exps.bias", "f32", p["b1"][:, :f]
        yield b + "ffn_up_exps.weight", "mx", p["w1"][:, f:]
        yield b + "ffn_up_exps.bias", "f32", p["b1"][:, f:]
        yield b + "ffn_down_exps.weight", "mx", p["w2"]
        yield b + "ffn_down_exps.bias", "f32", p["b2"]
    yield "output_norm.weight", "f32", params["norm"]
    yield "output.weight", "q8", params["head"]


def add_vocabulary(writer):
    tok = json.loads(corpus.TOKENIZER.read_text(encoding="utf-8"))
    special = {t["id"]: t["content"] for t in tok["added_tokens"]}
    names = {i: s for s, i in tok["model"]["vocab"].items()} | special
    tokens = [names[i] for i in range(len(names))]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]]
    ids = {s: i for i, s in special.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(ids["<|startoftext|>"])
    writer.add_eos_token_id(ids["<|endoftext|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)


def write_gguf(c, params, path):
    w = gguf.GGUFWriter(str(path), "gpt-oss")
    w.add_name("Demo of gpt-oss shape")
    w.add_description("A tiny demonstration model trained on public-domain English books; not an assistant.")
    w.add_license("mit")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_MXFP4_MOE)
    w.add_quantization_version(2)
    w.add_context_length(c.n_ctx)
    w.add_embedding_length(c.d_model)
    w.add_block_count(c.n_layer)
    w.add_feed_forward_length(c.d_ff)
    w.add_expert_feed_forward_length(c.d_ff)
    w.add_head_count(c.n_head)
    w.add_head_count_kv(c.n_head_kv)
    w.add_key_length(c.d_head)
    w.add_value_length(c.d_head)
    w.add_layer_norm_rms_eps(c.rms_eps)
    w.add_sliding_window(c.window)
    w.add_expert_count(c.n_expert)
    w.add_expert_used_count(c.n_expert_used)
    w.add_vocab_size(c.n_vocab)
    w.add_rope_dimension_count(c.d_head)
    w.add_rope_freq_base(c.rope_theta)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(c.rope_factor)
    w.add_rope_scaling_orig_ctx_len(c.rope_original)
    w.add_rope_scaling_yarn_beta_fast(c.beta_fast)
    w.add_rope_scaling_yarn_beta_slow(c.beta_slow)
    add_vocabulary(w)
    for name, kind, t in gguf_tensors(c, params):
        t = t.detach().contiguous()
        if kind == "f32":
            w.add_tensor(name, t.numpy())
        elif kind == "q8":
            w.add_tensor(name, q8_0_ggml(t), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            w.add_tensor(name, mxfp4_ggml(t), raw_dtype=gguf.GGMLQuantizationType.MXFP4)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def check_gguf(c, params, path):
    """Read the file back with the gguf package: every tensor must be the shipped value, bit for bit."""
    reader = gguf.GGUFReader(str(path))
    tensors = {t.name: t for t in reader.tensors}
    want = list(gguf_tensors(c, shipped(params)))
    if len(tensors) != len(want):
        raise ValueError(f"{len(tensors)} tensors in {path}, wanted {len(want)}")
    for name, _, t in want:
        got = gguf.dequantize(tensors[name].data, tensors[name].tensor_type).astype(np.float32).reshape(t.shape)
        if not np.array_equal(got, t.numpy()):
            raise ValueError(f"{name} differs from the trained tensor")
    return len(want)


def hf_config(c):
    first, last, ret = c.n_vocab - 10, c.n_vocab - 9, c.n_vocab - 8
    return {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "attention_bias": True,
        "bos_token_id": first, "eos_token_id": [last, ret], "pad_token_id": last,
        "hidden_size": c.d_model, "intermediate_size": c.d_ff, "head_dim": c.d_head,
        "num_hidden_layers": c.n_layer, "num_attention_heads": c.n_head, "num_key_value_heads": c.n_head_kv,
        "num_local_experts": c.n_expert, "num_experts_per_tok": c.n_expert_used,
        "layer_types": ["sliding_attention", "full_attention"] * (c.n_layer // 2),
        "sliding_window": c.window, "max_position_embeddings": c.n_ctx, "rms_norm_eps": c.rms_eps,
        "rope_theta": c.rope_theta, "swiglu_limit": model.LIMIT, "tie_word_embeddings": False,
        "rope_scaling": {"rope_type": "yarn", "factor": c.rope_factor, "beta_fast": c.beta_fast,
                         "beta_slow": c.beta_slow, "truncate": False,
                         "original_max_position_embeddings": c.rope_original},
        "vocab_size": c.n_vocab, "hidden_act": "silu", "torch_dtype": "float32",
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
    }


def interleave(t, f):
    """Gate rows, then up rows (axis 1) -> gate and up rows in turn, as the checkpoints have them."""
    return torch.stack((t[:, :f], t[:, f:]), dim=2).flatten(1, 2)


def hf_names(c, s):
    """(HF name, float32 tensor) of everything outside the expert matrices."""
    yield "model.embed_tokens.weight", s["embed"]
    yield "model.norm.weight", s["norm"]
    yield "lm_head.weight", s["head"]
    for i in range(c.n_layer):
        b = f"model.layers.{i}."
        yield b + "input_layernorm.weight", s[f"{i}.attn_norm"]
        yield b + "post_attention_layernorm.weight", s[f"{i}.ffn_norm"]
        yield b + "self_attn.sinks", s[f"{i}.sink"]
        for x in "qkvo":
            yield b + f"self_attn.{x}_proj.weight", s[f"{i}.w{x}"]
            yield b + f"self_attn.{x}_proj.bias", s[f"{i}.b{x}"]
        yield b + "mlp.router.weight", s[f"{i}.router"]
        yield b + "mlp.router.bias", s[f"{i}.router_bias"]
        yield b + "mlp.experts.gate_up_proj_bias", interleave(s[f"{i}.b1"], c.d_ff)
        yield b + "mlp.experts.down_proj_bias", s[f"{i}.b2"]


def write_hf(c, params, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    out = {n: t.contiguous().numpy() for n, t in hf_names(c, shipped(params))}
    for i in range(c.n_layer):
        for name, w in (("gate_up_proj", interleave(params[f"{i}.w1"], c.d_ff)), ("down_proj", params[f"{i}.w2"])):
            blocks, scales = mxfp4_hf(w)
            out[f"model.layers.{i}.mlp.experts.{name}_blocks"] = np.ascontiguousarray(blocks)
            out[f"model.layers.{i}.mlp.experts.{name}_scales"] = np.ascontiguousarray(scales)
    safetensors.numpy.save_file(out, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config(c), indent=2) + "\n")
    (folder / "tokenizer.json").write_bytes(corpus.TOKENIZER.read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
        "add_bos_token": False, "model_max_length": c.n_ctx, "tokenizer_class": "PreTrainedTokenizerFast"},
        indent=2) + "\n")


def reference(c, params):
    """transformers' own GptOssForCausalLM in float32 with the shipped weights."""
    import transformers
    raw = hf_config(c)
    raw.pop("quantization_config")
    config = transformers.GptOssConfig(**raw, attn_implementation="eager", experts_implementation="eager")
    net = transformers.GptOssForCausalLM(config).float().eval()
    s = shipped(params)
    state = dict(hf_names(c, s))
    for i in range(c.n_layer):
        e = f"model.layers.{i}.mlp.experts."
        state[e + "gate_up_proj"] = interleave(s[f"{i}.w1"], c.d_ff).transpose(1, 2).contiguous()
        state[e + "down_proj"] = s[f"{i}.w2"].transpose(1, 2).contiguous()
    net.load_state_dict(state, strict=True)
    return net


def tokenizer():
    return Tokenizer.from_file(str(corpus.TOKENIZER))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/demo")
    parser.add_argument("--out", default=str(GGUF_FILE))
    parser.add_argument("--hf", help="also write a Hugging Face folder here")
    args = parser.parse_args()
    c = model.Config()
    params = torch.load(pathlib.Path(args.build) / "checkpoint.pt")
    write_gguf(c, params, args.out)
    n = check_gguf(c, params, args.out)
    print(f"{args.out}: {n} tensors, {pathlib.Path(args.out).stat().st_size} bytes, read back bit for bit")
    if args.hf:
        write_hf(c, params, args.hf)


if __name__ == "__main__":
    main()
