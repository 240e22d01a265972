"""What settings cost: speed and memory of the job's train stage, one after another on a base that is loaded once."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from trl.kernels import chunked_logprob
from trl.trainer import utils

from bench.gpu.measure import FULL, Changes, precision, spec_of, train_job
from bench.gpu.parts import SEVEN_B, WIDE
from bench.gpu.record import Bench
from job.predict.gpus import GPUS
from job.train import model as loading
from job.train import numerics

STEPS, TINY_STEPS = 7, 3
TRL_TILES = chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE
SHORT, PACKED = 0.02, 0.15
"""Lengths of rows, as measure.FULL."""


class Base:
    """The base model as the job loads it, again only if its frozen weights change, and the adapter that is on it."""

    def __init__(self) -> None:
        self._load, self._adapt = loading.load_base, loading.with_adapter
        self.model: Any = None
        self._frozen = ""
        self._peft: Any = None

    def load(self, spec: Any, folder: Any, *more: Any) -> Any:
        if self.model is None or self._frozen != spec.load.frozen_dtype:
            self.model, self._frozen = None, spec.load.frozen_dtype
            self.free()
            self.model = self._load(spec, folder, *more)
        self.model.activation_checkpointing_disable()  # the Trainer turns it on for more layers, never for fewer
        return self.model

    def adapt(self, *arguments: Any) -> Any:
        self._peft = self._adapt(*arguments)
        return self._peft

    def free(self) -> None:
        """Takes the adapter off, and gives back what the variant has taken."""
        if self._peft is not None:
            self.model, self._peft = self._peft.unload(), None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


Setting = Callable[[Base], AbstractContextManager[Any]]


def as_it_is(_: Base) -> AbstractContextManager[Any]:
    return nullcontext()


def without_triton(_: Base) -> AbstractContextManager[Any]:
    """As in the image."""
    return patch.object(chunked_logprob, "_TRITON_AVAILABLE", False)


@contextmanager
def tiles_of_trl(base: Base) -> Iterator[None]:
    """The loss in TRL's own tiles, without Triton."""
    tokens, words = TRL_TILES
    with (
        without_triton(base),
        patch.object(numerics, "compute_loss_in_small_tiles", lambda: None),
        patch.object(chunked_logprob, "TOKEN_CHUNK_SIZE", tokens),
        patch.object(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", words),
    ):
        yield


class Variant(NamedTuple):
    """`is_predicted`: whether `job.predict.vram.vram` counts what happens in it. `memory`: of a GPU for which `auto`
    chooses what is recomputed; None: all is."""

    name: str
    changes: Changes = {}
    setting: Setting = as_it_is
    share: float = FULL
    is_predicted: bool = True
    memory: int | None = None


ALL_LINEAR: Changes = {"lora": {"target_modules": "all-linear", "r": 16}}
IN_FLOAT32: Changes = {"load": {"frozen_dtype": "float32"}}
KEPT: Changes = {"training": {"gradient_checkpointing": False}}
VARIANTS = {
    SEVEN_B: (
        Variant("recipe"),
        Variant("recipe, without Triton", setting=without_triton),
        Variant("packing", {"training": {"packing": True}}, share=PACKED),
        Variant("recomputed as auto has it on an L4", memory=GPUS["l4"].memory),
        Variant("recomputed as auto has it on a T4", memory=GPUS["t4"].memory),
        Variant("all-linear, r 16", ALL_LINEAR),
        Variant("short rows", share=SHORT, is_predicted=False),
        Variant("short rows, without checkpointing", KEPT, share=SHORT, is_predicted=False),
        Variant("frozen weights in float32", IN_FLOAT32),
        Variant("frozen weights in float32, all-linear, r 16", IN_FLOAT32 | ALL_LINEAR),
    ),
    WIDE: (
        Variant("wide"),
        Variant("wide, without Triton", setting=without_triton),
        Variant("wide, without Triton, TRL's own tiles", setting=tiles_of_trl, is_predicted=False),
        Variant("wide, without checkpointing", KEPT),
    ),
}


def run(bench: Bench, model: str) -> None:
    base = Base()
    with patch.object(loading, "load_base", base.load), patch.object(loading, "with_adapter", base.adapt):
        for number, variant in enumerate(VARIANTS[model]):
            with bench.case(variant.name) as fields, variant.setting(base):
                fields["is_predicted"] = variant.is_predicted
                spec = spec_of(bench, model, TINY_STEPS if bench.tiny else STEPS, precision("bf16"), variant.changes)
                fields |= train_job(bench, model, spec, variant.share, variant.memory)
                if number:  # nothing was loaded: it would be the peak of the variant before
                    fields.pop("load_peak", None)
                fields["tile"] = [chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE]
            base.free()
