#!/bin/sh
# llm-bench: its options, the rows in every form, shapes, comparison, and what it says when something is wrong. No times are judged.
. test/script.sh
bench=$BUILD/llm-bench
model=tools/demo/demo-gpt-oss.gguf shape=test/data/shape/config.json
quick="-p 8 -n 4 -r 2 --no-limits -t 1"

# says CODE TEXT COMMAND...: that exit code, and TEXT on stdout or stderr.
says()
{
    want=$1 text=$2; shift 2
    "$@" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null; got=$?
    [ $got -eq "$want" ] && cat "$tmp/stdout" "$tmp/stderr" | grep -qF -- "$text" || { echo "exit code $got, want $want and '$text':"; cat "$tmp/stdout" "$tmp/stderr"; return 1; }
}
lines() { [ "$(wc -l <"$tmp/stdout")" -eq "$1" ] || { cat "$tmp/stdout"; return 1; }; }
has() { for text; do grep -qF -- "$text" "$tmp/stdout" || { echo "no '$text' in:"; cat "$tmp/stdout"; return 1; }; done; }

# ---- rows
check "a model" says 0 "| pp8 |" $bench -m $model $quick
check "a heading and two rows" lines 4
check "its name, type and size" has "| demo-gpt-oss.gguf |" "| cpu | 1 | tg4 |"
check "csv" says 0 "machine,model,arch,type," $bench -m $model $quick -o csv
check "csv: columns of a row" sh -c "awk -F, 'NR == 1 { n = NF } END { exit !(n == 21) }' '$tmp/stdout'"
check "json" says 0 '"tokens_per_second"' $bench -m $model $quick -o json
check "json: what identifies a row" has '"model": "demo-gpt-oss.gguf"' '"kv_type": "f16"' '"device": "cpu"' '"batch": 512' '"threads": 1' '"test": "tg4"' '"kernels"'
cp "$tmp/stdout" "$tmp/old.json"
check "jsonl" says 0 '"test":"pp8"' $bench -m $model $quick -o jsonl
check "jsonl: a row a line" lines 2
check "log" says 0 ',tg4,' $bench -m $model $quick -o log
check "log: no heading" lines 2
odd=$(printf '%s/a "b"|c,\377.gguf' "$tmp") && cp $model "$odd"
check "csv: a name with quotes, bars, commas and no UTF-8" says 0 '"a ""b""|c,?.gguf",gpt-oss' $bench -m "$odd" $quick -o csv
check "md: such a name" says 0 '| a "b"\|c,?.gguf | MXFP4 |' $bench -m "$odd" $quick
check "json: such a name" says 0 '"model": "a \"b\"|c,?.gguf"' $bench -m "$odd" $quick -o json
check "jsonl: such a name" says 0 '"model":"a \"b\"|c,?.gguf"' $bench -m "$odd" $quick -o jsonl
rm -f "$odd"
check "lists and ranges" says 0 "tg2 @ d16" $bench -m $model -p 4-8*2,5 -n 1,2 -d 0,16 -r 1 --no-limits -t 1 -o jsonl
check "every member of them" lines 10
check "a prompt and an answer" says 0 "pp8+tg2" $bench -m $model -p 0 -n 0 --pg 8,2 -r 1 --no-limits
check "sequences together" says 0 "tg3 x5 @ d7" $bench -m $model -p 4 -n 3 -s 1,5 -d 7 -r 1 --no-limits -o jsonl
check "a prompt is read once, whatever -s says" lines 3
for kv in f16 q8_0 f8 f32; do
    check "a filled depth: $kv" says 0 "tg2 x2 @ d1500" $bench -m $model -p 4 -n 2 -s 2 -d 1500 --fill-depth --kv-type $kv -r 2 --no-limits -t 1 -o jsonl
    check "its rows say so" test "$(grep -c '"depth filled, not computed"' "$tmp/stdout")" -eq 2
done
check "threads and batches" says 0 "" $bench -m $model -p 8 -n 0 -t 1,2 -b 4,8 -r 1 --no-limits -o jsonl
check "every pair of them" lines 4
check "the floor" says 0 " %" $bench -m $model -p 0 -n 16 -r 1 -t 1
check "q8_0 keys and values" says 0 '"kv_type":"q8_0"' $bench -m $model $quick --kv-type q8_0 -o jsonl
check "a kernel set" says 0 '"kernels":"scalar"' $bench -m $model $quick --cpu scalar -o jsonl

# ---- comparison
check "--compare" says 0 "ratio" $bench -m $model $quick --compare "$tmp/old.json"
check "both rows have a ratio" sh -c "[ \$(grep -cE '\| +[0-9]+\.[0-9]{3} \|' '$tmp/stdout') -eq 2 ]"
for other in "--kv-type q8_0" "-b 64" "-t 2"; do
    check "another $other is not compared" says 0 "" $bench -m $model $quick $other --compare "$tmp/old.json" -o jsonl
    check "no ratio with $other" sh -c "! grep -q ratio '$tmp/stdout'"
done
check "a missing file to compare with" says 1 "none.json" $bench -m $model $quick --compare "$tmp/none.json"
echo '{"a": 1}' >"$tmp/wrong.json"
check "a wrong one" says 1 "not a list made with -o json" $bench -m $model $quick --compare "$tmp/wrong.json"

# ---- shapes
check "--list-shapes" says 0 "gpt-oss-120b" $bench --list-shapes
check "a shape from a config.json" says 0 "| shape | Q4_0 |" $bench --shape $shape:q4_0 $quick
check "it says that its weights are random" has "random weights"
check "the default type" says 0 "| Q4_K_M |" $bench --shape $shape $quick
check "a folder" says 0 "| BF16 |" $bench --shape test/data/shape:bf16 $quick
check "several" says 0 "| MXFP4_MOE |" $bench --shape test/data/ref/gpt-oss/hf --shape test/data/ref/deepseek-v3/hf:f16 $quick
check "both are there" lines 6
check "a shape that is cut" says 0 "layers, and scaled" $bench --shape $shape:f32 -p 64 -n 0 -r 3 -t 1 --memory-limit 28M
check "its row says so" has "of 12 layers"
check "a shape of which too little fits" says 4 "as many have to fit" $bench --shape $shape:f32 $quick --memory-limit 4M
check "an unknown shape lists those known" says 2 "qwen3-235b-a22b" $bench --shape gpt-oss-21b $quick
check "an unknown type lists those known" says 2 "IQ4_XS" $bench --shape qwen3-0.6b:q7 $quick
check "a config.json that is none" says 3 "no such file" $bench --shape test/data/nowhere/config.json $quick
mkdir "$tmp/broken" && echo '{"model_type": "qwen3", "vocab_size": 100' >"$tmp/broken/config.json"
check "a broken config.json" says 3 "config.json" $bench --shape "$tmp/broken/config.json" $quick
echo '{"model_type": "abacus"}' >"$tmp/broken/config.json"
check "a family that is not there" says 3 "abacus" $bench --shape "$tmp/broken" $quick
check "nothing is left behind" sh -c "TMPDIR='$tmp/broken' $bench --shape qwen3-0.6b:q7 2>/dev/null; [ \$(ls '$tmp/broken' | wc -l) -eq 1 ]"

# ---- mistakes
check "no model" says 2 "want a model" $bench
check "a missing model" says 3 "" $bench -m "$tmp/none.gguf"
check "an operand" says 2 "given with -m" $bench $model
check "a wrong form" says 2 "want md, csv, json, jsonl or log" $bench -m $model -o xml
check "a wrong device" says 2 "want cpu or cuda" $bench -m $model --device tpu
check "a wrong cache type" says 2 "want f16, q8_0, f8 or f32" $bench -m $model --kv-type q3
for list in 3-2 2-8*1 2-9*9223372036854775807 1-9+9223372036854775807; do
    check "a list that ends nowhere: $list" says 2 "leads nowhere" $bench -m $model -p "$list" -n 0
done
check "nothing to measure" says 2 "nothing to measure" $bench -m $model -p 0 -n 0
for bad in x 1,x 5-1 1-9*1 1-4+0 1- -3 "" 999999999999; do
    check "-p '$bad'" says 2 "--n-prompt" $bench -m $model "--n-prompt=$bad"
done
check "-s 0" says 2 "want 1 to 256" $bench -m $model -s 0
check "-t 0" says 2 "want 1 to 1024" $bench -m $model -t 0
check "-b 0" says 2 "want 1 to 16384" $bench -m $model -b 0
check "--pg of one number" says 2 "want P,N" $bench -m $model --pg 5
check "too many numbers" says 2 "up to 64" $bench -m $model -p 1-100

# ---- rows that cannot be measured, and a program that is stopped
check "a row too large is reported" says 4 "was not measured" $bench -m $model -p 8 -n 0 -d 0,1000000 -r 1 --no-limits -t 1 --memory-limit 200M -o json
check "the other one is there" sh -c "[ \$(grep -c tokens_per_second '$tmp/stdout') -eq 1 ]"
check "standard output that is full" says 1 "does not take" sh -c "exec $bench -m $model $quick >/dev/full"
$bench -m $model -p 8 -n 4000 -r 1000 --no-limits -o json >"$tmp/stdout" 2>"$tmp/stderr" & pid=$!
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.2; done
kill -INT $pid 2>/dev/null; wait $pid; code=$?
check "stopped: exit code" test $code -eq 130
check "stopped: what was under way" grep -q "stopped during tg4000\|stopped during pp8" "$tmp/stderr"
check "stopped: the rows that are complete are printed" sh -c "head -c 1 '$tmp/stdout' | grep -q '\['"
finish tools/bench
