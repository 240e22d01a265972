"""The image by itself, started as Kubernetes starts it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from k8s.manifest.base import CACHE, SPEC_FOLDER, STORE, WORK
from tests import fake_driver
from tests.e2e import container
from tests.e2e.images import Image, built

ANYBODY = "54321:0"
"""As OpenShift does: a user without a name, in root's group."""


@pytest.fixture(scope="session")
def image() -> Image:
    return built()


@pytest.fixture
def mounts(tmp_path: Path, tiny_model: Path, quotes: Path) -> dict[Path, str]:
    """The volumes of a run's pod, and the model and the rows, since there is no network."""
    found = {tmp_path / name: path for name, path in (("work", WORK), ("cache", CACHE), ("store", STORE))}
    for folder in found:
        folder.mkdir()
        folder.chmod(0o777)
    inputs, spec = tmp_path / "inputs", tmp_path / "spec"
    shutil.copytree(tiny_model, inputs / "model")
    shutil.copy(quotes, inputs / "rows.jsonl")
    for path in inputs.rglob("*"):  # safetensors files are written for their owner only
        path.chmod(0o755 if path.is_dir() else 0o644)
    spec.mkdir()
    return found | {inputs: "/inputs", spec: SPEC_FOLDER}


def small(**sections: Any) -> dict[str, Any]:
    return {
        "model": {"id": "/inputs/model"},
        "dataset": {"id": "/inputs/rows.jsonl", "text": "quote", "eval_fraction": 0.1},
        "training": {"max_steps": 4, "max_length": 48, "logging_steps": 1, "per_device_train_batch_size": 2},
        "evaluation": {"samples": 1, "max_new_tokens": 4},
        "export": {"types": ["q4_k_m"]},
        "publish": {"name": "tiny"},
        "run": {"store": STORE, "id": "one"},
    } | sections


@pytest.mark.parametrize("user", ["10001:10001", ANYBODY])
def test_a_small_spec_runs_to_its_manifest(mounts: dict[Path, str], image: Image, tmp_path: Path, user: str) -> None:
    (tmp_path / "spec" / "spec.json").write_text(json.dumps(small()))
    ended = container.run(image, [], mounts, user, FINETUNE_SPEC=f"{SPEC_FOLDER}/spec.json")
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    manifest = json.loads((tmp_path / "store" / "runs" / "one" / "manifest.json").read_text())
    assert "tiny-Q4_K_M.gguf" in {one["name"] for one in manifest["files"]}


def test_a_wrong_spec_is_named_by_the_exit_code(mounts: dict[Path, str], image: Image, tmp_path: Path) -> None:
    (tmp_path / "spec" / "spec.json").write_text(json.dumps(small(lora={"r": -1})))
    ended = container.run(image, [], mounts, ANYBODY, FINETUNE_SPEC=f"{SPEC_FOLDER}/spec.json")
    assert ended.returncode == 64
    assert "lora.r" in ended.stderr


def test_version_names_every_part(mounts: dict[Path, str], image: Image) -> None:
    said = container.run(image, ["--version"], mounts, ANYBODY).stdout
    for part in ("finetune-run", "python", "torch", "transformers", "bitsandbytes", "llama.cpp", "llama-cpp-python"):
        assert part in said, said


FIND = """
import json
from job import driver, node
print(json.dumps([driver.ask().gpus, node.gpu_memory_used()]))
"""


def test_a_driver_that_is_mounted_as_on_gke_is_found(mounts: dict[Path, str], image: Image, tmp_path: Path) -> None:
    (tmp_path / "inputs" / "find.py").write_text(FIND)
    mounts[fake_driver.install(tmp_path / "driver")] = "/usr/local/nvidia"
    ended = container.run(image, ["/inputs/find.py"], mounts, ANYBODY, program="python3")
    assert json.loads(ended.stdout or "null") == [[["Tesla T4", 15_636_037_632, [7, 5]]], 1234 << 20], ended.stderr


def test_a_gpu_that_was_asked_for_and_did_not_come_ends_the_run(
    mounts: dict[Path, str], image: Image, tmp_path: Path
) -> None:
    (tmp_path / "spec" / "spec.json").write_text(json.dumps(small()))
    variables = {"FINETUNE_SPEC": f"{SPEC_FOLDER}/spec.json", "FINETUNE_GPU": "required"}
    ended = container.run(image, [], mounts, ANYBODY, **variables)
    assert ended.returncode == 78, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "this container has no GPU" in ended.stderr


LOOK = """
import json, os, shutil
from pathlib import Path
TOOLS = ("gcc", "g++", "cc", "cmake", "pip", "pip3", "uv", "curl", "git")
found = {"uid": os.getuid(), "writable": []}
for folder in ("/", "/opt/finetune-run", "/etc", "/usr/local/bin"):
    if os.access(folder, os.W_OK): found["writable"].append(folder)
found["tools"] = [name for name in TOOLS if shutil.which(name)]
found["secrets"] = [str(path) for path in Path("/run").rglob("*") if path.is_file()]
found["sbom"] = json.loads(Path("/opt/finetune-run/sbom.cdx.json").read_text())
found["caps"] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")]
print(json.dumps(found))
"""


def test_nothing_is_writable_no_tool_is_left_and_the_sbom_names_the_parts(
    mounts: dict[Path, str], image: Image, tmp_path: Path
) -> None:
    (tmp_path / "inputs" / "look.py").write_text(LOOK)
    ended = container.run(image, ["/inputs/look.py"], mounts, ANYBODY, program="python3")
    found = json.loads(ended.stdout)
    assert found["uid"] == 54321
    assert (found["writable"], found["tools"], found["secrets"]) == ([], [], [])
    assert found["caps"] == ["CapEff:\t0000000000000000"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found["sbom"])) is None
    purls = {one["purl"].split("@")[0] for one in found["sbom"]["components"]}
    assert {"pkg:pypi/torch", "pkg:pypi/transformers", "pkg:deb/debian/libc6", "pkg:github/ggml-org/llama.cpp"} <= purls
    assert "pkg:pypi/triton" not in purls
