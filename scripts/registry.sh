#!/bin/sh
# A real schema registry for tests (Apicurio, which speaks Confluent's API), in
# memory, loopback only, a free port. Needs Java 17 and, the first time, Maven.
#
#   scripts/registry.sh start DIR   prints the URL of its API (also in DIR/url)
#   scripts/registry.sh stop DIR    ends it; what it held is gone
#
# Exit code 3: Java or Maven is missing, so that a caller can skip with words.
# The program is kept in $TAPEDECK_CACHE (default: $XDG_CACHE_HOME or ~/.cache, tapedeck).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

version=2.5.11.Final
program=$cache/registry-$version

answers() { curl -sf -o /dev/null --max-time 5 "$(cat "$dir/url.new")/subjects"; }

start() {
    need java "Debian: apt-get install openjdk-17-jre-headless"
    need curl "Debian: apt-get install curl"
    maven "registry-$version" "
    <dependency><groupId>io.apicurio</groupId><artifactId>apicurio-registry-app</artifactId><version>$version</version>
      <type>zip</type><classifier>all</classifier><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>" \
        unpack-dependencies
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    ! running "$dir/pid" || fail "a registry runs in $dir already"
    [ -f "$dir/port" ] || free_port "$dir" >"$dir/port"
    port=$(cat "$dir/port")
    echo "http://127.0.0.1:$port/apis/ccompat/v7" >"$dir/url.new"
    : >"$dir/server.log"
    setsid java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" \
        -jar "$(find "$program" -name '*-runner.jar')" >>"$dir/server.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    await_up "the registry" "$dir/pid" "$dir/server.log" answers || { end "$dir/pid" TERM; exit 1; }
    cp "$dir/url.new" "$dir/url"
    cat "$dir/url"
}

[ $# = 2 ] || usage
dir=$2
case $1 in
    start) start ;;
    stop) end "$dir/pid" TERM ;;
    *) usage ;;
esac
