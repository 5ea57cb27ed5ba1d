#!/bin/sh
# A program that knows nothing but the installed files: generate.c, through pkg-config, generates text.
. test/script.sh
model=$(ls tools/demo/*.gguf 2>/dev/null | head -n 1)
root=$tmp/root
check "make install" $MAKE -s install MODE="$MODE" CC="$CC" DESTDIR="$root" PREFIX=/usr
export PKG_CONFIG_PATH="$root/usr/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
flags=$(pkg-config --static --cflags --libs libllm 2>"$tmp/why") || cat "$tmp/why"
case $MODE in
asan|hard) sanitize=-fsanitize=address,undefined ;;
tsan)      sanitize=-fsanitize=thread ;;
*)         sanitize= ;;
esac
check "version in libllm.pc" test "$(pkg-config --modversion libllm)" = "$(sed -n 's/^#define LLM_VERSION "\(.*\)"/\1/p' include/llm.h)"
check "the example has under 40 lines" test "$(wc -l <tools/examples/generate.c)" -lt 40
check "the example builds as C99" $CC -std=c99 -Wall -Wextra -Wpedantic -Werror $sanitize tools/examples/generate.c $flags -o "$tmp/generate"
check "a model that is not there is an error" sh -c "! '$tmp/generate' '$tmp/none.gguf' x 2>'$tmp/err' && grep -q none.gguf '$tmp/err'"
if [ -n "$model" ]; then
    check "it generates" sh -c "'$tmp/generate' '$model' 'The ' 20 >'$tmp/first' && '$tmp/generate' '$model' 'The ' 20 >'$tmp/second'"
    check "the same text twice" cmp "$tmp/first" "$tmp/second"
    check "some text" test "$(wc -c <"$tmp/first")" -gt 10
else
    skip "generating" "no model in tools/demo"
fi
finish api/install
