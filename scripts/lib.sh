# What the scripts that start real servers share: read with `.`, not run. A server
# is known by the file with its process id; nothing is ever ended by name.

# Exit code 3: a part is missing, so that a caller can skip with words.
cannot=3
cache=${TAPEDECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tapedeck}
# A server starts in 1 to 6 s on two idle cores; other builds may hold them.
start_max_s=${TAPEDECK_START_MAX_S:-180}
# Half a minute is more than a clean end takes; the data is temporary.
stop_max_s=30
me=$(basename "$0")

usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
fail() { echo "$me: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || { echo "$me: $1 is missing ($2)" >&2; exit "$cannot"; }; }

# A port that nobody listens on, below the range the system hands out. It is the
# folder $1's for as long as that is there: a server that is down finds it free again.
free_port() {
    taken=${TMPDIR:-/tmp}/tapedeck-ports
    [ -d "$taken" ] || mkdir -p -m 1777 "$taken"
    tries=0
    while [ "$tries" -lt 100 ]; do
        tries=$((tries + 1))
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        hex=$(printf ':%04X ' "$port")
        ! grep -qs "$hex.*0A " /proc/net/tcp /proc/net/tcp6 || continue
        owner=$(cat "$taken/$port" 2>/dev/null || true)
        [ -z "$owner" ] || [ -d "$owner" ] || rm -f "$taken/$port"
        # Made by one alone (noclobber), with its contents or not at all.
        if (set -C && echo "$1" >"$taken/$port") 2>/dev/null; then echo "$port"; return; fi
    done
    fail "no free port found"
}

# A process that ended but was not waited for yet is a zombie: not alive. So is the first
# thread of one that is ending still: while there are others, its sockets are open.
alive() {
    [ -n "$1" ] && [ -r "/proc/$1/stat" ] || return 1
    grep -q '^[0-9]* (.*) [ZX]' "/proc/$1/stat" 2>/dev/null || return 0
    [ "$(ls "/proc/$1/task" 2>/dev/null | wc -l)" -gt 1 ]
}
pid_of() { cat "$1" 2>/dev/null || true; }
running() { alive "$(pid_of "$1")"; }

await_end() { # whether process $1 ended within $2 s
    waited=0
    while alive "$1"; do
        waited=$((waited + 1))
        [ "$waited" -le $(($2 * 10)) ] || return 1
        sleep 0.1
    done
}

end() { # the process in the file $1, with the signal $2: asked first, then made to
    pid=$(pid_of "$1")
    rm -f "$1"
    alive "$pid" || return 0
    # Who was paused takes no other signal before it goes on.
    kill -CONT "$pid" 2>/dev/null || return 0
    kill -"$2" "$pid" 2>/dev/null || return 0
    await_end "$pid" "$stop_max_s" || kill -KILL "$pid" 2>/dev/null || true
    await_end "$pid" "$stop_max_s" || fail "process $pid does not end"
}

end_at_once() { # as a crash does; returns when it is gone
    pid=$(pid_of "$1")
    rm -f "$1"
    alive "$pid" || return 0
    kill -KILL "$pid" 2>/dev/null || true
    await_end "$pid" "$stop_max_s" || fail "process $pid does not end"
}

# Waits until a command succeeds: what it is, pid file, log, command…
await_up() {
    what=$1 pid_file=$2 log=$3
    shift 3
    waited=0
    until "$@"; do
        if ! running "$pid_file" || [ "$waited" -ge $((start_max_s * 5)) ]; then
            echo "$me: $what did not come up; its log:" >&2
            tail -n 50 "$log" >&2
            return 1
        fi
        waited=$((waited + 1))
        sleep 0.2
    done
}

secret() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

maven() { # a pom with dependencies $2 into the cache folder $1 by the goal $3
    [ -d "$cache/$1" ] && return
    need mvn "Debian: apt-get install maven"
    mkdir -p "$cache"
    half=$(mktemp -d "$cache/$1.XXXXXX")
    cat >"$half/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tapedeck</groupId><artifactId>servers</artifactId><version>1</version>
  <dependencies>$2</dependencies>
</project>
POM
    mvn -q -B -f "$half/pom.xml" "dependency:$3" -DincludeScope=runtime -DoutputDirectory="$half/out" \
        >"$half/mvn.log" 2>&1 || { cat "$half/mvn.log" >&2; rm -rf "$half"; exit 1; }
    # Whoever is first wins; a half-filled folder is never seen.
    mv -T "$half/out" "$cache/$1" 2>/dev/null || true
    rm -rf "$half"
    [ -d "$cache/$1" ]
}
