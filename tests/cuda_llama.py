"""The bundled llama.cpp as one that was built for CUDA, on a machine whose GPU fails: the real programs, behind a
script that says what the CUDA backend says, and fails as it does, for some programs, tries and files.

The words are those of llama.cpp's ggml-cuda.cu (ggml_cuda_error, ggml_backend_cuda_buffer_type_alloc_buffer),
ggml-alloc.c and llama-model.cpp.
"""

import os
from pathlib import Path

from job.llama_cpp import bundle

FITTED, SMALLER, ON_CPU, WITHOUT = "1024", "4096", "ngl0", "none"
"""Tries, as `tries` names them; `all`: as many layers as there are, whatever the GPU holds."""
LAYERS = 3  # of the tiny model, with the output layer

_PROGRAM = r"""#!/bin/bash
name=${0##*/} home=${0%/*}/.. rung=1024 verbose= file=- before=
[ "$name" = llama-bench ] && rung=all
for word in "$@"; do
    case "$before $word" in
        *--list-devices) echo "Available devices:"; echo "  CUDA0: Tesla T4 (15095 MiB, 14900 MiB free)"; exit ;;
        "-fitt "*) rung=$word ;;
        "-ngl "*) rung=ngl$word ;;
        "-m "*) file=${word##*/} ;;
        "-lv 4" | *" -v") verbose=1 ;;
    esac
    before=$word
done
[ -n "${CUDA_VISIBLE_DEVICES-unset}" ] || rung=none
[ "$name" = llama-quantize ] && file=${*: -2:1} # the type that it makes
read=$file # what it reads the weights of
[ "$name" = llama-quantize ] && read=${*: -4:1}
case "$name $*" in *--dry-run* | llama-tokenize*) read=- ;; esac
echo "$name $rung ${GGML_CUDA_CUBLAS_COMPUTE_TYPE-default} ${read##*/}" >>"$home/tries"

no_room() { # as loading the weights ends; without -v llama-bench logs nothing
    if [ "$name" != llama-bench ] || [ -n "$verbose" ]; then
        local allocator=ggml_backend_cuda_buffer_type_alloc_buffer
        cat >&2 <<END
0.00.311.456 E $allocator: allocating 15317.51 MiB on device 0: cudaMalloc failed: out of memory
0.00.311.460 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 16061574144
0.00.412.006 E llama_model_load: error loading model: unable to allocate CUDA0 buffer
0.00.412.010 E llama_model_load_from_file_impl: failed to load model
END
    fi
    echo "error: failed to load model '$file'" >&2
    exit 1
}

stop() { # as ggml_abort ends
    echo "$1" >&2
    [ -n "${GGML_NO_BACKTRACE+set}" ] || for frame in {0..40}; do echo "libllama.so(+0x$frame)" >&2; done
    kill -ABRT $$
}

abort() { # as CUDA_CHECK ends
    echo "0.01.200.001 E CUDA error: out of memory" >&2
    echo "0.01.200.002 E   current device: 0, in function alloc at ggml/src/ggml-cuda/ggml-cuda.cu:570" >&2
    stop "ggml/src/ggml-cuda/ggml-cuda.cu:109: CUDA error"
}

real() {
    if [ -n "$verbose" ] && [ "$rung" != none ]; then
        declare -A layers=([all]=3 [1024]=2 [4096]=1 [ngl0]=0)
        echo "0.00.211.000 I load_tensors: offloaded ${layers[$rung]}/3 layers to GPU" >&2
    fi
    exec "$home/real/$name" "$@"
}

while read -r program tries files fault; do
    [[ $name = $program && $rung = $tries && $file = $files ]] || continue
    case $fault in
        no_room) no_room ;;
        abort) abort ;;
        assert) stop "ggml/src/ggml.c:1644: GGML_ASSERT(ctx->mem_buffer != NULL) failed" ;;
        abort_late) "$home/real/$name" "$@"; abort ;;
        killed) kill -KILL $$ ;;
        slow) sleep 2; real "$@" ;;
        memory) ulimit -v 20000; real "$@" ;;
        damage) # what llama-quantize has written is not a GGUF
            "$home/real/$name" "$@" || exit
            case "$*" in *--dry-run*) exit ;; esac
            printf 'XXXX' | dd of="${*: -3:1}" conv=notrunc status=none
            exit ;;
    esac
done <"$home/faults"
real "$@"
"""


class CudaLlama:
    """In `folder`, for FINETUNE_LLAMA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bundled = Path(os.path.realpath(bundle.home()))
        (folder / "bin").mkdir(parents=True)
        (folder / "real").symlink_to(bundled / "bin")
        for name in ("VERSION", "convert"):
            (folder / name).symlink_to(bundled / name)
        for program in (bundled / "bin").glob("llama-*"):
            (folder / "bin" / program.name).write_text(_PROGRAM)
            (folder / "bin" / program.name).chmod(0o755)
        self.fail()

    def fail(self, *faults: str) -> None:
        """From now on; each is `PROGRAM TRY FILE FAULT`, of which the first three are patterns of the shell's. Faults:
        no_room, abort, abort_late (after its work), assert, killed, slow, memory, damage."""
        (self.folder / "faults").write_text("".join(f"{fault}\n" for fault in faults))
        (self.folder / "tries").write_text("")

    def tries(self, program: str) -> list[str]:
        """How a program was started since `fail`, one after another."""
        return [rung for name, rung, *_ in self._tries() if name == program]

    def sums(self, program: str) -> set[str]:
        """The types in which a program was told to sum products of matrices since `fail`."""
        return {sums for name, _, sums, _ in self._tries() if name == program}

    def loads(self, kind: str) -> list[str]:
        """The programs that have read the weights of a file of this type since `fail`."""
        return [name for name, _, _, file in self._tries() if f"-{kind}." in file]

    def _tries(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "tries").read_text().splitlines()]
