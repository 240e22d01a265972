"""What a budget leaves for tensors, and whether any file is that small or that large."""

from collections.abc import Sequence
from pathlib import Path

from job.artifacts import Frozen
from job.errors import SpecInvalid
from job.fit.tensors import Tensor, layout
from job.llama_cpp.gguf import cache_bytes, read_metadata
from job.spec.fit import Fit
from job.spec.quants import NEEDS_IMATRIX, QUANTIZED

PRESETS = tuple(kind for kind in QUANTIZED if not kind.startswith(("tq", "mxfp4", "q1_", "q2_0", "iq1")))
"""The types of llama.cpp that a found mix is compared with: those for any model, of two bits and more."""
BOUNDS = ("iq2_xxs", "q2_k", "q8_0")
"""Of these, the smallest with a matrix and without, and the largest."""
NEAR = 0.9
"""Presets smaller than this share of the budget are not measured, but for the three largest."""
LEAST_COMPARED = 3
_ADDED = 4096
"""Bytes that llama-quantize may add to the metadata, and round up to between tensors."""


class Model(Frozen):
    """The unquantized file: `size` of all of it; `cache`: bytes of keys and values for a token. See `Layout`.

    `presets`: bytes of the tensors of each preset's file, the smallest first.
    """

    whole: str
    size: int
    cache: int
    tensors: list[Tensor]
    fixed: int
    elements: int
    presets: dict[str, int]

    @property
    def tensor_bytes(self) -> int:
        return self.fixed + sum(tensor.size(self.whole) for tensor in self.tensors)

    @property
    def beside(self) -> int:
        """Bytes of a file beside its tensors."""
        return self.size - self.tensor_bytes + _ADDED


def model_of(
    gguf: Path, whole: str, *, has_matrix: bool, matrix: Path | None = None, kinds: Sequence[str] = PRESETS
) -> Model:
    """From the unquantized file, or one that has a hole instead of weights. `matrix`: the file, which changes what
    presets take a little; `has_matrix`: whether there will be one; `kinds`: the presets to ask for."""
    found = {kind: layout(gguf, kind, matrix) for kind in kinds if has_matrix or kind not in NEEDS_IMATRIX}
    first = found["q8_0"]
    return Model(
        whole=whole,
        size=gguf.stat().st_size,
        cache=cache_bytes(read_metadata(gguf)),
        tensors=first.tensors,
        fixed=first.fixed,
        elements=first.elements,
        presets=dict(sorted(((kind, one.after) for kind, one in found.items()), key=lambda pair: pair[1])),
    )


def room(fit: Fit, model: Model) -> int:
    """Bytes for tensors. Raises SpecInvalid if no file can be that small, or the unquantized one already is."""
    if fit.bits:
        tensors = int(model.elements * fit.bits / 8)
    else:
        tensors = (fit.size or 0) - model.beside - model.cache * (fit.context or 0)
    smallest, least = next(iter(model.presets.items()))
    if tensors < least:
        raise SpecInvalid(
            f"export.types: {fit.fit} is too little: the smallest file, {smallest}, takes {_shown(fit, model, least)}",
            hint="Write a larger budget" + (", or a smaller context." if fit.context else "."),
        )
    if tensors >= model.tensor_bytes - model.fixed:  # 16 bits a weight are less: norms have 32
        raise SpecInvalid(
            f"export.types: {fit.fit} is more than the unquantized file, which takes "
            f"{_shown(fit, model, model.tensor_bytes)}",
            hint=f"Write {model.whole}, or a smaller budget.",
        )
    return tensors


def compared(model: Model, tensors: int) -> list[str]:
    """The presets that a mix for so many bytes has to be better than, the largest first."""
    fitting = [kind for kind, size in reversed(model.presets.items()) if size <= tensors]
    near = [kind for kind in fitting if model.presets[kind] >= NEAR * tensors]
    return near if len(near) >= LEAST_COMPARED else fitting[:LEAST_COMPARED]


def _shown(fit: Fit, model: Model, tensors: int) -> str:
    if fit.bits:
        return f"{8 * tensors / model.elements:.2f}bpw"
    count = tensors + model.beside
    said = _bytes(count + model.cache * (fit.context or 0))
    return f"{said} with {fit.context:,} tokens of context" if fit.context else said


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f}G" if count >= 1e9 else f"{count / 1e6:.1f}M"
