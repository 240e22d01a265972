#!/usr/bin/env bash
# Compiles requirements/*.in to requirements/*.txt: pinned, with hashes, without index addresses.
# `scripts/lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
export UV_CUSTOM_COMPILE_COMMAND="scripts/lock.sh"
compile() {
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 "$@"
}
compile runtime.in -o runtime.txt "$@"
compile dev.in -c runtime.txt -o dev.txt "$@"
compile launcher.in -c runtime.txt -o launcher.txt "$@"
compile uv.in -o uv.txt "$@"
compile --no-deps cuda-build.in -c runtime.txt -o cuda-build.txt "$@"
compile --no-deps smollm2.in -o smollm2.txt "$@"
