#!/bin/sh
# A real Apache Kafka for benchmarks and tests: one broker (KRaft), loopback only,
# free ports, all its data in the folder given. Needs Java 17 and, the first time,
# Maven.
#
#   scripts/kafka.sh start DIR   prints the bootstrap address (also in DIR/bootstrap)
#   scripts/kafka.sh stop DIR    ends the process in DIR/pid, and no other
#
# Exit code 3: Java or Maven is missing, so that a caller can skip with words.
# The jars are kept in $TAPEDECK_CACHE (default: $XDG_CACHE_HOME or ~/.cache, tapedeck).
set -eu

version=4.1.1
cache=${TAPEDECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tapedeck}
libs=$cache/kafka-$version
# A broker starts in 3 to 6 s on two idle cores; other builds may hold them.
start_max_s=120

usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
need() { command -v "$1" >/dev/null 2>&1 || { echo "kafka.sh: $1 is missing ($2)" >&2; exit 3; }; }

jars() {
    [ -d "$libs" ] && return
    need mvn "Debian: apt-get install maven"
    mkdir -p "$cache"
    half=$(mktemp -d "$cache/kafka.XXXXXX")
    cat >"$half/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tapedeck</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$half/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$half/libs" >"$half/mvn.log" 2>&1 || { cat "$half/mvn.log" >&2; rm -rf "$half"; exit 1; }
    # Whoever is first wins; a half-filled folder is never seen.
    mv -T "$half/libs" "$libs" 2>/dev/null || true
    rm -rf "$half"
    [ -d "$libs" ]
}

free_port() { # one that nobody listens on, below the range the system hands out
    tries=0
    while [ "$tries" -lt 100 ]; do
        tries=$((tries + 1))
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        hex=$(printf ':%04X ' "$port")
        grep -qs "$hex.*0A " /proc/net/tcp /proc/net/tcp6 || { echo "$port"; return; }
    done
    echo "kafka.sh: no free port found" >&2
    return 1
}

running() { [ -f "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

start() {
    need java "Debian: apt-get install openjdk-17-jre-headless"
    jars
    mkdir -p "$1"
    dir=$(cd "$1" && pwd)
    if running "$dir"; then echo "kafka.sh: a broker runs in $dir already" >&2; exit 1; fi
    rm -f "$dir/bootstrap"
    if [ ! -f "$dir/broker.properties" ]; then
        port=$(free_port)
        controller=$(free_port)
        while [ "$controller" = "$port" ]; do controller=$(free_port); done
        cat >"$dir/broker.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
PROPERTIES
        cluster=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | cut -c1-22)
        java -cp "$libs/*" kafka.tools.StorageTool format -t "$cluster" -c "$dir/broker.properties" \
            >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; rm -f "$dir/broker.properties"; exit 1; }
    fi
    : >"$dir/broker.log"
    java -Xmx512m -XX:TieredStopAtLevel=1 -cp "$libs/*" kafka.Kafka "$dir/broker.properties" \
        >>"$dir/broker.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    waited=0
    until grep -q 'Kafka Server started' "$dir/broker.log"; do
        if ! running "$dir" || [ "$waited" -ge $((start_max_s * 5)) ]; then
            echo "kafka.sh: the broker did not come up; its log:" >&2
            tail -n 50 "$dir/broker.log" >&2
            stop "$dir"
            exit 1
        fi
        waited=$((waited + 1))
        sleep 0.2
    done
    sed -n 's,^advertised.listeners=PLAINTEXT://,,p' "$dir/broker.properties" | tee "$dir/bootstrap"
}

stop() {
    [ -f "$1/pid" ] || return 0
    pid=$(cat "$1/pid")
    rm -f "$1/pid"
    # A broker that was paused takes no other signal before it goes on.
    kill -CONT "$pid" 2>/dev/null || return 0
    kill "$pid" 2>/dev/null || return 0
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        waited=$((waited + 1))
        # Half a minute is more than a clean end takes; the data is temporary.
        [ "$waited" -lt 150 ] || { kill -9 "$pid" 2>/dev/null || true; break; }
        sleep 0.2
    done
}

[ $# = 2 ] || usage
case $1 in
    start) start "$2" ;;
    stop) stop "$2" ;;
    *) usage ;;
esac
