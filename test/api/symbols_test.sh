#!/bin/sh
# What the library shows and what it asks for: exactly the functions of symbols.txt; no variable that can be written, nothing
# that prints, ends the process or opens a connection.
. test/script.sh
lib=$BUILD/install/libllm.a
export LC_ALL=C
nm -g --defined-only "$lib" | awk 'NF == 3 { print $3 }' | grep -v '^__' | sort >"$tmp/shown"
sort test/api/symbols.txt >"$tmp/wanted"
check "exported symbols are those of test/api/symbols.txt" diff "$tmp/wanted" "$tmp/shown"
grep -oE '\bllm_[a-z_0-9]+\(' include/llm.h | tr -d '(' | sort -u >"$tmp/declared"
check "each of them is declared in llm.h" diff "$tmp/wanted" "$tmp/declared"

if [ "$MODE" = release ]; then      # sanitizers add variables and calls of their own
    objdump -t "$lib" | grep ' O ' | grep -E '[[:space:]](\.(data|bss|tdata|tbss)|\*COM\*)' | grep -v '\.data\.rel\.ro' >"$tmp/variables"
    check "no variable that can be written" test ! -s "$tmp/variables"
    [ -s "$tmp/variables" ] && cat "$tmp/variables"
    nm -u "$lib" | awk '{ print $2 }' | sort -u |
        grep -xE '(v?printf|puts|putchar|v?fprintf|fputs|putc|perror|stdout|stderr|exit|_exit|quick_exit|abort|atexit|signal|sigaction|system|popen|fork|vfork|exec[a-z]*|posix_spawnp?|socket|connect|bind|getaddrinfo|gethostbyname|setlocale|setenv|putenv|rand|srand|random|strtok)(@.*)?' >"$tmp/asked"
    check "nothing that prints, ends the process, starts another or opens a connection" test ! -s "$tmp/asked"
    [ -s "$tmp/asked" ] && cat "$tmp/asked"
else
    skip "variables and calls of the library" "looked at in MODE=release"
fi
finish api/symbols
