#!/usr/bin/env bash
# Builds versitygw, the S3 server of the tests and the demo, and prints the path of the program.
#
#   scripts/build-versitygw.sh [LINK]     LINK, if given, becomes a symbolic link to it
#
# The source comes as a Go module, checked against Go's checksum database. The result lies in the cache:
#
#   <cache>/versitygw/<version>/versitygw
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PYTHON            the Python whose pip fetches the wheel (default: python3)
set -euo pipefail

version=v1.8.0
link=${1:-}
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/versitygw
out=$cache/$version/versitygw

build() {
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    local go
    go=$("$(dirname "$0")/find-go.sh")
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
