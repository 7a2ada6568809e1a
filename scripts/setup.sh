#!/bin/sh
# What the build needs: a C compiler (SQLite is compiled in) and Rust. Installs
# the first where it can; says what to do about the second.
set -eu
if ! command -v cc >/dev/null 2>&1; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update -qq && apt-get install -y -qq gcc libc6-dev make
    else
        echo "setup: a C compiler is needed (Debian: apt-get install gcc libc6-dev make)" >&2
        exit 1
    fi
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: Rust 1.95 or newer is needed; rustup (https://rustup.rs) installs it" >&2
    exit 1
fi
need=95
have=$(cargo --version | sed 's/^cargo 1\.\([0-9]*\).*/\1/')
if [ "$have" -lt "$need" ]; then
    echo "setup: Rust 1.$need or newer is needed, this is $(cargo --version); try: rustup update stable" >&2
    exit 1
fi
