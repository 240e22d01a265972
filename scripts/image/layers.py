"""Sorts an environment's files into the image's layers, and deletes what is never loaded.

    layers.py [--gpu] PREFIX OUT

OUT/cuda, OUT/torch and OUT/packages each hold a part of PREFIX under its own path, from what changes least to what
changes most. What goes: headers, static libraries and tests; libraries that none of the rest names and that are
opened only for what this job does not do; without --gpu also those that are opened only where there is a GPU. What
libtorch_cuda.so itself names stays in either case, since the loader wants it before anything runs.
"""

import shutil
import sys
from pathlib import Path

NEVER = (
    "**/*.a",
    "*/tests",
    "*/*/tests",
    "numpy/**/tests",
    "pandas/**/tests",
    "sympy/**/tests",
    "nvidia/*/include",
    "nvidia/cu13/lib/libcusolverMg.so*",  # several GPUs
    "nvidia/cu13/lib/libnvperf*",  # the profiler
    "nvidia/nvshmem/lib/*.bc",  # device code for kernels that are compiled against it
    "nvidia/nvshmem/lib/*transport*",  # several nodes
    "nvidia/nvshmem/lib/*bootstrap*",
    "torch/include",
    "torch/bin/protoc*",
    "torch/share/cmake",
    "pyarrow/include",
    "pyarrow/libarrow_flight*",
    "pyarrow/libarrow_python_flight*",
    "pyarrow/_flight*",
    "bitsandbytes/libbitsandbytes_rocm*",
    "bitsandbytes/libbitsandbytes_xpu*",
    "bitsandbytes/libbitsandbytes_cuda11*",  # torch's CUDA is 13
    "bitsandbytes/libbitsandbytes_cuda12*",
)
WITHOUT_A_GPU = ("nvidia/cudnn/lib/libcudnn_*",)


def main() -> int:
    arguments = sys.argv[1:]
    gpu = "--gpu" in arguments
    prefix, out = (Path(one) for one in arguments if one != "--gpu")
    site = next(prefix.glob("lib/python3*/site-packages"))
    for pattern in NEVER + (() if gpu else WITHOUT_A_GPU):
        for path in list(site.glob(pattern)):
            delete(path)
    for name, tops in (("cuda", ["nvidia"]), ("torch", ["torch"])):
        for top in tops:
            move(site / top, out / name / site.relative_to("/") / top)
    move(prefix, out / "packages" / prefix.relative_to("/"))
    return 0


def delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():  # a pattern before may have taken its folder
        path.unlink()


def move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


if __name__ == "__main__":
    sys.exit(main())
