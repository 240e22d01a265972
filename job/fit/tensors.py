"""The tensors that llama-quantize would quantize, the types that each can get, and how many bytes that takes."""

import re
from math import prod
from pathlib import Path

from job.artifacts import Frozen
from job.llama_cpp.quantizer import run_quantizer

BLOCKS = {
    "iq2_xxs": (256, 66), "iq2_xs": (256, 74), "iq2_s": (256, 82), "q2_k": (256, 84), "iq3_xxs": (256, 98),
    "iq3_s": (256, 110), "q3_k": (256, 110), "iq4_xs": (256, 136), "q4_k": (256, 144), "q5_k": (256, 176),
    "q6_k": (256, 210), "q4_0": (32, 18), "iq4_nl": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24),
    "q8_0": (32, 34), "f16": (1, 2), "bf16": (1, 2), "f32": (1, 4), "i32": (1, 4),
}  # fmt: skip
"""Of a type that a tensor can get: the weights of a block and its bytes (`GGML_QUANT_SIZES` in gguf-py)."""

_LINE = re.compile(
    r"^\[ *\d+/ *\d+\] (\S+) +- \[([ \d,]+)\], type = +(\w+), size = +\S+ MiB(?: -> +\S+ MiB \((\w+)\))?", re.M
)


Types = dict[str, str]
"""The type of each tensor, by its name."""


class Tensor(Frozen):
    """`columns`: the length of a row, in which blocks lie; `elements`: of all rows."""

    name: str
    columns: int
    elements: int

    @property
    def kind(self) -> str:
        """`attn_q` of `blk.3.attn_q.weight`."""
        return re.sub(r"^blk\.\d+\.|\.\w+$", "", self.name)

    @property
    def layer(self) -> int | None:
        found = re.match(r"blk\.(\d+)\.", self.name)
        return int(found[1]) if found else None

    def can_be(self, kind: str) -> bool:
        return self.columns % BLOCKS[kind][0] == 0

    def size(self, kind: str) -> int:
        """Bytes as a type."""
        weights, count = BLOCKS[kind]
        return self.elements // weights * count


class Layout(Frozen):
    """What llama-quantize would make. `fixed`: bytes of tensors that keep their type; `elements`: weights of all
    tensors; `after`: bytes of all tensors in the new file."""

    tensors: list[Tensor]
    fixed: int
    elements: int
    after: int


def layout(gguf: Path, kind: str, matrix: Path | None = None) -> Layout:
    """For a type of llama.cpp's; reads no weights. Exact, which the total that llama-quantize prints is not."""
    lines: list[str] = []
    run_quantizer(gguf, kind, matrix, ["--dry-run"], [gguf, kind], lines.append)
    return layout_in("\n".join(lines))


def layout_in(said: str) -> Layout:
    """The same, from llama-quantize's output."""
    tensors, fixed, elements, after = [], 0, 0, 0
    for name, shape, source, target in _LINE.findall(said):
        sizes = [int(one) for one in shape.split(",")]
        tensor = Tensor(name=name, columns=sizes[0], elements=prod(sizes))
        elements += tensor.elements
        if target:
            tensors.append(tensor)
            after += tensor.size(target.lower())
        else:
            fixed += tensor.size(source)
    return Layout(tensors=tensors, fixed=fixed, elements=elements, after=fixed + after)
