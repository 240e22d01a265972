"""What the image is built with: the Dockerfile, the sorting into layers, the bill of materials."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests import ROOT, fake_driver

sys.path.insert(0, str(ROOT / "scripts" / "image"))
import layers
import sbom


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_image_is_pinned_by_its_digest() -> None:
    (line,) = [one for one in (ROOT / "Dockerfile").read_text().splitlines() if one.startswith("ARG BASE_IMAGE=")]
    name, _, digest = line.partition("@sha256:")
    assert len(digest) == 64
    assert name.rpartition(":")[2].startswith("bookworm-")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A prefix with a file of each kind."""
    site = tmp_path / "prefix" / "lib" / "python3.11" / "site-packages"
    for name in (
        "nvidia/cu13/lib/libcublas.so.13",
        "nvidia/cu13/lib/libcudart_static.a",
        "nvidia/cu13/include/cuda.h",
        "nvidia/cudnn/lib/libcudnn.so.9",
        "nvidia/cudnn/lib/libcudnn_ops.so.9",
        "torch/lib/libtorch_cuda.so",
        "torch/bin/protoc",
        "torch/bin/torch_shm_manager",
        "torch/testing/__init__.py",
        "pandas/tests/io/test_csv.py",
        "pandas/__init__.py",
        "bitsandbytes/libbitsandbytes_cuda126.so",
        "bitsandbytes/libbitsandbytes_cuda132.so",
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    return tmp_path / "prefix"


@pytest.mark.parametrize("gpu", [True, False])
def test_an_environment_is_sorted_into_layers(
    environment: Path, tmp_path: Path, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--gpu"] if gpu else []
    monkeypatch.setattr(sys, "argv", ["layers.py", *flags, str(environment), str(tmp_path / "out")])
    layers.main()
    below = f"{environment}/lib/python3.11/site-packages".lstrip("/")
    found = {
        layer.name: {one.relative_to(layer / below).as_posix() for one in layer.rglob("*") if one.is_file()}
        for layer in (tmp_path / "out").iterdir()
    }
    dnn = {"nvidia/cudnn/lib/libcudnn_ops.so.9"} if gpu else set()
    assert found == {
        "cuda": {"nvidia/cu13/lib/libcublas.so.13", "nvidia/cudnn/lib/libcudnn.so.9"} | dnn,
        "torch": {"torch/lib/libtorch_cuda.so", "torch/bin/torch_shm_manager", "torch/testing/__init__.py"},
        "packages": {"pandas/__init__.py", "bitsandbytes/libbitsandbytes_cuda132.so"},
    }


def test_the_bill_of_materials_names_what_is_installed(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n"
        "Description: GNU C Library\n more: text\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    llama = tmp_path / "llama.cpp"
    llama.mkdir()
    (llama / "VERSION").write_text("llama.cpp 0.5.0\nllama-cpp-python==0.3.36\npatches 0123abcd\ncuda 75;90-real\n")
    found = sbom.document([*sbom.debian(status), *sbom.python(), *sbom.llama(llama)])
    purls = {one["purl"] for one in found["components"]}
    assert {"pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64", "pkg:github/ggml-org/llama.cpp@0.5.0"} <= purls
    assert any(purl.startswith("pkg:pypi/torch@") for purl in purls)
    assert not any("gone" in purl for purl in purls)
    assert len({one["bom-ref"] for one in found["components"]}) == len(found["components"])
    (ours,) = [one for one in found["components"] if one["name"] == "llama.cpp"]
    assert {"name": "finetune-run:cuda", "value": "75;90-real"} in ours["properties"]
    assert sbom.document(found["components"]) == found, "the same parts, the same document"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None


def test_the_image_is_labelled_with_what_its_llama_cpp_computes_on() -> None:
    """An argument counts only in the stage that names it."""
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert 'ARG CUDA_ARCHITECTURES=""\n' in last
    assert 'LABEL finetune-run.cuda="${CUDA_ARCHITECTURES:-none}"' in last


def test_build_secrets_become_variables_of_one_command(tmp_path: Path) -> None:
    """With none there, nothing is set; the command's exit code is its own."""
    command = [ROOT / "scripts/image/with-secrets.sh", "sh", "-c", "env; exit 3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 3
    assert "INDEX" not in done.stdout


def test_end_to_end_says_plainly_why_it_cannot_run_here(tmp_path: Path) -> None:
    """As on a machine whose kernel refuses namespaces."""
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    for name in ("unshare", "id"):
        (tmp_path / name).chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    done = subprocess.run([ROOT / "scripts/e2e.sh"], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1
    assert done.stderr.startswith("e2e: cannot run here: this kernel")
    assert "KUBECONFIG" in done.stderr


def test_end_to_end_on_a_cluster_that_is_there_wants_to_know_the_image() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "FINETUNE_IMAGE"} | {"KUBECONFIG": "/x"}
    done = subprocess.run([ROOT / "scripts/e2e.sh"], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode != 0 and "FINETUNE_IMAGE: e2e: name the image" in done.stderr


BACKENDS = """
set -euo pipefail
complete_toolkit
build() {
    gcc -shared -fPIC -Wl,--as-needed -o "$1" -x c - -x none "${@:2}" <<<'int cuInit(int); int f() {return cuInit(0);}'
}
build good.so "$toolkit/lib/stubs/libcuda.so" && check_backend ./good.so && echo good is loaded
build bad.so && check_backend ./bad.so
"""


def test_a_backend_that_would_be_passed_over_beside_a_gpu_fails_the_build(tmp_path: Path) -> None:
    toolkit = tmp_path / "toolkit"
    for name, text in (("include/cuda.h", "CUresult CUDAAPI cuInit(unsigned int Flags);"), ("lib/libcudart.so.13", "")):
        (toolkit / name).parent.mkdir(parents=True, exist_ok=True)
        (toolkit / name).write_text(text)
    script = (ROOT / "scripts/build-llama.sh").read_text()
    functions = re.findall(r"^(?:complete_toolkit|check_backend)\(\) \{\n.*?^\}", script, flags=re.M | re.S)
    command = ["bash", "-c", "\n".join([f"toolkit={toolkit}", *functions, BACKENDS])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "good is loaded\n"), done.stderr
    assert "bad.so could not be loaded: undefined symbol: cuInit, it does not name the driver's library" in done.stderr


DRIVER = "/usr/local/nvidia"
"""Where GKE mounts it."""


def image_paths() -> dict[str, str]:
    """PATH and LD_LIBRARY_PATH, as the last stage of the Dockerfile sets them."""
    stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)", stage, flags=re.M)
    found = dict(one.split("=", 1) for one in block.replace("\\\n", " ").split())
    return {name: found[name] for name in ("PATH", "LD_LIBRARY_PATH")}


LOOK = """
import ctypes, json, shutil
from job import driver, node
for name in ("libgomp.so.1", "libstdc++.so.6"):
    ctypes.CDLL(name)
files = {one for one in open("/proc/self/maps").read().split() if one.startswith("/")}
print(json.dumps([driver.ask().gpus, node.gpu_memory_used(), shutil.which("sh"), sorted(files)]))
"""


def test_a_driver_where_gke_mounts_it_is_found_and_comes_before_nothing_of_the_image(tmp_path: Path) -> None:
    """With the mount in a folder of the test's, and this environment's Python for the image's."""
    folder = fake_driver.install(tmp_path / "nvidia")
    fake_driver.program(folder / "bin" / "sh", "not the system's")
    moved = {name: value.replace(DRIVER, str(folder)) for name, value in image_paths().items()}
    python = [sys.executable, "-c", LOOK]
    done = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, check=True, env=moved)
    gpus, used, shell, files = json.loads(done.stdout)
    assert gpus == [["Tesla T4", 15_636_037_632, [7, 5]]] and used == 1234 << 20
    assert shell in ("/bin/sh", "/usr/bin/sh")
    assert any("libgomp.so.1" in one for one in files) and not any(one.startswith(str(folder)) for one in files)


def test_no_part_of_the_images_paths_is_the_working_directory() -> None:
    assert all(part.startswith("/") for path in image_paths().values() for part in path.split(":"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, image_paths()),
        ({"LD_LIBRARY_PATH": "/mine"}, {"LD_LIBRARY_PATH": f"/mine:{DRIVER}/lib64"}),
        ({"LD_LIBRARY_PATH": ""}, {"LD_LIBRARY_PATH": f"{DRIVER}/lib64"}),
        ({"PATH": "/usr/bin:/bin"}, {"PATH": f"/usr/bin:/bin:/opt/finetune-run/bin:{DRIVER}/bin"}),
    ],
    ids=str,
)
def test_a_path_of_the_users_replaces_the_images_and_does_not_lose_the_driver(
    tmp_path: Path, given: dict[str, str], kept: dict[str, str]
) -> None:
    """Kubernetes replaces a variable of the image by the pod's."""
    fake_driver.program(tmp_path / "python3", "$PATH $LD_LIBRARY_PATH $*")
    paths = image_paths() | given
    first = {"PATH": f"{tmp_path}:{paths['PATH']}"}
    done = subprocess.run([ROOT / "entrypoint.sh"], capture_output=True, text=True, check=True, env=paths | first)
    path, library, *command = done.stdout.split()
    found = {"PATH": path.removeprefix(f"{tmp_path}:"), "LD_LIBRARY_PATH": library}
    assert found == image_paths() | kept
    assert command == ["-m", "job", "run"]


def test_the_job_in_a_container_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    for name in ("job/__init__.py", "json.py", "typer.py", "torch.py"):
        (tmp_path / name).write_text(f"raise SystemExit('{name} of the working directory')\n")
    paths = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [ROOT / "entrypoint.sh", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=paths)
    assert done.returncode == 0, done.stderr
    fake_driver.program(tmp_path / "python3", "$PYTHONSAFEPATH")  # children inherit it
    paths["PATH"] = f"{tmp_path}:{paths['PATH']}"
    assert subprocess.run(command, capture_output=True, text=True, env=paths).stdout.split() == ["1"]


def test_the_image_leaves_out_only_what_is_locked() -> None:
    lines = (ROOT / "requirements" / "image-without.txt").read_text().splitlines()
    left_out = [line for line in lines if line and not line.startswith("#")]
    locked = (ROOT / "requirements" / "runtime.txt").read_text()
    assert left_out
    assert all(f"\n{name}==" in locked for name in left_out)
