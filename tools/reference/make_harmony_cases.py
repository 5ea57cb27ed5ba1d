#!/usr/bin/env python3
"""Writes test/data/text/harmony_cases.jsonl: generated conversations as openai-harmony (PyPI) renders them, for `llm-eval render --cases`.

Built-in tools, functions with nested schemas, recipients, channels, what analysis is dropped. The library needs its vocabulary:
    TIKTOKEN_ENCODINGS_BASE=FOLDER make_harmony_cases.py SEED CONVERSATIONS OUT.jsonl     (FOLDER holds o200k_base.tiktoken)
"""
import json
import random
import sys

from openai_harmony import (Author, Conversation, DeveloperContent, HarmonyEncodingName, Message, ReasoningEffort, RenderConversationConfig, Role,
                            SystemContent, ToolDescription, load_harmony_encoding)

enc = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
R = random.Random(int(sys.argv[1]))
PIECES = ["Hello", " 안녕하세요", "😀", "\n", "\n\n", " ", "{\"a\": 1}", "<|end|>", "<|channel|>final", "'", "\"", "// x", "word", "12.5", "\t"]
DEFAULTS = {"string": "celsius", "integer": 3, "number": 1.5, "boolean": True, "array": [1], "object": {}, "null": None}


def text(least=0, most=5):
    return "".join(R.choice(PIECES) for _ in range(R.randint(least, most)))


def schema(depth=0):
    kind = R.choice(["string", "integer", "number", "boolean", "array", "object", "null"] if depth < 2 else ["string", "number"])
    s = {"type": kind}
    if R.random() < .4: s["description"] = text(1, 3)
    if kind == "string" and R.random() < .3: s["enum"] = ["a", "b c", "도시"][:R.randint(1, 3)]
    if R.random() < .3: s["default"] = DEFAULTS[kind]
    if kind == "array" and R.random() < .8: s["items"] = schema(depth + 1)
    if kind == "object":
        s["properties"] = {n: schema(depth + 1) for n in R.sample(["a", "b", "name", "x_y"], R.randint(0, 3))}
        if R.random() < .5: s["required"] = list(s["properties"])[:R.randint(0, 2)]
    if R.random() < .1: s = {"oneOf": [schema(depth + 1), {"type": "string", "default": "q", "description": "d"}]}
    if R.random() < .08: s["type"] = ["string", "null"]
    if R.random() < .1 and depth: s["nullable"] = True
    return s


def tool(i):
    p = None
    if R.random() < .85: p = {"type": "object", "properties": {n: schema() for n in R.sample(["city", "days", "opts", "flag"], R.randint(0, 4))}}
    if p and R.random() < .5: p["required"] = list(p["properties"])[:2]
    return ToolDescription.new(f"fn_{i}", text(0, 3), parameters=p)


def system():
    s = SystemContent.new()
    if R.random() < .8: s = s.with_reasoning_effort(R.choice([ReasoningEffort.LOW, ReasoningEffort.MEDIUM, ReasoningEffort.HIGH]))
    if R.random() < .5: s = s.with_conversation_start_date("2026-02-28")
    if R.random() < .2: s = s.with_knowledge_cutoff("2025-01")
    if R.random() < .2: s = s.with_model_identity(text(1, 3))
    if R.random() < .3: s = s.with_browser_tool()
    if R.random() < .3: s = s.with_python_tool()
    if R.random() < .15: s = s.with_required_channels(["analysis", "final"])
    return Message.from_role_and_content(Role.SYSTEM, s)


def developer():
    d = DeveloperContent.new()
    if R.random() < .8: d = d.with_instructions(text(1))
    if R.random() < .7: d = d.with_function_tools([tool(i) for i in range(R.randint(0, 3))])
    return Message.from_role_and_content(Role.DEVELOPER, d)


def says(channel):
    return Message.from_role_and_content(Role.ASSISTANT, text(1)).with_channel(channel)


def calls():
    name, kind = R.choice(["functions.fn_0", "browser.search", "python"]), R.choice(["<|constrain|>json", "<|constrain|> json", "json", "code"])
    call = Message.from_role_and_content(Role.ASSISTANT, '{"a": 1}').with_channel(R.choice(["commentary", "analysis"])).with_recipient(name).with_content_type(kind)
    answer = Message.from_author_and_content(Author.new(Role.TOOL, name), text(1)).with_recipient("assistant").with_channel("commentary")
    return [call, answer]


def conversation():
    messages = [system()] if R.random() < .9 else []
    if R.random() < .6: messages.append(developer())
    for _ in range(R.randint(0, 4)):
        messages.append(Message.from_role_and_content(Role.USER, text(1)))
        for _ in range(R.randint(0, 3)):
            kind = R.randint(0, 4)
            messages += calls() if kind == 2 else [says(["analysis", "commentary", "", "final", "final"][kind])]
    return Conversation.from_messages(messages)


def main():
    render = {"completion": lambda c, k: enc.render_conversation_for_completion(c, Role.ASSISTANT, config=k),
              "conversation": lambda c, k: enc.render_conversation(c, config=k), "training": lambda c, k: enc.render_conversation_for_training(c, config=k)}
    with open(sys.argv[3], "w") as out:
        for i in range(int(sys.argv[2])):
            c, mode, drop = conversation(), list(render)[i % 3], i % 2 == 0
            if not c.messages: continue
            row = {"name": f"{i}", "conversation": json.loads(c.to_json()), "mode": mode, "config": {"auto_drop_analysis": drop},
                   "expected": enc.decode_utf8(render[mode](c, RenderConversationConfig(auto_drop_analysis=drop)))}
            if mode == "completion": row["next_role"] = "assistant"
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
