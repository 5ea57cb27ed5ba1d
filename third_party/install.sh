#!/bin/sh
# Installs the packages of packages.txt that are missing, and with them those marked optional. Prints nothing where all are there.
set -eu
list=$(dirname "$0")/packages.txt
missing= optional=
while read -r name package rest; do
    case $name in
    ''|'#'*)    continue ;;
    libc)       [ -e /usr/include/stdio.h ] || missing="$missing $package" ;;
    command:*)  command -v "${name#command:}" >/dev/null 2>&1 || missing="$missing $package" ;;
    optional:*) pkg-config --exists "${name#optional:}" 2>/dev/null || optional="$optional $package" ;;
    *)          pkg-config --exists "$name" 2>/dev/null || missing="$missing $package" ;;
    esac
done <"$list"
[ -n "$missing" ] || exit 0
# Says what is missing, and ends: $1 is why it cannot be installed here.
give_up() { echo "libllm needs these packages (Debian's names), and $1:$missing" >&2; exit 1; }
command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get here to install them"
sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || give_up "only root can install them, without sudo here"
    sudo=sudo
fi
install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2; }
echo "installing:$missing$optional" >&2
install $missing $optional || install $missing || { $sudo apt-get update -qq >&2 && { install $missing $optional || install $missing; }; } ||
    give_up "apt-get could not install them (its messages are above)"
