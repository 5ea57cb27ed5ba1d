#!/bin/sh
# --plan, --memory-limit, and what happens inside a control group that is too small: a refusal, never a killed process.
. test/script.sh
run=$BUILD/llm-run inspect=$BUILD/llm-inspect
model=tools/demo/demo-gpt-oss.gguf

# says CODE TEXT COMMAND...: that exit code, and TEXT on stdout or stderr.
says()
{
    want=$1 text=$2; shift 2
    "$@" >"$tmp/stdout" 2>"$tmp/stderr" </dev/null; got=$?
    [ $got -eq "$want" ] && cat "$tmp/stdout" "$tmp/stderr" | grep -qF -- "$text" || { echo "exit code $got, want $want and '$text':"; cat "$tmp/stdout" "$tmp/stderr"; return 1; }
}

check "--plan" says 0 "it fits" $run $model --plan -c 1024
check "the items add up" sh -c "tr -d , <'$tmp/stdout' | awk '\$2 ~ /^(file|model|cache|buffers)\$/ { sum += \$1 } \$2 == \"together\" { all = \$1 } END { exit !(all > 1000000 && sum == all) }'"
check "weights, cache and buffers are there" sh -c "grep -q 'file .*weights' '$tmp/stdout' && grep -q 'cache .*window of 128, F16' '$tmp/stdout' && grep -q 'buffers .*workspace' '$tmp/stdout'"
check "llm-inspect says the same" sh -c "$inspect $model --plan -c 1024 >'$tmp/other' && diff '$tmp/stdout' '$tmp/other' | grep -v together | grep -c '^[<>].*\(weights\|keys\|rows\|logits\)' | grep -qx 0"
check "--plan runs nothing" says 0 "together" $run $model --plan -p x
check "a plan that does not fit" says 4 "it would fit with" $run $model --plan -c 100000 --memory-limit 50M
check "--memory-limit" says 4 "allowed by the memory limit" $run $model -p x -n 1 -c 100000 --memory-limit 50M
check "the context it names fits" sh -c "c=\$(sed -n 's/.*n_ctx \([0-9]*\).*/\1/p' '$tmp/stderr') && $run $model -q --raw -p x -n 1 -c \$c --memory-limit 50M"
check "weights above the limit" says 4 "smaller weights" $run $model -p x --memory-limit 4M
for bad in 0 -1 x 1X 1Gx 1e99 nan "" " "; do
    check "--memory-limit '$bad'" says 2 "want a size" $run $model -p x "--memory-limit=$bad"
done
for good in 1G 1g 1GB 1GiB 1.5G 1000000000 1t; do
    check "--memory-limit $good" says 0 "together" $run $model --plan --memory-limit $good
done
for o in "--gpu-layers 3" "-ngl 3" "--gpu-layers auto" --cpu-moe "--n-cpu-moe 2" "--device-memory 8G"; do
    check "$o without a device" says 2 "wants --device cuda" $run $model -p x $o
done
for bad in x -1 3x "" 99999999; do
    check "--gpu-layers '$bad'" says 2 "want a number of layers" $run $model -p x --device cuda "--gpu-layers=$bad"
done
case $BUILD in
*-cuda) check "a plan for a device that is not here" says 0 "on the device" $run $model --plan --device cuda --device-memory 8G
        check "and for one that is too small" says 4 "device: 6 of 6 layers, the head" $run $model --plan --device cuda --device-memory 20M --gpu-layers all -c 256 ;;
*)      check "a build without CUDA says how to get one" says 3 "make CUDA=1" $run $model -p x --device cuda --gpu-layers 3
        check "for a plan too" says 3 "make CUDA=1" $inspect $model --plan --device cuda --device-memory 8G ;;
esac
check "more threads than cores" says 0 "take turns" $run $model --raw -p x -n 2 -t 300
check "a kernel set that is not here" says 3 "this machine and build have" $run $model --raw -p x -n 2 --cpu abacus
check "a cache type that heads do not allow" says 3 "multiple of 32" $inspect test/data/ref/gpt-oss/hf --plan --kv-type q8_0
check "a context larger than memory" says 4 "it would fit with" $run $model --raw -p x -c 16777216 --kv-type f32 --memory-limit 1G

# ---- a control group; only root can make one, and not everywhere
group=
for base in /sys/fs/cgroup/memory /sys/fs/cgroup /sys/fs/cgroup/unified; do
    limit=memory.max; [ $base = /sys/fs/cgroup/memory ] && limit=memory.limit_in_bytes
    [ -z "$group" ] && mkdir "$base/libllm-test-$$" 2>/dev/null || continue
    if echo 32M >"$base/libllm-test-$$/$limit" 2>/dev/null && [ "$(cat "$base/libllm-test-$$/$limit")" = 33554432 ]; then
        group=$base/libllm-test-$$
    else
        rmdir "$base/libllm-test-$$"
    fi
done
inside() { sh -c "echo \$\$ >'$group/cgroup.procs' && exec \"\$@\"" sh "$@"; }
case $MODE in release) ;; *) [ -n "$group" ] && rmdir "$group"; group= ;; esac        # sanitizers need more for themselves
if [ -n "$group" ]; then
    check "too large for the group" says 4 "left by the control group" inside $run $model -q --raw -p x -n 1 -c 200000
    c=$(sed -n 's/.*n_ctx \([0-9]*\).*/\1/p' "$tmp/stderr")
    check "it names a context" test "${c:-0}" -gt 4000
    c=$((c - 2048))             # what is there changes a little from run to run
    yes 'the people of the state and the union' | head -n $(((c - 8) / 9)) | tr '\n' ' ' >"$tmp/words"
    check "that context runs, nearly full" says 0 "" inside $run $model --raw -f "$tmp/words" -n 4 -c "${c:-1}"
    check "nothing was killed" sh -c "! grep -qE '^(oom_kill|under_oom) [1-9]' '$group/memory.oom_control' '$group/memory.events' 2>/dev/null"
    check "--plan knows the group" says 4 "does not fit" inside $run $model --plan -c 200000
    check "--list knows the group" says 0 "" inside $run --list
    rmdir "$group"
else
    skip "a control group" "this is not the release build, or none can be made here"
fi
finish tools/memory
