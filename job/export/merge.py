"""The arithmetic of merging an adapter into one weight, as PEFT's `merge_and_unload` does it.

A change is what an adapter does to one tensor. Low-rank products, scales and norms are computed in float32, the
sum is rounded once, to the dtype that is asked for: float32 for a GGUF, whose own type comes next, and the weight's own
for merged safetensors. The result is bit for bit what PEFT gives for a model that was loaded in that dtype with float32
adapters (its default).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from job.errors import QualityRejected

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Load = Callable[[], Tensor]


BLOCK = 1 << 19
"""Number of elements merged at a time: 2 MB in float32."""


class Change(Protocol):
    """What an adapter does to one tensor. `applied`: the result, in `dtype`; `shape_of`: the shape of the result for a
    weight of this shape."""

    def applied(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor": ...

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class LowRank:
    """W + scale * B @ A; with DoRA (arXiv:2402.09353) m * (W + scale * B @ A) / its norm.

    `transposed`: the weight is stored as (in, out): embeddings, and linear layers with fan_in_fan_out.
    DoRA's norm runs over the dimension that is not the magnitude's.
    """

    a: "Load"
    b: "Load"
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    scale: float
    magnitude: "Load | None" = None
    transposed: bool = False
    embedding: bool = False

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        delta = (self.b_shape[0], self.a_shape[1])
        return delta[::-1] if self.transposed else delta

    def applied(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        return self._transposed(weight, dtype) if self.transposed else self._by_rows(weight, dtype)

    def _by_rows(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        """Merges a block of rows at a time, which stays in the CPU's cache: twice as fast as all at once, with the same
        bits."""
        import torch

        low, high = self.a().float(), self.b().float()
        merged = torch.empty_like(weight, dtype=dtype)
        spans = list(_blocks(*weight.shape))
        buffer = torch.empty(max(rows.stop - rows.start for rows in spans), weight.shape[1])
        for rows in spans:
            block = torch.mm(high[rows], low, out=buffer[: rows.stop - rows.start])
            block.mul_(self.scale).add_(weight[rows])
            if self.magnitude is not None:
                norm = torch.linalg.norm(block, dim=1)
                block.mul_((self.magnitude().float().reshape(-1)[rows] / norm).unsqueeze(1))
            merged[rows] = block
        return merged

    def _transposed(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        import torch

        total = (self.b().float() @ self.a().float()).T.mul_(self.scale)
        if self.embedding and self.magnitude is None:
            total = total.to(dtype)  # PEFT rounds the product, then the sum
        total.add_(weight)
        if self.magnitude is not None:
            norm = torch.linalg.norm(total, dim=0)
            total.mul_((self.magnitude().float().reshape(-1) / norm).unsqueeze(0))
        return total.to(dtype).contiguous()


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of about BLOCK elements. A short rest is joined to the last one, so that no product has few rows."""
    height = max(64, BLOCK // width)
    starts = range(0, max(rows - height, 0) + 1, height)
    for start in starts:
        yield slice(start, rows if start == starts[-1] else start + height)


@dataclass(frozen=True)
class AddVector:
    """bias + scale * vector: LoRA with a bias of its own."""

    vector: "Load"
    scale: float

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def applied(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        return (weight + self.vector().float() * self.scale).to(dtype)


@dataclass(frozen=True)
class Replace:
    """The whole tensor, trained and saved with the adapter (modules_to_save, biases, resized embeddings)."""

    saved: "Load"
    shape: tuple[int, ...]

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.shape

    def applied(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        return self.saved().to(dtype)


@dataclass(frozen=True)
class Rows:
    """Some rows of an embedding, trained and saved with the adapter (trainable_token_indices). Rows behind its end are
    those of added tokens."""

    indices: tuple[int, ...]
    saved: "Load"

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (max(shape[0], max(self.indices) + 1), *shape[1:])

    def applied(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        import torch

        rows = weight.new_zeros(self.shape_of(tuple(weight.shape)), dtype=dtype)
        rows[: len(weight)] = weight
        return rows.index_copy_(0, torch.tensor(self.indices), self.saved().to(dtype))


@dataclass(frozen=True)
class Requantized:
    """The weight as training saw it: quantized by bitsandbytes and dequantized, in the weight's own dtype."""

    bits: Literal[4, 8]
    quant_type: str = "nf4"
    double_quant: bool = False

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def applied(self, weight: "Tensor", dtype: "torch.dtype") -> "Tensor":
        import bitsandbytes.functional as bnb

        if self.bits == 8:
            codes, scales, _ = bnb.int8_vectorwise_quant(weight.half())
            rows: Tensor = codes.float().mul_(scales[:, None] / 127).to(weight.dtype)
            return rows.to(dtype)
        packed, state = bnb.quantize_4bit(
            weight.contiguous(), blocksize=64, compress_statistics=self.double_quant, quant_type=self.quant_type
        )
        restored: Tensor = bnb.dequantize_4bit(packed, state).to(weight.dtype)
        return restored.to(dtype)


def apply(name: str, weight: "Tensor", changes: Sequence[Change], dtype: "torch.dtype | None" = None) -> "Tensor":
    """The weight with every change applied, in order; in `dtype`, or in its own.

    Raises QualityRejected if the result contains NaN or infinite values.
    """
    import torch

    dtype = dtype or weight.dtype
    for change in changes:
        weight = change.applied(weight, dtype)
    weight = weight.to(dtype)  # an embedding that is untied, and is not changed
    if weight.numel() and not all(bool(bound.isfinite()) for bound in torch.aminmax(weight)):
        raise QualityRejected(
            f"{name}: merging the adapter gives NaN or infinite values",
            hint="The adapter is broken (was the training loss NaN?), or too large for the model's dtype.",
        )
    return weight
