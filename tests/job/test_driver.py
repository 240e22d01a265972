"""What keeps a run off its GPU is found before anything is fetched, and the message says what to change."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from job import driver, gpu_faults, node
from job.driver import Driver, Gpu
from job.errors import EnvironmentUnfit
from job.pipeline import preflight
from job.spec import JobSpec
from job.train import precision
from tests import fake_driver

SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}})
ONLY_QUANTIZED = JobSpec.model_validate({"model": {"id": "a/b"}, "training": None})
T4 = Gpu("Tesla T4", 15_636_037_632, (7, 5))
OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@build)\nGCC 12.2.0\n"
)
MODULE = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:  12.2.0\n"
)
Place = Callable[..., None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.install(tmp_path_factory.mktemp("driver") / "nvidia") / "lib64"


@pytest.fixture
def place(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Makes this machine look like a container that was given these devices, a kernel module and a library."""
    for name in ("FINETUNE_GPU", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"):
        monkeypatch.delenv(name, raising=False)

    def become(*devices: str, module: str = OPEN_MODULE, loadable: bool = True, **environment: str) -> None:
        (tmp_path / "version").write_text(module)
        for name in devices:
            (tmp_path / name).touch()
        monkeypatch.setattr(driver, "MODULE", tmp_path / "version")
        monkeypatch.setattr(driver, "DEVICES", tmp_path)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library) if loadable else "/nowhere")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return become


def refused(spec: JobSpec = SPEC) -> EnvironmentUnfit:
    with pytest.raises(EnvironmentUnfit) as caught:
        preflight.check_gpu(spec)
    assert caught.value.code == 78
    return caught.value


def test_the_gpu_is_named_as_cuda_sees_it_whatever_its_number_on_the_node(place: Place) -> None:
    place("nvidia3", "nvidiactl", "nvidia-uvm", FINETUNE_GPU="required")
    assert preflight.check_gpu(SPEC) == node.GpuHere(*T4, "580.95.05")
    assert [Path(path).name for path in driver.ask().devices] == ["nvidia3"]


def test_without_a_gpu_that_was_asked_for_the_cpu_is_used(place: Place) -> None:
    """The kernel module shows in every container of a node with a GPU."""
    place(loadable=False, FINETUNE_GPU="")
    assert preflight.check_gpu(SPEC) is None


@pytest.mark.parametrize("spec", [SPEC, ONLY_QUANTIZED], ids=["trains", "only quantizes"])
def test_a_required_gpu_that_did_not_come_ends_the_run_and_names_the_runtime_class(place: Place, spec: JobSpec) -> None:
    place(loadable=False, FINETUNE_GPU="required", NVIDIA_VISIBLE_DEVICES="GPU-1f2e")
    fault = refused(spec)
    assert "has no GPU: there is no /dev/nvidia0 or the like, although NVIDIA_VISIBLE_DEVICES is 'GPU-1f2e'" in str(
        fault
    )
    assert "`--runtime-class nvidia` (chart: `runtimeClassName: nvidia`)" in fault.hint
    assert fault.hint.endswith("To use the CPU, set FINETUNE_GPU to an empty value.")


@pytest.mark.parametrize("nothing", ["", "void", "none"])
def test_a_device_list_that_names_nothing_is_not_blamed(place: Place, nothing: str) -> None:
    place(FINETUNE_GPU="required", NVIDIA_VISIBLE_DEVICES=nothing, FAKE_ERROR="100")
    assert "NVIDIA_VISIBLE_DEVICES" not in str(refused())


def test_an_unknown_value_is_refused(place: Place) -> None:
    place("nvidia0", FINETUNE_GPU="yes")
    assert refused().message == "FINETUNE_GPU is 'yes'"


def test_a_library_that_cannot_be_loaded_is_blamed_with_the_loaders_path_and_not_the_version(place: Place) -> None:
    place("nvidia0", loadable=False)
    fault = refused()
    assert "driver 580.95.05), but its driver cannot be loaded: libcuda.so.1: cannot open" in fault.message
    assert "LD_LIBRARY_PATH is '/nowhere'" in fault.message
    assert "runtime class" in fault.hint and "580 or newer" not in str(fault)
    assert fault.hint.endswith("To use the CPU, set CUDA_VISIBLE_DEVICES to an empty value.")


def test_a_library_where_gke_mounts_it_is_named_with_its_folder(
    place: Place, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("nvidia0", loadable=False)
    monkeypatch.setattr(gpu_faults, "GKE", str(library))
    assert f"It is in {library}, where GKE mounts it: add that folder to LD_LIBRARY_PATH." in refused().hint


def test_a_container_without_the_compute_part_of_the_driver_is_told(place: Place) -> None:
    place("nvidia0", loadable=False, NVIDIA_DRIVER_CAPABILITIES="utility,video")
    assert "NVIDIA_DRIVER_CAPABILITIES is 'utility,video': it must contain `compute`." in refused().hint


@pytest.mark.parametrize("loadable", [True, False])
def test_an_old_driver_is_refused_with_both_versions(place: Place, loadable: bool) -> None:
    place("nvidia0", module=MODULE, loadable=loadable)
    assert re.search(r"is 535\.104\.05, but this torch needs 580 or newer", refused().message)


def test_an_error_of_cuda_is_named_with_its_number_and_what_to_do(place: Place) -> None:
    place("nvidia0", FAKE_ERROR="803")
    fault = refused()
    assert fault.message.endswith("CUDA cannot use it: cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)")
    assert "reboot the node" in fault.hint


@pytest.mark.parametrize("code", gpu_faults.ADVICE)
def test_each_known_error_has_its_own_advice(code: int) -> None:
    fault = gpu_faults.fault(Driver("580.1", ("/dev/nvidia0",), failure=f"cuInit: X ({code})", code=code))
    assert fault and f"({code})" in fault.message and fault.hint.startswith(gpu_faults.ADVICE[code])


def test_an_unknown_error_sends_to_the_kernels_log(place: Place) -> None:
    place("nvidia0", FAKE_ERROR="719")
    fault = refused()
    assert "cuInit: unknown error (719)" in fault.message and "`Xid`" in fault.hint


def test_a_driver_that_crashes_or_hangs_takes_only_its_own_process_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("nvidia0", FAKE_CRASH="1")
    assert "libcuda.so.1 ended the process that called it (-6)" in refused().message
    monkeypatch.setattr(driver, "TIMEOUT_S", 0)
    assert "did not answer within 0 s" in refused().message


@pytest.mark.parametrize("said", [{"FAKE_ERROR": "100"}, {"FAKE_NONE": "1"}])
def test_a_card_in_mig_mode_without_a_slice_is_told_so(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str]
) -> None:
    place("nvidia0", **said)
    assert "MIG" not in refused().message
    fake_driver.nvidia_smi(tmp_path / "bin", "Enabled")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    fault = refused()
    assert "which is in MIG mode, but no slice of it" in fault.message and "--mig 1g.5gb" in fault.hint


def test_what_nvidia_smi_may_not_say_of_a_slice_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    for line, bytes_used in (("[Insufficient Permissions]", None), ("[N/A]", None), ("1000", 1000 << 20)):
        fake_driver.nvidia_smi(tmp_path / "bin", line)
        assert node.gpu_memory_used() == bytes_used


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_means_the_cpu_unless_one_is_required(
    place: Place, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    place("nvidia0", CUDA_VISIBLE_DEVICES=hidden, FAKE_ERROR="100")
    assert preflight.check_gpu(SPEC) is None
    monkeypatch.setenv("FINETUNE_GPU", "required")
    assert f"CUDA_VISIBLE_DEVICES is '{hidden}'" in refused().message


def test_a_gpu_that_only_llama_cpp_would_use_is_a_warning(place: Place) -> None:
    place("nvidia0", FAKE_ERROR="999")
    with capture_logs() as said:
        assert preflight.check_gpu(ONLY_QUANTIZED) is None
    assert (said[0]["log_level"], said[0]["event"]) == ("warning", "preflight.gpu_unused")


# --- training, if torch sees less than the driver ---


@pytest.mark.parametrize(
    ("found", "required", "built", "message"),
    [
        (Driver(), "", "13.0", None),
        (Driver("580.1", ("/dev/nvidia0",), gpus=(T4,)), "", None, None),
        (Driver(), "required", "13.0", "this container has no GPU"),
        (Driver("580.1", ("/dev/nvidia0",), unloadable="libcuda.so.1: no"), "", "13.0", "cannot be loaded"),
        (
            Driver("580.1", ("/dev/nvidia0",), gpus=(T4,)),
            "",
            "13.0",
            r"built for CUDA 13\.0, cannot use Tesla T4 \(drive",
        ),
        (Driver("580.1", ("/dev/nvidia0",), gpus=(T4,)), "required", None, "built without CUDA, cannot use Tesla T4"),
    ],
)
def test_training_does_not_go_to_the_cpu_where_a_gpu_is_expected(
    monkeypatch: pytest.MonkeyPatch, found: Driver, required: str, built: Any, message: str | None
) -> None:
    monkeypatch.setattr(driver, "ask", lambda: found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setenv("FINETUNE_GPU", required)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if message is None:
        assert not precision.choose(SPEC, ["llama"]).cuda
        return
    with pytest.raises(EnvironmentUnfit, match=message):
        precision.choose(SPEC, ["llama"])
