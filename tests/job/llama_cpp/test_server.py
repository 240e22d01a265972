"""Many prompts are answered at once by llama-server, as llama-examine answers each alone; nobody else can reach it."""

import re
import socket
import stat
import threading
from pathlib import Path

import psutil
import pytest

from job.errors import IntegrityViolated
from job.llama_cpp import bundle, examine, offload, server
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


def test_answers_in_parallel_are_those_of_one_at_a_time(gguf: Path, prompts: list[list[int]]) -> None:
    together = server.answers(gguf, prompts, most=12, parallel=4, seed=1, what="f16")
    alone = server.answers(gguf, prompts, most=12, parallel=1, seed=2, what="f16")
    asked = examine.Questions(text="a", prompts=TEXTS, prompt=16, answer=12)
    assert together == alone and len(set(together)) > 1
    assert [one.strip() for one in together] == [one.strip() for one in examine.examine(gguf, asked).answers]


def test_no_port_is_opened_and_the_socket_is_its_own_users(
    gguf: Path, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With options of an environment that would open one."""
    monkeypatch.setenv("LLAMA_ARG_HOST", "0.0.0.0")
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "16")
    seen: list[tuple[list[object], int, list[str]]] = []

    def look(self: server._Client, process: "psutil.Popen") -> None:
        wait(self, process)
        running = psutil.Process(process.pid)
        ports = [one for one in running.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        seen.append((list(ports), stat.S_IMODE(self._address.parent.stat().st_mode), running.cmdline()))
        assert self.key not in " ".join(running.cmdline())

    wait = server._Client._wait
    monkeypatch.setattr(server._Client, "_wait", look)
    server.answers(gguf, prompts, most=4, parallel=2, seed=1, what="f16")
    ((ports, mode, _),) = seen
    assert ports == [] and mode == 0o700


def test_without_the_key_it_answers_nobody_and_has_no_page_and_no_tools(
    gguf: Path, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, bytes] = {}

    def look(self: server._Client, process: "psutil.Popen") -> None:
        wait(self, process)
        key = f"Authorization: Bearer {self.key}\r\n"
        for name, path, head in (("key", "/props", ""), ("page", "/", key), ("tools", "/tools", key)):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
                asked.connect(str(self._address))
                asked.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n".encode())
                found[name] = asked.recv(1 << 16).split(b"\r\n")[0]

    wait = server._Client._wait
    monkeypatch.setattr(server._Client, "_wait", look)
    server.answers(gguf, prompts[:1], most=2, parallel=1, seed=1, what="f16")
    assert {name: re.findall(rb"\d{3}", line)[0] for name, line in found.items()} == {
        "key": b"401",
        "page": b"404",
        "tools": b"403",
    }


def test_a_file_that_does_not_load_says_so(gguf: Path, prompts: list[list[int]], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:4096])
    before = threading.active_count()
    with pytest.raises(IntegrityViolated, match="llama-server"):
        server.answers(broken, prompts, most=2, parallel=1, seed=1, what="f16")
    assert threading.active_count() <= before + 1


def test_the_bundled_server_has_no_web_page_inside() -> None:
    assert b"<!doctype html>" not in bundle.program("llama-server").read_bytes().lower()


def test_when_the_gpu_fails_the_next_start_answers_everything(
    gguf: Path, prompts: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = server.answers(gguf, prompts, most=4, parallel=2, seed=1, what="f16")
    cuda = CudaLlama(tmp_path / "llama.cpp")
    monkeypatch.setenv("FINETUNE_LLAMA", str(cuda.folder))
    for one in (bundle.home, offload.has_gpu):
        one.cache_clear()
    try:
        cuda.fail(f"llama-server {FITTED} * no_room", f"llama-server {SMALLER} * abort")
        found = server.answers(gguf, prompts, most=4, parallel=2, seed=1, what="f16")
        assert cuda.tries("llama-server") == [FITTED, SMALLER, ON_CPU]
    finally:
        for one in (bundle.home, offload.has_gpu):
            one.cache_clear()
    assert found == expected
