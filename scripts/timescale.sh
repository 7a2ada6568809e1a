#!/bin/sh
# A real TimescaleDB for tests: PostgreSQL 17 with the extension, compiled to
# WebAssembly, loopback only, a free port. Needs Node 18 and, the first time, npm.
#
#   scripts/timescale.sh start DIR   prints its URL (also in DIR/url)
#   scripts/timescale.sh stop DIR    ends it in order
#
# What it cannot do is said in scripts/timescale/server.mjs.
# Exit code 3: Node or npm is missing, so that a caller can skip with words.
# The package is kept in $TAPEDECK_CACHE (default: $XDG_CACHE_HOME or ~/.cache, tapedeck).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

# Named by what is locked, so that a new lock file makes a new folder.
program=$cache/timescale-$(cksum <"$here/timescale/package-lock.json" | cut -d ' ' -f 1)

packages() {
    [ -d "$program" ] && return
    need npm "Debian: apt-get install npm"
    mkdir -p "$cache"
    half=$(mktemp -d "$cache/timescale.XXXXXX")
    cp "$here/timescale/package.json" "$here/timescale/package-lock.json" "$half"
    (cd "$half" && npm ci --silent --no-fund --no-audit >npm.log 2>&1) || { cat "$half/npm.log" >&2; rm -rf "$half"; exit 1; }
    mv -T "$half" "$program" 2>/dev/null || rm -rf "$half"
    [ -d "$program" ]
}

start() {
    need node "Debian: apt-get install nodejs"
    packages
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    ! running "$dir/pid" || fail "TimescaleDB runs in $dir already"
    [ -f "$dir/port" ] || free_port "$dir" >"$dir/port"
    # Beside its packages, where Node looks for them.
    cp "$here/timescale/server.mjs" "$program/server.$$.mjs"
    mv "$program/server.$$.mjs" "$program/server.mjs"
    : >"$dir/server.log"
    setsid node "$program/server.mjs" "$(cat "$dir/port")" "$dir/data" >>"$dir/server.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    await_up TimescaleDB "$dir/pid" "$dir/server.log" grep -q '^ready' "$dir/server.log" || { end "$dir/pid" TERM; exit 1; }
    echo "postgres://postgres@127.0.0.1:$(cat "$dir/port")/postgres" | tee "$dir/url"
}

[ $# = 2 ] || usage
dir=$2
case $1 in
    start) start ;;
    stop) end "$dir/pid" TERM ;;
    *) usage ;;
esac
