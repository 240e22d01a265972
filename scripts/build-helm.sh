#!/usr/bin/env bash
# Builds Helm, with which the chart is tested and packaged, and prints the path of the program.
#
#   scripts/build-helm.sh [LINK]     LINK, if given, becomes a symbolic link to it
#
# The source comes as a Go module, checked against Go's checksum database. The result lies in the cache:
#
#   <cache>/helm/<version>/helm
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PYTHON            the Python whose pip fetches Go, where there is none (default: python3)
set -euo pipefail

version=v4.3.1
link=${1:-}
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/helm
out=$cache/$version/helm

build() {
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    local go
    go=$("$(dirname "$0")/find-go.sh")
    echo "helm: building $version with $("$go" env GOVERSION) (about 5 minutes on 2 cores)" >&2
    GOBIN=$work CGO_ENABLED=0 GOTOOLCHAIN=local \
        "$go" install -trimpath -ldflags='-s -w' "helm.sh/helm/v4/cmd/helm@$version" >&2
    mkdir -p "$cache/$version"
    mv "$work/helm" "$out"
}

mkdir -p "$cache"
if [ ! -x "$out" ]; then
    exec 9>"$cache/lock"
    flock 9
    [ -x "$out" ] || build
fi
[ -z "$link" ] || ln -sfn "$out" "$link"
echo "$out"
