"""Adds up a model's tensors by what a run does with them: linear layers, experts, embeddings, all else."""

import re
from collections import defaultdict
from math import ceil, prod

from job.predict.anatomy import Shape
from job.tensor_names import is_of_a_tower, layer_of

_EXPERT = re.compile(r"\bexperts\.(?:(\d+)\.)?(.+)")
_ROUTER = re.compile(r"(^|\.)(gate|router)(\.|$)")
_HEAD_NORM = re.compile(r"(^|\.)[qk]_(layer)?norm\.")
_SCAN = re.compile(r"(^|\.)(A_log|dt_bias|time_decay)$")


class Tally:
    """What the tensors add up to."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self.blocks: dict[str, set[int]] = defaultdict(set)
        self.outputs: dict[int, dict[str, int]] = defaultdict(dict)
        self.norms: dict[int, set[str]] = defaultdict(set)
        self.experts: dict[int, dict[str, int]] = {}
        self.one_expert: dict[str, Shape] = {}
        self.numbers: set[int] = set()
        self.embeddings: list[Shape] = []
        self.head_norms = self.scans = False
        self.matrices = self.rest = self.columns = self.largest = 0

    def add(self, name: str, shape: tuple[int, ...], *, is_layer: bool) -> None:
        size, place = prod(shape), layer_of(name)
        self.largest = max(self.largest, size)
        if place is None:
            if len(shape) == 2 and not is_of_a_tower(name):
                self.embeddings.append((shape[0], shape[1]))
            elif len(shape) == 2:
                self.matrices += size
            else:
                self.rest += size
            return
        number, inside = place
        path = inside.removesuffix(".weight")
        if _is_expert(inside, shape):
            self._add_experts(number, path, shape)
        elif len(shape) == 2 and is_layer:
            self._add_linear(number, path, (shape[0], shape[1]))
        else:
            self.rest += size
            self.scans |= bool(_SCAN.search(inside))
            if _HEAD_NORM.search(inside):
                self.head_norms = True
            elif len(shape) == 1 and "norm" in inside and path != inside:
                self.norms[number].add(path)

    def expert_width(self, number: int, width: int) -> int:
        """The width of one expert of a block, as if it had three matrices."""
        return ceil(sum(self.experts.get(number, {}).values()) / (1 + max(self.numbers, default=0)) / (3 * width))

    def _add_linear(self, number: int, path: str, shape: Shape) -> None:
        known = self.shapes.get(path, (0, 0))
        self.shapes[path] = shape if prod(shape) > prod(known) else known
        self.blocks[path].add(number)
        self.outputs[number][path] = shape[0]
        self.columns += shape[1]
        if _ROUTER.search(path):  # it is not quantized
            self.rest += prod(shape)
        else:
            self.matrices += prod(shape)

    def _add_experts(self, number: int, path: str, shape: tuple[int, ...]) -> None:
        """One expert's matrix, or one tensor of all of them: number, rows, columns."""
        found = _EXPERT.search(path)
        kind = found[2] if found else path
        if len(shape) == 2:
            self.numbers.add(int(found[1]) if found and found[1] else 0)
            self.columns += shape[1]
        else:
            self.numbers.add(shape[0] - 1)
            self.columns += shape[0] * shape[-1]
        kinds = self.experts.setdefault(number, {})
        kinds[kind] = kinds.get(kind, 0) + prod(shape)
        together = 1 if len(shape) > 2 else 2  # transformers makes one tensor of two kinds, the converter of each
        self.largest = max(self.largest, together * kinds[kind])
        self.one_expert[kind] = (shape[-2], shape[-1])


def _is_expert(inside: str, shape: tuple[int, ...]) -> bool:
    if len(shape) == 2:
        return bool(_EXPERT.search(inside)) and inside.endswith(".weight")
    return len(shape) > 2 and min(shape) > 1 and "conv" not in inside
