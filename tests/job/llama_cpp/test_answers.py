"""Many prompts are answered at once by llama-server, as llama-examine answers each alone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from job.errors import EnvironmentUnfit, IntegrityViolated
from job.llama_cpp import answers, bundle, examine, offload, process, server
from tests.cuda_llama import FITTED, ON_CPU, SMALLER, CudaLlama
from tests.export_reference import exported

pytestmark = pytest.mark.slow

TEXTS = ["Of time and", "Of", "The life of the", "said", "A long beginning of a sentence that is", "Time"]


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tiny_model, None, tmp_path_factory.mktemp("server")).gguf


@pytest.fixture(scope="module")
def prompts(tiny_model: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaLlama]:
    found = CudaLlama(tmp_path / "llama.cpp")
    monkeypatch.setenv("FINETUNE_LLAMA", str(found.folder))
    for one in (bundle.home, offload.has_gpu):
        one.cache_clear()
    yield found
    for one in (bundle.home, offload.has_gpu):
        one.cache_clear()


def ask(gguf: Path, prompts: list[list[int]], parallel: int = 2, seed: int = 1, most: int = 4) -> list[str]:
    return answers.answers(gguf, prompts, most=most, parallel=parallel, seed=seed, what="f16")


def test_answers_in_parallel_are_those_of_one_at_a_time(gguf: Path, prompts: list[list[int]]) -> None:
    together = ask(gguf, prompts, parallel=4, most=12)
    alone = ask(gguf, prompts, parallel=1, seed=2, most=12)
    asked = examine.Questions(text="a", prompts=TEXTS, prompt=16, answer=12)
    assert together == alone and len(set(together)) > 1
    assert [one.strip() for one in together] == [one.strip() for one in examine.examine(gguf, asked).answers]


def test_a_file_that_does_not_load_says_so(gguf: Path, prompts: list[list[int]], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:4096])
    before = threading.active_count()
    with pytest.raises(IntegrityViolated, match=r"broken.gguf: llama-server exited"):
        ask(broken, prompts)
    assert threading.active_count() <= before


def test_when_the_gpu_fails_the_next_start_answers_everything(
    gguf: Path, prompts: list[list[int]], cuda: CudaLlama
) -> None:
    expected = ask(gguf, prompts)
    cuda.fail(f"llama-server {FITTED} * no_room", f"llama-server {SMALLER} * abort")
    with capture_logs() as events:
        assert ask(gguf, prompts) == expected
    assert cuda.tries("llama-server") == [FITTED, SMALLER, ON_CPU]
    told = [one["why"] for one in events if one["event"] == "llama.gpu_failed"]
    assert len(told) == 2 and all("llama-server: " in why and "out of memory" in why for why in told)


def test_too_little_memory_is_a_fault_of_the_node(gguf: Path, prompts: list[list[int]], cuda: CudaLlama) -> None:
    cuda.fail("llama-server * * killed")
    with pytest.raises(EnvironmentUnfit, match="llama-server: it was killed by signal 9"):
        ask(gguf, prompts)
    assert cuda.tries("llama-server") == [FITTED]


def test_a_server_that_ends_in_between_is_asked_nothing_more(
    gguf: Path, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[server.Server] = []

    def end_at_the_third(one: server.Server, prompt: list[int], most: int, seed: int) -> str:
        asked.append(one)
        if len(asked) == 3:
            one.program.kill()
        return answer(one, prompt, most, seed)

    answer = answers._answer
    monkeypatch.setattr(answers, "_answer", end_at_the_third)
    with pytest.raises(EnvironmentUnfit, match="was killed by signal 9"):
        ask(gguf, prompts * 20)
    assert len(asked) < 20


def test_a_run_that_ends_stops_the_server_and_blames_no_file(
    gguf: Path, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = process.Group()
    token = process.group.set(group)
    seen: list[server.Server] = []

    def stop(one: server.Server, prompt: list[int], most: int, seed: int) -> str:
        seen.append(one)
        group.stop()
        return answer(one, prompt, most, seed)

    answer = answers._answer
    monkeypatch.setattr(answers, "_answer", stop)
    try:
        with pytest.raises(process.Stopped):
            ask(gguf, prompts)
    finally:
        process.group.reset(token)
    assert seen[0].program.poll() is not None
