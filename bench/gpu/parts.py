"""The parts of the check, in the order in which they run."""

from collections.abc import Iterable
from typing import NamedTuple

SEVEN_B, WIDE = "llama-2-7b", "llama-3-4-layers"
TYPES = ("q4_k_m", "q8_0")
OTHER_SUMS = ("f16, sums in float16", "f16, sums in float32")
"""The cases of the float16 file whose matrix products are added up in another type than by the job: by today's, and by
one that left it to llama.cpp."""
SOME, NEARLY_NONE = 12, 1
"""GB of a GPU that `balloon` leaves free: less than the float16 file of a 7B model, and not enough for its context."""


class Part(NamedTuple):
    """`module`'s `run` with `arguments`, in a process of its own that may take `limit_s` seconds.

    `needs`: parts without which it cannot run. `background`: the next parts run beside it.
    """

    name: str
    limit_s: float
    module: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    background: bool = False


PARTS = (
    Part("machine", 60, "machine"),
    Part("build", 420, "build", background=True),
    Part("model", 90, "model", (SEVEN_B,)),
    Part("job-fp16", 100, "train", ("job", "fp16", SEVEN_B), ("model",)),
    Part("plain-fp16", 80, "train", ("plain", "fp16", SEVEN_B), ("model",)),
    Part("job-bf16", 80, "train", ("job", "bf16", SEVEN_B), ("model",)),
    Part("plain-bf16", 80, "train", ("plain", "bf16", SEVEN_B), ("model",)),
    Part("variants", 120, "variants", (SEVEN_B,), ("model",)),
    Part("model-wide", 40, "model", (WIDE,)),
    Part("variants-wide", 60, "variants", (WIDE,), ("model-wide",)),
    Part("export", 80, "export", (SEVEN_B,), ("model", "build")),
    Part("llama", 150, "llama", (SEVEN_B,), ("export",)),
    Part("balloon", 100, "balloon", (SEVEN_B,), ("export",)),
)
"""Seconds are those of an H100 with 16 CPUs, doubled. `model-wide`: a vocabulary of 128,256 words, so that the loss
takes the most memory."""


def chosen(names: Iterable[str]) -> list[Part]:
    """The parts of these names and those that they need; all of them if there is no name."""
    parts = {part.name: part for part in PARTS}
    wanted = set(names) or set(parts)
    for part in reversed(PARTS):  # what a part needs stands before it
        if part.name in wanted:
            wanted.update(part.needs)
    return [part for part in PARTS if part.name in wanted]
