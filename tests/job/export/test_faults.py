"""What an export refuses, and by which error; how much memory and disk it takes."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from job.errors import IntegrityViolated, JobError, NotFound, QualityRejected, SpecInvalid, StorageFailed
from tests.export_reference import converted, exported, make_adapter, merged_by_peft, tensors
from tests.tiny_models import make_llama, training_text, write_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapter"), target_modules=["q_proj", "v_proj"])


def with_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "adapter_config.json"
        write_json(path, json.loads(path.read_text()) | changes)

    return edit


def with_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "adapter_model.safetensors")
        change(weights)
        save_file(weights, folder / "adapter_model.safetensors")

    return edit


A, B = (f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight" for side in "AB")


def renamed(weights: dict[str, torch.Tensor]) -> None:
    for side in (A, B):
        weights[side.replace("layers.0", "layers.7")] = weights.pop(side)


def too_wide(weights: dict[str, torch.Tensor]) -> None:
    weights[A] = torch.zeros(8, 512)


def not_a_number(weights: dict[str, torch.Tensor]) -> None:
    weights[A][0, 0] = torch.nan


def other_rank(weights: dict[str, torch.Tensor]) -> None:
    weights[B] = weights[B][:, :4].contiguous()


def half(weights: dict[str, torch.Tensor]) -> None:
    del weights[B]


def saved_norm(weights: dict[str, torch.Tensor]) -> None:
    weights["base_model.model.model.norm.weight"] = torch.ones(128)


ADAPTER_FAULTS: dict[str, tuple[Callable[[Path], Any], type[JobError], str]] = {
    "no config": (lambda f: (f / "adapter_config.json").unlink(), NotFound, "has no adapter_config.json"),
    "config no JSON": (lambda f: (f / "adapter_config.json").write_text("{"), IntegrityViolated, "is not JSON"),
    "another kind": (with_config(peft_type="LOHA"), SpecInvalid, "PEFT type LOHA"),
    "QALoRA": (with_config(use_qalora=True), SpecInvalid, "QALoRA"),
    "bare parameters": (with_config(target_parameters=["mlp.experts.up"]), SpecInvalid, "target_parameters"),
    "PiSSA": (with_config(init_lora_weights="pissa"), SpecInvalid, "changed the base weights"),
    "pickled": (lambda f: (f / "adapter_model.safetensors").unlink(), IntegrityViolated, "has no adapter_model.saf"),
    "broken": (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x"), IntegrityViolated, "is broken"),
    "other layers": (with_weights(renamed), IntegrityViolated, r"does not have: model\.layers\.7\.self_attn\.q_proj"),
    "other width": (with_weights(too_wide), IntegrityViolated, r"shape \[256, 512\], the base model has \[256, 256\]"),
    "other rank": (with_weights(other_rank), IntegrityViolated, "has rank 8 in lora_A, not 4"),
    "half of a pair": (with_weights(half), IntegrityViolated, "has lora_A but no lora_B"),
    "a saved norm of another width": (with_weights(saved_norm), IntegrityViolated, "it saves shape"),
    "NaN": (with_weights(not_a_number), QualityRejected, "NaN or infinite"),
}


@pytest.mark.parametrize("fault", ADAPTER_FAULTS)
def test_an_adapter_that_cannot_be_merged_is_refused(fault: str, base: Path, adapter: Path, tmp_path: Path) -> None:
    spoil, error, message = ADAPTER_FAULTS[fault]
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    spoil(folder)
    with pytest.raises(error, match=message):
        exported(base, folder, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def edited_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "config.json", json.loads((folder / "config.json").read_text()) | changes)


def cut_off(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)


def shard_missing(folder: Path) -> None:
    weights = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    write_json(folder / "model.safetensors.index.json", weights)


def bpe_of_ones_own(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator([training_text()[:20_000]], trainers.BpeTrainer(vocab_size=600, show_progress=False))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").unlink()


MODEL_FAULTS: dict[str, tuple[Callable[[Path], Any], type[JobError], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), NotFound, "has no config.json"),
    "an unknown architecture": (edited_config(architectures=["LlamoForCausalLM"]), SpecInvalid, "LlamoForCausalLM"),
    "already quantized": (
        edited_config(quantization_config={"quant_method": "gptq", "bits": 4}), SpecInvalid, r"quantized \(gptq\)",
    ),
    "a shard cut off": (cut_off, IntegrityViolated, "is cut off"),
    "a shard missing": (shard_missing, IntegrityViolated, "incomplete"),
    "a BPE tokenizer of one's own": (bpe_of_ones_own, SpecInvalid, "does not know this BPE tokenizer"),
    "tokenizer_config.json no JSON": (
        lambda f: (f / "tokenizer_config.json").write_text("{"), IntegrityViolated, "is not JSON",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_a_model_that_cannot_be_converted_is_refused(fault: str, base: Path, adapter: Path, tmp_path: Path) -> None:
    spoil, error, message = MODEL_FAULTS[fault]
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    spoil(folder)
    with pytest.raises(error, match=message):
        exported(folder, adapter, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_known_family_is_named_where_the_architecture_is_not_known(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    edited_config(architectures=["LlamoForCausalLM"])(folder)
    with pytest.raises(SpecInvalid) as caught:
        exported(folder, None, tmp_path / "out")
    assert "LlamaForCausalLM" in caught.value.hint


def test_values_beyond_float16_are_refused_and_bfloat16_holds_them(tmp_path: Path) -> None:
    def grow(model: Any) -> None:
        model.lm_head.weight.data[0, 0] = 1e5

    base = make_llama(tmp_path / "base", prepare=grow)
    with pytest.raises(SpecInvalid, match=r"output\.weight contains values beyond float16"):
        exported(base, None, tmp_path / "out")
    bf16 = exported(base, None, tmp_path / "out", export={"dtype": "bf16"}).gguf
    assert tensors(bf16) == tensors(converted(base, tmp_path / "reference.gguf", "bf16"))


def test_a_disk_that_takes_no_more_is_named_and_leaves_no_part(base: Path, adapter: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: write() fails in the same place."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(StorageFailed, match=r"cannot write .*tiny-f16\.gguf"):
            exported(base, adapter, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out").iterdir())
    merged = merged_by_peft(base, adapter, tmp_path / "peft", dtype=torch.float32)
    expected = converted(merged, tmp_path / "reference.gguf")
    assert tensors(exported(base, adapter, tmp_path / "out").gguf) == tensors(expected)


PEAK = """
import sys, threading, time
from pathlib import Path
from tests.export_reference import exported

peak, running = 0, True
def watch():
    global peak
    while running:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
result = exported(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), export={"dtype": sys.argv[4]})
running = False
watcher.join()
print("PEAK", peak, result.size)
"""


@pytest.mark.parametrize("dtype, of_each", [("f16", 6), ("bf16", 6), ("f32", 8)])
def test_memory_is_bounded_by_the_largest_tensor_and_only_the_gguf_is_on_disk(
    dtype: str, of_each: int, tmp_path: Path
) -> None:
    """0.5 GB and 6 bytes per element of the largest tensor, of which importing torch and transformers takes 0.41 GB:
    the whole model, 0.2 GB in bfloat16, would not fit beside."""
    largest = 1024 * 16384
    base = make_llama(tmp_path / "base", hidden=1024, intermediate=16384, layers=2, heads=8, kv_heads=8, shards=2)
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=["down_proj", "gate_proj"])
    out = tmp_path / "out"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAK, str(base), str(adapter), str(out), dtype]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"^PEAK (\d+) (\d+)$", done.stdout, re.M)
    assert found, done.stderr[-2000:]
    assert int(found[1]) < 500_000_000 + of_each * largest
    assert [path.name for path in out.iterdir()] == [f"tiny-{dtype}.gguf"]
    assert int(found[2]) > 200_000_000
