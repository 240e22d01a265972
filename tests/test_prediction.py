"""What is predicted from config.json alone, against the libraries, real files and what the literature says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job import llama, memory
from job.anatomy import Anatomy, anatomy_of
from job.errors import SpecInvalid
from job.gpus import GPUS
from job.hollow import planned
from job.plan import describe
from job.spec import JobSpec
from job.stages import quantize
from tests.export_reference import exported
from tests.tiny_families import FAMILIES, make_family
from tests.tiny_models import make_llama

GIB = 1 << 30


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})


def published(width: int, layers: int, feed_forward: int, heads: int) -> dict[str, Any]:
    """The config.json of a Llama of 2023."""
    return {
        "model_type": "llama", "hidden_size": width, "num_hidden_layers": layers, "intermediate_size": feed_forward,
        "num_attention_heads": heads, "vocab_size": 32000, "tie_word_embeddings": False,
    }  # fmt: skip


SIZES = {
    "7B": (published(4096, 32, 11008, 32), 13.0, 3.9),
    "13B": (published(5120, 40, 13824, 40), 24.0, 7.8),
    "30B": (published(6656, 60, 17920, 52), 60.0, 19.5),
    "65B": (published(8192, 80, 22016, 64), 120.0, 38.5),
}
"""What the recipe's source states for f16 and for 4 bits, in GB."""


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_sizes_are_those_that_the_literature_states(size: str, tmp_path: Path) -> None:
    config, f16, four_bits = SIZES[size]
    model = anatomy_of(config, size)
    assert memory.export_bytes(model, "f16") / GIB == pytest.approx(f16, rel=0.04)
    assert planned(model, ["q4_k_m"], tmp_path)["q4_k_m"].size / memory.GB == pytest.approx(four_bits, rel=0.05)


def test_the_recipe_trains_within_a_t4() -> None:
    needed = memory.vram(spec(training={"max_length": 512}), anatomy_of(SIZES["7B"][0], "7B"))
    assert 5 * memory.GB < needed.total < GPUS["t4"].memory
    assert memory.trainable(spec(), anatomy_of(SIZES["7B"][0], "7B")) == 4_194_304


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

    from job.training.model import with_adapter

    folder = make_llama(tmp_path / "model")
    asked = spec(lora=lora)
    peft = with_adapter(asked, AutoModelForCausalLM.from_pretrained(folder), None)
    model = anatomy_of(json.loads((folder / "config.json").read_text()), "tiny")
    assert memory.trainable(asked, model) == peft.get_nb_trainable_parameters()[0]


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
    if (folder := str(llama.converter_path() / "gguf-py")) not in sys.path:
        sys.path.insert(0, folder)
    from gguf import GGUFReader

    return sum(int(tensor.n_bytes) for tensor in GGUFReader(path).tensors)


def test_a_model_of_another_kind_is_named() -> None:
    with pytest.raises(SpecInvalid, match="model_type mamba"):
        anatomy_of({"model_type": "mamba"}, "someone/model")
    with pytest.raises(SpecInvalid, match="no hidden_size"):
        anatomy_of({"model_type": "llama", "num_attention_heads": 4}, "someone/model")


def model_folder(tmp_path: Path, config: dict[str, Any]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.slow
def test_the_plan_says_whether_it_fits_and_what_would(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, SIZES["13B"][0])
    asked = spec(model={"id": str(folder)}, training={"per_device_train_batch_size": 16, "max_steps": 10})
    said = describe(asked, "t4", 0.35)
    assert "does NOT fit a t4" in said and "all of these" in said and "; a " in said
    assert "estimated cost" in said and "Q4_K_M.gguf" in said
    assert "fits a h100" in describe(asked, "h100")
    with pytest.raises(SpecInvalid, match="--gpu"):
        describe(asked, "t5")


@pytest.mark.slow
def test_a_plan_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(
        json.dumps({"model": {"id": str(model_folder(tmp_path, SIZES["7B"][0]))}, "dataset": {"id": "a/b"}})
    )
    program = (
        "import sys\nsys.argv = ['job', 'plan', sys.argv[1], '--gpu', 't4']\nfrom job.__main__ import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "spec.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "fits a t4" in done.stdout


def test_steps_are_counted_as_the_trainer_counts_them() -> None:
    training = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 3}
    assert memory.steps(spec(training=training), 101) == 39
    assert memory.steps(spec(training={"max_steps": 7}), 101) == 7


def test_an_anatomy_names_its_largest_layer() -> None:
    model = Anatomy.model_validate(anatomy_of(SIZES["7B"][0], "7B"))
    assert model.largest_linear == 4096 * 11008
