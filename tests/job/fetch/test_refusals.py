"""Model repositories that are refused, each with its exit code and what the message says."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.errors import JobError
from job.fetch import safety
from tests.job.fetch.models import GOOD, safetensors

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10\n"


def config(**fields: Any) -> dict[str, bytes]:
    return {"config.json": json.dumps(fields).encode()}


def index(shard: str) -> dict[str, bytes | None]:
    names = {"weight_map": {"a": shard}}
    return {"model.safetensors": None, "model.safetensors.index.json": json.dumps(names).encode(), "b.safetensors": b""}


REFUSED: dict[str, tuple[dict[str, bytes | None], int, str]] = {
    "an index of files elsewhere": (index("../other.safetensors"), 82, "not a file beside it"),
    "an index of files in a folder": (index("/etc/model.safetensors"), 82, "not a file beside it"),
    "an index without a map": (index("b") | {"model.safetensors.index.json": b"{}"}, 65, "has no weight_map"),
    "an index of a shard that is nowhere": (index("a.safetensors"), 66, "names a.safetensors, and nobody has put it"),
    "weights of another name": ({"model.safetensors": None, "consolidated.safetensors": b""}, 66, "only consolidated"),
    "auto_map": (config(auto_map={"AutoModel": "modeling_x.X"}), 82, "config.json has auto_map"),
    "a type that transformers does not know": (config(model_type="own", architectures=["Own"]), 64, "'own' (Own)"),
    "a type that llama.cpp cannot convert": (config(model_type="opt", architectures=["OPTForCausalLM"]), 64, "OPTFor"),
    "no architecture": (config(model_type="llama"), 64, "names no architecture"),
    "auto_map from elsewhere": (config(auto_map={"AutoConfig": "other/repo--c.C"}), 82, "Python code of the model"),
    "auto_map of the tokenizer": ({"tokenizer_config.json": b'{"auto_map": {}}'}, 82, "tokenizer_config.json"),
    "only pickles": ({"model.safetensors": None, "pytorch_model.bin": b"\x80"}, 82, "only as pickles"),
    "a checkpoint of torch": ({"model.safetensors": None, "model.pt": b"\x80"}, 82, "loading one can run any code"),
    "only GGUF files": ({"model.safetensors": None, "model-Q4_K_M.gguf": b"GGUF"}, 65, "quantized already"),
    "no weights": ({"model.safetensors": None}, 66, "has no safetensors"),
    "no config": ({"config.json": None}, 66, "has no config.json"),
    "a config that is no JSON": ({"config.json": b"{"}, 65, "config.json is not JSON"),
    "a config that is a list": ({"config.json": b"[]"}, 65, "not a JSON object"),
    "a config that nests too deep": ({"config.json": b"[" * 200_000}, 65, "config.json is not JSON"),
    "quantized by GPTQ": (config(quantization_config={"quant_method": "gptq"}), 65, "quantized already (gptq)"),
    "a Git LFS pointer": ({"model.safetensors": LFS}, 82, "Git LFS pointer"),
    "an empty file": ({"model.safetensors": b""}, 82, "is cut off"),
    "half a file": ({"model.safetensors": safetensors((0, 8), size=4)}, 82, "has 4 bytes of tensors"),
    "a header beyond the file": ({"model.safetensors": struct.pack("<Q", 1 << 40)}, 82, "claims a header"),
    "a header that is no JSON": ({"model.safetensors": safetensors(header=b"{]")}, 82, "header of model.safetensors"),
    "a header of other things": ({"model.safetensors": safetensors(header=b'{"a": 1}')}, 82, "is damaged"),
    "tensors that overlap": ({"model.safetensors": safetensors((0, 8), (4, 12))}, 82, "overlap or leave gaps"),
    "a gap between tensors": ({"model.safetensors": safetensors((0, 8), (16, 24))}, 82, "overlap or leave gaps"),
    "bytes after the tensors": ({"model.safetensors": safetensors((0, 8), size=9)}, 82, "not 8 as its header says"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_is_refused_with_its_exit_code_and_reason(tmp_path: Path, case: str) -> None:
    changes, code, said = REFUSED[case]
    for name, data in {**GOOD, **changes}.items():
        if data is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    with pytest.raises(JobError) as caught:
        safety.check_folder(tmp_path, "someone/model")
    assert caught.value.code == code
    assert said in caught.value.message and "someone/model" in caught.value.message


def test_a_sound_model_passes_wherever_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "models" / "model"
    folder.mkdir(parents=True)
    for name, data in GOOD.items():
        (folder / name).write_bytes(data)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock.py").touch()
    safety.check_folder(folder, "model")


def test_an_adapter_needs_its_own_config(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(GOOD["model.safetensors"])
    with pytest.raises(JobError, match=r"no adapter_config\.json"):
        safety.check_folder(tmp_path, "me/adapter", adapter=True)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/../../b", "..\\windows"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(JobError, match="would leave its folder") as caught:
        safety.check_names(["model.safetensors", name], "someone/model")
    assert caught.value.code == 82


@pytest.mark.parametrize("link", ["a folder", "a file in a folder", "a folder that is called blobs"])
def test_a_link_anywhere_in_the_folder_must_stay_in_it(tmp_path: Path, link: str) -> None:
    elsewhere, folder = tmp_path / "elsewhere" / "blobs", tmp_path / "model"
    (folder / "additional_chat_templates").mkdir(parents=True)
    elsewhere.mkdir(parents=True)
    (elsewhere / "secret").write_text("secret")
    for name, data in GOOD.items():
        (folder / name).write_bytes(data)
    made = {
        "a folder": ("templates", tmp_path / "elsewhere"),
        "a file in a folder": ("additional_chat_templates/rag.jinja", elsewhere / "secret"),
        "a folder that is called blobs": ("tokenizer.json", elsewhere / "secret"),
    }
    (folder / made[link][0]).symlink_to(made[link][1])
    with pytest.raises(JobError, match="is a link that leaves the folder") as caught:
        safety.check_folder(folder, "model")
    assert caught.value.code == 82


def test_a_snapshot_of_the_hubs_own_cache_has_links_to_its_blobs(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name, data in GOOD.items():
        (blobs / f"blob-{name}").write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/blob-{name}")
    safety.check_folder(snapshot, "model")


@pytest.mark.parametrize("target", [lambda top: "/etc/passwd", lambda top: str(top / "secret")])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, target: Callable[[Path], str]) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in GOOD.items():
        (folder / name).write_bytes(data)
    (folder / "tokenizer.json").symlink_to(target(tmp_path))
    with pytest.raises(JobError, match=r"tokenizer\.json is a link that leaves the folder") as caught:
        safety.check_folder(folder, "model")
    assert caught.value.code == 82
