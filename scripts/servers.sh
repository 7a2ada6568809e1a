#!/bin/sh
# Runs a command with real servers beside it, and ends them whatever happens.
#
#   scripts/servers.sh run CMD…    one Kafka broker, three Kafka brokers, PostgreSQL, a
#                                  schema registry; the code of CMD is the code of this
#
# CMD finds them in its environment: TAPEDECK_TEST_KAFKA, TAPEDECK_TEST_KAFKA3,
# TAPEDECK_TEST_POSTGRES, TAPEDECK_TEST_REGISTRY. What cannot be had (Java, Maven or
# PostgreSQL is missing) is said in one line and left out. A server that does not come
# up fails the run with its log. ONLY="kafka postgres" starts some of them.
# With CI set, TAPEDECK_TEST_SERVERS=required: a test whose server is missing fails.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

all="kafka kafka3 postgres registry"

script_of() { case $1 in kafka*) echo kafka.sh ;; *) echo "$1.sh" ;; esac; }
options_of() { case $1 in kafka3) echo "--brokers 3" ;; esac; }
variable_of() { echo "TAPEDECK_TEST_$(echo "$1" | tr a-z A-Z)"; }

end_all() { # the servers in the folder $1, side by side; then the folder
    for server in $all; do
        [ ! -d "$1/$server" ] || sh "$here/$(script_of "$server")" stop "$1/$server" &
    done
    wait
    rm -rf "$1"
}

start_all() {
    for server in $wanted; do
        # Unquoted: options are words.
        sh "$here/$(script_of "$server")" start "$work/$server" $(options_of "$server") \
            >"$work/$server.url" 2>"$work/$server.err" &
        echo $! >"$work/$server.starter"
    done
    for server in $wanted; do
        code=0
        wait "$(cat "$work/$server.starter")" || code=$?
        case $code in
            0) export "$(variable_of "$server")=$(cat "$work/$server.url")" ;;
            "$cannot") echo "$me: no $server: $(tail -n 1 "$work/$server.err")" >&2 ;;
            *) cat "$work/$server.err" >&2; exit 1 ;;
        esac
    done
}

finish() {
    kill "$watcher" 2>/dev/null || true
    for server in $wanted; do
        # One that still starts is not waited for: a download may take minutes.
        starter=$(pid_of "$work/$server.starter")
        if alive "$starter" && grep -qs "$(script_of "$server")" "/proc/$starter/cmdline"; then
            kill "$starter" 2>/dev/null || true
        fi
    done
    end_all "$work"
}

run() {
    wanted=${ONLY:-$all}
    work=$(mktemp -d "${TMPDIR:-/tmp}/tapedeck-servers.XXXXXX")
    chmod 711 "$work"
    # Should this process be ended without a chance to clean up, another one does.
    setsid sh "$here/servers.sh" watch "$$" "$work" >/dev/null 2>&1 </dev/null &
    watcher=$!
    trap finish EXIT
    trap 'exit 130' INT
    # Addresses from outside belong to other servers than these.
    for server in $wanted; do unset "$(variable_of "$server")"; done
    start_all
    [ -z "${CI:-}" ] || export TAPEDECK_TEST_SERVERS="${TAPEDECK_TEST_SERVERS:-required}"
    code=0
    "$@" || code=$?
    exit "$code"
}

watch() {
    while alive "$1"; do sleep 1; done
    [ ! -d "$2" ] || end_all "$2"
}

[ $# -ge 2 ] || usage
what=$1
shift
case $what in
    run) run "$@" ;;
    watch) watch "$@" ;;
    *) usage ;;
esac
