"""Runs llama-quantize, or asks it for its forecast (`--dry-run`)."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from job.artifacts import Frozen
from job.errors import Bug, IntegrityViolated, SpecInvalid, StorageFailed
from job.llama_cpp import offload
from job.llama_cpp.quant_mix import mix_of
from job.node_disk import free_bytes

_TYPES = re.compile(r"- type\s+(\w+):\s+\d+ tensors")
_BEFORE = re.compile(r"model size\s*=\s*([\d.]+) MiB")
_AFTER = re.compile(r"quant size\s*=\s*([\d.]+) MiB \(([\d.]+) BPW\)")
_FALLBACKS = re.compile(r"WARNING: (\d+) of \d+ tensor\(s\) required fallback")
_EXPERTS = re.compile(r"\b(\w+)\.expert_count\s")
MIB = 1 << 20


class DryRun(Frozen):
    """The forecast of llama-quantize. `before` and `after`: bytes of all tensors, to a hundredth of a MiB; `types`:
    those of the input's tensors; `tensors`: how many of each kind would get which type."""

    before: int
    after: int
    bits_per_weight: float
    fallbacks: int
    types: set[str]
    has_experts: bool
    tensors: dict[str, dict[str, int]]


def dry_run(gguf: Path, kind: str, matrix: Path | None, types: Mapping[str, str] = {}) -> DryRun:
    """`types`: of tensors that get another than the rules of `kind` give them.

    Reads no weights. Raises Bug if it does not report a size, else the errors of `run_quantizer`.
    """
    lines: list[str] = []
    run_quantizer(gguf, kind, matrix, ["--dry-run"], [gguf, kind], lines.append, types)
    said = "\n".join(lines)
    before, after, fallbacks = _BEFORE.search(said), _AFTER.search(said), _FALLBACKS.search(said)
    if before is None or after is None:
        raise Bug(
            f"llama-quantize --dry-run {gguf.name} {kind} did not report a size\
        {said[-2000:]}"
        )
    return DryRun(
        before=round(float(before[1]) * MIB),
        after=round(float(after[1]) * MIB),
        bits_per_weight=float(after[2]),
        fallbacks=int(fallbacks[1]) if fallbacks else 0,
        types=set(_TYPES.findall(said)),
        has_experts=_EXPERTS.search(said) is not None,
        tensors=mix_of(said),
    )


def run_quantizer(
    gguf: Path,
    kind: str,
    matrix: Path | None,
    options: list[str],
    operands: list[str | Path],
    on_line: Callable[[str], None],
    types: Mapping[str, str] = {},
) -> None:
    """Runs it in the matrix's folder, since the matrix's path, as given, is written into the file. `types`: of single
    tensors, by name.

    It exits 1 for every error, so its output is searched to tell the cases apart.
    """
    options = [*options, "--imatrix", matrix.name] if matrix else options
    folder = matrix.parent if matrix else None
    try:
        with _type_file(types) as typed:
            arguments = [*typed, *options, *_absolute(operands)]
            offload.run("llama-quantize", arguments, gguf=gguf, error=Bug, on_line=on_line, cwd=folder)
    except Bug as error:
        words = error.message
        if says_disk_full(words):
            raise disk_full([one for one in operands if isinstance(one, Path)][-1].parent) from error
        if matrix and re.search(r"load_imatrix|imatrix (size|contains)|Missing importance matrix", words):
            raise SpecInvalid(
                f"export.imatrix: this matrix cannot be used to make {kind} from {gguf.name}\n{words}",
                hint="It may be for another model. Set export.imatrix to auto, or to this model's matrix.",
            ) from error
        if "invalid data" in words or "data validation failed" in words:
            raise IntegrityViolated(
                f"{gguf.name} contains NaN or infinity, so {kind} cannot be made from it\n{words}",
                hint="Did the training diverge, or does the model overflow float16? Try export.dtype bf16 or f32.",
            ) from error
        if "failed to load" in words or "corrupted or incomplete" in words:
            raise IntegrityViolated(f"{gguf.name} is not a GGUF that llama.cpp can read\n{words}") from error
        raise


@contextmanager
def _type_file(types: Mapping[str, str]) -> Iterator[list[str | Path]]:
    """The option for single tensors: a file with a pattern for each, which is too long for a command line."""
    if not types:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="types-") as folder:
        path = Path(folder) / "types.txt"
        path.write_text("".join(f"^{re.escape(name)}$={kind}\n" for name, kind in types.items()), encoding="utf-8")
        yield ["--tensor-type-file", path]


def _absolute(operands: list[str | Path]) -> list[str | Path]:
    return [one.absolute() if isinstance(one, Path) else one for one in operands]


def says_disk_full(words: str) -> bool:
    return "iostream error" in words or "killed by signal 25" in words  # SIGXFSZ: the limit for one file is exceeded


def disk_full(folder: Path) -> StorageFailed:
    free = free_bytes(folder)
    return StorageFailed(
        f"the disk is full: a file could not be written completely; {folder} has {free / 1e9:.2f} GB left",
        hint="Give the work directory (FINETUNE_WORK) more disk.",
    )
