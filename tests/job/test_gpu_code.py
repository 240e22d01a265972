"""A card that the image has no code for is found before anything is fetched: CUDA's error would come hours later."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from job import driver, gpu_code, gpu_faults, torch_build
from job.driver import Driver, Gpu
from job.errors import EnvironmentUnfit
from job.llama_cpp import bundle
from job.node import GpuHere
from job.pipeline import preflight
from job.predict.gpus import GPUS
from job.publish.publisher import Publisher
from job.spec import JobSpec
from job.torch_build import TorchBuild
from tests import ROOT

SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, "publish": {"folder": "./published"}})
ONLY_QUANTIZED = JobSpec.model_validate({"model": {"id": "a/b"}, "training": None})
V100, T4, L4 = (7, 0), (7, 5), (8, 9)
RELEASE = ("75", "80", "86", "89", "90", "100", "120")


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        (T4, ["75"], True),
        (V100, ["75"], False),
        (L4, ["86"], True),
        ((8, 0), ["86"], False),
        ((9, 0), ["86"], False),
        ((9, 0), ["90a-real"], True),
        ((12, 1), ["120"], True),
        ((10, 3), ["100a"], False),
        ((10, 3), ["100f"], True),
        (T4, ["sm_75", "sm_80"], True),
        (L4, ["sm_75", "compute_80"], False),
        (L4, ["75", "80-virtual"], False),
        (T4, ["80-real", "75-real"], True),
        (V100, ["native"], True),
        (V100, [], False),
    ],
)
def test_code_runs_on_later_cards_of_its_major_version(
    capability: tuple[int, int], architectures: list[str], runs: bool
) -> None:
    assert gpu_code.runs_on(capability, architectures) is runs


def test_the_released_image_and_the_locked_torch_have_code_for_every_known_gpu() -> None:
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert f"CUDA_ARCHITECTURES={';'.join(RELEASE)}\n" in workflow
    build = torch_build.ask()
    assert build and build.cuda
    for gpu in GPUS.values():
        assert gpu_code.runs_on(gpu.capability, RELEASE), gpu.name
        assert gpu_code.runs_on(gpu.capability, build.architectures), gpu.name


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old card, with a driver that is new enough."""
    old = Driver("580.1", ("/dev/nvidia0",), gpus=(Gpu("Tesla V100", 16_000_000_000, V100),))
    monkeypatch.setattr(driver, "ask", lambda: old)


@pytest.mark.usefixtures("card")
def test_a_card_that_torch_has_no_code_for_is_refused_if_the_run_trains() -> None:
    with pytest.raises(EnvironmentUnfit) as caught:
        preflight.check_gpu(SPEC)
    assert "has no code for Tesla V100 (compute capability 7.0): it was built for 7.5, 8.0, 8.6" in str(caught.value)
    assert caught.value.code == 78 and caught.value.hint.startswith("Choose a node with another GPU")
    gpu = preflight.check_gpu(ONLY_QUANTIZED)
    assert gpu and gpu.name == "Tesla V100"


def test_a_torch_without_cuda_is_refused_beside_a_card() -> None:
    fault = gpu_faults.torch_fault(GpuHere("Tesla T4", 15_640_000_000, T4, "580.1"), TorchBuild("2.15.0", None, ()))
    assert fault and fault.message == "torch 2.15.0, built without CUDA, cannot use Tesla T4"


FOUND = ["CUDA0: Tesla T4"]
CPU_ONLY = "llama.cpp was built without CUDA: Tesla T4 would stand idle while the CPU measures files, for hours"
OTHERS = "llama.cpp has no code for Tesla T4 (compute capability 7.5): it was built for 8.0, 9.0"


@pytest.mark.parametrize(
    ("built", "devices", "says"),
    [
        ("cuda 75;80\n", FOUND, None),
        ("", [], CPU_ONLY),
        ("cuda 80;90-real\n", FOUND, OTHERS),
        ("cuda 75\n", [], "llama.cpp was built with CUDA, but does not find Tesla T4"),
    ],
    ids=["fits", "CPU only", "other cards", "not loaded"],
)  # fmt: skip
def test_a_llama_cpp_that_cannot_use_the_gpu_ends_a_run_that_requires_one(
    built: str, devices: list[str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "VERSION").write_text(f"llama.cpp 0.5.0\nllama-cpp-python==0.3.36\npatches 0123abcd\n{built}")
    monkeypatch.setattr(bundle, "home", lambda: tmp_path)
    monkeypatch.setattr(bundle, "devices", lambda: devices)
    bundle.architectures.cache_clear()
    bundle.version.cache_clear()
    gpu = GpuHere("Tesla T4", 15_640_000_000, T4, "580.1")
    events = {}
    for value in ("", "training"):
        monkeypatch.setenv("FINETUNE_GPU", value)
        with capture_logs() as said:
            preflight.check_access(Publisher(SPEC, "run"), gpu)
        events[value] = [one["event"] for one in said]
    assert said[0]["version"] == "llama.cpp 0.5.0, llama-cpp-python==0.3.36, patches 0123abcd"
    told = ["preflight.llama_without_gpu"] if says else []
    assert events == {value: ["preflight.llama", *told] for value in ("", "training")}
    monkeypatch.setenv("FINETUNE_GPU", "required")
    if says is None:
        preflight.check_access(Publisher(SPEC, "run"), gpu)
    else:
        with pytest.raises(EnvironmentUnfit) as caught:
            preflight.check_access(Publisher(SPEC, "run"), gpu)
        assert caught.value.message == says
        assert "FINETUNE_GPU=training" in caught.value.hint
    bundle.architectures.cache_clear()
    bundle.version.cache_clear()
