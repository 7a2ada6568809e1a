#!/bin/sh
# A real Apache Kafka for benchmarks and tests: KRaft, loopback only, free ports,
# all its data in the folder given. Needs Java 17 and, the first time, Maven.
#
#   scripts/kafka.sh start DIR [--brokers N] [--secure] [--advertise PORT,PORT…]
#                                     prints the bootstrap addresses (also in DIR/bootstrap);
#                                     started before: the nodes that are down, as they were
#   scripts/kafka.sh stop DIR         ends all nodes, each by its own id
#   scripts/kafka.sh kill DIR N       kill -9 of one node
#   scripts/kafka.sh start-node DIR N the same node again
#   scripts/kafka.sh pause DIR N      stops it where it stands
#   scripts/kafka.sh resume DIR N     lets it go on
#
# Each node is broker and controller. DIR/nodeN holds its process id (pid), what it
# listens on (address), its settings and its log; DIR/pid is that of node 1.
# --advertise: the ports that clients are told, one for each node, so that all they
# send goes through proxies; brokers talk to each other beside them.
# --secure: scripts/kafka-secure.sh says which listeners, users and certificates.
# Exit code 3: Java or Maven is missing, so that a caller can skip with words.
# The jars are kept in $TAPEDECK_CACHE (default: $XDG_CACHE_HOME or ~/.cache, tapedeck).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
. "$here/kafka-secure.sh"

version=4.1.1
libs=$cache/kafka-$version

jars() {
    maven "kafka-$version" "
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>" \
        copy-dependencies
}

least() { if [ "$1" -lt "$2" ]; then echo "$1"; else echo "$2"; fi; }
nodes() { find "$dir" -maxdepth 1 -name 'node*' | sed 's/.*node//' | sort -n; }
known() { [ -d "$dir/node$1" ] || fail "there is no node $1 in $dir"; }

settings() { # of one node, from the variables that lay_out sets
    replicas=$(least 3 "$brokers")
    [ "$replicas" = 3 ] && in_sync=2 || in_sync=1
    cat <<PROPERTIES
process.roles=broker,controller
node.id=$number
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
log.dirs=$dir/node$number/data
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
auto.create.topics.enable=false
# A small machine: few partitions of what Kafka keeps for itself, few threads.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=8388608
# What an idle broker does costs cores that the tests want: each record of the
# controllers, however empty, is written, synced and fetched by every node.
metadata.max.idle.interval.ms=10000
replica.fetch.wait.max.ms=2000
# Tests have short sessions and short lives.
group.min.session.timeout.ms=500
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
# Deletion and compaction soon after they are due; topics say their segments.
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=1000
log.segment.delete.delay.ms=1000
PROPERTIES
    if [ "$secure" = yes ]; then
        secure_settings
    else
        cat <<PROPERTIES
listeners=PLAINTEXT://127.0.0.1:$client,INTERNAL://127.0.0.1:$internal,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$advertised_port,INTERNAL://127.0.0.1:$internal
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
PROPERTIES
    fi
}

port_of() { echo $ports | cut -d ' ' -f $((($1 - 1) * 6 + $2)); }

lay_out() { # the folders of all nodes; without a bootstrap.new it is not complete
    rm -rf "$dir"/node* "$dir/secure.env" "$dir/tls"
    [ "$secure" = no ] || secure_files "$dir"
    ports=
    while [ "$(echo $ports | wc -w)" -lt $((brokers * 6)) ]; do ports="$ports $(free_port "$dir")"; done
    voters=
    for number in $(seq "$brokers"); do
        voters="$voters${voters:+,}$number@127.0.0.1:$(port_of "$number" 3)"
    done
    for number in $(seq "$brokers"); do
        client=$(port_of "$number" 1) internal=$(port_of "$number" 2) controller=$(port_of "$number" 3)
        ssl=$(port_of "$number" 4) tls_only=$(port_of "$number" 5) sasl=$(port_of "$number" 6)
        advertised_port=$(echo "$advertise" | cut -d , -f "$number")
        advertised_port=${advertised_port:-$client}
        mkdir "$dir/node$number"
        settings >"$dir/node$number/broker.properties"
        echo "127.0.0.1:$client" >"$dir/node$number/address"
        echo "127.0.0.1:$advertised_port" >"$dir/node$number/advertised"
    done
    [ "$secure" = no ] || secure_addresses
    format
    ln -sfn node1/pid "$dir/pid"
    for number in $(seq "$brokers"); do cat "$dir/node$number/advertised"; done | paste -sd , - >"$dir/bootstrap.new"
}

format() {
    cluster=$(secret | cut -c1-22)
    users=
    [ "$secure" = no ] || users=$(secure_users)
    formats=
    for number in $(seq "$brokers"); do
        # Unquoted: users are words without spaces or stars.
        java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$libs/*" kafka.tools.StorageTool format \
            -t "$cluster" -c "$dir/node$number/broker.properties" $users >"$dir/node$number/format.log" 2>&1 &
        formats="$formats $!"
    done
    for one in $formats; do
        wait "$one" || { cat "$dir"/node*/format.log >&2; exit 1; }
    done
}

launch() {
    known "$1"
    node=$dir/node$1
    ! running "$node/pid" || fail "node $1 runs in $dir already"
    : >"$node/broker.log"
    setsid java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -cp "$libs/*" kafka.Kafka "$node/broker.properties" \
        >>"$node/broker.log" 2>&1 </dev/null &
    echo $! >"$node/pid"
}

await_node() {
    await_up "node $1" "$dir/node$1/pid" "$dir/node$1/broker.log" grep -q 'Kafka Server started' "$dir/node$1/broker.log"
}

start() {
    need java "Debian: apt-get install openjdk-17-jre-headless"
    [ "$secure" = no ] || need openssl "Debian: apt-get install openssl"
    jars
    rm -f "$dir/bootstrap"
    [ -f "$dir/bootstrap.new" ] || lay_out
    launched=
    for number in $(nodes); do
        running "$dir/node$number/pid" || { launch "$number"; launched="$launched $number"; }
    done
    [ -n "$launched" ] || { cp "$dir/bootstrap.new" "$dir/bootstrap"; fail "all nodes in $dir run already"; }
    for number in $launched; do
        await_node "$number" || { stop; exit 1; }
    done
    cp "$dir/bootstrap.new" "$dir/bootstrap"
    cat "$dir/bootstrap"
}

stop() {
    # All at once: a node that ends alone waits for others to take its partitions.
    for number in $(nodes); do
        pid=$(pid_of "$dir/node$number/pid")
        [ -z "$pid" ] || kill -CONT "$pid" 2>/dev/null || true
        [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    done
    for number in $(nodes); do end "$dir/node$number/pid" TERM; done
}

signal() { known "$1"; kill -"$2" "$(pid_of "$dir/node$1/pid")" || fail "node $1 does not run"; }

[ $# -ge 2 ] || usage
what=$1
case $what in start) mkdir -p "$2" ;; esac
dir=$(cd "$2" 2>/dev/null && pwd) || { [ "$what" = stop ] && exit 0; fail "there is no folder $2"; }
shift 2
brokers=1 secure=no advertise=
case $what in
    start)
        while [ $# -gt 0 ]; do
            case $1 in
                --brokers) brokers=$2; shift 2 ;;
                --advertise) advertise=$2,; shift 2 ;;
                --secure) secure=yes; shift ;;
                *) usage ;;
            esac
        done
        start ;;
    stop) stop ;;
    kill) known "$1"; end_at_once "$dir/node$1/pid" ;;
    start-node) launch "$1"; await_node "$1" ;;
    pause) signal "$1" STOP ;;
    resume) signal "$1" CONT ;;
    *) usage ;;
esac
