#!/bin/sh
# Prints every figure of docs/benchmarks.md, each with its command. FILLS sets the
# size of the REST benchmark (10,000,000), COLD=0 leaves out the cold build.
set -eu
cd "$(dirname "$0")/.."
fills=${FILLS:-10000000}
work=$(mktemp -d)
pid=
# One client asks far faster than the limit allows a single one by default.
export TAPEDECK_API_RATE_LIMIT_PER_S=1000000 TAPEDECK_API_RATE_LIMIT_BURST=1000000
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

say() { printf '\n# %s\n' "$1"; }
step() { say "$*"; "$@"; }

up() { # starts the api on a folder and waits until it is ready
    rm -f "$work/up.json"
    target/release/tapedeck up --json "$@" >"$work/up.json" 2>"$work/up.err" &
    pid=$!
    tries=0
    until [ -f "$work/up.json" ] && url=$(sed -n 's/.*"url": "\(.*\)".*/\1/p' "$work/up.json") && [ -n "$url" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { cat "$work/up.err"; exit 1; }
        sleep 0.05
    done
}
down() { kill "$pid"; wait "$pid" 2>/dev/null || true; pid=; }

if [ "${COLD:-1}" = 1 ]; then
    say "CARGO_TARGET_DIR=fresh cargo build --release --bin tapedeck (cold build)"
    start=$(date +%s); CARGO_TARGET_DIR="$work/cold" cargo build --release --quiet --bin tapedeck
    echo "cold build: $(($(date +%s) - start)) s"
    rm -rf "$work/cold"
fi
cargo build --release --quiet --bin tapedeck --package tapedeck --package tapedeck-bench --bin tapedeck-bench
bench=target/release/tapedeck-bench
say "binary"
echo "target/release/tapedeck: $(($(stat -c %s target/release/tapedeck) / 1048576)) MB"

step cargo bench --quiet -p tapedeck-contracts --bench decode
step cargo bench --quiet -p tapedeck-log --bench log
step cargo bench --quiet -p tapedeck-flow --bench runtime
step $bench stored 300000
step target/release/tapedeck bench replay --events 1000000 --data "$work/replay"

say "tapedeck demo: from start to the first fill"
start=$(date +%s%N)
target/release/tapedeck demo --json --data "$work/demo" >"$work/up.json" 2>"$work/up.err" &
pid=$!
until url=$(sed -n 's/.*"url": "\(.*\)".*/\1/p' "$work/up.json") && [ -n "$url" ] &&
    curl -s "$url/api/fills?limit=1" | grep -q fill_id; do sleep 0.02; done
echo "first fill: $((($(date +%s%N) - start) / 1000000)) ms"
down

up --data "$work/live" --roles recorder,api
step $bench queryable "$url" 20
step $bench sockets "$url" 1000
down

step $bench fill "$work/fills" "$fills"
up --data "$work/fills" --roles api
step $bench rest "$url" 10
down
