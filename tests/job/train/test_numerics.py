"""What is trained depends on the spec and the pinned packages, not on the CPU or on what else is installed."""

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from job.predict import activations, vram
from job.predict.anatomy import anatomy_of
from job.spec import JobSpec
from job.spec.precision import precision_of
from job.train import stage as train_stage
from job.train.trainer import evaluated
from tests.job.train import trainers
from tests.job.train.trainers import inputs_of, trainer_of
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"The answer to question {n} is {n * n}."}) + "\n" for n in range(12)))
    return path


def spec_of(model: Path, **sections: Any) -> JobSpec:
    """Six steps, without dropout, on every linear layer."""
    training = {"max_steps": 6} | sections.pop("training", {})
    lora = {"dropout": 0, "target_modules": "all-linear"}
    return trainers.spec_of(model, training=training, lora=lora, **sections)


def quantized(model: Any) -> dict[str, bytes]:
    """Every 4-bit weight, and the numbers of its quantization state, as bytes."""
    from bitsandbytes.nn import Linear4bit

    found = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            found[name] = module.weight.detach().numpy().tobytes()
            for part, value in module.weight.quant_state.as_dict().items():
                found[f"{name}.{part}"] = value.numpy().tobytes() if torch.is_tensor(value) else repr(value).encode()
    assert found
    return found


@pytest.mark.parametrize("load", [{}, {"double_quant": True}, {"quant_type": "fp4"}], ids=str)
def test_an_evaluation_leaves_every_4_bit_weight_as_it_was(
    model: Path, rows: Path, tmp_path: Path, load: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    trainer = trainer_of(spec_of(model, load=load), model, rows, tmp_path)
    before = quantized(trainer.model)
    evaluated(trainer)
    assert quantized(trainer.model) == before


def test_evaluations_in_between_change_no_loss(model: Path, rows: Path, tmp_path: Path) -> None:
    def losses(name: str, held_out: Path | None, **training: Any) -> list[float]:
        spec = spec_of(model, training=training)
        inputs = inputs_of(spec, model, tmp_path / name / "tokens", rows, held_out)
        return [one["loss"] for one in train_stage.run(spec, inputs, tmp_path / name).losses]

    often = losses("often", rows, eval_steps=1)
    assert len(often) == 6 and often == pytest.approx(losses("never", None), abs=1e-6)


AS_ON_A_CPU_WITH_BF16_UNITS = """
import importlib.abc, importlib.machinery, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "bitsandbytes.functional":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module.has_avx512bf16 = lambda: True
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def test_a_stage_never_asks_for_code_from_the_hub(model: Path, rows: Path, tmp_path: Path) -> None:
    """A package `kernels` is installed, and bitsandbytes asks for it on such a CPU."""
    site, folder = tmp_path / "site", tmp_path / "train"
    for path in (site / "kernels", site / "kernels-0.17.2.dist-info", folder):
        path.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(AS_ON_A_CPU_WITH_BF16_UNITS)
    (site / "kernels" / "__init__.py").write_text(f"open({str(tmp_path / 'asked')!r}, 'w')\nraise SystemExit(1)\n")
    (site / "kernels-0.17.2.dist-info" / "METADATA").write_text("Name: kernels\nVersion: 0.17.2\n")
    spec = spec_of(model, training={"max_steps": 2, "eval_steps": 1})
    inputs = inputs_of(spec, model, tmp_path / "tokens", rows, rows)
    given = {"spec": spec.model_dump(mode="json"), "inputs": inputs.model_dump(mode="json")}
    (folder / "inputs.json").write_text(json.dumps(given))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "job", "stage", "train", str(folder), "1"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "asked").exists()
    assert '"library.noise"' in done.stdout and '"library.warning"' not in done.stdout


class LiveBytes(TorchDispatchMode):
    """Counts the memory of all tensors that live at one time, but not what an operation takes inside itself."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self._known:
                storage = tensor.untyped_storage()
                self._known[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, storage._cdata)
        return out

    def _gone(self, key: int) -> None:
        self.now -= self._known.pop(key)


def test_the_loss_takes_what_is_predicted(rows: Path, tmp_path: Path) -> None:
    """Without Triton, in float32: a vocabulary and a batch of more than one tile each, through TRL."""
    model = make_llama(tmp_path / "m", hidden=64, layers=1, intermediate=64, vocab_size=12_000)
    spec = spec_of(model, training={"max_length": 1_200})
    trainer = trainer_of(spec, model, rows, tmp_path)
    ids = torch.randint(3, 1_000, (2, 1_200))
    batch = {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}
    with LiveBytes() as live:
        trainer.compute_loss(trainer.model, batch).backward()
    anatomy = anatomy_of(json.loads((model / "config.json").read_text()), "m")
    size = activations.widths(spec, precision_of(spec, ["llama"], None))
    predicted = activations.loss(spec, anatomy, size, triton=False) + activations.kept(spec, anatomy, size)
    assert live.peak == pytest.approx(predicted, rel=0.05)


LLAMA_2 = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000}  # fmt: skip


@pytest.mark.parametrize("vocabulary", [32_000, 128_256, 262_144])
def test_the_loss_takes_under_800_megabytes_of_a_gpu_in_the_image(vocabulary: int) -> None:
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}})
    needed = vram.vram(spec, anatomy_of(LLAMA_2 | {"vocab_size": vocabulary}, "7B"))
    assert needed.loss < 800e6
