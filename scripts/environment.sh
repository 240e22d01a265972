#!/usr/bin/env bash
# Makes the Python environment .venv, from hash-locked requirements, with this project in it. Instant if it is up to date.
#
#   scripts/environment.sh             its log: .venv/install.log
#   scripts/environment.sh --there     makes nothing: the exit code says whether it is up to date
#
# Environment:
#   PYTHON    the Python that it is made with (default: python3)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/progress.sh

is_there() {
    [ -e .venv/installed ] || return 1
    for file in requirements/{dev,uv}.txt pyproject.toml; do
        [ ! "$file" -nt .venv/installed ] || return 1
    done
}

install() {
    [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --require-hashes -r requirements/uv.txt
    .venv/bin/uv pip sync --require-hashes --compile-bytecode --python .venv/bin/python requirements/dev.txt
    .venv/bin/uv pip install --no-deps --no-build-isolation --python .venv/bin/python --editable .
    touch .venv/installed
}

if is_there; then exit; fi
[ "${1:-}" != --there ] || exit 1
progress "$PWD/.venv/install.log" "environment: installing 5 GB (about 3 min)" install
