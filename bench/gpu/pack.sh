#!/usr/bin/env bash
# Makes .gpu/ in the repository: what bench/gpu/run.sh needs on a machine that has CUDA and no network, and lacks some
# packages. Needs PyPI and `make setup`.
#
#   bench/gpu/pack.sh           site.tar.xz: the packages of carried.txt; llama.cpp.tar.xz: its patched source
#   bench/gpu/pack.sh --pins    only prints the packages, pinned as in requirements/runtime.txt
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

[ "${1:-}" != --pins ] || { pins; exit; }
out=$root/.gpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
pack_site
pack_source
du -sh "$out"/*
