"""What cannot fit is refused before anything is fetched, with what it has and what it needs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from job import cgroup, node, node_disk
from job.errors import EnvironmentUnfit
from job.fetch import sources
from job.llama_cpp import bundle
from job.pipeline import preflight
from job.predict import ram
from job.predict.anatomy import anatomy_of
from job.publish.publisher import Publisher
from job.rehearsal.hollow import write_hollow_tensors
from job.spec import JobSpec
from tests.job.predict.mixture import MOE, moe_tensors
from tests.job.predict.sizes import SIZES
from tests.tiny_models import write_json

SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}})
T4 = node.GpuHere("Tesla T4", 15_640_000_000, (7, 5), "580.65.06")


def predicted(config: dict[str, Any], gpu: node.GpuHere | None, spec: JobSpec = SPEC, base: int | None = None) -> Any:
    model = anatomy_of(config, "a/b") if config else None
    return preflight.predicted(spec, model, gpu, base)


def test_the_memory_is_the_machines_cut_by_the_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    whole = node.memory_bytes()
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    assert node.memory_bytes() == whole
    limit.write_text("1000000\n")
    assert node.memory_bytes() == 1_000_000


def test_a_folder_that_is_lost_with_its_pod_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/` stands for the container's file system, `/proc` for a volume."""
    base = {"model": {"id": "a/b"}, "dataset": {"id": "a/b"}}
    lost, kept = ({"publish": {"folder": place}, "run": {"store": f"{place}/none"}} for place in ("/", "/proc"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with capture_logs() as said:
        preflight.check_folders(JobSpec.model_validate(base | lost))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        preflight.check_folders(JobSpec.model_validate(base | kept))
    assert said == []
    with capture_logs() as said:
        preflight.check_folders(JobSpec.model_validate(base | lost))
    assert [one["field"] for one in said] == ["publish.folder", "run.store"]


def test_a_llama_cpp_that_finds_no_gpu_beside_one_is_told() -> None:
    with capture_logs() as said:
        preflight.check_access(Publisher(SPEC, "run"), T4)
    assert [one["event"] for one in said] == ["preflight.llama", "preflight.llama_without_gpu"]
    assert (said[0]["devices"], said[1]["gpu"]) == ([], "Tesla T4")


def test_the_gpus_that_llama_cpp_finds_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "llama-bench"
    program.write_text("#!/bin/sh\nprintf 'Available devices:\\n  CUDA0: Tesla T4 (15360 MiB, 15095 MiB free)\\n'\n")
    program.chmod(0o755)
    monkeypatch.setattr(bundle, "program", lambda _: program)
    assert bundle.devices() == ["CUDA0: Tesla T4"]


@pytest.mark.slow
def test_a_node_that_a_stage_cannot_fit_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "memory_bytes", lambda: 2_000_000_000)
    with pytest.raises(EnvironmentUnfit, match=r"has 2\.0 GB of memory, but the stage \w+ needs \d\.\d GB"):
        preflight.check_memory(predicted(SIZES["7B"][0], T4), T4)


def test_a_training_that_only_long_rows_would_make_too_large_is_told_and_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    least, most = ram.loaded(SPEC, model, on_gpu=False), ram.train(SPEC, model, on_gpu=False)
    monkeypatch.setattr(preflight, "memory_bytes", lambda: (least + most) // 2)
    with capture_logs() as said:
        preflight.check_memory(predicted(SIZES["7B"][0], None), None)
    assert "preflight.memory_is_short" in [record["event"] for record in said]


def test_the_disk_holds_the_logits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What judging keeps decides between enough and too little."""
    config, base = SIZES["7B"][0], 13_500_000_000
    silent = SPEC.model_copy(update={"evaluation": SPEC.evaluation.model_copy(update={"judge": False})})
    without = predicted(config, T4, silent, base)
    free = SimpleNamespace(free=without.disk_peak.size + 100_000_000)
    monkeypatch.setattr(node_disk, "disk_usage", lambda _: free)
    preflight.check_disk(without, tmp_path)
    with pytest.raises(EnvironmentUnfit, match="the stage quantize needs"):
        preflight.check_disk(predicted(config, T4, SPEC, base), tmp_path)


def test_the_pods_limit_counts_and_not_only_what_its_node_has_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = predicted(SIZES["7B"][0], T4, SPEC, 13_500_000_000)
    monkeypatch.setattr(node_disk, "disk_usage", lambda _: SimpleNamespace(free=10**13))
    preflight.check_disk(found, tmp_path)
    monkeypatch.setenv(node_disk.LIMIT, "20000000000")
    monkeypatch.setenv(node_disk.FOLDERS, str(tmp_path / "work"))
    preflight.check_disk(found, tmp_path)  # a volume of its own
    monkeypatch.setenv(node_disk.FOLDERS, str(tmp_path))
    with pytest.raises(EnvironmentUnfit, match=r"has 19\.4 GB free, but the stage quantize needs"):
        preflight.check_disk(found, tmp_path)


def test_a_gpu_that_cannot_hold_the_weights_is_refused_and_a_short_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "memory_bytes", lambda: 64_000_000_000)
    preflight.check_memory(predicted(SIZES["7B"][0], T4), T4)
    with pytest.raises(EnvironmentUnfit, match=r"Tesla T4 has 15\.6 GB, but the model's weights alone need"):
        preflight.check_memory(predicted(SIZES["65B"][0], T4), T4)


def test_without_a_gpu_or_with_a_model_that_cannot_be_counted_nothing_is_refused() -> None:
    preflight.check_memory(predicted(SIZES["7B"][0], None), None)
    preflight.check_memory(predicted({}, None), None)


def test_a_model_of_a_family_without_formulas_is_checked_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "config.json", MOE)
    shapes = {name: one.shape for name, one in moe_tensors().items()}
    write_hollow_tensors(tmp_path / "model.safetensors", shapes)
    spec = JobSpec.model_validate({"model": {"id": str(tmp_path)}, "dataset": {"id": "a/b"}})
    with capture_logs() as said:
        model = preflight.sizes(spec, sources.Sources(model="pinned"))
    assert [one["event"] for one in said] == ["preflight.sizes_counted"]
    monkeypatch.setattr(preflight, "memory_bytes", lambda: 64_000_000_000)
    found = preflight.predicted(spec, model, T4, 61_000_000_000)
    with pytest.raises(EnvironmentUnfit, match=r"Tesla T4 has 15\.6 GB, but the model's weights alone need 2\d\."):
        preflight.check_memory(found, T4)
    monkeypatch.setattr(node_disk, "disk_usage", lambda _: SimpleNamespace(free=100_000_000_000))
    with pytest.raises(EnvironmentUnfit, match=r"has 100\.0 GB free, but the stage \w+ needs 2\d\d\."):
        preflight.check_disk(found, tmp_path / "work")


def test_flash_attention_that_cannot_be_used_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = JobSpec.model_validate(SPEC.model_dump() | {"training": {"attn_implementation": "flash_attention_2"}})
    preflight.check_attention(SPEC, None)
    with pytest.raises(EnvironmentUnfit, match="flash-attn is not installed"):
        preflight.check_attention(asked, T4)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    preflight.check_attention(asked, T4)
    with pytest.raises(EnvironmentUnfit, match="no GPU"):
        preflight.check_attention(asked, None)
