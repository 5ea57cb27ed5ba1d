#!/bin/sh
# llm.h is clean C99 and C++, on its own and included twice.
. test/script.sh
printf '#include "llm.h"\n#include "llm.h"\nint main(void) { return llm_version() == 0; }\n' >"$tmp/use.c"
for std in c99 c11 c17; do
    check "$std" $CC -std=$std -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Werror -Iinclude -fsyntax-only "$tmp/use.c"
done
for std in c++11 c++17; do
    if command -v g++ >/dev/null; then
        check "$std" g++ -x c++ -std=$std -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only "$tmp/use.c"
    else
        skip "$std" "no C++ compiler here"
    fi
done
finish api/header
