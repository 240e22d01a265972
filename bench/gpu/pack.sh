#!/usr/bin/env bash
# Makes .gpu/ in the repository: what bench/gpu/run.sh needs on a machine that has CUDA and no network, and lacks some
# packages. Needs PyPI and `make setup`.
#
#   bench/gpu/pack.sh                   site.tar.xz: the packages of carried.txt; llama.cpp.tar.xz: its patched source
#   bench/gpu/pack.sh --built 90-real   also llama-built.tar.xz: llama.cpp built for that CUDA architecture, which here
#                                       takes half an hour on two idle cores, and saves that machine five minutes
#   bench/gpu/pack.sh --pins            only prints the packages, pinned as in requirements/runtime.txt
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=3.12 # of that machine
cuda=130    # of its torch: bitsandbytes has a library of 10 to 40 MB for each

pins() { # each with its lines of hashes
    awk 'NR == FNR { if ($0 !~ /^#/) wanted[$1]; next }
        /^[a-z]/ { split($1, pin, "=="); keep = pin[1] in wanted; delete wanted[pin[1]] }
        keep && !/^ *#/
        END { for (name in wanted) { print name " is not in requirements/runtime.txt" >"/dev/stderr"; exit 1 } }
    ' "$here/carried.txt" "$root/requirements/runtime.txt"
}

pack_site() {
    pins >"$work/pins.txt"
    "$root/.venv/bin/uv" pip install --quiet --no-deps --require-hashes --python-version $python \
        --python-platform x86_64-manylinux_2_28 --target "$work/site" -r "$work/pins.txt"
    find "$work/site/bitsandbytes" -name 'libbitsandbytes_*.so' ! -name "*_cpu.so" ! -name "*_cuda$cuda.so" -delete
    tar -C "$work/site" --exclude=__pycache__ -cJf "$out/site.tar.xz" .
}

pack_source() {
    local source=$work/llama.cpp
    PYTHON=$root/.venv/bin/python "$root/scripts/build-llama.sh" --source "$source"
    rm -r "${source:?}"/{docs,media,benches,tests,tools/ui}
    find "$source/models" -type f ! -name ggml-vocab-llama-bpe.gguf ! -name ggml-vocab-qwen2.gguf -delete
    tar -C "$work" -cJf "$out/llama.cpp.tar.xz" llama.cpp
}

# Machine code that is not compressed one by one is a third as large when all of it is compressed together.
pack_built() { # ARCHITECTURE
    local cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/gpu-pack
    local wheels=$cache/cuda built
    mkdir -p "$wheels"
    "$root/.venv/bin/uv" pip install --quiet --no-deps --require-hashes --target "$wheels" -r "$root/requirements/cuda-build.txt"
    built=$(CUDA_ARCHITECTURES=$1 CUDA_WHEELS=$wheels CUDA_RPATH="\$ORIGIN" LLAMA_PORTABLE=1 FINETUNE_CACHE=$cache \
        NVCC_APPEND_FLAGS=-no-compress PYTHON=$root/.venv/bin/python "$root/scripts/build-llama.sh")
    cp -r "$built" "$work/llama-built"
    cp "$wheels"/nvidia/cu13/lib/libcudart.so.13 "$work/llama-built/bin/" # libcublas is the machine's own
    XZ_OPT=-9e tar -C "$work" -cJf "$out/llama-built.tar.xz" llama-built
}

[ "${1:-}" != --pins ] || { pins; exit; }
out=$root/.gpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
pack_site
pack_source
rm -f "$out/llama-built.tar.xz"
if [ "${1:-}" = --built ]; then pack_built "${2:?an architecture, e.g. 90-real}"; fi
du -sh "$out"/*
