"""What the GPU check takes along to a machine without a network, and what it does with it there."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from bench.gpu.record import ROOT, Bench, Line

GPU = ROOT / "bench" / "gpu"


def pins(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "pack.sh", "--pins"], capture_output=True, text=True, check=False)


def carried() -> list[str]:
    return [line for line in (GPU / "carried.txt").read_text().splitlines() if not line.startswith("#")]


def test_what_is_carried_is_pinned_as_in_the_image() -> None:
    runtime = (ROOT / "requirements" / "runtime.txt").read_text()
    blocks = dict(re.findall(r"^([\w.-]+)==(.*?)(?=^\S|\Z)", runtime.replace("    #", "#"), flags=re.M | re.S))
    printed = dict(re.findall(r"^([\w.-]+)==(.*?)(?=^\S|\Z)", pins(GPU).stdout, flags=re.M | re.S))
    assert printed == {name: blocks[name] for name in carried()}
    assert all("--hash=sha256:" in block for block in printed.values())


def test_a_package_that_is_not_pinned_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "gpu"
    folder.mkdir(parents=True)
    (tmp_path / "requirements").symlink_to(ROOT / "requirements")
    (folder / "pack.sh").symlink_to(GPU / "pack.sh")
    (folder / "carried.txt").write_text("# packages\ntrl\nunsloth\n")
    done = pins(folder)
    assert (done.returncode, done.stderr) == (1, "unsloth is not in requirements/runtime.txt\n")


HAS = {
    "accelerate", "anyio", "attrs", "certifi", "cuda-bindings", "cuda-pathfinder", "filelock", "fsspec", "h11",
    "huggingface-hub", "idna", "jinja2", "markupsafe", "mpmath", "networkx", "numpy", "packaging", "pandas", "pillow",
    "protobuf", "psutil", "pyarrow", "pygments", "python-dateutil", "pyyaml", "regex", "rich", "safetensors",
    "sentencepiece", "setuptools", "six", "sympy", "tokenizers", "torch", "tqdm", "triton", "typing-extensions",
    "urllib3", "xxhash",
}  # fmt: skip
"""What the machine for CUDA has; of transformers and PEFT other versions."""
IF_THERE = {"boto3", "botocore", "jmespath", "s3transfer", "greenlet", "httpcore2", "httpx2", "truststore"}
"""What the libraries load where it is installed, and its version of huggingface_hub does without."""
BUILT = {"finetune-run", "gguf"}
"""The project itself, and what comes with llama.cpp's source."""
RECORDER = """
import atexit, os, pathlib, sys
def write():
    names = {name.partition(".")[0] for name in sys.modules}
    pathlib.Path(os.environ["RECORDED"], str(os.getpid())).write_text(" ".join(names))
atexit.register(write)
"""


@pytest.mark.slow
def test_what_the_machine_lacks_is_carried(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    command = [sys.executable, "-m", "bench.gpu", "--tiny", "--work", str(tmp_path), "--out", str(tmp_path)]
    command += ["machine", "job-bf16", "plain-bf16", "llama", "balloon"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "RECORDED": str(recorded)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    names = {name for file in recorded.iterdir() for name in file.read_text().split()}
    known = packages_distributions()
    loaded = {re.sub(r"[_.]", "-", one.lower()) for name in names for one in known.get(name, ())}
    assert loaded - HAS - IF_THERE - BUILT == set(carried())


PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(llama C)
message("llama.cpp version: 1.2.3")
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
file(WRITE ${CMAKE_BINARY_DIR}/main.c "int main(void) { return 0; }")
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without a network, with what was packed; a project of the same targets stands in for
    llama.cpp."""
    for path in (site := tmp_path / "site", programs := tmp_path / "bin", source := tmp_path / "llama.cpp"):
        path.mkdir()
    (site / "transformers-0.0.1.dist-info").mkdir()
    (site / "transformers-0.0.1.dist-info" / "METADATA").write_text("Name: transformers\nVersion: 0.0.1\n")
    targets = re.search(r"^programs=\((.*?)\)", (ROOT / "scripts" / "build-llama.sh").read_text(), re.M | re.S)
    assert targets
    added = "".join(f"add_executable({name} ${{CMAKE_BINARY_DIR}}/main.c)\n" for name in targets[1].split())
    (source / "CMakeLists.txt").write_text(PROJECT + added)
    for name in ("conversion", "gguf-py", "models"):
        (source / name).mkdir()
    for name in ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py"):
        (source / name).touch()
    for name in ("llama-bpe", "qwen2"):
        (source / "models" / f"ggml-vocab-{name}.gguf").touch()
    answer = 'case "$*" in *compute_cap,*|*name*) echo NVIDIA H100, 81559 MiB, 580.159.04, 9.0;; *) echo 9.0;; esac'
    executable(programs / "nvidia-smi", answer)
    pack(tmp_path, "site", site, ".")
    pack(tmp_path, "llama.cpp", tmp_path, "llama.cpp")
    return {
        "PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": sys.executable, "PIP_NO_INDEX": "1",
        "GPU_PACK": str(tmp_path), "SCRATCH": str(tmp_path / "scratch"), "FINETUNE_CACHE": str(tmp_path / "cache"),
        "OUT": str(tmp_path / "out"),
    }  # fmt: skip


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def pack(folder: Path, name: str, top: Path, pattern: str) -> None:
    subprocess.run(["tar", "-C", top, "-cJf", folder / f"{name}.tar.xz", pattern], check=True)


def run_there(environment: dict[str, str], *parts: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Line]]:
    command = [GPU / "run.sh", "--tiny", *parts]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    out = Path(environment["OUT"])
    return done, {line["part"]: line for line in Bench(out, out).lines()}


@pytest.mark.slow
def test_the_script_builds_from_what_was_packed_and_runs_with_it(elsewhere: dict[str, str]) -> None:
    done, lines = run_there(elsewhere | {"CUDA_ARCHITECTURES": "75"}, "machine", "build")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("NVIDIA H100, 81559 MiB")
    assert "| build: build: what llama.cpp finds | none | a GPU | **no** |" in done.stdout
    assert "Warning" not in done.stderr
    assert lines["machine"]["versions"]["transformers"] == "0.0.1"
    assert lines["build"]["version"].startswith("llama.cpp 1.2.3, llama-cpp-python==")
    assert (lines["build"]["architectures"], lines["build"]["is_packed"]) == ("75", False)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "is_taken"), [("90-real", True), ("75-real", False)])
def test_a_packed_build_is_taken_if_it_has_code_for_this_gpu(
    elsewhere: dict[str, str], tmp_path: Path, architecture: str, is_taken: bool
) -> None:
    built = tmp_path / "llama-built"
    (built / "bin").mkdir(parents=True)
    (built / "VERSION").write_text(f"llama.cpp 4.5.6\nllama-cpp-python==0.3.36\npatches 0\ncuda {architecture}\n")
    executable(built / "bin" / "llama-bench", 'echo "  CUDA0: NVIDIA H100 (81559 MiB, 81000 MiB free)"')
    pack(tmp_path, "llama-built", tmp_path, "llama-built")
    done, lines = run_there(elsewhere, "build")
    assert lines["build"]["is_packed"] is is_taken, done.stdout + done.stderr
    assert lines["build"]["version"].startswith("llama.cpp 4.5.6" if is_taken else "llama.cpp 1.2.3")
    assert done.returncode == (0 if is_taken else 1)
