#!/bin/sh
# Trains the demo's specialists and fits the regime filter: writes models/ anew.
# Needs Python 3 and cargo; makes a virtual environment in target/train.
set -eu
cd "$(dirname "$0")/.."
env=target/train
[ -x "$env/bin/python" ] || python3 -m venv "$env"
"$env/bin/pip" install --quiet --upgrade xgboost lightgbm numpy
mkdir -p "$env"
cargo run --quiet --release -p tapedeck-roles --example training_rows -- \
    1m:11:12000 1m:12:12000 1s:13:12000 1s:14:12000 > "$env/rows.csv"
"$env/bin/python" scripts/train.py "$env/rows.csv" models
