"""What this job sets inside the libraries is there, and is asked when it matters."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from job.train import numerics
from tests.job.train.trainers import spec_of, trainer_of
from tests.tiny_models import VOCAB_SIZE, make_llama

pytestmark = pytest.mark.slow


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One whose loss is to be computed in tiles of 16 tokens by 32 words."""
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    for module, name in ((chunked_logprob, "TOKEN_CHUNK_SIZE"), (utils, "_CHUNKED_LOGPROB_CHUNK_SIZE")):
        monkeypatch.setattr(module, name, getattr(module, name))  # both must be there, and are put back
    monkeypatch.setattr(numerics, "TILE_TOKENS", 16)
    monkeypatch.setattr(numerics, "TILE_WORDS", 32)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"The answer to {n} is {n * n}."}) + "\n" for n in range(6)))
    model = make_llama(tmp_path / "m", hidden=64, layers=1, intermediate=64)
    return trainer_of(spec_of(model), model, rows, tmp_path / "work")


class Shapes(TorchDispatchMode):
    """Those of everything that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.seen |= {tuple(out.shape)} if isinstance(out, torch.Tensor) else set()
        return out


def test_trl_asks_for_the_size_of_a_tile_of_logits_when_it_computes_a_loss(trainer: Any) -> None:
    ids = torch.randint(3, 1_000, (2, 40))
    with Shapes() as shapes:
        trainer.compute_loss(
            trainer.model, {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}
        )
    assert (16, 32) in shapes.seen
    assert not [shape for shape in shapes.seen if shape[-1:] == (VOCAB_SIZE,) and len(shape) > 1]


def test_every_4_bit_layer_has_the_switch_that_forward_asks(trainer: Any) -> None:
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in trainer.model.modules() if isinstance(module, Linear4bit)]
    assert layers and not any(layer.support_avx512bf16_for_cpu for layer in layers)
    assert "support_avx512bf16_for_cpu" in Linear4bit.forward.__code__.co_names
    assert "support_avx512bf16_for_cpu" in vars(Linear4bit(8, 8)), "no longer a switch of the layer's own"
