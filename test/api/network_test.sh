#!/bin/sh
# Nothing here can reach a network: neither the library nor a tool asks the system for a function that could, or is linked with a
# library whose business that is.
. test/script.sh
export LC_ALL=C
calls='socket|socketpair|connect|bind|listen|accept4?|shutdown|send(to|m?msg)?|recv(from|m?msg)?|[gs]etsockopt|getsockname|getpeername'
calls="$calls|getaddrinfo(_a)?|freeaddrinfo|getnameinfo|gethostby(name|addr)[2_r]*|getserv[a-z_]*|getproto[a-z_]*|res_[a-z]+|ns_[a-z_]+"
calls="$calls|inet_[a-z]+|if_nameto[a-z]+|rcmd|rexec|io_uring_[a-z_]+|curl_[a-z_]+|SSL_[a-zA-Z_]+|popen|system|fork|vfork|exec[lv][a-z]*|posix_spawnp?|syscall"

# silent WHAT NM-OPTIONS FILE: no such name among what the file asks for; there must be names at all.
silent()
{
    what=$1; shift
    nm "$@" 2>/dev/null | awk 'NF >= 2 { print $NF }' | sed 's/@.*//' | sort -u >"$tmp/names"
    check "$what asks for something" test -s "$tmp/names"
    grep -xE "$calls" "$tmp/names" >"$tmp/calls"
    check "$what cannot reach a network" sh -c "cat '$tmp/calls'; test ! -s '$tmp/calls'"
}

printf '%s\n' socket connect getaddrinfo sendmsg gethostbyname_r | grep -cxE "$calls" >"$tmp/known"
check "the list of names works" grep -qx 5 "$tmp/known"
if [ "$MODE" = release ]; then      # sanitizers bring calls of their own
    silent libllm.a -u "$BUILD/libllm.a"
    silent install/libllm.a -u "$BUILD/install/libllm.a"
    for tool in "$BUILD"/llm-*; do
        [ -f "$tool" ] && [ -x "$tool" ] || continue
        silent "${tool##*/}" -D -u "$tool"
        objdump -p "$tool" | awk '$1 == "NEEDED" { print $2 }' | grep -E '^lib(curl|ssl|crypto|nghttp|soup|resolv|nss|cares|uv|event)' >"$tmp/libs"
        check "${tool##*/} is linked with no library for it" sh -c "cat '$tmp/libs'; test ! -s '$tmp/libs'"
    done
else
    skip "what the library and the tools ask for" "looked at in MODE=release"
fi
finish api/network
