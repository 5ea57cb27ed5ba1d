#!/bin/sh
# Runs test programs one after the other (through $LLM_TEST_RUN, an emulator, if set) and adds up their counts. Each prints a line
# "NAME: P passed, F failed, S skipped" as its last one; a program that does not get there counts as failed.
# Lines "COUNT what: N of M" are shown too.
# Scripts (*_test.sh) find the build folder in $BUILD and count with the functions of test/script.sh.
build=$1; shift
export BUILD="$build"
passed=0 failed=0 skipped=0
for program; do
    case $program in
    *.sh) out=$(sh "$program" 2>&1); code=$? ;;
    *)    out=$(${LLM_TEST_RUN:-} "$program" 2>&1); code=$? ;;
    esac
    line=$(printf '%s\n' "$out" | grep -E '^[a-z0-9_/-]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' | tail -n 1)
    if [ -z "$line" ] || [ $code -ne 0 ]; then
        printf '%s\n' "$out" | tail -n 60
    fi
    if [ -z "$line" ]; then
        echo "${program#"$build"/test/}: died with status $code"; failed=$((failed + 1)); continue
    fi
    printf '%s\n' "$out" | grep -E '^SKIP ' || true
    printf '%s\n' "$out" | sed -n 's/^COUNT /    /p'
    echo "$line"
    set -- $(printf '%s' "${line##*: }" | tr -d ',' )
    passed=$((passed + $1)); failed=$((failed + $3)); skipped=$((skipped + $5))
    if [ $code -ne 0 ] && [ "$3" -eq 0 ]; then failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
