"""What is predicted from config.json alone, against the libraries, real files and what the literature says."""

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job.errors import SpecInvalid, UsageInvalid
from job.llama_cpp import bundle, quantize, windows
from job.plan import describe
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
    with pytest.raises(UsageInvalid, match=r"--gpu: 't5' is not known; did you mean t4\?"):
        describe(asked, "t5")


@pytest.mark.slow
def test_a_plan_needs_no_torch_and_about_a_second(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(
        json.dumps({"model": {"id": str(model_folder(tmp_path, SIZES["7B"][0]))}, "dataset": {"id": "a/b"}})
    )
    program = (
        "import sys\nsys.argv = ['job', 'plan', sys.argv[1], '--gpu', 't4']\nfrom job.__main__ import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "spec.json"], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # 0.7 s on an idle CPU; a busy neighbour makes it longer.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert "fits a t4" in done.stdout


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


def test_the_disk_of_each_stage_is_what_lies_there() -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    asked = spec(export={"types": ["q4_k_m", "q8_0", "f16"]}, run={"store": "s3://bucket/runs"})
    size = disk.sizes(asked, model, files={"q4_k_m": 4_000_000_000, "q8_0": 7_000_000_000})
    lies = disk.by_stage(asked, size)
    words = disk.GGUF_WORD * model.vocabulary
    unquantized = disk.export_bytes(model, "f16") + words
    assert size.unquantized == unquantized
    assert lies["fetch"] == model.stored_bytes
    trained = size.adapter + 3 * size.checkpoint
    assert lies["train"] == model.stored_bytes + trained + size.checkpoint
    assert lies["export"] == model.stored_bytes + unquantized + trained
    assert size.logits == windows.logits_bytes(32000, 512, 32768 // 512)
    # Two files at a time, and the one of the unquantized type is a link to it.
    assert lies["evaluate"] == unquantized + trained + size.logits + 11_000_000_000 + 2 * words
    assert disk.peak(lies)[1] == max(lies.values())


def test_the_disk_is_enough_for_any_two_types_since_those_between_may_be_in_the_store() -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    asked = spec(export={"types": ["q8_0", "q2_k", "q6_k"]}, run={"store": "s3://bucket/runs"})
    size = disk.sizes(asked, model, files={"q8_0": 7_000_000_000, "q2_k": 1_000_000_000, "q6_k": 6_000_000_000})
    lies = disk.by_stage(asked, size)
    assert lies["evaluate"] - lies["export"] + size.base == size.logits + size.files["q8_0"] + size.files["q6_k"]


def test_a_store_in_the_work_directory_is_counted(tmp_path: Path) -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    outside, inside = spec(run={"store": str(tmp_path)}), spec()
    size = disk.sizes(outside, model)
    beside = disk.by_stage(inside, size)["publish"] - disk.by_stage(outside, size)["publish"]
    assert beside == sum(size.files.values()) + size.adapter


def test_a_store_keeps_a_family_that_nothing_is_known_of_within_the_largest_sizes() -> None:
    size = disk.sizes(spec(), None, 10 * vram.GB)
    assert size.unquantized == 10 * vram.GB and size.logits == windows.LOGITS_LIMIT
    assert size.files["q8_0"] == pytest.approx(5.3 * vram.GB, rel=0.01)


@pytest.mark.slow
def test_the_plan_shows_each_stage_and_the_cost_of_all(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, SIZES["7B"][0])
    asked = spec(model={"id": str(folder)}, dataset={"id": "a/b", "limit": 2500})
    said = describe(asked, "t4", 0.35)
    stages = [line.split()[1] for line in said.splitlines() if line.endswith((" h", " min", " s")) and "GB" in line]
    assert stages == ["fetch", "agree", "train", "export", "imatrix", "quantize", "evaluate", "publish", "in"]
    assert "the Job's deadline" in said and "estimated cost            at most" in said
    assert "name a GPU" in describe(asked)
