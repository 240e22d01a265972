#!/usr/bin/env bash
# Builds a program written in Go, and prints its path.
#
#   scripts/build-go.sh versitygw [LINK]     the S3 server of the tests and the demo
#   scripts/build-go.sh helm [LINK]          Helm, with which the chart is tested and packaged
#   scripts/build-go.sh actionlint [LINK]    actionlint, with which the workflows are checked
#   scripts/build-go.sh PROGRAM --there      builds nothing: the exit code says whether it is built
#
# LINK, if given, becomes a symbolic link to it. The source comes as a Go module, checked against Go's checksum
# database. The result lies in the cache:
#
#   <cache>/<program>/<version>/<program>
#   <cache>/<program>/<version>.log          what the build wrote
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PYTHON            the Python whose pip fetches Go, where there is none (default: python3)
set -euo pipefail
. "$(dirname "$0")/progress.sh"

program=$1
link=${2:-}
case $program in
    versitygw) module=github.com/versity/versitygw/cmd/versitygw version=v1.8.0 minutes=2 ;;
    helm) module=helm.sh/helm/v4/cmd/helm version=v4.3.1 minutes=5 ;;
    actionlint) module=github.com/rhysd/actionlint/cmd/actionlint version=v1.7.12 minutes=1 ;;
    *) echo "$0: versitygw, helm or actionlint?" >&2 && exit 64 ;;
esac
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/$program
out=$cache/$version/$program

build() {
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    local go
    go=$("$(dirname "$0")/find-go.sh")
    echo "building with $("$go" env GOVERSION)"
    GOBIN=$work CGO_ENABLED=0 GOTOOLCHAIN=local "$go" install -v -trimpath -ldflags='-s -w' "$module@$version"
    mkdir -p "$cache/$version"
    mv "$work/$program" "$out"
}

[ "$link" != --there ] || { [ -x "$out" ]; exit; }
mkdir -p "$cache"
if [ ! -x "$out" ]; then
    exec 9>"$cache/lock"
    flock 9
    if [ ! -x "$out" ]; then
        progress "$cache/$version.log" "$program $version: building (about $minutes min)" build
    fi
fi
[ -z "$link" ] || ln -sfn "$out" "$link"
echo "$out"
