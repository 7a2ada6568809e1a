#!/bin/sh
# A long rehearsal of the release build; its report goes to target/soak-report.json
# (or REPORT), and the exit code says whether every promise was kept.
set -eu

report=${REPORT:-target/soak-report.json}
mkdir -p "$(dirname "$report")"
cargo build --release --quiet --bin tapedeck

code=0
target/release/tapedeck chaos --json --kills "${KILLS:-1000}" ${SEED:+--seed "$SEED"} >"$report" || code=$?
grep -E '"(ok|seed|elapsed_s|all|written|acknowledged|accepted|stored|lost|twice|out_of_order)":' "$report" || true
echo "report: $report"
[ "$code" = 0 ] || exit "$code"

# Then a real cluster under load: brokers killed and stopped, members that come and
# go; at least half an hour.
TAPEDECK_TEST_LONG=1 sh scripts/servers.sh run \
    cargo test --release --quiet -p tapedeck --test cluster -- --nocapture
