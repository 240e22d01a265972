"""What is predicted from config.json alone, against the libraries, real files and what the literature says."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from job.errors import SpecInvalid
from job.llama_cpp import bundle, quantize
from job.predict import activations, disk, ram, vram
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.file_sizes import planned, planned_here
from job.predict.gpus import GPUS
from job.spec.precision import precision_of
from tests.export_reference import exported
from tests.job.predict.families import config_of, saved_by_block, spec
from tests.job.predict.sizes import SIZES
from tests.tiny_families import FAMILIES, make_family
from tests.tiny_models import make_llama

GIB = 1 << 30
SHORT_ROWS = {"per_device_train_batch_size": 2, "max_length": 64, "gradient_checkpointing": False}
HALVES: list[dict[str, Any]] = [{"frozen_dtype": "float32"}, {"frozen_dtype": "compute"}, {"bits": 16}]
ADAPTERS: list[dict[str, Any]] = [
    {"target_modules": "all-linear"},
    {"dropout": 0},
    {"target_modules": "all-linear", "dropout": 0},
    {"use_dora": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_sizes_are_those_that_the_literature_states(size: str, tmp_path: Path) -> None:
    config, f16, four_bits = SIZES[size]
    model = anatomy_of(config, size)
    assert disk.export_bytes(model, "f16") / GIB == pytest.approx(f16, rel=0.04)
    assert planned(model, ["q4_k_m"], tmp_path)["q4_k_m"].size / vram.GB == pytest.approx(four_bits, rel=0.05)


def test_the_recipe_trains_within_a_t4() -> None:
    needed = vram.vram(spec(training={"max_length": 512}), anatomy_of(SIZES["7B"][0], "7B"))
    assert 5 * vram.GB < needed.total < GPUS["t4"].memory
    assert vram.vram(spec(), anatomy_of(SIZES["7B"][0], "7B")).total < GPUS["t4"].memory
    assert vram.trainable(spec(), anatomy_of(SIZES["7B"][0], "7B")) == 4_194_304


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "lora"),
    [(family, {}) for family in FAMILIES] + [("Mistral", lora) for lora in ADAPTERS],
)
def test_a_block_saves_what_autograd_saves(family: str, lora: dict[str, Any]) -> None:
    """Of the second block: in the first one, not all that it computes depends on an adapter yet."""
    import transformers

    from job.train.model import with_adapter

    config = config_of(family)
    model = anatomy_of(config.to_dict(), family)
    if model.fused:
        lora = lora | {"target_modules": ["qkv_proj"]}
    asked = spec(lora=lora, load={"bits": 32}, training=SHORT_ROWS)
    peft = with_adapter(asked, transformers.AutoModelForCausalLM.from_config(config), None).train()
    size = activations.widths(asked, precision_of(asked, [family], None))
    assert activations.block(asked, model, size) == pytest.approx(saved_by_block(peft, 1), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("load", HALVES, ids=str)
@pytest.mark.parametrize(
    ("family", "lora"), [(family, {}) for family in FAMILIES] + [("Llama 3", lora) for lora in ADAPTERS], ids=str
)
def test_a_block_saves_on_a_gpu_what_autograd_saves_under_autocast(
    family: str, lora: dict[str, Any], load: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bitsandbytes' layers, autocast's casts and a GPU's masks, on this CPU."""
    import torch
    import transformers

    from job.train.model import load_base, with_adapter

    config = config_of(family)
    model = anatomy_of(config.to_dict(), family)
    if model.fused:
        lora = lora | {"target_modules": ["qkv_proj"]}
    asked = spec(lora=lora, load=load, training=SHORT_ROWS)
    as_on_a_gpu = precision_of(asked, [family], (8, 0))
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    base = load_base(asked, tmp_path / "model", dataclasses.replace(as_on_a_gpu, cuda=False))
    peft = with_adapter(asked, base, None).train()
    mixed = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: mixed(*device or ("cpu",)))  # PEFT asks for CUDA
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: native_dropout(x, self.p) if self.p else x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        saved = saved_by_block(peft, 1)
    found = activations.block(asked, model, activations.widths(asked, as_on_a_gpu))
    assert found == pytest.approx(saved, rel=0.1 if lora.get("use_dora") else 0.02)


def native_dropout(x: Any, share: float) -> Any:
    """Dropout as on a GPU: its mask is bytes."""
    import torch

    return torch.native_dropout(x, share, True)[0]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_that_transformers_counts(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = make_family(tmp_path / "model", family)
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    assert anatomy_of(config, family).parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "lora", [{}, {"target_modules": "all-linear", "r": 4}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}]
)
def test_trainable_parameters_are_those_that_peft_counts(lora: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from job.train.model import with_adapter

    folder = make_llama(tmp_path / "model")
    asked = spec(lora=lora)
    peft = with_adapter(asked, AutoModelForCausalLM.from_pretrained(folder), None)
    model = anatomy_of(json.loads((folder / "config.json").read_text()), "tiny")
    assert vram.trainable(asked, model) == peft.get_nb_trainable_parameters()[0]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Mistral", "Gemma 2", "Phi-3"])
def test_the_predicted_size_of_a_file_is_the_real_ones(family: str, tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", family)
    model = anatomy_of(json.loads((folder / "config.json").read_text()), family)
    gguf = exported(folder, None, tmp_path / "out").gguf
    kinds = ["q4_k_m", "q5_1", "q8_0", "f16"]
    for kind, file in planned(model, kinds, tmp_path).items():
        made = quantize.run(spec(), quantize.Inputs(gguf=gguf, type=kind), tmp_path).files[0]
        assert tensor_bytes(made) == pytest.approx(file.size, abs=12_000), kind  # llama-quantize says 0.01 MiB


def tensor_bytes(path: Path) -> int:
    """What the file holds but its header and metadata."""
    if (folder := str(bundle.converter_path() / "gguf-py")) not in sys.path:
        sys.path.insert(0, folder)
    from gguf import GGUFReader

    return sum(int(tensor.n_bytes) for tensor in GGUFReader(path).tensors)


def test_a_model_of_another_kind_is_named() -> None:
    with pytest.raises(SpecInvalid, match="model_type mamba"):
        anatomy_of({"model_type": "mamba"}, "someone/model")
    with pytest.raises(SpecInvalid, match="no hidden_size"):
        anatomy_of({"model_type": "llama", "num_attention_heads": 4}, "someone/model")


def test_an_anatomy_names_its_largest_layer() -> None:
    model = Anatomy.model_validate(anatomy_of(SIZES["7B"][0], "7B"))
    assert model.largest_linear == 4096 * 11008


def test_the_larger_of_a_blocks_backward_pass_and_the_loss_counts() -> None:
    needed = vram.vram(spec(), anatomy_of(SIZES["7B"][0], "7B"))
    rest = needed.weights + needed.adapter + needed.optimizer + needed.activations + needed.context
    assert needed.total == rest + max(needed.block, needed.loss)


def test_a_7b_model_fits_a_node_with_15_gb_of_memory_in_every_stage() -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    asked = spec()
    held = ram.by_stage(asked, model, planned_here(model, asked.export.types), on_gpu=True, llama_gpu=True)
    assert list(held) == ["fetch", "agree", "train", "export", "imatrix", "quantize", "evaluate", "publish"]
    assert disk.peak(held)[1] < 6 * vram.GB


def test_the_first_layers_are_compared_in_the_memory_that_writing_their_embeddings_needs() -> None:
    """Measured with the widths and the vocabulary of Llama 3 8B: 3.79 GB."""
    wide = anatomy_of(SIZES["7B"][0] | {"vocab_size": 128256}, "8B")
    small = anatomy_of(SIZES["7B"][0], "7B")
    assert ram.agree(wide, "f16") == pytest.approx(3.79e9, rel=0.03)
    assert ram.agree(small, "f16") > ram.export_ram(small, "f16")
