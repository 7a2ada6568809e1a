#!/bin/sh
# What tapedeck needs from the system, in two groups. On Debian, as root, what is
# missing is installed; elsewhere it is said.
#
#   scripts/setup.sh build   to build it: compilers, OpenSSL, zlib, Rust
#   scripts/setup.sh test    that, and the real servers of `make test` and `make bench`
#
# Without the second group tests that want a server are skipped, each with a line.
set -eu

has() { command -v "$1" >/dev/null 2>&1; }
header() { echo "#include <$1>" | cc -E - >/dev/null 2>&1; }

# Prints the packages that are missing; each line: whether it is there, and its package.
missing_to_build() {
    has cc && has c++ || echo gcc g++ libc6-dev
    has make || echo make
    has pkg-config || echo pkg-config
    has cc && header openssl/ssl.h || echo libssl-dev
    has cc && header zlib.h || echo zlib1g-dev
}

missing_to_test() {
    has java || first_of openjdk-17-jre-headless default-jre-headless
    has mvn || echo maven
    [ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ] || has initdb || first_of postgresql-15 postgresql
    has node || echo nodejs
    has npm || echo npm
    has kcat || echo kcat
    has curl || echo curl
    has openssl || echo openssl
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || echo python3-venv
}

first_of() { # the first that this Debian has
    for package in "$@"; do
        if apt-cache show "$package" >/dev/null 2>&1; then echo "$package"; return; fi
    done
    echo "$1"
}

can_install() { has apt-get && [ "$(id -u)" = 0 ]; }

install() {
    export DEBIAN_FRONTEND=noninteractive
    # A PostgreSQL of the system's own is not wanted: tests start theirs.
    if [ ! -f /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
}

provide() { # a group
    missing=$("missing_to_$1")
    [ -n "$missing" ] || return 0
    if can_install; then
        # Asked again after the update: only then it is known what this Debian has.
        apt-get update -qq
        # Unquoted: one package a word.
        install $("missing_to_$1")
        return
    fi
    echo "setup: to $1, please install:" $missing "(Debian: apt-get install" $missing")" >&2
    return 1
}

rust() {
    need=95
    if ! has cargo; then
        echo "setup: Rust 1.$need or newer is needed; rustup (https://rustup.rs) installs it" >&2
        return 1
    fi
    have=$(cargo --version | sed 's/^cargo 1\.\([0-9]*\).*/\1/')
    if [ "$have" -lt "$need" ]; then
        echo "setup: Rust 1.$need or newer is needed, this is $(cargo --version); try: rustup update stable" >&2
        return 1
    fi
}

group=${1:-build}
case $group in build | test) ;; *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;; esac
provide build
rust
[ "$group" = build ] || provide test || [ -z "${CI:-}" ] || exit 1
