#!/bin/sh
# A real PostgreSQL 15 for benchmarks and tests: loopback only, a free port, its data,
# its socket and its log in the folder given. Needs Debian's postgresql-15, or
# `initdb` and `postgres` of another version in the path.
#
#   scripts/postgres.sh start DIR   prints the URL of a superuser (also in DIR/url);
#                                   started before: with the same data and address
#   scripts/postgres.sh stop DIR    ends it in order
#   scripts/postgres.sh kill DIR    SIGKILL of all its processes; start recovers
#   scripts/postgres.sh database URL NAME   a new empty database; prints its URL
#   scripts/postgres.sh guest URL NAME      a new user who may make nothing; prints the same
#                                           database's URL for that user
#
# It serves with and without TLS; DIR/ca.pem is who signed its certificate.
# PostgreSQL refuses to run as root: there it runs as the user postgres (or nobody),
# who must be able to enter DIR.
# Exit code 3: PostgreSQL is missing, so that a caller can skip with words.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

find_programs() {
    for bin in /usr/lib/postgresql/15/bin /usr/lib/postgresql/*/bin "$(dirname "$(command -v initdb || echo /-/-)")"; do
        [ ! -x "$bin/initdb" ] || [ ! -x "$bin/postgres" ] || return 0
    done
    echo "$me: PostgreSQL is missing (Debian: apt-get install postgresql-15)" >&2
    exit "$cannot"
}

# As who PostgreSQL may run; `$as command…` becomes that command's process.
as=
find_user() {
    [ "$(id -u)" = 0 ] || return 0
    need setpriv "Debian: apt-get install util-linux"
    user=$(id -un postgres 2>/dev/null || echo nobody)
    as="setpriv --reuid=$user --regid=$(id -gn "$user") --clear-groups env HOME=$dir"
    chmod 711 "$dir"
    $as test -x "$dir" || fail "the user $user cannot enter $dir: each folder above it needs to let others through (chmod o+x)"
}

make_certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj "/CN=localhost" \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout "$data/server.key" -out "$data/server.crt" >/dev/null 2>&1
    chmod 600 "$data/server.key"
    cp "$data/server.crt" "$dir/ca.pem"
}

lay_out() { # complete, or not at all: DIR/url.new comes last
    need openssl "Debian: apt-get install openssl"
    rm -rf "$data"
    mkdir "$data"
    password=$(secret)
    port=$(free_port "$dir")
    echo "$password" >"$dir/password"
    [ -z "$as" ] || chown "$user" "$data" "$dir/password"
    $as "$bin/initdb" -D "$data" -U tapedeck -A scram-sha-256 --pwfile="$dir/password" \
        --locale=C --encoding=UTF8 >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
    make_certificate
    cat >>"$data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$data'
max_connections = 200
ssl = on
log_line_prefix = '%m [%p] '
SETTINGS
    [ -z "$as" ] || chown "$user" "$data/server.key" "$data/server.crt"
    echo "$port" >"$dir/port"
    echo "postgres://tapedeck:$password@127.0.0.1:$port/postgres" >"$dir/url.new"
}

answers() { "$bin/pg_isready" -q -h 127.0.0.1 -p "$(cat "$dir/port")"; }

start() {
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    data=$dir/data
    find_user
    ! running "$dir/pid" || fail "PostgreSQL runs in $dir already"
    [ -f "$dir/url.new" ] || lay_out
    : >"$dir/server.log"
    # The working folder is one that its user may read.
    (cd / && exec setsid $as "$bin/postgres" -D "$data") >>"$dir/server.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    await_up PostgreSQL "$dir/pid" "$dir/server.log" answers || { end "$dir/pid" INT; exit 1; }
    cp "$dir/url.new" "$dir/url"
    cat "$dir/url"
}

children() { # of process $1, by their ids
    sed -n "s/^\([0-9]*\) (.*) [A-Z] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null || true
}

kill_all() {
    pid=$(pid_of "$dir/pid")
    [ -n "$pid" ] || return 0
    # The parent first, so that it starts no child that is not on the list.
    kill -STOP "$pid" 2>/dev/null || true
    family=$(children "$pid")
    end_at_once "$dir/pid"
    for child in $family; do kill -KILL "$child" 2>/dev/null || true; done
    for child in $family; do await_end "$child" "$stop_max_s" || fail "process $child does not end"; done
    # Where nobody waits for orphans, their ids stay taken, and PostgreSQL would
    # believe that the one in these files lives.
    rm -f "$dir/data/postmaster.pid" "$dir"/data/.s.PGSQL.*
}

sql() { PGOPTIONS='-c client_min_messages=warning' "$bin/psql" -qX -v ON_ERROR_STOP=1 -d "$1" -c "$2" >&2; }

database() { # URL, name
    sql "$1" "create database $2"
    echo "${1%/*}/$2"
}

guest() { # URL, name
    password=$(secret)
    sql "$1" "create role $2 login password '$password'"
    echo "postgres://$2:$password@${1#*@}"
}

[ $# = 2 ] || [ "$1 $#" = "database 3" ] || [ "$1 $#" = "guest 3" ] || usage
dir=$2
find_programs
case $1 in
    database) database "$2" "$3" ;;
    guest) guest "$2" "$3" ;;
    start) start ;;
    stop) end "$dir/pid" INT ;;
    kill) kill_all ;;
    *) usage ;;
esac
