"""A speed says what it was measured on, and no more threads are measured than there are CPUs."""

from pathlib import Path

import pytest

from job import node
from job.llama_cpp import bundle, offload, speed
from job.llama_cpp.examine import Questions, examine, speeds_on_cpu
from tests.cuda_llama import FITTED, LAYERS, WITHOUT, CudaLlama
from tests.export_reference import exported


@pytest.mark.parametrize(
    ("asked", "cpus", "measured"),
    [
        ([4, 8], 16, [4, 8]),
        ([4, 8], 6, [4, 6]),
        ([4, 8], 4, [4]),
        ([4, 8], 2, [2]),
        ([1, 2, 32], 8, [1, 2, 8]),
        ([8, 4], 8, [8, 4]),
    ],
)
def test_no_more_threads_are_measured_than_there_are_cpus(
    asked: list[int], cpus: int, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "threads", lambda: cpus)
    assert speed.thread_counts(asked) == measured


@pytest.mark.slow
def test_the_gpu_is_measured_once_and_the_cpu_beside_it_if_asked_for(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = exported(tiny_model, None, tmp_path).gguf
    cuda = CudaLlama(tmp_path / "llama.cpp")
    monkeypatch.setenv("FINETUNE_LLAMA", str(cuda.folder))
    for one in (bundle.home, offload.has_gpu):
        one.cache_clear()
    try:
        (on_gpu,) = examine(gguf, Questions(threads=[4, 8])).speeds
        assert cuda.tries("llama-examine") == [FITTED]
        cuda.fail()
        (on_cpu,) = speeds_on_cpu(gguf, [1])
        assert cuda.tries("llama-examine") == [WITHOUT]
    finally:
        for one in (bundle.home, offload.has_gpu):
            one.cache_clear()
    assert (on_gpu.threads, on_gpu.gpu_layers) == (node.threads(), f"2/{LAYERS}")
    assert (on_cpu.threads, on_cpu.gpu_layers) == (1, "0") and on_cpu.device
    assert all(one.prompt_ms > 0 and one.generation_ms > 0 for one in (on_gpu, on_cpu))
