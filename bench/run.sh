#!/bin/sh
# Prints every figure of docs/benchmarks.md, each with its command.
#
#   bench/run.sh            all parts
#   bench/run.sh emit peers some of them: cold program emit peers catch-up outage dedupe
#                           dlq rest kafka pipeline shap forensics decide backlog explained
#
# FILLS sets the size of the REST benchmark (10,000,000), COLD=0 leaves out the cold
# build, SECONDS_EACH how long each run of emit and peers takes (60), PER_S their rate
# (100,000), OUTAGE_S and CATCH_UP_PER_S the outage before catch-up (30, 20,000),
# STORE_OUTAGE_S how long the store is away in outage (60), RECORDS how many each turn of
# kafka moves (1,000,000), PYTHON the interpreter of shap's peers (3.12 or newer for the
# newest of them), REPORTS how many each turn of pipeline stores (300,000;
# Python gets a tenth of as many decisions),
# WAITING how many decisions wait in the log while one is asked for (3,000,000), AWAY_S how long
# forensics was away before backlog, at 5,000/s (600), EXPLANATIONS how many lie in the store of
# explained (10,000,000: 7 GB),
# BENCH_DIR where logs and stores are written (a temporary folder; emit needs 25 GB).
set -eu
cd "$(dirname "$0")/.."
fills=${FILLS:-10000000}
seconds=${SECONDS_EACH:-60}
per_s=${PER_S:-100000}
parts=${*:-cold program emit peers catch-up outage dedupe dlq rest kafka pipeline shap forensics decide backlog explained}
cache=${TAPEDECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tapedeck}
work=$(mktemp -d ${BENCH_DIR:+-p "$BENCH_DIR"})
pid=
# One client asks far faster than the limit allows a single one by default.
export TAPEDECK_API_RATE_LIMIT_PER_S=1000000 TAPEDECK_API_RATE_LIMIT_BURST=1000000
stop_servers() {
    for folder in kafka kafka1 kafka3; do [ ! -d "$work/$folder" ] || sh scripts/kafka.sh stop "$work/$folder"; done
    [ ! -d "$work/postgres" ] || sh scripts/postgres.sh stop "$work/postgres"
}
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; stop_servers; rm -rf "$work"' EXIT
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

# Starts a server by its script; 1 where what it needs is missing, which is said.
server() { # SCRIPT DIR [OPTIONS]
    say "scripts/$1 start $(basename "$2")${3:+ $3 $4}"
    code=0
    script=$1 folder=$2
    shift 2
    # What it prints may hold a password.
    sh "scripts/$script" start "$folder" "$@" >/dev/null || code=$?
    [ "$code" = 0 ] || [ "$code" = 3 ] || exit "$code"
    return "$code"
}

# A Python environment with what a peer names; its interpreter is then $python.
environment() { # PEER [PYTHON]
    python=$cache/$1/bin/python
    "$python" -m pip freeze 2>/dev/null | grep -qxF "$(tail -n 1 "bench/peers/$1/requirements.txt")" && return 0
    { "${2:-python3}" -m venv "$cache/$1" && "$python" -m pip install --quiet --requirement "bench/peers/$1/requirements.txt"; } && return 0
    rm -rf "${cache:?}/$1"
    echo "$1 skipped: no Python environment with it can be made here"
    return 1
}

peer_rdkafka() { CARGO_TARGET_DIR=target/peers cargo build --release --quiet --manifest-path bench/peers/rdkafka/Cargo.toml; }

# Needs Java and Maven, and for aiokafka Python; what is missing is said and skipped.
part_peers() {
    server kafka.sh "$work/kafka" || { echo "peers skipped: no Kafka can be started here"; return 0; }
    peer_rdkafka
    step target/peers/release/peer-rdkafka scripts/kafka.sh "$work/kafka" "$seconds" "$per_s"
    if environment aiokafka; then
        step "$python" bench/peers/aiokafka/peer.py scripts/kafka.sh "$work/kafka" "$seconds"
    fi
    sh scripts/kafka.sh stop "$work/kafka"
    rm -rf "$work/kafka"
}

# Our log on Kafka against plain rdkafka on one broker and on three, then emit() with all of them dead.
part_kafka() {
    for brokers in 1 3; do
        server kafka.sh "$work/kafka$brokers" --brokers "$brokers" ||
            { echo "kafka skipped: no Kafka can be started here"; return 0; }
        peer_rdkafka
        step $bench kafka "$(cat "$work/kafka$brokers/bootstrap")" target/peers/release/peer-rdkafka "${RECORDS:-1000000}"
        [ "$brokers" = 1 ] || step $bench kafka-emit scripts/kafka.sh "$work/kafka$brokers" "$work" "$seconds" "$per_s"
        sh scripts/kafka.sh stop "$work/kafka$brokers"
        rm -rf "$work/kafka$brokers"
    done
}

# Execution reports and decisions from Kafka into PostgreSQL, by the program and by Python.
part_pipeline() {
    # PostgreSQL never runs as root: its own user has to enter its folder.
    chmod 711 "$work"
    server kafka.sh "$work/kafka" || { echo "pipeline skipped: no Kafka can be started here"; return 0; }
    server postgres.sh "$work/postgres" || { echo "pipeline skipped: no PostgreSQL can be started here"; return 0; }
    # Python explains some thousand decisions a second: it gets a tenth of them.
    turns pipeline reports "${REPORTS:-300000}" "${REPORTS:-300000}"
    turns forensics decisions "${REPORTS:-300000}" $((${REPORTS:-300000} / 10))
    stop_servers
    rm -rf "$work/kafka" "$work/postgres" "$work/pipeline"
}

turns() { # PEER WHAT ROWS PEER_ROWS
    environment "$1" || return 0
    # The URL holds a password: it is not shown.
    say "$bench pipeline $2 … $3 $4"
    $bench pipeline "$2" "$(cat "$work/kafka/bootstrap")" "$(cat "$work/postgres/url")" "$program" "$python" \
        "bench/peers/$1/peer.py" "$work/pipeline" "$3" "$4"
}

# Contributions of features, by us and by Python, on the same rows and one thread.
part_shap() {
    # The newest libraries want a newer Python than many systems have by default.
    newest=${PYTHON:-python3}
    for version in 3.12 3.13; do [ -n "${PYTHON:-}" ] || ! "python$version" -c '' 2>/dev/null || newest=python$version; done
    if environment shap "$newest"; then
        step "$python" bench/peers/shap/peer.py "$work/shap" ../shared/data/shap
        step cargo bench --quiet -p tapedeck-shap --bench explain -- "$work/shap"
        rm -rf "$work/shap"
    else
        step cargo bench --quiet -p tapedeck-shap --bench explain
    fi
}

# Decisions emitted, in the log, explained, stored: at 100,000/s for a minute.
part_forensics() {
    step cargo bench --quiet -p tapedeck-roles --bench forensics
    step $bench forensics "$work" "$seconds" "$per_s"
}

# What a decision over HTTP takes, without forensics and with it.
part_decide() {
    for roles in api forensics,api; do
        up --data "$work/decide-$roles" --roles "$roles"
        step $bench decide "$url" 20 500 "roles $roles"
        down
        rm -rf "$work/decide-$roles"
    done
    # Decisions wait in the log: forensics works without end, and nobody else asks.
    for roles in api forensics,api; do
        mkdir -p "$work/decide"
        step $bench backlog-write "$work/decide" "${WAITING:-3000000}"
        up --data "$work/decide" --roles "$roles"
        step $bench decide-beside "$url" 20 500 "$work/decide/store.db" "roles $roles, ${WAITING:-3000000} wait"
        down
        rm -rf "$work/decide"
    done
    # On a cluster, also while its only broker is killed: what is decided waits in the spool.
    server kafka.sh "$work/kafka" || { echo "decide on Kafka skipped: no Kafka can be started here"; return 0; }
    printf '[log]\nkind = "kafka"\n[kafka]\nbootstrap_servers = "%s"\n' "$(cat "$work/kafka/bootstrap")" >"$work/decide.toml"
    up --config "$work/decide.toml" --data "$work/decide" --roles forensics,api
    step $bench decide-beside "$url" 20 500 "$work/decide/store.db" "roles forensics,api on Kafka"
    (sleep 5; sh scripts/kafka.sh kill "$work/kafka" 1) &
    step $bench decide-beside "$url" 20 500 "$work/decide/store.db" "the same, Kafka killed after 5 s"
    down
    stop_servers
    rm -rf "$work/kafka" "$work/decide"
}

# Forensics was away, and catches up while decisions keep coming.
part_backlog() { step $bench backlog "$work" "${AWAY_S:-600}" 5000; }

# One of very many explanations.
part_explained() {
    step $bench explained "$work/explained" "${EXPLANATIONS:-10000000}"
    up --data "$work/explained" --roles api
    step $bench explained-get "$url" "${EXPLANATIONS:-10000000}" 20
    down
    rm -rf "$work/explained"
}

part_rest() {
    step $bench fill "$work/fills" "$fills"
    up --data "$work/fills" --roles api
    step $bench rest "$url" 10
    down
}

case " $parts " in *" cold "*) part_cold ;; esac
cargo build --release --quiet --bin tapedeck --package tapedeck --package tapedeck-bench --bin tapedeck-bench
bench=target/release/tapedeck-bench program=target/release/tapedeck
for part in $parts; do
    case $part in
        cold) ;;
        program | emit | peers | outage | dedupe | dlq | rest | kafka | pipeline | shap | forensics | decide | backlog | explained) "part_$part" ;;
        catch-up) part_catch_up ;;
        *) echo "bench/run.sh: there is no part $part" >&2; exit 2 ;;
    esac
done
