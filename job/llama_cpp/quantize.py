"""Makes a GGUF of one type from the unquantized one: quantizes, and splits it if the spec asks for that."""

import os
import re
import shutil
import time
from pathlib import Path

from job.artifacts import Frozen, written_whole
from job.errors import Bug, SpecInvalid, StorageFailed
from job.llama_cpp import offload
from job.llama_cpp.quantizer import MIB, DryRun, disk_full, dry_run, run_quantizer, says_disk_full
from job.logs import Progress, log
from job.node import threads
from job.node_disk import free_bytes
from job.spec import JobSpec
from job.spec.quants import NEEDS_IMATRIX, UNQUANTIZED

_TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")


class Inputs(Frozen):
    """`gguf` is the unquantized file; `imatrix` an importance matrix, if there is one.

    `types`: of single tensors, by name; `preset`: whose rules hold for the others, if `type` is not one of llama.cpp's.
    """

    gguf: Path
    type: str
    imatrix: Path | None = None
    name: str = "model"
    types: dict[str, str] = {}
    preset: str | None = None

    @property
    def rules(self) -> str:
        """The type that llama-quantize is asked for."""
        return self.preset or self.type


class Made(Frozen):
    """A file that has not been tried. `expected`: what was forecast of it; `seconds`: what making it took."""

    file: Path
    expected: DryRun
    seconds: float


class Result(Frozen):
    """The file (or its parts) and its size in bytes. `bits_per_weight`: over all tensors, as llama.cpp prints it;
    `fallbacks`: tensors that got another type because their width is not a multiple of the type's block; `tensors`: how
    many of each kind got which type."""

    files: list[Path]
    size: int
    bits_per_weight: float
    fallbacks: int
    tensors: dict[str, dict[str, int]]
    seconds: float


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Makes the file, in parts if the spec asks for that. Raises the errors of both steps."""
    return split(spec, make(spec, inputs, workdir))


def make(spec: JobSpec, inputs: Inputs, workdir: Path) -> Made:
    """Makes the file, on the CPU alone. Raises SpecInvalid if the type needs a matrix or the input is quantized
    already, IntegrityViolated if it contains NaN, StorageFailed if the disk is full."""
    if inputs.type in NEEDS_IMATRIX and inputs.imatrix is None:
        raise SpecInvalid(f"export.types: {inputs.type} needs an importance matrix", hint="Set export.imatrix: auto.")
    started = time.monotonic()
    out = workdir / f"{inputs.name}-{inputs.type}.gguf"
    _clear(out)
    expected = forecast(inputs)
    if inputs.type == spec.export.unquantized:
        _link(inputs.gguf, out)
    else:
        size = inputs.gguf.stat().st_size + expected.after - expected.before  # accurate to one per cent
        _need_room(out.parent, size)
        _quantize(inputs, out, size)
    return Made(file=out, expected=expected, seconds=time.monotonic() - started)


def split(spec: JobSpec, made: Made) -> Result:
    """Splits the file if the spec asks for that. Raises StorageFailed if the disk is full."""
    started, out, expected = time.monotonic(), made.file, made.expected
    size = out.stat().st_size
    return Result(
        files=_split(out, spec.export.split_max_size) if spec.export.split_max_size else [out],
        size=size,
        bits_per_weight=expected.bits_per_weight,
        fallbacks=expected.fallbacks,
        tensors=expected.tensors,
        seconds=round(made.seconds + time.monotonic() - started, 1),
    )


def forecast(inputs: Inputs) -> DryRun:
    """What llama-quantize would make. Raises SpecInvalid for a file that is quantized already."""
    found = dry_run(inputs.gguf, inputs.rules, _matrix(inputs), inputs.types)
    if quantized := sorted(found.types - set(UNQUANTIZED)):
        raise SpecInvalid(
            f"{inputs.gguf.name} is quantized already ({', '.join(quantized)}); {inputs.type} from it would lose more",
            hint="Set model.id to the model that it was made from.",
        )
    if inputs.type == "mxfp4_moe" and not found.has_experts:
        log.warning("quantize.no_experts", type=inputs.type, what="only experts get mxfp4; every tensor becomes q8_0")
    if found.fallbacks:
        log.info("quantize.fallbacks", type=inputs.type, tensors=found.fallbacks)
    return found


def _matrix(inputs: Inputs) -> Path | None:
    return inputs.imatrix if inputs.type not in UNQUANTIZED else None


def _clear(out: Path) -> None:
    """Removes what a killed attempt has left here."""
    stem = out.name.removesuffix(".gguf")
    for path in out.parent.iterdir() if out.parent.is_dir() else ():
        name = path.name.removeprefix(".")
        if name.startswith(f"{stem}.gguf") or re.fullmatch(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.gguf", name):
            path.unlink()


def _link(gguf: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(gguf, out)
    except OSError:  # another file system, or one without hard links
        _need_room(out.parent, gguf.stat().st_size)
        with written_whole(out) as temporary:
            shutil.copyfile(gguf, temporary)


def _need_room(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = free_bytes(folder)
    if free < size * 1.02:
        raise StorageFailed(
            f"{folder} has {free / 1e9:.2f} GB free, and {size / 1e9:.2f} GB are needed",
            hint="Give the work directory (FINETUNE_WORK) more disk space.",
        )


def _quantize(inputs: Inputs, out: Path, expected: int) -> None:
    bar: list[Progress] = []
    unmatched = 0

    def on_line(line: str) -> None:
        nonlocal unmatched
        unmatched += "did not find weights for blk." in line
        if found := _TENSOR.match(line):
            done, total = int(found[1]), int(found[2])
            if not bar:
                bar.append(Progress(f"quantizing {inputs.type}", total, "tensors"))
            bar[0].update(done)

    with written_whole(out) as temporary:
        operands: list[str | Path] = [inputs.gguf, temporary, inputs.rules, str(threads())]
        run_quantizer(inputs.gguf, inputs.rules, _matrix(inputs), [], operands, on_line, inputs.types)
        if temporary.stat().st_size < expected * 0.98 - MIB:
            raise disk_full(out.parent)
    if unmatched:
        log.warning("quantize.imatrix_lacks_tensors", type=inputs.type, tensors=unmatched)


def _split(path: Path, max_size: str) -> list[Path]:
    """Splits a file into parts of at most `max_size` (4G); a larger tensor gets a part of its own.

    Raises StorageFailed if the disk is full.
    """
    _need_room(path.parent, path.stat().st_size)
    stem = path.with_suffix("")
    try:
        offload.run("llama-gguf-split", ["--split", "--split-max-size", max_size, path, stem], gguf=path, error=Bug)
    except Bug as error:
        if says_disk_full(error.message):
            raise disk_full(path.parent) from error
        raise
    parts = sorted(path.parent.glob(f"{stem.name}-?????-of-?????.gguf"))
    path.unlink()
    return parts
