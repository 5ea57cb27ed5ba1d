# kernel-bench and attend-bench: a line for everything asked for, with numbers that go together, on the processor and on the device: through the
# shim, or ($DEVICE_BENCH: where such programs are) on a GPU. And what they say when something is wrong. No times are judged.
. test/script.sh
types=F32,F16,BF16,F8_E4M3,Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,MXFP4
device=${DEVICE_BENCH:-$BUILD/shim}

# says CODE TEXT COMMAND...: that exit code, and TEXT on stdout or stderr.
says()
{
    want=$1 text=$2; shift 2
    "$@" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null; got=$?
    [ $got -eq "$want" ] && cat "$tmp/stdout" "$tmp/stderr" | grep -qF -- "$text" || { echo "exit code $got, want $want and '$text':"; cat "$tmp/stdout" "$tmp/stderr"; return 1; }
}

# products N FLOATS CODES: N lines of products, each with its microseconds and rates, of which those of float weights are shares of FLOATS and
# others of CODES; the rates stand in the ratio of the work counted for them: 2 x columns x (rows of x) operations for each byte of a row.
products()
{
    awk -v want="$1" -v floats="$2" -v codes="$3" '
        BEGIN { split("F32 4 F16 2 BF16 2 F8_E4M3 1 Q8_0 1.0625 Q4_0 .5625 Q4_1 .625 Q5_0 .6875 Q5_1 .75 Q2_K .328125 Q3_K .4296875 Q4_K .5625 Q5_K .6875 Q6_K .8203125 IQ4_NL .5625 IQ4_XS .53125 MXFP4 .53125", b)
                for (i = 1; b[i]; i += 2) bytes[b[i]] = b[i + 1] }
        NR <= 2 { next }
        { n++; raw = $0; gsub(/[()]/, " ")
          line = "^[A-Z0-9_]+ +[0-9]+ x [0-9]+ +n [0-9]+ +[0-9.]+ us +[0-9.]+ GB/s [(] *[0-9]+ % of read[)] +[0-9.]+ GOPS [(] *[0-9]+ % of (" floats "|" codes ")[)]( [0-9]+ of [0-9]+ experts)?$"
          type = $1; us = $7; gbs = $9; gops = $15; of = $20 }
        raw !~ line { print "not as it should be: " raw; bad = 1; next }
        !(us > 0) { print "no time: " raw; bad = 1 }
        of != (type ~ /^(F|BF)/ ? floats : codes) { print "of the wrong limit: " raw; bad = 1 }
        raw !~ /experts/ { ops = 2 * $2 * $4 * $6 / us / 1e3; read = $2 * $4 * bytes[type] / us / 1e3
            near = 1 + .006 / us
            if (gops > ops * near + .06 || ops > gops * near + .06 || gbs > read * near + .06 || read > gbs * near + .06) { print "want " read " GB/s, " ops " GOPS: " raw; bad = 1 } }
        END { if (n != want) { print n " lines, want " want; bad = 1 }; exit bad }' "$tmp/stdout"
}

# attentions N FLOATS: N lines of attention.
attentions()
{
    awk -v want="$1" -v floats="$2" '
        NR <= 2 { next }
        { n++; line = "^[a-z0-9.-]+ +[A-Z0-9_]+ +depth [0-9]+ +n [0-9]+ +[0-9.]+ us +[0-9.]+ GB/s [(] *[0-9]+ % of read[)] +[0-9.]+ GFLOPS [(] *[0-9]+ % of " floats "[)]$" }
        $0 !~ line || !($7 > 0) { print "not as it should be: " $0; bad = 1 }
        END { if (n != want) { print n " lines, want " want; bad = 1 }; exit bad }' "$tmp/stdout"
}

each_type() { for y in $(echo $types | tr , ' '); do [ "$(grep -c "^$y " "$tmp/stdout")" -eq "$1" ] || { echo "$y: not $1 lines"; return 1; }; done; }

# ---- on the processor
kernel=$BUILD/kernel-bench attend=$BUILD/attend-bench
check "products" says 0 "limits: read" $kernel -t 1 -r 1 -w 0 -s 48x512 -n 1,17
check "a line for every type and batch" products 34 f32 int8
check "all types twice" each_type 2
check "experts" says 0 " 2 of 4 experts" $kernel -t 1 -r 1 -w 0 -s 32x256 -n 1,17 -e 4:2 -y F16,Q8_0,MXFP4
check "a line for each" products 6 f32 int8
check "attention" says 0 "limits: read" $attend -t 1 -r 1 -w 0 -d 0,40 -n 1,9 -y F16,Q8_0
check "heads that there are" attentions 51 f32
for b in $kernel $attend; do
    check "$b: an operand" says 2 "usage" $b model.gguf
    check "$b: a wrong device" says 2 "want cpu or cuda" $b --device tpu
    check "$b: a wrong set" says 1 "sse9" $b -k sse9
    check "$b: an unknown type" says 2 "Q9_9" $b -t 1 -y Q9_9
    check "$b: --deterministic without a device" says 2 "is for a device" $b --deterministic
    for o in "-t 2" "-k scalar"; do check "$b: $o with a device" says 2 "does not go with --device cuda" $b --device cuda $o; done
    for o in "-t 0" "-t x" "-r 0" "-w x"; do check "$b: $o" says 2 "want" $b $o; done
    if $BUILD/llm-bench --device cuda -m tools/demo/demo-gpt-oss.gguf -p 1 -n 0 2>&1 | grep -q "built without CUDA"; then
        check "$b: a build without CUDA" says 1 "device cuda: this program was built without CUDA (make CUDA=1)" $b --device cuda
    fi
done
check "-u with a device" says 2 "-u is for the processor" $kernel --device cuda -u
check "-x without one" says 2 "is for a device" $attend -x F16
for e in 2 2:4 0:0 4:2x; do check "-e $e" says 2 "usage" $kernel -e $e; done

# ---- on the device
kernel="$device/kernel-bench --device cuda -r 1 -w 0" attend="$device/attend-bench --device cuda -r 1 -w 0"
if [ ! -x "$device/kernel-bench" ]; then skip "bench/op_bench: on a device" "$device/kernel-bench is not built (no C++ compiler, or MODE=$MODE)"
elif $kernel -y F16 -s 16x16 -n 1 2>&1 | grep "no NVIDIA GPU" >"$tmp/why"; then skip "bench/op_bench: on a device" "$(cat "$tmp/why")"
else
    check "products" says 0 "device cuda" $kernel -s 48x512 -n 1,9
    check "a line for every type and batch" products 34 f16 int8
    check "all types twice" each_type 2
    check "types of files that are rarer" says 0 "TQ2_0" $kernel -s 16x256 -n 2 -y F8_E5M2,IQ2_XXS,IQ2_XS,IQ2_S,IQ3_XXS,IQ3_S,IQ1_S,IQ1_M,TQ1_0,TQ2_0
    check "a line for each" test "$(grep -c ' us ' "$tmp/stdout")" -eq 10
    check "a prompt" says 0 "n 70" $kernel -s 64x64 -n 70 -y F32,BF16,Q8_0
    check "it says by what" grep -q "products of F32, F16 and BF16 weights with 65 rows or more" "$tmp/stderr"
    check "a line for each" products 3 f16 int8
    check "experts" says 0 " 2 of 4 experts" $kernel -s 32x256 -n 1,17 -e 4:2 -y F16,Q8_0,MXFP4
    check "a line for each" products 6 f16 int8
    check "deterministic" says 0 "device cuda, deterministic" $kernel -s 16x256 -n 1 -y F16,Q4_0 --deterministic
    check "a line for each" products 2 f16 int8
    check "attention" says 0 "device cuda" $attend -d 0,40 -n 1,3 -y F16
    check "heads that there are" attentions 27 f16
    check "every type of the cache" says 0 "F8_E4M3 depth 70" $attend -d 70 -n 1 -y F32,F16,Q8_0,F8_E4M3 -m gemma3-1b
    check "a line for each" attentions 4 f16
    check "of a model of floats, deterministic" says 0 "device cuda, deterministic" $attend -d 300 -n 1 -m gpt-oss-window -y F16 -x BF16 --deterministic
    check "a line" attentions 1 f16
    check "a type that it has not" says 1 "no kernels for that type" $kernel -y Q8_K -s 16x256 -n 1
    check "which was not measured" grep -q "Q8_K 16 x 256 n 1 was not measured" "$tmp/stderr"
fi
finish bench/op_bench
