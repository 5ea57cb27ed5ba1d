#!/bin/sh
# llm-eval render over the published case files, and over cases that must fail.
. test/script.sh
eval=$BUILD/llm-eval
data=${LLM_TEST_DATA:-../shared/data}

# fails TEXT LINE...: the cases are run, one at least does not pass, and TEXT is said.
fails()
{
    text=$1; shift
    printf '%s\n' "$@" >"$tmp/cases.jsonl"
    if $eval render --cases "$tmp/cases.jsonl" >"$tmp/said" 2>&1; then echo "passed: $*"; return 1; fi
    grep -qF -- "$text" "$tmp/said" || { echo "want '$text', got:"; cat "$tmp/said"; return 1; }
}

check "another text fails" fails "0 passed, 1 failed" '{"template":"{{ x }}","vars":{"x":1},"expected":"2"}'
check "a template that is refused fails" fails "line 2" '{"template":"a","vars":{},"expected":"a"}' '{"template":"{% if %}","vars":{},"expected":""}'
check "another conversation fails" fails "0 passed, 1 failed" '{"conversation":{"messages":[{"role":"user","content":"a"}]},"mode":"conversation","expected":"b"}'
check "an unknown form is said" fails "no template, conversation" '{"what":1}'
check "a line that is no JSON is said" fails "cases.jsonl:1" '{'

check "harmony as its library renders it" $eval render --cases test/data/text/harmony_cases.jsonl
echo "COUNT generated harmony conversations, as openai-harmony renders them: $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$tmp/out" | awk '{ print $1 " of " $1 + $2 }')"
if [ -d "$data/renderings" ]; then
    for file in "$data"/renderings/*.jsonl; do
        check "render --cases ${file##*/}" $eval render --cases "$file"
        echo "COUNT llm-eval render ${file##*/}: $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$tmp/out" | awk '{ print $1 " of " $1 + $2 }')"
    done
else
    skip "render over the published cases" "no shared data"
fi
finish tools/render
