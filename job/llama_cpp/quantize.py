"""One type of GGUF from the unquantized one: quantized, tried, and split where the spec asks for it."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from job.artifacts import Frozen, written_whole
from job.errors import Bug, IntegrityViolated, SpecInvalid, StorageFailed
from job.llama_cpp import offload
from job.llama_cpp.generate import check_numbers, generate
from job.llama_cpp.quant_mix import mix_of
from job.logs import Progress, log
from job.node import threads
from job.spec import JobSpec
from job.spec.quants import NEEDS_IMATRIX, UNQUANTIZED

PROMPT = "The capital of France is"
_TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")
_TYPES = re.compile(r"- type\s+(\w+):\s+\d+ tensors")
_BEFORE = re.compile(r"model size\s*=\s*([\d.]+) MiB")
_AFTER = re.compile(r"quant size\s*=\s*([\d.]+) MiB \(([\d.]+) BPW\)")
_FALLBACKS = re.compile(r"WARNING: (\d+) of \d+ tensor\(s\) required fallback")
_EXPERTS = re.compile(r"\b(\w+)\.expert_count\s")
_MIB = 1 << 20


class Inputs(Frozen):
    """`gguf` is the unquantized file; `imatrix` an importance matrix, where there is one."""

    gguf: Path
    type: str
    imatrix: Path | None = None
    name: str = "model"


class Result(Frozen):
    """The file (or its parts) and its size in bytes. `bits_per_weight` counts the tensors, as llama.cpp prints it;
    `fallbacks` the tensors whose width is no multiple of the type's block, and which got another type; `tensors` how
    many of each kind got which type."""

    files: list[Path]
    size: int
    bits_per_weight: float
    fallbacks: int
    tensors: dict[str, dict[str, int]]
    generated: str
    seconds: float


class Forecast(Frozen):
    """What llama-quantize says that it would do. `size` is the file's, in bytes, to one part in a hundred."""

    size: int
    bits_per_weight: float
    fallbacks: int
    tensors: dict[str, dict[str, int]]


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Makes the file. Raises SpecInvalid where the type needs a matrix or the input is quantized already,
    IntegrityViolated where the file does not load and generate, StorageFailed where the disk is full."""
    if inputs.type in NEEDS_IMATRIX and inputs.imatrix is None:
        raise SpecInvalid(f"export.types: {inputs.type} needs an importance matrix", hint="Set export.imatrix: auto.")
    started = time.monotonic()
    out = workdir / f"{inputs.name}-{inputs.type}.gguf"
    _clear(out)
    expected = forecast(inputs)
    if inputs.type == spec.export.dtype:
        _link(inputs.gguf, out)
    else:
        _need_room(out.parent, expected.size)
        _quantize(inputs, out, expected)
    size = out.stat().st_size
    said = generate(out, PROMPT, tokens=8, seed=spec.run.seed)
    check_numbers(out)
    log.info("quantize.tried", type=inputs.type, generated=said)
    return Result(
        files=_split(out, spec.export.split_max_size) if spec.export.split_max_size else [out],
        size=size,
        bits_per_weight=expected.bits_per_weight,
        fallbacks=expected.fallbacks,
        tensors=expected.tensors,
        generated=said,
        seconds=round(time.monotonic() - started, 1),
    )


def forecast(inputs: Inputs) -> Forecast:
    """Asks llama-quantize, which reads no weights for it. Raises SpecInvalid for a file that is quantized already."""
    lines: list[str] = []
    _llama_quantize(inputs, ["--dry-run"], [inputs.gguf, inputs.type], lines.append)
    said = "\n".join(lines)
    quantized = sorted(set(_TYPES.findall(said)) - set(UNQUANTIZED))
    if quantized:
        raise SpecInvalid(
            f"{inputs.gguf.name} is quantized already ({', '.join(quantized)}); {inputs.type} of it would lose more",
            hint="Name the model that it was made from as model.id.",
        )
    before, after, fallbacks = _BEFORE.search(said), _AFTER.search(said), _FALLBACKS.search(said)
    if before is None or after is None:
        raise Bug(f"llama-quantize --dry-run {inputs.gguf.name} {inputs.type} names no size\n{said[-2000:]}")
    if inputs.type == "mxfp4_moe" and not _EXPERTS.search(said):
        log.warning("quantize.no_experts", type=inputs.type, what="only experts get mxfp4; every tensor becomes q8_0")
    if fallbacks:
        log.info("quantize.fallbacks", type=inputs.type, tensors=int(fallbacks[1]))
    size = inputs.gguf.stat().st_size + int((float(after[1]) - float(before[1])) * _MIB)
    return Forecast(
        size=size,
        bits_per_weight=float(after[2]),
        fallbacks=int(fallbacks[1]) if fallbacks else 0,
        tensors=mix_of(said),
    )


def _clear(out: Path) -> None:
    """Removes what an attempt that was killed has left here."""
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
    free = shutil.disk_usage(folder).free
    if free < size * 1.02:
        raise StorageFailed(
            f"{folder} has {free / 1e9:.2f} GB free, and {size / 1e9:.2f} GB are needed",
            hint="Give the work directory (FINETUNE_WORK) more disk.",
        )


def _quantize(inputs: Inputs, out: Path, expected: Forecast) -> None:
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
        _llama_quantize(inputs, [], [inputs.gguf, temporary, inputs.type, str(threads())], on_line)
        if temporary.stat().st_size < expected.size * 0.98 - _MIB:
            raise _disk_full(out.parent)
    if unmatched:
        log.warning("quantize.imatrix_lacks_tensors", type=inputs.type, tensors=unmatched)


def _llama_quantize(
    inputs: Inputs, options: list[str], operands: list[str | Path], on_line: Callable[[str], None]
) -> None:
    """Runs it in the matrix's folder: the matrix's name, as it is given, is written into the file.

    It exits 1 whatever happens, so only its words tell the cases apart.
    """
    matrix = inputs.imatrix if inputs.type not in UNQUANTIZED else None
    options = [*options, "--imatrix", matrix.name] if matrix else options
    arguments = [*options, *_absolute(operands)]
    folder = matrix.parent if matrix else None
    try:
        offload.run("llama-quantize", arguments, gguf=inputs.gguf, error=Bug, on_line=on_line, cwd=folder)
    except Bug as error:
        words = error.message
        if _says_disk_full(words):
            raise _disk_full([one for one in operands if isinstance(one, Path)][-1].parent) from error
        if matrix and re.search(r"load_imatrix|imatrix (size|contains)|Missing importance matrix", words):
            raise SpecInvalid(
                f"export.imatrix: this matrix does not serve to make {inputs.type} of {inputs.gguf.name}\n{words}",
                hint="Is it for another model? Set export.imatrix: auto.",
            ) from error
        if "invalid data" in words or "data validation failed" in words:
            raise IntegrityViolated(
                f"{inputs.gguf.name} holds NaN or infinity, so no {inputs.type} can be made of it\n{words}",
                hint="Did the training diverge, or does the model overflow float16? Try export.dtype bf16 or f32.",
            ) from error
        if "failed to load" in words or "corrupted or incomplete" in words:
            raise IntegrityViolated(f"{inputs.gguf.name} is no GGUF that llama.cpp can read\n{words}") from error
        raise


def _absolute(operands: list[str | Path]) -> list[str | Path]:
    return [one.absolute() if isinstance(one, Path) else one for one in operands]


def _says_disk_full(words: str) -> bool:
    return "iostream error" in words or "killed by signal 25" in words  # SIGXFSZ: over the limit for one file


def _disk_full(folder: Path) -> StorageFailed:
    free = shutil.disk_usage(folder).free
    return StorageFailed(
        f"the disk is full: a file could not be written whole; {folder} has {free / 1e9:.2f} GB left",
        hint="Give the work directory (FINETUNE_WORK) more disk.",
    )


def _split(path: Path, max_size: str) -> list[Path]:
    """Splits a file into parts of at most `max_size` (4G); a tensor that is larger gets a part to itself.

    Raises StorageFailed where the disk is full, IntegrityViolated where the parts do not load together.
    """
    _need_room(path.parent, path.stat().st_size)
    stem = path.with_suffix("")
    try:
        offload.run("llama-gguf-split", ["--split", "--split-max-size", max_size, path, stem], gguf=path, error=Bug)
    except Bug as error:
        if _says_disk_full(error.message):
            raise _disk_full(path.parent) from error
        raise
    parts = sorted(path.parent.glob(f"{stem.name}-?????-of-?????.gguf"))
    generate(parts[0], PROMPT, tokens=1)  # the first part loads the others
    path.unlink()
    return parts
