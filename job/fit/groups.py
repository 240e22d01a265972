"""Groups of tensors that get one type together: by kind and depth, because both decide how much an error costs."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from job.artifacts import Frozen
from job.fit.tensors import BLOCKS, Tensor, Types

_TOGETHER = {"attn_q": "attn_qk", "attn_k": "attn_qk", "ffn_gate": "ffn_gate_up", "ffn_up": "ffn_gate_up"}
"""Kinds whose errors meet in one product."""
LADDER = (
    "iq2_xxs", "iq2_s", "q2_k", "iq3_xxs", "iq3_s", "q3_k", "iq4_xs", "iq4_nl", "q4_k", "q4_1", "q5_0", "q5_k",
    "q5_1", "q6_k", "q8_0",
)  # fmt: skip
"""Types of a tensor that are tried, in the order of size; the unquantized one follows."""
NEED_MATRIX = frozenset({"iq2_xxs", "iq2_s", "iq3_xxs"})
"""Of these: without a matrix llama-quantize refuses them, or they are worse than others of their size."""


class Group(Frozen):
    """`types`: what each of the tensors can be, the smallest first."""

    name: str
    tensors: list[Tensor]
    types: list[str]

    def size(self, kind: str) -> int:
        return sum(tensor.size(kind) for tensor in self.tensors)

    @property
    def elements(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)


def groups_of(tensors: Sequence[Tensor], *, whole: str, has_matrix: bool) -> list[Group]:
    """The groups in the order of the model. `whole`: the type of the unquantized file."""
    bands = _bands(1 + max((tensor.layer for tensor in tensors if tensor.layer is not None), default=0))
    members: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        members.setdefault(_name(tensor, bands), []).append(tensor)
    return [
        Group(name=name, tensors=found, types=_types(found, whole=whole, has_matrix=has_matrix))
        for name, found in members.items()
    ]


def types_of(groups: Sequence[Group], mix: Mapping[str, str]) -> Types:
    """The type of each tensor, from the groups'."""
    return {tensor.name: mix[group.name] for group in groups for tensor in group.tensors}


def _bands(layers: int) -> list[range]:
    """The first and the last eighth, and both halves between them: the first and the last layers are the most
    sensitive."""
    edge = max(1, layers // 8)
    cuts = sorted({0, edge, layers // 2, layers - edge, layers})
    return [range(start, end) for start, end in pairwise(cuts) if end > start]


def _name(tensor: Tensor, bands: Sequence[range]) -> str:
    kind = _TOGETHER.get(tensor.kind, tensor.kind)
    if tensor.layer is None:
        return kind
    band = next(one for one in bands if tensor.layer in one)
    return f"{kind} {band.start}-{band[-1]}" if len(band) > 1 else f"{kind} {band.start}"


def _types(tensors: Sequence[Tensor], *, whole: str, has_matrix: bool) -> list[str]:
    columns = tensors[0].columns
    fitting = [
        kind
        for kind in LADDER
        if all(tensor.can_be(kind) for tensor in tensors) and (has_matrix or kind not in NEED_MATRIX)
    ]
    if columns % BLOCKS["q4_k"][0] == 0:  # types of 256 weights are better at the same size
        fitting = [kind for kind in fitting if BLOCKS[kind][0] == 256 or kind == "q8_0"]
    return [*fitting, whole]
