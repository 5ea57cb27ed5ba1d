#!/bin/sh
# Runs test programs one after the other (through $LLM_TEST_RUN, an emulator, if set) and adds up their counts. Each prints a line
# "NAME: P passed, F failed, S skipped" as its last one; a program that does not get there, or takes longer than $LLM_TEST_LIMIT
# seconds, counts as failed. Lines "COUNT what: N of M" are shown too.
# Scripts (*_test.sh) find the build folder in $BUILD and count with the functions of test/script.sh.
build=$1; shift
export BUILD="$build"
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
seconds=${LLM_TEST_LIMIT:-1500} limit=
if timeout --foreground 1 true 2>/dev/null; then limit="timeout --foreground -k 10 $seconds"; fi
passed=0 failed=0 skipped=0
for program; do
    # into a file: what a program that was stopped leaves behind would hold a pipe open
    case $program in
    *.sh) $limit sh "$program" >"$out" 2>&1; code=$? ;;
    *)    $limit ${LLM_TEST_RUN:-} "$program" >"$out" 2>&1; code=$? ;;
    esac
    line=$(grep -aE '^[a-z0-9_/-]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$out" | tail -n 1)
    end="${program#"$build"/test/}: died with status $code"
    if [ -n "$limit" ] && [ $code -eq 124 ]; then end="${program#"$build"/test/}: stopped after $seconds s"; fi
    if [ -z "$line" ]; then
        tail -n 60 "$out"
        echo "$end"; failed=$((failed + 1)); continue
    fi
    if [ $code -ne 0 ]; then grep -avxF "$line" "$out" | tail -n 60; fi
    grep -aE '^SKIP ' "$out"
    sed -n 's/^COUNT /    /p' "$out"
    echo "$line"
    set -- $(printf '%s' "${line##*: }" | tr -d ',' )
    passed=$((passed + $1)); failed=$((failed + $3)); skipped=$((skipped + $5))
    if [ $code -ne 0 ] && [ "$3" -eq 0 ]; then echo "$end"; failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
