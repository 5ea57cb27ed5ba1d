"""Writes test/data/chat/scripted.gguf: a model that says what it was told to, for the tests of the chat.

One Llama layer whose outputs are zero, and a head that knows for each token which one follows. So it answers by a script, the same
for every seed: from the last character of the prompt, which the chat template chooses, through a chain of tokens. Greedy and sampled
answers are the same. Usage: make_chat_model.py test/data/chat/scripted.gguf
"""
import sys

import gguf
import numpy as np

D = 64

TEMPLATE = """{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}
{% endif %}Tools:{% for t in tools %} {{ t | tojson }}{% endfor %}<|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}
{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}}
</tool_call>{% endfor %}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{%- if 'forever' in messages[-1].content %}#
{%- elif tools and messages[-1].role == 'user' %}!
{%- elif enable_thinking is defined and not enable_thinking %}<think></think>
{%- else %}{{ '\\n' }}{% endif %}
{%- endif %}"""

THINK = ["<think>", "I look", " at", " the", " question", ".", "</think>"]
ANSWER = ["</think>", "\n\n", "The answer", " is", " 안녕", " 👋", " friend", "!!", "<|im_end|>"]
CALL = ["!", "<tool_call>", '\n{"name": "get_weather", "arguments": {"city": "Seoul"}}\n', "</tool_call>", "<|im_end|>"]
ROUND = ["#", " round", " and", " about", " the house", ",", " round"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]


def byte_table():
    """GPT-2's characters for the 256 bytes."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for b in range(256):
        if b in own:
            table[b] = chr(b)
        else:
            table[b], extra = chr(256 + extra), extra + 1
    return table


def main(path):
    table = byte_table()
    spell = lambda s: "".join(table[b] for b in s.encode())
    chains = [["\n", *THINK], ANSWER, CALL, ROUND]
    text = [bytes([b]) for b in range(256)]
    tokens = [table[b] for b in range(256)]
    types = [gguf.TokenType.NORMAL] * 256
    for s in SPECIAL:
        tokens.append(s), text.append(s.encode())
        types.append(gguf.TokenType.CONTROL if "|" in s else gguf.TokenType.USER_DEFINED)
    for s in dict.fromkeys(t for c in chains for t in c):
        if s.encode() not in text:
            tokens.append(spell(s)), text.append(s.encode()), types.append(gguf.TokenType.NORMAL)
    tokens.append("qq"), text.append(b"qq"), types.append(gguf.TokenType.NORMAL)      # of the one merge, which a vocabulary must have
    follows = {}
    for c in chains:
        for a, b in zip(c, c[1:]):
            assert follows.setdefault(a, b) == b, (a, b)
    embed, head = np.zeros((len(tokens), D), np.float32), np.zeros((len(tokens), D), np.float32)
    embed[:, D - 1] = 1
    assert len(follows) < D - 1
    for k, (a, b) in enumerate(follows.items()):
        i = text.index(a.encode())
        embed[i], embed[i, k] = 0, 1
        head[text.index(b.encode()), k] = 8

    w = gguf.GGUFWriter(path, "llama")
    w.add_name("Scripted chat")
    w.add_description("Answers by a script, for tests; see make_chat_model.py")
    w.add_context_length(65536), w.add_embedding_length(D), w.add_block_count(1), w.add_feed_forward_length(D)
    w.add_head_count(1), w.add_head_count_kv(1), w.add_layer_norm_rms_eps(1e-5), w.add_rope_dimension_count(D)
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens), w.add_token_types(types), w.add_token_merges(["q q"])
    w.add_eos_token_id(tokens.index("<|im_end|>")), w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)
    half = lambda a: a.astype(np.float16)
    w.add_tensor("token_embd.weight", half(embed)), w.add_tensor("output.weight", half(head))
    w.add_tensor("output_norm.weight", np.ones(D, np.float32))
    for n in ("attn_norm", "ffn_norm"):
        w.add_tensor(f"blk.0.{n}.weight", np.ones(D, np.float32))
    for n in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        w.add_tensor(f"blk.0.{n}.weight", half(np.zeros((D, D), np.float32)))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


if __name__ == "__main__":
    main(sys.argv[1])
