"""Renders the published chat templates with jinja2, set up as transformers does it, over generated conversations.

    python make_template_cases.py TEMPLATES_DIR OUT.jsonl [--full]

With --full each line is a case as `llm-eval render --cases` runs it: template, vars, now, and the expected text, or "error": true where
jinja2 refuses. Without, as committed in test/data/text/templates: the first line holds the conversations, and each other one a
template's file name and sha256 and for each conversation the first 16 digits of the sha256 of the expected text, or "error".
"""
import datetime
import hashlib
import inspect
import json
import sys
from pathlib import Path

import jinja2
import jinja2.ext
import jinja2.sandbox
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 2, 28, 13, 5, 9)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    reference = chat_template_utils._compile_jinja_template("x").environment      # transformers' own settings
    tojson = reference.filters["tojson"]
    # One template (llama-cpp-deepseek-r1) writes the generator that map() gives as JSON; it means the list.
    env.filters["tojson"] = lambda x, *args, **named: tojson(list(x) if inspect.isgenerator(x) else x, *args, **named)
    assert (env.trim_blocks, env.lstrip_blocks) == (reference.trim_blocks, reference.lstrip_blocks)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    env.filters["from_json"] = json.loads
    return env


WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place.\nIn one line.", "parameters": {
    "type": "object", "properties": {
        "city": {"type": "string", "description": "도시 name"}, "days": {"type": "integer", "default": 3},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number", "nullable": True}}, "required": ["lat"]},
        "tags": {"type": "array", "items": {"type": "string"}}, "any": {"type": ["string", "null"]},
        "one": {"oneOf": [{"type": "string", "default": "x"}, {"type": "number", "description": "n"}]},
        "bare": {"type": "array"}, "flag": {"type": "boolean"}}, "required": ["city"]}}}
PLAIN = {"type": "function", "function": {"name": "now", "description": "The time <b>now</b> & 'here'.", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, ident="c1"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


ARGS = {"city": "서울", "days": 2, "flag": True, "ratio": 0.5, "none": None, "list": [1, "a"], "dict": {"k": "v\n"}}


def conversations():
    hi = {"role": "user", "content": "Hello,  world\n"}
    ko = {"role": "user", "content": "  안녕하세요? 한국어로 답해 주세요. 😀 "}
    system = {"role": "system", "content": "You are terse.\nVery."}
    answer = {"role": "assistant", "content": "Hi there."}
    thought = {"role": "assistant", "content": "<think>\nHm, let me see.\n</think>\n\nFour."}
    reasoned = {"role": "assistant", "reasoning_content": "Reason\ning", "thinking": "Reason\ning", "content": "Five."}
    calls = {"role": "assistant", "content": "", "tool_calls": [call("get_weather", ARGS)]}
    calls_none = {"role": "assistant", "content": None, "tool_calls": [call("get_weather", ARGS)]}
    calls_text = {"role": "assistant", "content": "Let me look.", "tool_calls": [call("get_weather", ARGS), call("now", {}, "c2")]}
    calls_json = {"role": "assistant", "content": "", "tool_calls": [call("get_weather", json.dumps(ARGS, ensure_ascii=False))]}
    calls_think = {"role": "assistant", "content": "", "reasoning_content": "I need it.", "thinking": "I need it.", "tool_calls": [call("now", {})]}
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "c1", "content": "맑음, 21 °C"}
    result2 = {"role": "tool", "name": "now", "tool_call_id": "c2", "content": "{\"t\": \"12:00\"}"}
    parts = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image"}, {"type": "text", "text": " And this?"}]}
    return {
        "user": [hi], "system": [system, hi], "korean": [system, ko, answer, hi], "turns": [hi, answer, ko, thought, hi],
        "thinking": [hi, reasoned, ko, thought, hi, reasoned], "developer": [{"role": "developer", "content": "Be nice."}, hi],
        "call": [hi, calls, result], "call-none": [hi, calls_none, result], "call-text": [system, hi, calls_text, result, result2],
        "call-json": [hi, calls_json, result], "call-think": [hi, calls_think, result2], "call-done": [hi, calls, result, answer, ko],
        "call-again": [hi, calls_think, result2, calls, result, answer, hi, calls_text, result, result2, thought, ko],
        "parts": [parts], "parts-turns": [system, parts, answer, parts], "two-systems": [system, system, hi], "assistant-last": [hi, answer],
        "system-only": [system], "odd-role": [{"role": "critic", "content": "no"}], "marks": [{"role": "user", "content": "<|im_end|><think>{{ x }}{% raw %}"}],
        "empty": [], "no-content": [hi, {"role": "assistant"}, hi],
    }


def variables():
    for name, messages in conversations().items():
        yield name, {"messages": messages, "add_generation_prompt": True}
    more = conversations()
    for name in ("user", "system", "call", "call-text", "call-again", "thinking"):
        yield name + "+tools", {"messages": more[name], "tools": [WEATHER, PLAIN], "add_generation_prompt": True}
    for name in ("user", "thinking", "call-again"):
        for key in ("enable_thinking", "thinking"):
            for value in (True, False):
                yield f"{name}+{key}={value}", {"messages": more[name], "tools": [PLAIN], key: value, "add_generation_prompt": True}
    yield "no-prompt", {"messages": more["turns"], "add_generation_prompt": False}
    yield "effort", {"messages": more["system"], "reasoning_effort": "high", "builtin_tools": ["browser", "python"], "model_identity": "You are me.",
                     "add_generation_prompt": True}


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def cases(env, path):
    source = path.read_bytes().decode()
    template = env.from_string(source)
    for name, given in variables():
        given = dict(given, bos_token="<bos>", eos_token="<eos>")
        row = {"file": path.name, "name": name, "template": source, "vars": given, "now": NOW.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            row["expected"] = template.render(**json.loads(json.dumps(given)))
        except Exception as e:                              # jinja2 lets TypeErrors of Python through
            row["error"], row["why"] = True, f"{type(e).__name__}: {e}"
        yield row


def write(f, row):
    f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    full = "--full" in sys.argv
    folder, out = sys.argv[1:3]
    env = environment()
    with open(out, "w", encoding="utf-8") as f:
        if not full:
            write(f, {"now": NOW.strftime("%Y-%m-%d %H:%M:%S"), "conversations": dict(variables())})
        for path in sorted(Path(folder).glob("*.jinja*")):
            rows = list(cases(env, path))
            for row in rows if full else []:
                write(f, row)
            if not full:
                write(f, {"file": path.name, "sha256": digest(rows[0]["template"]),
                          "expected": {r["name"]: "error" if "error" in r else digest(r["expected"])[:16] for r in rows}})


if __name__ == "__main__":
    main()
