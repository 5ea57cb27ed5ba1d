#!/bin/sh
# llm-quantize, and llm-run --quant: what is written, what is kept, what is refused, and that nothing is left half-written.
. test/script.sh
run=$BUILD/llm-run quantize=$BUILD/llm-quantize inspect=$BUILD/llm-inspect
model=tools/demo/demo-gpt-oss.gguf folder=test/data/ref/gpt-oss/hf

# refuses CODE TEXT COMMAND...: the exit code, and TEXT on standard error.
refuses()
{
    want=$1 text=$2; shift 2
    code=0; "$@" >/dev/null 2>"$tmp/stderr" || code=$?
    [ $code -eq "$want" ] && grep -qF -- "$text" "$tmp/stderr" || { echo "exit code $code, want $want and '$text':"; cat "$tmp/stderr"; return 1; }
}
only() { test "$(ls -A "$1")" = "$2" || { ls -A "$1"; return 1; }; }

mkdir "$tmp/gguf"
check "GGUF to GGUF" $quantize $model "$tmp/gguf/a.gguf" q8_0 -q
check "nothing else is written" only "$tmp/gguf" a.gguf
check "it answers" sh -c "$run '$tmp/gguf/a.gguf' --raw -q -p 'It was' -n 8 | grep -q ."
check "a folder to GGUF" $quantize $folder "$tmp/b.gguf" Q8_0 -q --tensor 'blk.*.attn_v.weight=f16'
check "with the type of --tensor" sh -c "$inspect '$tmp/b.gguf' | grep -E 'blk.0.attn_v.weight.*F16'"
check "a thread gives the same bytes" sh -c "$quantize $model '$tmp/c.gguf' q8_0 -q -t 1 --cpu scalar && cmp '$tmp/c.gguf' '$tmp/gguf/a.gguf'"
check "a pattern that fits nothing" refuses 2 "nothing.weight" $quantize $model "$tmp/d.gguf" Q8_0 --tensor nothing.weight=q8_0
check "an unknown type" refuses 2 "there is F32, F16" $quantize $model "$tmp/d.gguf" Q9
check "a type that is only read" refuses 3 "can be read, but not written" $quantize $model "$tmp/d.gguf" IQ1_S
check "itself" refuses 2 "is the file to be read" $quantize "$tmp/gguf/a.gguf" "$tmp/gguf/a.gguf" Q4_0
check "a folder that is not there" refuses 3 "none/d.gguf" $quantize $model "$tmp/none/d.gguf" Q8_0
check "a source cut short" sh -c "head -c 3000000 $model >'$tmp/cut.gguf'; ! $quantize '$tmp/cut.gguf' '$tmp/d.gguf' Q8_0 2>/dev/null"
check "an importance matrix that is none" refuses 3 "README.md" $quantize $model "$tmp/d.gguf" Q4_0 --imatrix README.md
check "leaves no file behind" test ! -e "$tmp/d.gguf"
(ulimit -f 2000; trap '' XFSZ; refuses 3 "d.gguf" $quantize $model "$tmp/gguf/d.gguf" F32) >"$tmp/said" 2>&1; code=$?
check "a file that may not grow: $(head -c 200 "$tmp/said")" test $code -eq 0
check "nor that one" only "$tmp/gguf" a.gguf

keep=$tmp/keep
again() { $run $model --quant Q4_0 --quant-cache "$keep" --raw -p "It was" -n 8 2>"$tmp/stderr" >"$tmp/answer"; }
check "--quant" again
check "says what it makes" grep -q 'quantized to Q4_0' "$tmp/stderr"
cp "$tmp/answer" "$tmp/first"
check "the second start" again
check "uses the copy" sh -c "! grep -q quantized '$tmp/stderr' && cmp '$tmp/answer' '$tmp/first'"
printf x | dd of="$(ls "$keep"/*.gguf)" bs=1 seek=2000000 conv=notrunc 2>/dev/null
check "a damaged copy" again
check "is made again" sh -c "grep -q 'made again: it is damaged' '$tmp/stderr' && cmp '$tmp/answer' '$tmp/first'"
check "--quant of an unknown type" refuses 2 "there is F32, F16" $run $model --quant Q9 --quant-cache "$keep" -p x
check "a cache that cannot be made" refuses 3 "the folder cannot be made" $run $model --quant Q8_0 --quant-cache /proc/none -p x
rm -rf "$keep"
again & first=$!
$run $model --quant Q4_0 --quant-cache "$keep" --raw -q -p "It was" -n 8 >"$tmp/other" 2>/dev/null; code=$?
wait $first
check "two at once" test $? -eq 0 -a $code -eq 0
check "give the same answer" sh -c "cmp '$tmp/answer' '$tmp/other' && cmp '$tmp/answer' '$tmp/first'"
check "from one copy" test "$(ls "$keep"/*.gguf | wc -l)" -eq 1
finish tools/quantize
