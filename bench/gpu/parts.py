"""The parts of the check, in the order in which they run."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

SEVEN_B, WIDE, SHORT = "llama-2-7b", "llama-3-4-layers", "llama-2-8-layers"
"""Models: for training; with a vocabulary of 128,256 words, so that the loss takes the most memory; for files, with a
quarter of the layers: quantizing keeps all CPUs busy for a minute and a half with the whole model."""
TYPES = ("q4_k_m", "q8_0")
OTHER_SUMS = ("f16, sums in float16", "f16, sums in float32")
"""The cases of the float16 file whose matrix products are added up in another type than by the job: by today's, and by
one that left it to llama.cpp."""
SOME, NEARLY_NONE = 3, 1
"""GB of a GPU that `balloon` leaves free: less than the float16 file, and not enough for its context."""


class Part(NamedTuple):
    """`module`'s `run` with `arguments`, in a process of its own that may take `limit_s` seconds.

    `needs`: parts without which it cannot run. `background`: the next parts run beside it; `alone`: not beside one.
    """

    name: str
    limit_s: float
    module: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    background: bool = False
    alone: bool = False


def _pair(half: str, number: str, first: str, second: str) -> Iterator[Part]:
    """The job and the plain script one after the other. What else the machine does would be in the ratio."""
    for kind in (first, second):
        yield Part(f"{kind}-{half}{number}", 80, "train", (kind, half, SEVEN_B), ("model",), alone=True)


PARTS = (
    Part("machine", 60, "machine"),
    Part("build", 420, "build", background=True),
    Part("model-short", 40, "model", (SHORT,)),
    Part("export", 40, "export", (SHORT,), ("model-short", "build")),
    Part("llama", 150, "llama", (SHORT,), ("export",)),
    Part("balloon", 80, "balloon", (SHORT,), ("export",)),
    Part("model-wide", 40, "model", (WIDE,)),
    Part("variants-wide", 60, "variants", (WIDE,), ("model-wide",)),
    Part("model", 90, "model", (SEVEN_B,)),
    Part("variants", 150, "variants", (SEVEN_B,), ("model",)),
    *_pair("bf16", "", "job", "plain"),
    *_pair("fp16", "", "job", "plain"),
    *_pair("bf16", "-again", "plain", "job"),
    *_pair("fp16", "-again", "plain", "job"),
)
"""Seconds are those of an H100 with 16 CPUs, doubled. What was never measured comes first: a run may be cut short. A
part whose needs are not there yet waits while others run."""


def chosen(names: Iterable[str]) -> list[Part]:
    """The parts of these names and those that they need; all of them if there is no name."""
    parts = {part.name: part for part in PARTS}
    wanted = set(names) or set(parts)
    for part in reversed(PARTS):  # what a part needs stands before it
        if part.name in wanted:
            wanted.update(part.needs)
    return [part for part in PARTS if part.name in wanted]
