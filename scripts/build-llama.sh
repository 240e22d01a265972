#!/usr/bin/env bash
# Builds the bundled llama.cpp from its pinned source and prints the folder it is in.
#
#   scripts/build-llama.sh [LINK]     LINK, if given, becomes a symbolic link to that folder
#   scripts/build-llama.sh --source FOLDER    only puts the source, with its patches, into that folder
#   scripts/build-llama.sh --there    builds nothing: the exit code says whether it is built
#
# The source is the folder vendor/llama.cpp of the sdist of llama-cpp-python, pinned by hash in
# requirements/llama-cpp.txt; scripts/llama-examine, a program of this project on its library, is built with it. The
# result lies in the cache under the hash of what it is built from
# (source, this script, patches, that program, options), so a fresh clone finds it:
#
#   <cache>/llama.cpp/<key>/bin/      the programs
#                           convert/  the converters, conversion/ and gguf-py/
#                           vocab/    vocabularies that the tests make tokenizers of
#                           VERSION   llama.cpp's version, where its source came from, a hash of the patches, and
#                                     `cuda` with the architectures, if it has code for GPUs
#   <cache>/llama.cpp/<key>.log       what the build wrote
#
# Environment:
#   FINETUNE_CACHE        the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   CUDA_ARCHITECTURES    e.g. "75;80;86;89;90": build the CUDA backend for these (default: CPU only)
#   CUDA_WHEELS           a folder with the packages of requirements/cuda-build.txt, instead of an installed CUDA
#   CUDA_RPATH            where CUDA's libraries will be, seen from bin/: $ORIGIN/…
#   LLAMA_PORTABLE=1      choose the CPU variant at run time: one build for any x86-64 (for images)
#   LLAMA_SOURCE          a folder made with --source, for a machine without a network (default: it is fetched)
#   PYTHON                the Python whose pip fetches the source (default: python3)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/progress.sh"
link=${1:-}
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/llama.cpp
lock=$root/requirements/llama-cpp.txt
programs=(llama-quantize llama-perplexity llama-imatrix llama-completion llama-bench
    llama-gguf-split llama-tokenize llama-debug llama-examine llama-server)
# The server has no web page (else the build would fetch one), speaks no TLS and can start no programs.
options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_SUBPROCESS=OFF)
if [ -n "${LLAMA_PORTABLE:-}" ]; then
    options+=(-DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON
        -DGGML_NATIVE=OFF "-DCMAKE_INSTALL_RPATH=\$ORIGIN${CUDA_RPATH:+;$CUDA_RPATH}" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON)
else
    options+=(-DBUILD_SHARED_LIBS=OFF)
fi
if [ -n "${CUDA_ARCHITECTURES:-}" ]; then
    options+=(-DGGML_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$CUDA_ARCHITECTURES" -DCMAKE_CUDA_RUNTIME_LIBRARY=Shared)
    if [ -n "${CUDA_WHEELS:-}" ]; then
        toolkit=$CUDA_WHEELS/nvidia/cu13
        options+=("-DCMAKE_CUDA_COMPILER=$toolkit/bin/nvcc" "-DCUDAToolkit_ROOT=$toolkit")
    fi
fi

# Wheels carry neither the names that a linker looks for, nor the driver's library, which comes with a GPU.
complete_toolkit() {
    mkdir -p "$toolkit/lib/stubs"
    for library in "$toolkit"/lib/*.so.*; do ln -sf "${library##*/}" "${library%.so.*}.so"; done
    # With every function, since a linker leaves out a library that gives nothing.
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$toolkit/include/cuda.h" | sort -u | sed 's/.*/void &(void) {}/' |
        gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$toolkit/lib/stubs/libcuda.so.1" -x c -
    ln -sf libcuda.so.1 "$toolkit/lib/stubs/libcuda.so"
}

# A backend that cannot be loaded is passed over without a word, and the GPU with it.
check_backend() {
    local faults
    faults=$({
        LD_LIBRARY_PATH=$toolkit/lib/stubs:$toolkit/lib ldd -r "$1" 2>&1 | grep -oE 'undefined symbol: \w+|\S+ => not found'
        readelf -d "$1" | grep -q 'NEEDED.*libcuda\.so\.1' || echo "it does not name the driver's library"
    } || true)
    [ -z "$faults" ] || { echo "llama.cpp: ${1##*/} could not be loaded: ${faults//$'\n'/, }" >&2; return 1; }
}

# Of the CPU variants, each a build of its own, those that differ on machines of data centres: the baseline, AVX2, four
# steps of AVX-512 with its dot products, AMX. What is left out runs the next lower one.
variants='x64|haswell|skylakex|cascadelake|icelake|zen4|sapphirerapids'

patches() { cat "$root"/scripts/llama-patches/*.patch 2>/dev/null || true; }

# A native build runs only where the CPU has the same features, so these are part of its key.
cpu=$([ -n "${LLAMA_PORTABLE:-}" ] || grep -m1 '^flags' /proc/cpuinfo || true)
key=$({
    cat "$lock" "$0" "$root"/scripts/llama-examine/* && printf '%s\n' "${options[@]}" "$cpu"
    patches
} | sha256sum | cut -c1-16)
out=$cache/$key

# The patched source, by way of a temporary folder, as a new folder.
fetch() {
    "${PYTHON:-python3}" -m pip download --no-deps --no-binary llama-cpp-python \
        --require-hashes -r "$lock" -d "$1"
    mkdir "$1/sdist"
    tar -xzf "$1"/llama_cpp_python-*.tar.gz -C "$1/sdist" --strip-components=1
    mv -T "$1/sdist/vendor/llama.cpp" "$2"
    for patch in "$root"/scripts/llama-patches/*.patch; do
        [ -e "$patch" ] && patch -d "$2" -p1 <"$patch"
    done
    cp -r "$root/scripts/llama-examine" "$2/tools/examine"
    echo 'add_subdirectory(examine)' >>"$2/tools/CMakeLists.txt"
    rm -rf "$2/.git" # it points to a repository that the sdist does not carry
}

build() {
    work=$(mktemp -d "$cache/$key.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/done" "$work/done/bin"
    src=$work/src
    if [ -n "${LLAMA_SOURCE:-}" ]; then cp -r "$LLAMA_SOURCE" "$src"; else fetch "$work" "$src"; fi
    if [ -n "${LLAMA_PORTABLE:-}" ]; then
        sed -i -E "/ggml_add_cpu_backend_variant\(/{/\(($variants)[ )]/!d}" "$src/ggml/src/CMakeLists.txt"
    fi
    [ -z "${toolkit:-}" ] || complete_toolkit
    cmake -S "$src" -B "$work/build" "${options[@]}" 2>&1 | tee "$work/cmake.log"
    cmake --build "$work/build" --target "${programs[@]}"
    [ -z "${toolkit:-}" ] || [ -z "${LLAMA_PORTABLE:-}" ] || check_backend "$work/build/bin/libggml-cuda.so"
    for program in "${programs[@]}"; do
        install -s "$work/build/bin/$program" "$work/done/bin/"
    done
    find "$work/build/bin" -name '*.so*' -exec cp -P -t "$work/done/bin" {} + 2>/dev/null
    mkdir "$work/done/convert"
    cp -r "$src"/convert_hf_to_gguf.py "$src"/convert_lora_to_gguf.py "$src"/conversion \
        "$src"/gguf-py "$work/done/convert/"
    mkdir "$work/done/vocab"
    cp "$src"/models/ggml-vocab-{llama-bpe,qwen2}.gguf "$work/done/vocab/"
    {
        echo "llama.cpp $(sed -n 's/^llama.cpp version: *//p; s/^-- llama.cpp version: *//p' "$work/cmake.log" | head -1)"
        grep -o '^llama-cpp-python==[^ ]*' "$lock"
        echo "patches $(patches | sha256sum | cut -c1-8)"
        [ -z "${CUDA_ARCHITECTURES:-}" ] || echo "cuda $CUDA_ARCHITECTURES"
    } >"$work/done/VERSION"
    mv -T "$work/done" "$out" 2>/dev/null || [ -f "$out/VERSION" ]
}

[ "$link" != --there ] || { [ -f "$out/VERSION" ]; exit; }
mkdir -p "$cache"
if [ "$link" = --source ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    fetch "$work" "$2" >&2
    exit
fi
if [ ! -f "$out/VERSION" ]; then
    exec 9>"$cache/$key.lock"
    flock 9
    if [ ! -f "$out/VERSION" ]; then
        progress "$out.log" "llama.cpp: building (about 8 min; 15 for an image)" build
    fi
fi
[ -z "$link" ] || ln -sfn "$out" "$link"
echo "$out"
