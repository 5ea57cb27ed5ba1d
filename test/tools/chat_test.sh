#!/bin/sh
# The chat of llm-run without a terminal: its commands over plain lines, JSON events, completion scripts.
. test/script.sh
run=$BUILD/llm-run
model=tools/demo/demo-gpt-oss.gguf

# chat TEXT ARGS...: TEXT (printf's escapes) as what the user types.
chat() { text=$1; shift; printf "$text" | "$run" $model -i --no-history "$@" >"$tmp/chat" 2>"$tmp/stderr"; }
said() { grep -qF -- "$1" "$tmp/chat" || { echo "want '$1', got:"; cat "$tmp/chat" "$tmp/stderr"; return 1; }; }

check "a chat" chat 'Hello there\n/bye\n' -n 8
check "with its counts" said "reasoning 0, answer 8 tokens"
check "the end of the input ends it" chat 'Hello there' -n 2
check "-i with -p" chat '/bye\n' -n 4 -p "Hello there"
check "answers it first" said "answer 4 tokens"
check "several lines" chat '"""one\ntwo\nthree"""\n/tokens\n' -n 2
check "are one message" sh -c "test \$(grep -c 'last turn' '$tmp/chat') -eq 1"
check "a backslash goes on" chat 'one\\\\\ntwo\n/bye\n' -n 2
check "to one message" sh -c "test \$(grep -c 'answer 2 tokens' '$tmp/chat') -eq 1"
check "/set" chat '/set n-predict 3\nHello\n/bye\n'
check "is heard" said "answer 3 tokens"
check "/set without arguments" chat '/set\n'
check "lists settings" said "top-p"
check "/set temp wrong" chat '/set temp hot\n/set bogus 1\n/set temp\n/set thinking loud\n'
check "is refused: a word" said "want a number"
check "is refused: no such setting" said "no setting is called bogus"
check "is refused: no value" said "needs T"
check "is refused: no such choice" said "want show|hide|count"
check "/regen" chat 'Hello\n/regen\n' -n 4 --temp 1
check "answers again" sh -c "test \$(grep -c 'answer 4 tokens' '$tmp/chat') -eq 2"
check "from what it has" said "2 cached"
check "/regen without anything" chat '/regen\n'
check "says so" said "nothing to answer again"
printf 'A text from a file.' >"$tmp/a text"
check "/read" chat "/read \"$tmp/a text\"\nIt says\n/show messages\n" -n 2
check "says how long it is" said "19 bytes"
check "/read with a text" chat "/read \"$tmp/a text\" It says\n" -n 2
check "answers" said "answer 2 tokens"
check "/read of nothing" chat "/read $tmp/none\n/read $tmp\n/read\n"
check "is said: no such file" said "none: No such file"
check "is said: a folder" said "not a file"
check "too long a message" chat '/read tools/demo/README.md\nWhat?\nHello\n' -n 2 -c 64
check "is refused with the numbers" said "the context holds 64 tokens"
check "no such command" chat '/frobnicate\n'
check "is said" said "no command /frobnicate"
check "/help" chat '/help\n'
for c in help clear set show save load regen read think nothink tokens bye; do check "names /$c" said "/$c"; done

# ---- JSON events
check "--json" sh -c "$run $model --json --raw -n 5 -p Hello >'$tmp/json' 2>'$tmp/stderr'"
check "nothing on stderr" test ! -s "$tmp/stderr"
check "begins with start" sh -c "head -n 1 '$tmp/json' | grep -q '\"event\":\"start\"'"
check "has answers" grep -q '"event":"answer"' "$tmp/json"
check "ends with the counts" sh -c "tail -n 1 '$tmp/json' | grep -q '\"finish_reason\":\"length\".*\"answer_tokens\":5'"
check "--json of an error" sh -c "! $run $model --json --raw -c 4 -p 'one two three four five six seven' >'$tmp/json' 2>/dev/null"
check "is an event" grep -q '"event":"error","code":5' "$tmp/json"

# ---- a model with a chat template, thinking and tools, that answers by a script
scripted=test/data/chat/scripted.gguf
check "an answer" sh -c "$run $scripted -q -p hello >'$tmp/a'"
check "without the thinking" sh -c "grep -q 'The answer is' '$tmp/a' && ! grep -q 'I look' '$tmp/a'"
check "--thinking show" sh -c "$run $scripted -q -p hello --thinking show 2>'$tmp/a' >/dev/null"
check "is on stderr" grep -q 'I look at the question' "$tmp/a"
check "exact counts" sh -c "$run $scripted -p hello 2>&1 >/dev/null | grep -q 'prompt 24 tokens, 0 cached.*reasoning 5, answer 7, format 3 tokens'"
check "--reasoning-budget 0" sh -c "$run $scripted --json -p hello --reasoning-budget 0 | grep -q '\"budget_spent\":true'"
check "--reasoning-budget 2" sh -c "$run $scripted --json -p hello --reasoning-budget 2 | tail -n 1 | grep -q '\"finish_reason\":\"cycle\".*\"reasoning_tokens\":2'"
check "a circle" sh -c "$run $scripted -p 'go on forever' 2>&1 >/dev/null | grep -q 'went round in circles'"
printf '[{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]' >"$tmp/tools.json"
check "--tools" sh -c "$run $scripted -q --tools '$tmp/tools.json' -p 'Weather?' --save '$tmp/talk.json' >'$tmp/a'"
check "a call" grep -qF 'tool_call get_weather {"city":"Seoul"}' "$tmp/a"
check "as an event" sh -c "$run $scripted --json --tools '$tmp/tools.json' -p 'Weather?' | grep -qF '\"event\":\"tool_call\",\"message\":0,\"name\":\"get_weather\",\"arguments\":\"{'"
check "--save" grep -q get_weather "$tmp/talk.json"
check "--tool-result" sh -c "$run $scripted -q --load '$tmp/talk.json' --tool-result '21 degrees' </dev/null | grep -q 'The answer is'"
check "one too many" sh -c "! $run $scripted -q --load '$tmp/talk.json' --tool-result a --tool-result b </dev/null 2>'$tmp/err' && grep -q '2 times' '$tmp/err'"
check "--load" sh -c "$run $scripted -q --load '$tmp/talk.json' -p 'And now?' >'$tmp/a' 2>&1"
check "goes on" test -s "$tmp/a"
printf '{"messages": [{"role": "user", "content": "hello"}]}' >"$tmp/one.json"
check "--load alone answers" sh -c "$run $scripted -q --load '$tmp/one.json' </dev/null | grep -q 'The answer is'"
check "tools that are none" sh -c "printf '{' >'$tmp/bad.json'; ! $run $scripted --tools '$tmp/bad.json' -p x 2>'$tmp/err' && grep -q 'bad.json: line 1' '$tmp/err'"

# ---- receipts
check "--receipt" $run $model --raw -q -p "It was a cold" -n 40 --temp 0.9 --seed 77 --logit-bias 5=-1.5 --receipt "$tmp/r.json"
replay() { "$run" --replay "$@" >"$tmp/replay" 2>&1; }
for how in "-t 1" "-t 3 -b 7" "--cpu scalar"; do
    check "--replay $how" replay "$tmp/r.json" $how
    check "is identical" grep -q '^identical: 4 tokens of prompt, 40 of answer' "$tmp/replay"
done
if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then check "--replay --cpu avx2" replay "$tmp/r.json" --cpu avx2; else skip "--replay --cpu avx2" "this machine has none"; fi
sed 's/"seed": "77"/"seed": "78"/' "$tmp/r.json" >"$tmp/r2.json"
check "another seed differs" sh -c "! $run --replay '$tmp/r2.json' >'$tmp/replay' && grep -q '^differs at token' '$tmp/replay'"
sed 's/"finish_reason"/"x": 1, &/; s/^   *39[0-9]*,$/   7,/' "$tmp/r.json" >"$tmp/r2.json"
cmp -s "$tmp/r.json" "$tmp/r2.json" || check "changed tokens" sh -c "! $run --replay '$tmp/r2.json' 2>'$tmp/replay' >/dev/null && grep -q 'another hash' '$tmp/replay'"
check "another model" sh -c "! $run --replay '$tmp/r.json' $scripted >'$tmp/replay' && grep -q 'the weights are others' '$tmp/replay'"
check "no receipt" sh -c "printf '{}' >'$tmp/r2.json'; ! $run --replay '$tmp/r2.json' 2>'$tmp/replay' && grep -q 'not a receipt' '$tmp/replay'"
check "a chat's receipt" sh -c "$run $scripted -q -p hello --receipt '$tmp/r.json' >/dev/null && $run --replay '$tmp/r.json' | grep -qx 'identical: 24 tokens of prompt, 15 of answer'"
check "with every byte hashed" sh -c "$run $scripted -q -p hello --full-hash --receipt '$tmp/r.json' >/dev/null && $run --replay '$tmp/r.json' | grep -q identical"


# ---- a full disk
check "a receipt on a full disk" sh -c "! $run $scripted -q -p hello --receipt /dev/full >/dev/null 2>'$tmp/err' && grep -q 'cannot write' '$tmp/err'"
check "an answer on a full disk" sh -c "! $run $scripted -q -p hello >/dev/full"
check "events on a full disk" sh -c "! $run $scripted --json -p hello >/dev/full"
check "a folder that is not there" sh -c "! $run $scripted -q -p hello --save '$tmp/none/talk.json' >/dev/null 2>'$tmp/err' && grep -q 'No such file' '$tmp/err'"

# ---- what shells and pagers get from the option table
for s in bash zsh fish; do
    check "--completion $s" sh -c "$run --completion $s >'$tmp/$s'"
    check "knows the options" grep -q -- 'reasoning-budget' "$tmp/$s"
    check "and their values" grep -q 'show hide count' "$tmp/$s"
done
check "bash takes it" bash -n "$tmp/bash"
check "and completes" bash -c ". '$tmp/bash'; COMP_WORDS=(llm-run --reas) COMP_CWORD=1; _complete_llm-run; test \"\${COMPREPLY[*]}\" = --reasoning-budget"
check "no such shell" sh -c "! $run --completion csh 2>/dev/null"
check "another tool's" sh -c "$BUILD/llm-inspect --completion=fish | grep -q 'no-tensors'"
check "names from elsewhere" sh -c "$run $model -no-cnv --predict 2 -p Hello -q >/dev/null"
check "a prompt as an operand" sh -c "$run $model Hello -n 2 -q >'$tmp/a' && $run $model -p Hello -n 2 -q | cmp - '$tmp/a'"
check "--help is short" sh -c "test \$($run --help | wc -l) -lt 70"
check "--help-all is not" sh -c "$run --help-all | grep -q 'same as --effort'"
finish tools/chat
