#!/bin/sh
# make bench: the standard set, or the same tests of $MODEL, as rows behind bench/log.csv. $BUILD: where llm-bench is; $LOG: another log.
# SHAPES chooses some of the set, ARGS are further options of llm-bench (-t 1, --device cuda). A shape that does not fit into memory is
# left out, saying so. The memory that a row names includes its context: 16k of it in the last rows of a model.
: "${BUILD:=build/release}" "${LOG:=bench/log.csv}" "${SHAPES:=qwen3-0.6b:q8_0 qwen3-0.6b:q4_0 qwen3-0.6b:bf16 gemma-3-270m:q4_0 gemma-3-1b:q4_0 qwen3-4b:q4_k_m gpt-oss-20b:mxfp4 deepseek-v2-lite:q4_k_m qwen3-30b-a3b:q4_k_m qwen3-30b-a3b:iq2_xxs}"
commit=$(git rev-parse --short=10 HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD -- . ':!bench/log.csv' 2>/dev/null || commit=$commit+
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
trap : INT TERM                 # llm-bench hears it too, and hands over the rows it has
failed=0
[ -e "$LOG" ] || echo "commit,date,machine,model,type,device,threads,test,tokens_per_second,deviation,floor_share,read_gbs,int8_gops,f32_gflops,peak_mib,note" >"$LOG"

# rows OPTION...: measures, and appends what was measured.
rows()
{
    # shellcheck disable=SC2086
    "$BUILD/llm-bench" "$@" -r 3 -o log $ARGS >"$tmp" || failed=$?
    sed "s/^/$commit,$(date -u +%Y-%m-%d),/" "$tmp" | tee -a "$LOG"
    [ "$failed" -ne 130 ] || exit 130
}

# Prompts and generation; one thread beside all; several sequences at once, and prompts as short as an answer in a chat; behind 4096 and 16384
# tokens, where that is more than windows and a latent hold.
tests()
{
    rows "$@" -p 512 -n 128
    case $2 in qwen3-0.6b:*|qwen3-4b:*) rows "$@" -p 512 -n 64 -t 1 ;; esac
    case $2 in gemma-*|deepseek-*) ;; *) rows "$@" -p 4,16 -n 32 -s 2,4,8 ;; esac
    case $2 in gemma-*|deepseek-*|qwen3-30b*) return ;; esac
    rows "$@" -p 512 -n 32 -d 4096 --fill-depth
    rows "$@" -p 0 -n 32 -d 16384 --fill-depth
}

# From the start of llm-run to the first token, with the file in the system's cache: the best of five, as tokens per second.
start()
{
    "$BUILD/llm-run" -m "$MODEL" -p a -n 1 >/dev/null 2>&1 || return
    for i in 1 2 3 4 5; do
        from=$(date +%s%N)
        "$BUILD/llm-run" -m "$MODEL" -p a -n 1 >/dev/null 2>&1
        echo $(($(date +%s%N) - from))
    done | sort -n | awk -v commit="$commit" -v date="$(date -u +%Y-%m-%d)" -v model="$(basename "$MODEL")" -v threads="$(nproc)" \
        'NR == 1 { printf "%s,%s,,\"%s\",,cpu,%d,start,%.2f,0,,,,,,\"%.2f s to the first token\"\n", commit, date, model, threads, 1e9 / $1, $1 / 1e9 }' | tee -a "$LOG"
}

# Gigabytes that a shape takes with its cache.
need()
{
    case $1 in qwen3-30b-a3b:iq2*) echo 11 ;; qwen3-30b-a3b:*) echo 20 ;; gpt-oss-20b:*) echo 13 ;; deepseek-v2-lite:*) echo 12 ;; qwen3-4b:*) echo 6 ;; *) echo 3 ;; esac
}

if [ -n "$MODEL" ]; then
    tests -m "$MODEL"
    start
    exit $failed
fi
there=$(awk '/^MemAvailable/ { print int($2 / 1000000) }' /proc/meminfo)
for shape in $SHAPES; do
    if [ "$there" -lt "$(need "$shape")" ]; then
        echo "$shape is left out: it takes $(need "$shape") GB, $there GB are available" >&2
        continue
    fi
    tests --shape "$shape"
done
exit $failed
