#!/usr/bin/env python3
"""Writes the table of docs/quantization.md: the size and the tensor formats of each type of the bundled llama.cpp.

scripts/quant_table.py            writes it
scripts/quant_table.py --check    exits 1 if it is not what would be written

llama-quantize --dry-run reports each tensor's format and the file's size without reading weights. So a GGUF with a
header and a hole instead of weights is enough for a model of any size, and takes no disk space.
"""

import sys
import tempfile
from pathlib import Path

from job.llama_cpp.quant_mix import described
from job.predict.anatomy import Anatomy
from job.predict.file_sizes import planned
from job.spec.quants import EVERY_TYPE, NEEDS_IMATRIX

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "quantization.md"
BEGIN, END = "<!-- begin: scripts/quant_table.py -->\n", "<!-- end: scripts/quant_table.py -->\n"


def llama(width: int, layers: int, feed_forward: int, heads: int) -> Anatomy:
    """A Llama's sizes, as published."""
    return Anatomy(
        model_type="llama", layers=layers, width=width, feed_forward=feed_forward, heads=heads, kv_heads=heads,
        head=width // heads, vocabulary=32000, tied=False, attention_bias=False,
    )  # fmt: skip


MODELS = {"7B": llama(4096, 32, 11008, 32), "65B": llama(8192, 80, 22016, 64)}


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
    models = {name: planned(model, list(EVERY_TYPE), folder) for name, model in MODELS.items()}
    rows = []
    for kind in EVERY_TYPE:
        first = models["7B"][kind]
        cells = [f"`{kind}`{'*' if kind in NEEDS_IMATRIX else ''}", f"{first.bits:.2f}"]
        cells += [f"{one.size / 1e9:.1f} GB" for one in (model[kind] for model in models.values())]
        rows.append((first.bits, f"| {' | '.join([*cells, described(first.tensors)])} |"))
    titles = ["type", "bits per weight", *(f"{name} file" for name in MODELS), "which tensors get what"]
    return [f"| {' | '.join(titles)} |", "| --- | ---: | ---: | ---: | --- |", *(row for _, row in sorted(rows))]


if __name__ == "__main__":
    sys.exit(main())
