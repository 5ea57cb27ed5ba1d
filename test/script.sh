# What test scripts share; they run from the root of the tree with $BUILD, $CC, $MODE and $MAKE set, and end with `finish NAME`.
: "${BUILD:=build/release}" "${CC:=gcc}" "${MODE:=release}" "${MAKE:=make}"
passed=0 failed=0 skipped=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# check WHAT COMMAND...: counts whether the command succeeds; says what it printed where it does not.
check()
{
    what=$1; shift
    if "$@" >"$tmp/out" 2>&1; then
        passed=$((passed + 1))
    else
        echo "FAILED $what"; cat "$tmp/out"
        failed=$((failed + 1))
    fi
}

skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }

finish()
{
    echo "$1: $passed passed, $failed failed, $skipped skipped"
    [ $failed -eq 0 ]
}
