#!/usr/bin/env bash
# Builds Ollama, in which a case of `make e2e` tries the published files, and prints its path.
#
# The source comes as a Go module, checked against Go's checksum database. The module lacks three C headers, which come
# from Debian and, pinned by hash, from PyPI. The result lies in the cache:
#
#   <cache>/ollama/<version>/ollama
#   <cache>/ollama/<version>.log     what the build wrote
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PYTHON            the Python whose pip fetches (default: python3)
set -euo pipefail
. "$(dirname "$0")/progress.sh"

module=github.com/ollama/ollama version=v0.17.4 minutes=6
miniaudio="miniaudio==1.61 --hash=sha256:e88e97837d031f0fb6982394218b6487de02eaa382ad273b8fca37791a2b4b15"
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/ollama
out=$cache/$version/ollama
scripts=$(cd "$(dirname "$0")" && pwd)

headers() {
    [ -f /usr/include/nlohmann/json.hpp ] && [ -f /usr/include/stb/stb_image.h ] ||
        { apt-get -q update && apt-get -qy install --no-install-recommends nlohmann-json3-dev libstb-dev; }
    echo "$miniaudio" >"$work/headers.txt"
    "${PYTHON:-python3}" -m pip download --quiet --no-deps --no-binary :all: --require-hashes \
        --dest "$work" -r "$work/headers.txt"
    tar -C "$work" -xzf "$work"/miniaudio-*.tar.gz
}

build() {
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    headers
    local go headers
    go=$("$scripts/find-go.sh")
    headers=$(echo "$work"/miniaudio-*/)
    echo "building with $("$go" env GOVERSION)"
    export CGO_ENABLED=1 GOTOOLCHAIN=local CGO_CFLAGS=-O2 CGO_CXXFLAGS="-O2 -I$headers"
    GOBIN=$work "$go" install -v -trimpath -ldflags='-s -w' "$module@$version"
    mkdir -p "$cache/$version"
    mv "$work/ollama" "$out"
}

mkdir -p "$cache"
if [ ! -x "$out" ]; then
    exec 9>"$cache/lock"
    flock 9
    [ -x "$out" ] || progress "$cache/$version.log" "ollama $version: building (about $minutes min)" build
fi
echo "$out"
