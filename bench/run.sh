#!/bin/sh
# Prints every figure of docs/benchmarks.md, each with its command.
#
#   bench/run.sh            all parts
#   bench/run.sh emit peers some of them: cold program emit peers catch-up outage dedupe dlq rest
#
# FILLS sets the size of the REST benchmark (10,000,000), COLD=0 leaves out the cold
# build, SECONDS_EACH how long each run of emit and peers takes (60), PER_S their rate
# (100,000), OUTAGE_S and CATCH_UP_PER_S the outage before catch-up (30, 20,000),
# STORE_OUTAGE_S how long the store is away in outage (60),
# BENCH_DIR where logs and stores are written (a temporary folder; emit needs 25 GB).
set -eu
cd "$(dirname "$0")/.."
fills=${FILLS:-10000000}
seconds=${SECONDS_EACH:-60}
per_s=${PER_S:-100000}
parts=${*:-cold program emit peers catch-up outage dedupe dlq rest}
cache=${TAPEDECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tapedeck}
work=$(mktemp -d ${BENCH_DIR:+-p "$BENCH_DIR"})
pid=
# One client asks far faster than the limit allows a single one by default.
export TAPEDECK_API_RATE_LIMIT_PER_S=1000000 TAPEDECK_API_RATE_LIMIT_BURST=1000000
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; sh scripts/kafka.sh stop "$work/kafka"; rm -rf "$work"' EXIT
# A signal ends it as an error does, so that nothing stays behind.
trap 'exit 1' INT TERM

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

part_cold() {
    [ "${COLD:-1}" = 1 ] || return 0
    say "CARGO_TARGET_DIR=fresh cargo build --release --bin tapedeck (cold build)"
    start=$(date +%s); CARGO_TARGET_DIR="$work/cold" cargo build --release --quiet --bin tapedeck
    echo "cold build: $(($(date +%s) - start)) s"
    rm -rf "$work/cold"
}

part_program() {
    say "binary"
    echo "target/release/tapedeck: $(($(stat -c %s target/release/tapedeck) / 1048576)) MB"
    step cargo bench --quiet -p tapedeck-contracts --bench decode
    step cargo bench --quiet -p tapedeck-log --bench log
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
}

part_emit() { step $bench emit "$work" "$seconds" "$per_s"; }
part_catch_up() { step $bench catch-up "$work" "${OUTAGE_S:-30}" "${CATCH_UP_PER_S:-20000}"; }
part_outage() { # the store stops, and then answers late
    export TAPEDECK_CHAOS_FAULTS="$work/faults"
    for fault in stop slow:5000; do
        up --data "$work/outage-$fault" --roles recorder,api
        step $bench outage "$url" "$work/faults" "$pid" "store=$fault" "${STORE_OUTAGE_S:-60}" 1000
        down
        rm -rf "$work/outage-$fault"
    done
    unset TAPEDECK_CHAOS_FAULTS
}
part_dedupe() { step cargo bench --quiet -p tapedeck-flow --bench runtime; }
part_dlq() { step $bench dlq "$work" 20; }

# Needs Java and Maven, and for aiokafka Python; what is missing is said and skipped.
part_peers() {
    say "scripts/kafka.sh start (Apache Kafka, one broker)"
    code=0
    sh scripts/kafka.sh start "$work/kafka" || code=$?
    if [ "$code" = 3 ]; then echo "peers skipped: no Kafka can be started here"; return 0; fi
    [ "$code" = 0 ] || exit "$code"
    CARGO_TARGET_DIR=target/peers cargo build --release --quiet --manifest-path bench/peers/rdkafka/Cargo.toml
    step target/peers/release/peer-rdkafka scripts/kafka.sh "$work/kafka" "$seconds" "$per_s"
    venv=$cache/aiokafka
    if [ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --requirement bench/peers/aiokafka/requirements.txt; }; then
        step "$venv/bin/python" bench/peers/aiokafka/peer.py scripts/kafka.sh "$work/kafka" "$seconds"
    else
        rm -rf "$venv"
        echo "aiokafka skipped: no Python environment with it can be made here"
    fi
    sh scripts/kafka.sh stop "$work/kafka"
    rm -rf "$work/kafka"
}

part_rest() {
    step $bench fill "$work/fills" "$fills"
    up --data "$work/fills" --roles api
    step $bench rest "$url" 10
    down
}

case " $parts " in *" cold "*) part_cold ;; esac
cargo build --release --quiet --bin tapedeck --package tapedeck --package tapedeck-bench --bin tapedeck-bench
bench=target/release/tapedeck-bench
for part in $parts; do
    case $part in
        cold) ;;
        program | emit | peers | outage | dedupe | dlq | rest) "part_$part" ;;
        catch-up) part_catch_up ;;
        *) echo "bench/run.sh: there is no part $part" >&2; exit 2 ;;
    esac
done
