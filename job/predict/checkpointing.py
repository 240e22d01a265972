"""Decides how many blocks of the model recompute their activations, for `training.gradient_checkpointing: auto`.

Keeping activations saves the second forward pass; recomputing them saves memory. Neither changes a result. With
`every_n_layers` of transformers, the blocks 0, n, 2n … recompute theirs (modeling_utils.py,
`_set_gradient_checkpointing`).
"""

from math import ceil

from job.artifacts import Frozen
from job.predict.anatomy import Anatomy
from job.predict.vram import Vram, vram
from job.spec import JobSpec

SHARE = 0.85
"""Of the GPU's memory that the prediction may fill, since it is an estimate."""


class Checkpointing(Frozen):
    """`every`: each n-th block recomputes its activations; 0: none does. `needed`: bytes of VRAM that are predicted;
    None if they are not known."""

    every: int
    why: str
    needed: int | None = None


def choose(
    spec: JobSpec,
    model: Anatomy | None,
    memory: int | None,
    longest: int | None,
    *,
    capability: tuple[int, int] | None = None,
    triton: bool,
) -> Checkpointing:
    """`memory`: bytes of the GPU, None without one; `longest`: tokens of the longest row, None if unknown;
    `capability`: the GPU's, 8.0 or higher if it is not known."""
    assert spec.training
    asked = spec.training.gradient_checkpointing
    if asked != "auto":
        return Checkpointing(every=int(asked), why=f"the spec says {str(asked).lower()}")
    if memory is None:
        return Checkpointing(every=1, why="without a GPU all blocks do, to save memory")
    if model is None:
        return Checkpointing(every=1, why="no prediction for this model's family")
    tokens = spec.training.max_length if longest is None or spec.training.packing else longest
    limit = SHARE * memory
    without, whole = (
        vram(_changed(spec, tokens, recompute=one), model, capability=capability, triton=triton)
        for one in (False, True)
    )
    for every in (0, *range(model.layers, 1, -1)):
        needed = _between(without, whole, model.layers, every).total
        if needed <= limit:
            room = f"fits {SHARE:.0%} of {memory / 1e9:.1f} GB"
            return Checkpointing(every=every, needed=needed, why=f"{needed / 1e9:.1f} GB with rows of {tokens} {room}")
    why = f"{whole.total / 1e9:.1f} GB with rows of {tokens} even so, of {memory / 1e9:.1f} GB"
    return Checkpointing(every=1, needed=whole.total, why=why)


def _changed(spec: JobSpec, tokens: int, *, recompute: bool) -> JobSpec:
    assert spec.training
    change = {"gradient_checkpointing": recompute, "max_length": min(tokens, spec.training.max_length)}
    return spec.model_copy(update={"training": spec.training.model_copy(update=change)})


def _between(without: Vram, whole: Vram, layers: int, every: int) -> Vram:
    """With each `every`-th block's activations recomputed, which is one block's memory at a time."""
    if not every:
        return without
    recomputed = ceil(layers / every)
    kept = (whole.activations * recomputed + without.activations * (layers - recomputed)) // layers
    return whole.model_copy(update={"activations": kept})
