#!/bin/sh
# A Python with the real xgboost, lightgbm and numpy for tests: the newest that there
# are when it is made.
#
#   scripts/python.sh venv    prints the path of its interpreter; made the first time
#
# Exit code 3: Python or the network is missing, so that a caller can skip with words.
# It is kept in $TAPEDECK_CACHE (default: $XDG_CACHE_HOME or ~/.cache, tapedeck);
# delete it there to have newer ones. TAPEDECK_PYTHON names the interpreter to use.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

venv=$cache/python
# What xgboost asks for beyond these is for graphics cards, and ten times as large.
packages="xgboost lightgbm numpy scipy narwhals"

newest_python() { # newer ones get newer libraries
    kept=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3 2>/dev/null | sort -rV)
    for python in ${TAPEDECK_PYTHON:-python3.14 python3.13 python3.12 $kept python3}; do
        if "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then echo "$python"; return; fi
    done
}

make_venv() {
    python=$(newest_python)
    [ -n "$python" ] || { echo "$me: Python with venv is missing (Debian: apt-get install python3-venv)" >&2; exit "$cannot"; }
    mkdir -p "$cache"
    half=$(mktemp -d "$cache/python.XXXXXX")
    # Unquoted: one package a word.
    "$python" -m venv "$half" >&2 &&
        "$half/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps $packages >&2 &&
        "$half/bin/python" -c 'import xgboost, lightgbm' >&2 ||
        { rm -rf "$half"; echo "$me: the libraries could not be installed (is there a network?)" >&2; exit "$cannot"; }
    # Whoever is first wins; a half-filled folder is never seen.
    mv -T "$half" "$venv" 2>/dev/null || true
    rm -rf "$half"
}

[ $# = 1 ] && [ "$1" = venv ] || usage
[ -x "$venv/bin/python" ] || make_venv
echo "$venv/bin/python"
