#!/bin/sh
# make bench: the standard set, or the same tests of $MODEL, as rows behind bench/log.csv. $BUILD: where llm-bench is; $LOG: another log.
# SHAPES chooses some of the set, ARGS are further options of llm-bench (-t 1, --device cuda). A shape that does not fit into memory is
# left out, saying so.
: "${BUILD:=build/release}" "${LOG:=bench/log.csv}" "${SHAPES:=qwen3-0.6b:q8_0 qwen3-0.6b:q4_0 gemma-3-1b:q4_0 qwen3-4b:q4_k_m gpt-oss-20b:mxfp4}"
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

tests()
{
    rows "$@" -p 512 -n 128
    case $2 in gemma-*) return ;; esac      # its windows are short
    rows "$@" -p 512 -n 32 -d 4096 --fill-depth
    rows "$@" -p 0 -n 32 -d 16384 --fill-depth
}

# Gigabytes that a shape takes with its cache.
need()
{
    case $1 in gpt-oss-20b:*) echo 13 ;; qwen3-4b:*) echo 6 ;; *) echo 3 ;; esac
}

if [ -n "$MODEL" ]; then
    tests -m "$MODEL"
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
