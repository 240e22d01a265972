"""A fault of the GPU or of memory is told as such: fewer layers run there, then none, and no file is blamed for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job import node
from job.errors import EnvironmentUnfit, IntegrityViolated, JobError
from job.llama_cpp import bundle, examine, imatrix, offload, perplexity, quantizer
from job.logs import Progress
from job.spec import JobSpec
from tests.cuda_llama import FITTED, LAYERS, ON_CPU, SMALLER, WITHOUT, CudaLlama
from tests.export_reference import exported

pytestmark = pytest.mark.slow
ANY = "*"
SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}})


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tiny_model, None, tmp_path_factory.mktemp("gguf")).gguf


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"Row {n} of a text that is long enough.\n" for n in range(80)))
    return path


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ids") / "ids.txt"
    path.write_text(" ".join(str(3 + n * 7 % 1400) for n in range(400)))
    return path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> CudaLlama:
    return CudaLlama(tmp_path_factory.mktemp("cuda") / "llama.cpp")


@pytest.fixture
def cuda(build: CudaLlama, monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaLlama]:
    cached: tuple[Any, ...] = (bundle.home, offload.has_gpu)
    monkeypatch.setenv("FINETUNE_LLAMA", str(build.folder))
    for one in cached:
        one.cache_clear()
    build.fail()
    yield build
    for one in cached:
        one.cache_clear()


def judge(gguf: Path, ids: Path) -> perplexity.Judged:
    return perplexity.perplexity(gguf, ids, context=64, chunks=4)


def look(gguf: Path) -> examine.Findings:
    return examine.examine(gguf, examine.Questions(text="A", prompts=["B"], prompt=4, answer=4, threads=[4, 8]))


PROGRAMS: dict[str, Callable[[Path, Path, Path, Path], Any]] = {
    "llama-perplexity": lambda gguf, ids, text, out: judge(gguf, ids),
    "llama-examine": lambda gguf, ids, text, out: look(gguf),
    "llama-imatrix": lambda gguf, ids, text, out: imatrix.make_imatrix(gguf, text, out / "i.gguf", context=64),
    "llama-quantize": lambda gguf, ids, text, out: quantizer.run_quantizer(
        gguf, "q8_0", None, [], [gguf, out / "q.gguf", "q8_0", "2"], lambda line: None
    ),
    "llama-tokenize": lambda gguf, ids, text, out: offload.run(
        "llama-tokenize", ["-m", gguf, "-p", "A", "--ids"], gguf=gguf, error=IntegrityViolated
    ),
}
"""What runs each program on a file."""


def test_a_build_without_a_gpu_is_not_asked_to_use_one(gguf: Path, ids: Path) -> None:
    assert judge(gguf, ids).gpu_layers == "0"
    assert {one.gpu_layers for one in look(gguf).speeds} == {"0"}


def test_every_program_that_computes_is_fitted_to_the_gpu_and_the_layers_are_recorded(
    gguf: Path, ids: Path, text: Path, tmp_path: Path, cuda: CudaLlama
) -> None:
    expected = f"2/{LAYERS}"
    assert judge(gguf, ids).gpu_layers == expected
    assert [(one.threads, one.gpu_layers) for one in look(gguf).speeds] == [(node.threads(), expected)]
    for name in ("llama-imatrix", "llama-quantize", "llama-tokenize"):
        PROGRAMS[name](gguf, ids, text, tmp_path)
    for name in ("llama-perplexity", "llama-examine", "llama-imatrix"):
        assert cuda.tries(name) == [FITTED]
    for name in ("llama-quantize", "llama-tokenize"):
        assert cuda.tries(name) == [WITHOUT]


def test_products_are_summed_in_float32(gguf: Path, ids: Path, text: Path, tmp_path: Path, cuda: CudaLlama) -> None:
    for run in PROGRAMS.values():
        run(gguf, ids, text, tmp_path)
    for name in ("llama-perplexity", "llama-imatrix", "llama-examine"):
        assert cuda.sums(name) == {"f32"}


def test_the_users_own_choice_of_sums_is_kept(
    gguf: Path, ids: Path, cuda: CudaLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GGML_CUDA_CUBLAS_COMPUTE_TYPE", "f16")
    judge(gguf, ids)
    assert cuda.sums("llama-perplexity") == {"f16"}


@pytest.mark.parametrize("fault", ["no_room", "abort"])
@pytest.mark.parametrize(
    ("failing", "tries", "layers", "said"),
    [
        ([FITTED], [FITTED, SMALLER], f"1/{LAYERS}", "with fewer layers on the GPU"),
        ([FITTED, SMALLER], [FITTED, SMALLER, ON_CPU], f"0/{LAYERS}", "with all layers on the CPU"),
        ([FITTED, SMALLER, ON_CPU], [FITTED, SMALLER, ON_CPU, WITHOUT], "0", "without the GPU"),
    ],
)
def test_after_a_fault_of_the_gpu_fewer_layers_run_on_it(
    gguf: Path, ids: Path, cuda: CudaLlama, fault: str, failing: list[str], tries: list[str], layers: str, said: str
) -> None:
    plain = judge(gguf, ids)
    cuda.fail(*(f"* {rung} * {fault}" for rung in failing))
    with capture_logs() as events:
        found = judge(gguf, ids)
        (measured,) = look(gguf).speeds
    assert (found.value, found.gpu_layers, measured.gpu_layers) == (plain.value, layers, layers)
    assert cuda.tries("llama-perplexity") == cuda.tries("llama-examine") == tries
    told = [event for event in events if event["event"] == "llama.gpu_failed"]
    assert len(told) == 2 * len(failing) and {event["log_level"] for event in told} == {"warning"}
    assert told[-1]["what"] == f"it is tried again {said}"
    for words in (gguf.name, "llama-examine", "out of memory"):
        assert words in told[-1]["why"]


def test_progress_begins_anew_with_each_try(
    gguf: Path, ids: Path, cuda: CudaLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress.__init__, "__kwdefaults__", {"every_s": 0.0})
    cuda.fail(f"* {FITTED} * abort_late")
    with capture_logs() as events:
        judge(gguf, ids)
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done == [1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("fault", ["no_room", "abort"])
def test_a_gpu_that_fails_in_every_way_is_a_fault_of_the_node(
    gguf: Path, ids: Path, text: Path, tmp_path: Path, cuda: CudaLlama, name: str, fault: str
) -> None:
    cuda.fail(f"* * * {fault}")
    with pytest.raises(EnvironmentUnfit, match=f"could not be run in {name}: .*out of memory") as caught:
        PROGRAMS[name](gguf, ids, text, tmp_path)
    assert caught.value.code == 78
    computes = name not in ("llama-quantize", "llama-tokenize")
    assert cuda.tries(name) == ([FITTED, SMALLER, ON_CPU, WITHOUT] if computes else [WITHOUT])


@pytest.mark.parametrize(("fault", "said"), [("memory", "unavailable|memory"), ("killed", "was killed by signal 9")])
@pytest.mark.parametrize("name", PROGRAMS)
def test_too_little_memory_is_a_fault_of_the_node_that_fewer_layers_do_not_cure(
    gguf: Path, ids: Path, text: Path, tmp_path: Path, cuda: CudaLlama, name: str, fault: str, said: str
) -> None:
    cuda.fail(f"* * * {fault}")
    with pytest.raises(EnvironmentUnfit, match=f"could not be run in {name}: .*({said})") as caught:
        PROGRAMS[name](gguf, ids, text, tmp_path)
    assert "more memory" in caught.value.hint
    assert len(cuda.tries(name)) == 1


@pytest.mark.parametrize("where", [(0, b"XXXX"), (8, b"\xff" * 6), (40, b"\xff" * 40)], ids=["magic", "count", "keys"])
def test_a_damaged_file_is_blamed_itself_and_at_once(
    gguf: Path, ids: Path, text: Path, tmp_path: Path, cuda: CudaLlama, where: tuple[int, bytes]
) -> None:
    broken = tmp_path / "broken.gguf"
    offset, content = where
    whole = gguf.read_bytes()
    broken.write_bytes(whole[:offset] + content + whole[offset + len(content) :])
    for name in ("llama-perplexity", "llama-examine"):
        with pytest.raises(IntegrityViolated) as caught:
            PROGRAMS[name](broken, ids, text, tmp_path)
        assert caught.value.code == 82 and cuda.tries(name) == [FITTED]
    with pytest.raises(JobError) as other:
        PROGRAMS["llama-quantize"](broken, ids, text, tmp_path)
    assert other.value.code == 82


def test_an_assertion_of_llama_cpp_is_not_lost_below_its_backtrace(gguf: Path, cuda: CudaLlama) -> None:
    cuda.fail("llama-examine * * assert")
    with pytest.raises(IntegrityViolated, match="GGML_ASSERT"):
        look(gguf)
    assert cuda.tries("llama-examine") == [FITTED]


def test_the_reason_of_a_damaged_file_is_not_that_there_is_no_gpu() -> None:
    output = "0.00.001.000 E ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n"
    assert examine._why(f"{output}0.00.002.000 E gguf_init: invalid magic") == "gguf_init: invalid magic"
