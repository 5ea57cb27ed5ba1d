#!/bin/sh
# The command-line tools as a user meets them: options, exit codes, messages, the same text from every way of computing it.
. test/script.sh
run=$BUILD/llm-run eval=$BUILD/llm-eval inspect=$BUILD/llm-inspect
model=tools/demo/demo-gpt-oss.gguf
data=${LLM_TEST_DATA:-../shared/data}
folder=test/data/ref/gpt-oss/hf

# code N COMMAND...: the command ends with this exit code and, unless it is 0, says something on stderr.
code()
{
    want=$1; shift
    "$@" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null; got=$?
    if [ $got -ne "$want" ]; then echo "exit code $got, want $want: $*"; cat "$tmp/stderr"; return 1; fi
    [ "$want" -eq 0 ] || [ -s "$tmp/stderr" ] || { echo "no message: $*"; return 1; }
}
# says CODE TEXT COMMAND...: that exit code, and TEXT on stderr.
says()
{
    want=$1 text=$2; shift 2
    code "$want" "$@" && { grep -qF -- "$text" "$tmp/stderr" || { echo "want '$text', got:"; cat "$tmp/stderr"; return 1; }; }
}
# text NAME COMMAND...: keeps what the command prints.
text() { name=$1; shift; "$@" >"$tmp/$name" 2>"$tmp/stderr" </dev/null || { cat "$tmp/stderr"; return 1; }; }

answer="$run $model -q --raw -n 24"
prompt="My fellow citizens, the"

# ---- prompts
check "-p" text a $answer -p "$prompt"
check "some text" test "$(wc -c <"$tmp/a")" -gt 20
printf %s "$prompt" >"$tmp/prompt"
check "-f" text b $answer -f "$tmp/prompt"
check "-f is -p" cmp "$tmp/a" "$tmp/b"
check "standard input" sh -c "$answer <'$tmp/prompt' >'$tmp/b'"
check "standard input is -p" cmp "$tmp/a" "$tmp/b"
check "-f -" sh -c "$answer -f - <'$tmp/prompt' >'$tmp/b'"
check "-f - is -p" cmp "$tmp/a" "$tmp/b"
check "a prompt in pieces" text b $answer -p "$prompt" -b 1
check "pieces change nothing" cmp "$tmp/a" "$tmp/b"
check "quiet is quiet" test ! -s "$tmp/stderr"
check "timings go to stderr" sh -c "$run $model --raw -n 2 -p x 2>'$tmp/err' >/dev/null && grep -q 'tokens/s' '$tmp/err'"

# ---- what must not change the text
for what in "-t 1" "-t 3" "--cpu scalar"; do
    check "$what" text b $answer -p "$prompt" $what
    check "$what changes nothing" cmp "$tmp/a" "$tmp/b"
done
if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
    check "--cpu avx2" text b $answer -p "$prompt" --cpu avx2
    check "--cpu avx2 changes nothing" cmp "$tmp/a" "$tmp/b"
else
    skip "--cpu avx2" "this machine has none"
fi
check "a seed" text b $answer -p "$prompt" --temp 1 --seed 7
check "the seed again" text c $answer -p "$prompt" --temp 1 --seed 7 -t 1
check "one seed, one text" cmp "$tmp/b" "$tmp/c"
check "another seed" text c $answer -p "$prompt" --temp 1 --seed 8
check "is another text" sh -c "! cmp -s '$tmp/b' '$tmp/c'"

# ---- the answer's end
check "-n 0" text b $run $model -q --raw -p "$prompt" -n 0
check "-n 0 answers nothing" test "$(wc -c <"$tmp/b")" -eq 1
stop=$(cut -c 8-11 "$tmp/a" | head -n 1)
check "--stop" text b $answer -p "$prompt" --stop "$stop"
check "nothing from the stop string on" sh -c "! grep -qF -- '$stop' '$tmp/b'"
check "what stands before it" sh -c "head -c \$((\$(wc -c <'$tmp/b') - 1)) '$tmp/b' >'$tmp/c' && cmp -n \$(wc -c <'$tmp/c') '$tmp/c' '$tmp/a'"
check "a full context is said" says 0 "context of 16 tokens is full" $run $model --raw -p "$prompt" -c 16 --ignore-eos
check "--show-tokens" text b $run $model --show-tokens -p "$prompt"
check "ids and pieces" grep -q '"' "$tmp/b"
check "one line a token" test "$(wc -l <"$tmp/b")" -ge 4

# ---- sessions on disk
check "--save-session" text b $run $model -q --raw -p "$prompt" -n 1 --save-session "$tmp/session"
check "--restore-session" text c $run $model -q --raw -p " of" -n 8 --restore-session "$tmp/session"
check "the whole at once" text b $run $model -q --raw -p "$prompt of" -n 8
check "restored as if never left" cmp "$tmp/b" "$tmp/c"
head -c 200 "$tmp/session" >"$tmp/cut"
check "a damaged session" code 3 $run $model -q --raw -p x -n 1 --restore-session "$tmp/cut"

# ---- errors
check "no arguments" code 2 $run
check "unknown option" says 2 "--bogus" $run $model --bogus
check "a number that is none" says 2 "--n-predict" $run $model -n three -p x
check "out of range" says 2 "--top-p" $run $model --top-p 2 -p x
check "an option without its value" says 2 "--seed" $run $model --seed
check "two models" code 2 $run $model $model -p x
check "unknown kernel set" says 3 "abacus" $run $model -p x --cpu abacus
check "no such model" says 3 "$tmp/none.gguf" $run "$tmp/none.gguf" -p x
head -c 5000 $model >"$tmp/cut.gguf"
check "a cut model" says 3 "cut.gguf" $run "$tmp/cut.gguf" -p x
printf 'not a model' >"$tmp/text.gguf"
check "no model at all" says 3 "text.gguf" $run "$tmp/text.gguf" -p x
check "an empty folder" code 3 $run "$tmp" -p x
check "no such prompt" says 1 "$tmp/none.txt" $run $model -f "$tmp/none.txt"
check "too long a prompt" says 5 "context holds 4 " $run $model --raw -c 4 -p "one two three four five six seven eight"
check "with how long it is" grep -Eq 'the prompt has ([5-9]|1[0-9]) tokens' "$tmp/stderr"
scripted=test/data/chat/scripted.gguf
printf 'caf\351 au lait' >"$tmp/latin1"
check "a file that is no UTF-8" says 1 "latin1: not a text: byte 3 of 12 (0xe9) is not UTF-8" $run $scripted -f "$tmp/latin1"
check "a prompt that is none" says 1 "-p: not a text: byte 0 of" $run $scripted -p "$(printf '\377x')"
check "an effort that there is not" says 2 "want low, medium or high" $run $scripted -p x --effort most
check "an effort that the model has not" says 0 "warning: this model has no efforts" $run $scripted -p x --effort high
check "no day" says 2 "want YYYY-MM-DD" $run $scripted -p x --date 2026-13-01
check "a number out of range" says 2 "got 0, want 1 to 268435456" $run $scripted -p x -c 0
check "a conversation that cannot be kept" says 1 "cannot write" $run $scripted -q -p x --save /proc/none
check "too long for a context beyond the trained one" sh -c "yes word | head -n 1100 >'$tmp/words'; ! $run $model -q --raw -c 1050 -f '$tmp/words' 2>'$tmp/stderr' && grep -q 'holds 1050 tokens, more than the 1024' '$tmp/stderr'"
check "a closed pipe ends it" sh -c "{ timeout 60 $run $model -q --raw --ignore-eos -c 20000 -n 19000 -p x; echo \$? >'$tmp/code'; } | head -c 5 >/dev/null; test \$(cat '$tmp/code') -ne 0 -a \$(cat '$tmp/code') -ne 124"
check "--help" sh -c "$run --help | grep -q -- --prompt"
check "--version" sh -c "$run --version | grep -q llm-run"

# A model that is cut while it is mapped: a message and exit code 3.
cp $model "$tmp/mapped.gguf"
$run "$tmp/mapped.gguf" -q --raw --ignore-eos -c 20000 -n 19000 -p x >"$tmp/b" 2>"$tmp/err" </dev/null & pid=$!
n=0
while [ ! -s "$tmp/b" ] && [ $n -lt 100 ] && kill -0 $pid 2>/dev/null; do sleep 0.1; n=$((n + 1)); done
: >"$tmp/mapped.gguf"
wait $pid; got=$?
check "a model cut while in use" test $got -eq 3
check "is named" grep -q 'mapped.gguf' "$tmp/err"

# ---- llm-eval
check "logits" code 0 $eval logits $model --tokens 1,2,3,4,5 --out "$tmp/a.npy" -t 1
check "logits in other pieces" code 0 $eval logits $model --tokens 1,2,3,4,5 --out "$tmp/b.npy" -t 3 -b 2
check "are the same bytes" cmp "$tmp/a.npy" "$tmp/b.npy"
check "compare" text b $eval compare "$tmp/a.npy" "$tmp/b.npy"
check "no difference" grep -Eq 'max difference +0 ' "$tmp/b"
check "same top" grep -Eq 'same top +5 of 5' "$tmp/b"
check "other logits" code 0 $eval logits $model --tokens 1,2,3,4,6 --out "$tmp/b.npy"
check "compare them" text b $eval compare "$tmp/a.npy" "$tmp/b.npy"
check "are different" sh -c "! grep -Eq 'max difference +0 ' '$tmp/b'"
# One value that is no number, in the middle of others that differ by less than anything would.
mkdir "$tmp/whole" "$tmp/torn"
cp "$tmp/a.npy" "$tmp/whole/tap.0.x.npy" && cp "$tmp/a.npy" "$tmp/torn/tap.0.x.npy"
echo tap.0.x.npy | tee "$tmp/whole/taps.txt" >"$tmp/torn/taps.txt"
printf '\000\000\300\177' | dd of="$tmp/torn/tap.0.x.npy" bs=1 seek=168 conv=notrunc 2>/dev/null
check "a folder of the same activations" code 0 $eval compare "$tmp/whole" "$tmp/whole"
check "NaN differs from any logit" sh -c "! $eval compare '$tmp/a.npy' '$tmp/torn/tap.0.x.npy' >'$tmp/b' && grep -Eq 'max difference +-?nan' '$tmp/b'"
check "and from any activation" sh -c "! $eval compare '$tmp/whole' '$tmp/torn' >'$tmp/b' && grep -q 'first to differ by more than .*: tap.0.x.npy' '$tmp/b'"
check "other shapes" code 0 $eval logits $model --tokens 1,2 --out "$tmp/c.npy"
check "cannot be compared" says 1 "shapes differ" $eval compare "$tmp/a.npy" "$tmp/c.npy"
check "a token that is not there" code 2 $eval logits $model --tokens 1,99999 --out "$tmp/d.npy"
check "no such command" code 2 $eval guess $model
check "perplexity" text b $eval perplexity $model test/data/demo/heldout.txt -q
want=$(sed -n 's/.*"perplexity": *\([0-9.]*\).*/\1/p' test/data/demo/expected.json)
got=$(sed -n 's/^perplexity  *\([0-9.]*\) .*/\1/p' "$tmp/b")
check "is that of the model card: $got, $want" awk -v a="$got" -v b="$want" 'BEGIN { exit !(a > 0 && b > 0 && a / b < 1.005 && a / b > 0.995) }'
printf '%s\n' '{"text": "ab", "ids": [0]}' >"$tmp/wrong.jsonl"
check "wrong ids" sh -c "! $eval tokenize $model --cases '$tmp/wrong.jsonl' >'$tmp/b'"
check "where they differ" grep -q 'wrong.jsonl:1: id 0 is' "$tmp/b"
tokenize() { check "tokenize $1 $2" code 0 $eval tokenize "$data/tokenizers/$1" --cases "$data/vectors/$2" $3; }
if [ -d "$data/tokenizers" ]; then
    tokenize gpt-oss gpt-oss/kitoken-mixed.jsonl --special
    tokenize gpt-oss gpt-oss/kitoken-small.jsonl --special
    tokenize gpt-oss/o200k_base.tiktoken o200k_base/kitoken-small.jsonl --special
    tokenize qwen2 qwen2/llamacpp.jsonl
    tokenize gguf/ggml-vocab-gpt-2.gguf gpt-2/llamacpp.jsonl
    tokenize hf-json/gpt2.tokenizer.json gpt-2/llamacpp.jsonl
    tokenize llama2/tokenizer.model llama-spm/llamacpp.jsonl
else
    skip "tokenize" "no shared test data"
fi

# ---- llm-inspect
check "inspect a GGUF file" text b $inspect $model
check "family" grep -q 'family gpt-oss' "$tmp/b"
check "what a tensor is bound to" grep -q 'layer 0 wq' "$tmp/b"
check "inspect a folder" text b $inspect $folder
check "its family" grep -q 'family gpt-oss' "$tmp/b"
check "inspect nothing" code 3 $inspect "$tmp/none"
finish tools/cli
