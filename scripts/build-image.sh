#!/usr/bin/env bash
# Builds the image with docker, podman or buildah, whichever works here, and prints its name.
#
#   scripts/build-image.sh
#
# The name's tag is the hash of what the image is built from (Dockerfile, job/, requirements, scripts, arguments), and
#
#   <cache>/image/<hash>     says that it was built: engine, name
#   <cache>/image/<hash>.log     what the build wrote
#
# so that nothing is built twice. Where no engine runs, buildah builds in a chroot (as root); where no registry can be
# reached, debootstrap makes the base from Debian's packages.
#
# Environment:
#   CUDA_ARCHITECTURES    e.g. "75;80;86;89;90;100;120" for a release (default: empty, a CPU-only image)
#   BASE_IMAGE            Debian 12 from elsewhere (default: the one that the Dockerfile pins)
#   CA_BUNDLE             certificates that the build has to trust (default: SSL_CERT_FILE, if set)
#   PYTHON_INDEX          the address of a Python index (default: PyPI)
#   IMAGE                 the name without tag (default: localhost/finetune-run)
#   ENGINE                docker, podman or buildah (default: the first that works)
#   FINETUNE_CACHE        the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. scripts/progress.sh
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/image
archs=${CUDA_ARCHITECTURES:-}
local_base=localhost/finetune-run-base:bookworm
say() { echo "image: $*" >&2; }

engine() {
    if [ -n "${ENGINE:-}" ]; then echo "$ENGINE"; return; fi
    for one in docker podman; do
        if command -v "$one" >/dev/null && "$one" info >/dev/null 2>&1; then echo "$one"; return; fi
    done
    say "neither docker nor podman runs here; buildah builds in a chroot"
    scripts/system.sh buildah debootstrap >&2
    echo buildah
}

# buildah's storage is named, since its default falls back to copying whole layers.
run_engine() {
    if [ "$engine" = buildah ]; then buildah --storage-driver overlay "$@"; else "$engine" "$@"; fi
}

has() { run_engine inspect --type image "$1" >/dev/null 2>&1; }

make_base() {
    local folder container
    say "no registry can be reached: making the base with debootstrap (about 1 minute)"
    [ "$(id -u)" -eq 0 ] || { say "that needs root; else name an image: BASE_IMAGE"; return 77; }
    folder=$(mktemp -d "$cache/.base.XXXXXX")
    debootstrap --variant=minbase --include=ca-certificates bookworm "$folder" >&2
    echo "deb http://deb.debian.org/debian-security bookworm-security main" >>"$folder/etc/apt/sources.list"
    rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/*
    container=$(run_engine from scratch)
    run_engine add -q "$container" "$folder" / >&2
    run_engine commit -q "$container" "$local_base" >&2
    run_engine rm "$container" >/dev/null
    rm -rf "$folder"
}

base() {
    if [ -n "${BASE_IMAGE:-}" ]; then echo "$BASE_IMAGE"; return; fi
    local pinned
    pinned=$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)
    if [ "$engine" != buildah ] || has "$pinned" || run_engine pull -q "$pinned" >/dev/null 2>&1; then
        echo "$pinned"
        return
    fi
    exec 8>"$cache/base.lock"
    flock 8
    has "$local_base" || make_base
    exec 8>&-
    echo "$local_base"
}

# What the Dockerfile copies, and the arguments.
key() {
    { find Dockerfile .dockerignore entrypoint.sh job scripts/image scripts/llama-patches scripts/llama-examine scripts/build-llama.sh scripts/progress.sh \
        requirements/{runtime,uv,llama-cpp,cuda-build,image-without}.txt \
        -type f -not -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum
        echo "$archs ${BASE_IMAGE:-}"
    } | sha256sum | cut -c1-16
}

build() {
    local from arguments
    from=$(base)
    arguments=(--build-arg "CUDA_ARCHITECTURES=$archs" --build-arg "BASE_IMAGE=$from"
        --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' job/__init__.py)"
        --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)"
        --build-arg "SOURCE=${SOURCE:-}" -t "$name")
    local bundle=${CA_BUNDLE:-${SSL_CERT_FILE:-}}
    [ -z "$bundle" ] || arguments+=(--secret "id=ca,src=$bundle")
    if [ -n "${PYTHON_INDEX:-}" ]; then
        index=$(mktemp)
        trap 'rm -f "$index"' EXIT
        printf %s "$PYTHON_INDEX" >"$index"
        arguments+=(--secret "id=index,src=$index")
    fi
    [ "$engine" != buildah ] || arguments+=(--isolation chroot --layers --format docker)
    DOCKER_BUILDKIT=1 run_engine build "${arguments[@]}" .
}

mkdir -p "$cache"
engine=$(engine)
key=$(key)
name=${IMAGE:-localhost/finetune-run}:$key
built() { [ -f "$cache/$key" ] && has "$name"; }
if ! built; then
    exec 9>"$cache/$key.lock"
    flock 9
    if ! built; then
        progress "$cache/$key.log" "image: building $name with $engine (${archs:-CPU only})" build
        echo "$engine $name" >"$cache/$key"
    fi
fi
if [ -n "$archs" ]; then say "llama.cpp has code for GPUs (CUDA): $archs"; else say "llama.cpp is CPU-only; for a GPU set CUDA_ARCHITECTURES"; fi
echo "$name"
