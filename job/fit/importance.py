"""Which groups' errors likely cost most, from the importance matrix: the search probes those first.

Both halves of a layer, attention and feed-forward, add their outputs to the residual stream. Rounding is an error in
proportion to what is rounded, so an error in any tensor of a half is about as large, against the stream, as the half's
own share of it. The mean square of a half's outputs follows from the matrix: over the columns of the tensor that writes
them, the mean square of the activation times the squared weights. (Over errors of the weights instead of weights, that
sum is what llama-quantize minimizes: ggml-quants.c, `quant_weights`.)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from job.fit.groups import Group
from job.fit.tensors import Tensor
from job.llama_cpp.gguf import Stored, stored_tensors

WRITERS = ("attn_output", "ssm_out", "ffn_down", "ffn_down_exps", "ffn_down_shexp")
"""The kinds of tensors whose outputs go into the stream."""
_EMBEDDINGS, _SUMS, _COUNTS = "token_embd.weight", ".in_sum2", ".counts"
_TYPES = {0: "<f4", 1: "<f2", 30: "<u2"}
"""ggml's numbers of float32, float16 and bfloat16."""
_BLOCK = 1 << 24
"""Weights that are in memory at a time."""

Half = tuple[int, bool]
"""A layer, and whether it is its feed-forward half, which comes second."""


def weights_of(groups: Sequence[Group], gguf: Path, matrix: Path) -> dict[str, float]:
    """By group, of those that lie in layers: the sum of its tensors' shares. Empty if the outputs of a half are not
    known: of a family with other kinds of tensors, of tensors that are quantized already, or from a matrix in
    llama.cpp's earlier format."""
    with matrix.open("rb") as file:
        if file.read(4) != b"GGUF":
            return {}
    inside = [group for group in groups if all(one.layer is not None for one in group.tensors)]
    tensors = [tensor for group in inside for tensor in group.tensors]
    outputs = _outputs(gguf, matrix, tensors)
    halves, stream = sorted(set(map(_half, tensors))), _embedding(gguf)
    if halves != sorted(outputs) or stream is None:
        return {}
    shares: dict[Half, float] = {}
    for half in halves:
        stream += outputs[half]
        shares[half] = outputs[half] / stream
    return {group.name: float(f"{sum(shares[_half(one)] for one in group.tensors):.6g}") for group in inside}


def _half(tensor: Tensor) -> Half:
    assert tensor.layer is not None
    return tensor.layer, tensor.kind.startswith("ffn")


def _outputs(gguf: Path, matrix: Path, tensors: Sequence[Tensor]) -> dict[Half, float]:
    """The mean square of each half's outputs, summed over them."""
    import numpy as np

    weights, measured = stored_tensors(gguf), stored_tensors(matrix)
    counts = [_values(matrix, one).max() for name, one in measured.items() if name.endswith(_COUNTS)]
    tokens = max(1.0, *map(float, counts)) if counts else 1.0
    found: dict[Half, float] = {}
    for tensor in tensors:
        if tensor.kind not in WRITERS or tensor.name + _SUMS not in measured:
            continue
        stored = weights[tensor.name]
        if stored.kind not in _TYPES:
            continue
        squares = _values(matrix, measured[tensor.name + _SUMS]).reshape(-1, stored.columns) / tokens
        rows = stored.elements // stored.columns // len(squares)  # of each expert
        for expert, square in enumerate(squares):
            norms = _squared(gguf, stored, expert * rows, rows)
            found[_half(tensor)] = found.get(_half(tensor), 0.0) + float(np.dot(norms, square))
    return found


def _embedding(gguf: Path) -> float | None:
    """The mean over the vocabulary: the matrix does not say which tokens it has seen. None if it is quantized."""
    stored = stored_tensors(gguf)[_EMBEDDINGS]
    if stored.kind not in _TYPES:
        return None
    rows = stored.elements // stored.columns
    return float(_squared(gguf, stored, 0, rows).sum()) / rows


def _squared(gguf: Path, stored: Stored, first: int, rows: int) -> Any:
    """The sum of each column's squares over some rows."""
    import numpy as np

    found, step = np.zeros(stored.columns), max(1, _BLOCK // stored.columns)
    for start in range(first, first + rows, step):
        count = min(step, first + rows - start)
        part = _values(gguf, stored, start * stored.columns, count * stored.columns)
        found += np.square(part).reshape(count, -1).sum(0)
    return found


def _values(path: Path, stored: Stored, start: int = 0, count: int | None = None) -> Any:
    """Weights of a tensor in float32."""
    import numpy as np

    kind = np.dtype(_TYPES[stored.kind])
    count = stored.elements if count is None else count
    found = np.fromfile(path, kind, count, offset=stored.at + start * kind.itemsize)
    return (found.astype(np.uint32) << 16).view(np.float32) if kind == np.uint16 else found.astype(np.float32)
