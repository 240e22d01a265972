#!/usr/bin/env bash
# Runs the parts of `python -m bench.gpu` with what bench/gpu/pack.sh has packed: on a machine with a GPU, CUDA's compiler
# and PyTorch, without a network.
#
#   bench/gpu/run.sh [PART|OPTION…]    e.g. job-fp16 plain-fp16; OUT=/tmp/out bench/gpu/run.sh
#
# Environment:
#   OUT        the folder that gets results.jsonl and log.txt (default: build/bench-gpu)
#   SCRATCH    50 GB for models and builds (default: /dev/shm)
#   GPU_PACK   where pack.sh has put its files (default: .gpu)
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
pack=${GPU_PACK:-.gpu}
scratch=${SCRATCH:-/dev/shm}/bench-gpu
nvidia-smi --query-gpu=name,memory.total,driver_version,compute_cap --format=csv,noheader
mkdir -p "$scratch/site"
unpack() { # not every image has xz
    "$python" -W ignore::DeprecationWarning -m tarfile -e "$1" "$2" # an option to choose a filter came with 3.12
}
unpack "$pack/site.tar.xz" "$scratch/site"
unpack "$pack/llama.cpp.tar.xz" "$scratch"
if [ -f "$pack/llama-built.tar.xz" ]; then
    unpack "$pack/llama-built.tar.xz" "$scratch"
    export LLAMA_BUILT=$scratch/llama-built
    libraries=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu13/lib
    export LD_LIBRARY_PATH=$libraries:/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} # of cuBLAS
fi
export PATH=$PATH:/usr/local/cuda/bin # where NVIDIA's packages put nvcc
export PYTHONPATH=$scratch/site:$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
export LLAMA_SOURCE=$scratch/llama.cpp FINETUNE_CACHE=${FINETUNE_CACHE:-$scratch/cache}
exec "$python" -m bench.gpu --work "$scratch/work" "$@"
