#!/bin/sh
# Fuzzes everything that reads bytes from outside, one target after the other,
# on stable Rust: `sh fuzz/run.sh [seconds each] [target…]`, 60 s and all of them
# by default. What libFuzzer finds lies in fuzz/crashes/<target>; run a finding
# again with `fuzz/target/<triple>/release/<target> <file>`.
set -eu
cd "$(dirname "$0")"

seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | grep -v tapedeck)

# A target triple keeps the flags away from build scripts. The flags are what
# libFuzzer asks for: counters of edges, their places, and compared values.
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -C passes=sancov-module \
-C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters \
-C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares"
bins=$(printf -- '--bin %s ' "$@")
cargo build --quiet --locked --release --target "$triple" --target-dir target $bins

# An input that asks for more memory than this is a finding, mapped or not.
ulimit -v 4194304
failed=""
for target in "$@"; do
    corpus=corpus/$target
    mkdir -p "$corpus" "crashes/$target"
    log=crashes/$target.log
    echo "$target: $seconds s"
    # An input that takes longer than 10 s is a finding as well. Leaks cannot be
    # seen without a sanitizer, so nothing looks for them.
    if TAPEDECK_FUZZ_SEEDS=$corpus nice "target/$triple/release/$target" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -max_len=16384 -len_control=50 -detect_leaks=0 -print_final_stats=1 \
        -artifact_prefix="crashes/$target/" "$corpus" >"$log" 2>&1; then
        awk '/number_of_executed_units|average_exec_per_sec|peak_rss/ { printf "  %s %s", $1, $2 } END { print "" }' "$log"
        tac "$log" | grep -m1 -E 'cov: [0-9]+' | sed 's/^/  /'
    else
        failed="$failed $target"
        grep -E 'panicked|ERROR|assert|left:|right:|Test unit' -A1 "$log" | cut -c-600 | tail -20
    fi
done
[ -z "$failed" ] || { echo "findings in:$failed"; exit 1; }
