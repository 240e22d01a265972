#!/usr/bin/env python3
"""Writes the table of docs/quantization.md: what each type of the bundled llama.cpp makes of a Llama.

scripts/quant_table.py            writes it
scripts/quant_table.py --check    exits 1 if it is not what would be written

llama-quantize --dry-run says which type each tensor gets and how large the file becomes, without reading a weight. So
models of any size will do that are nothing but a header and a hole in the file: they take no disk.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from job import llama
from job.quants import EVERY_TYPE, NEEDS_IMATRIX

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "quantization.md"
BEGIN, END = "<!-- begin: scripts/quant_table.py -->\n", "<!-- end: scripts/quant_table.py -->\n"
_LINE = re.compile(r"^\[ *\d+/ *\d+\] (?:blk\.\d+\.)?(\w+)\.weight +- .*?(?:\((\w+)\))?$", re.M)
_AFTER = re.compile(r"quant size\s*=\s*([\d.]+) MiB \(([\d.]+) BPW\)")


class Shape(NamedTuple):
    """A Llama's sizes. The published ones of 7B (also Llama 2) and 65B."""

    width: int
    layers: int
    feed_forward: int
    heads: int
    vocabulary: int = 32000


SHAPES = {"7B": Shape(4096, 32, 11008, 32), "65B": Shape(8192, 80, 22016, 64)}


class Planned(NamedTuple):
    """A type's file: its bytes, bits per weight, and for each kind of tensor the types and how many get each."""

    size: float
    bits: float
    tensors: dict[str, Counter[str]]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        lines = table(Path(folder))
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page = before + BEGIN + "\n".join(lines) + "\n" + END + after
    if sys.argv[1:] == ["--check"]:
        return int(page != text)
    PAGE.write_text(page, encoding="utf-8")
    return 0


def table(folder: Path) -> list[str]:
    """The table's lines, smallest file first."""
    models = {name: hollow_llama(folder / f"{name}.gguf", shape) for name, shape in SHAPES.items()}
    matrix = hollow_imatrix(folder / "imatrix.gguf")
    rows = []
    for kind in EVERY_TYPE:
        planned = {name: plan(model, kind, matrix if kind in NEEDS_IMATRIX else None) for name, model in models.items()}
        first = planned["7B"]
        cells = [f"`{kind}`{'*' if kind in NEEDS_IMATRIX else ''}", f"{first.bits:.2f}"]
        cells += [f"{one.size / 1e9:.1f} GB" for one in planned.values()]
        rows.append((first.bits, f"| {' | '.join([*cells, described(first)])} |"))
    titles = ["type", "bits per weight", *(f"{name} file" for name in SHAPES), "which tensors get what"]
    return [f"| {' | '.join(titles)} |", "| --- | ---: | ---: | ---: | --- |", *(row for _, row in sorted(rows))]


def hollow_llama(path: Path, shape: Shape) -> Path:
    """An f16 GGUF without its weights: a header, and a hole where they would be."""
    import numpy

    gguf = gguf_module()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    total = 0
    for name, size in tensors(shape).items():
        dtype = numpy.dtype("float16" if len(size) == 2 else "float32")
        bytes_ = int(numpy.prod(size)) * dtype.itemsize
        writer.add_tensor_info(name, size, dtype, bytes_)
        total += bytes_ + 32  # each tensor may be aligned
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + total)
    return path


def gguf_module() -> Any:
    """The gguf package of the bundled llama.cpp."""
    if (package := str(llama.converter_path() / "gguf-py")) not in sys.path:
        sys.path.insert(0, package)
    import gguf

    return gguf


def hollow_imatrix(path: Path) -> Path:
    """A matrix of one tensor: that there is one changes which types llama-quantize takes."""
    import numpy

    gguf = gguf_module()
    writer = gguf.GGUFWriter(path, arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for part in ("in_sum2", "counts"):
        writer.add_tensor(f"output.weight.{part}", numpy.ones((1, 4096 if part == "in_sum2" else 1), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor, rows first."""
    square, wide = (shape.width, shape.width), (shape.feed_forward, shape.width)
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.vocabulary, shape.width)}
    for n in range(shape.layers):
        found |= {f"blk.{n}.attn_{part}.weight": square for part in ("q", "k", "v", "output")}
        found |= {f"blk.{n}.ffn_{part}.weight": wide for part in ("gate", "up")}
        found[f"blk.{n}.ffn_down.weight"] = wide[::-1]
        found |= {f"blk.{n}.{part}_norm.weight": (shape.width,) for part in ("attn", "ffn")}
    return found | {"output_norm.weight": (shape.width,), "output.weight": (shape.vocabulary, shape.width)}


def plan(model: Path, kind: str, matrix: Path | None) -> Planned:
    """What llama-quantize would make of it."""
    command: list[str | Path] = [llama.program("llama-quantize"), "--dry-run"]
    command += ["--imatrix", matrix] if matrix else []
    command += [model, kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = done.stdout + done.stderr
    after = _AFTER.search(said)
    assert after
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for tensor, target in _LINE.findall(said):
        if not tensor.endswith("_norm"):
            found[tensor][target or "f16"] += 1
    return Planned(float(after[1]) * 2**20, float(after[2]), dict(found))


def described(planned: Planned) -> str:
    """`q4_K; attn_v: q6_K in 16 of 32 layers; …`: the type that most have, then who gets another."""
    ((base, _),) = sum(planned.tensors.values(), Counter[str]()).most_common(1)
    parts: dict[str, list[str]] = defaultdict(list)
    for tensor, types in planned.tensors.items():
        for target, count in types.items():
            if target != base:
                share = "" if count == types.total() else f" in {count} of {types.total()} layers"
                parts[f"{target}{share}"].append(tensor)
    return "; ".join([base, *(f"{' and '.join(sorted(who))}: {what}" for what, who in sorted(parts.items()))])


if __name__ == "__main__":
    sys.exit(main())
