"""A conversation with tiny models in a real llama-server: what they say is nonsense, but they say it, and end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from job.talk.choice import model_at
from job.talk.speaker import Settings, speaking
from tests.export_reference import exported
from tests.job_process import Ended
from tests.terminal import CTRL_C, Terminal
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow
SECRET = "a-secret-of-somebody"


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tiny_model, None, tmp_path_factory.mktemp("talk")).gguf


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, without a chat template."""
    folder = make_llama(tmp_path_factory.mktemp("other") / "other", seed=7, chat_template=False)
    made = exported(folder, None, tmp_path_factory.mktemp("talk-other")).gguf
    return made.rename(made.with_name("other.gguf"))


Servers = Callable[[], list[psutil.Process]]


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """Those that these tests have started, in this worker."""
    here = str(tmp_path_factory.getbasetemp())

    def found() -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline() if process.name() == "llama-server" else []
                if any(word.startswith(here) for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    return lambda: list(found())


@pytest.fixture(autouse=True)
def _nothing_is_left(servers: Servers) -> Iterator[None]:
    yield
    until = time.monotonic() + 10
    while left := servers():
        assert time.monotonic() < until, [one.cmdline() for one in left]
        time.sleep(0.1)


def environment() -> dict[str, str]:
    hostile = {"LLAMA_ARG_HOST": "0.0.0.0", "LLAMA_ARG_CHAT_TEMPLATE": "chatml", "MY_API_KEY": SECRET}
    return os.environ | hostile


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "job", "chat", "--tokens", "8", *map(str, words)]


def said(lines: str, *words: str | Path) -> Ended:
    """What is answered to lines of a pipe."""
    done = subprocess.run(
        command(*words), input=lines, capture_output=True, text=True, timeout=300, check=False, env=environment()
    )
    return Ended(done.returncode, [], done.stdout + "\0" + done.stderr)


# --- a pipe ---


def test_each_line_of_a_pipe_is_a_prompt(gguf: Path) -> None:
    ended = said("What is time?\n\nAnd a list?\n", gguf)
    out, _, notes = ended.output.partition("\0")
    assert ended.code == 0, notes
    assert len(out) > 2 and out.endswith("\n") and "loading" in notes
    again = said("What is time?\n\nAnd a list?\n", gguf)
    assert again.output == ended.output, "the likeliest tokens are the same ones each time"


def test_two_files_answer_one_below_the_other_and_what_has_no_template_says_so(gguf: Path, other: Path) -> None:
    ended = said("Of time\n", gguf, "--against", other)
    out, _, notes = ended.output.partition("\0")
    assert ended.code == 0, notes
    heads = [line for line in out.splitlines() if line.startswith("--- ")]
    assert heads == [f"--- {gguf.stem}", "--- other"]
    assert "other.gguf has no chat template" in notes and f"{gguf.name} has no chat template" not in notes


def test_clear_begins_anew_and_exit_ends(gguf: Path) -> None:
    first = said("Of time\n", gguf).output.partition("\0")[0]
    ended = said("Of time\n/clear\nOf time\n/exit\nOf time\n", gguf)
    assert ended.output.partition("\0")[0] == first * 2


def test_a_conversation_that_does_not_fit_is_told_and_goes_on(gguf: Path) -> None:
    ended = said(f"{'Of time and the list. ' * 60}\nOf time\n", gguf, "--context", "128")
    out = ended.output.partition("\0")[0]
    assert ended.code == 0 and "does not fit into the context" in out, ended.output
    assert len(out.splitlines()) >= 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere.gguf"], 66, "there is no nowhere.gguf"),
        (["EMPTY"], 66, "there is no GGUF file in"),
        (["GGUF", "--against", "GGUF"], 66, "is both files"),
        (["CUT"], 82, "is not a complete GGUF file"),
        (["HOLLOW"], 82, "llama-server exited"),
        (["GGUF", "--temperature", "9"], 2, "--temperature"),
    ],
    ids=str,
)
def test_what_cannot_be_talked_to_is_told(
    gguf: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    whole = gguf.read_bytes()
    places = {"GGUF": gguf, "EMPTY": tmp_path / "empty", "CUT": tmp_path / "cut.gguf", "HOLLOW": tmp_path / "h.gguf"}
    places["EMPTY"].mkdir()
    places["CUT"].write_bytes(whole[:500])
    places["HOLLOW"].write_bytes(whole[: len(whole) // 2])
    ended = said("a\n", *(places.get(word, word) for word in words))
    assert ended.code == code and message in ended.output, ended.output


# --- a terminal ---


@contextmanager
def terminal(*words: str | Path, columns: int = 100) -> Iterator[Terminal]:
    found = Terminal(command(*words), environment() | {"COLUMNS": str(columns)})
    try:
        yield found
    finally:
        found.close()


def test_a_terminal_asks_which_file_answers_and_ends_with_ctrl_d(gguf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "talk"
    folder.mkdir()
    for name in ("a-Q8_0.gguf", "b-Q4_K_M.gguf"):
        (folder / name).symlink_to(gguf)
    with terminal(folder) as person:
        person.read_until(lambda: "which file?" in person.text)
        assert "  2 b-Q4_K_M.gguf   (Enter)" in person.text
        person.press(b"1\n")
        person.read_until(lambda: person.text.endswith("> "))
        assert "a-Q8_0.gguf is taken" in person.text
        person.press(b"Of time\n")
        person.read_until(lambda: person.text.count("\n> ") == 2 and person.text.endswith("> "))
        person.press(b"\x04")
        assert person.ended() == 0


def test_two_files_stand_side_by_side_on_a_terminal(gguf: Path, other: Path, servers: Servers) -> None:
    with terminal(gguf, "--against", other) as person:
        person.read_until(lambda: person.text.endswith("> "))
        assert len(servers()) == 2
        person.press(b"Of time\n")
        person.read_until(lambda: person.text.count("\n> ") == 2 and person.text.endswith("> "))
        heads = [line for line in person.text.splitlines() if gguf.stem in line and "other" in line and "┃" in line]
        assert heads, person.text
        assert person.interrupted() == 130


@pytest.mark.parametrize("against", [False, True], ids=["one", "two"])
def test_ctrl_c_ends_an_answer_and_the_servers(gguf: Path, other: Path, against: bool) -> None:
    words = [gguf, "--tokens", "100000", "--context", "100000", *(["--against", other] if against else [])]
    with terminal(*words, "--temperature", "5") as person:
        person.read_until(lambda: person.text.endswith("> "))
        before = len(person.screen)
        person.press(b"Of time\n")
        person.read_until(lambda: len(person.screen) > before + 200)
        started = time.monotonic()
        person.press(CTRL_C)
        assert person.ended() == 130 and time.monotonic() - started < 30
        assert "Traceback" not in person.text


def test_a_chat_that_is_killed_leaves_no_server(gguf: Path, servers: Servers) -> None:
    process = subprocess.Popen(command(gguf), stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdin and process.stderr
    until = time.monotonic() + 120
    while not servers():
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stderr.close()


# --- the server ---


def test_the_template_is_the_models_own(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one that the environment names, nor llama.cpp's for models without one."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    body = {"messages": [{"role": "user", "content": "Of time"}]}
    with speaking(model_at(gguf, None, print), Settings(most=4)) as speaker:
        with speaker.asked.ask("POST", "/apply-template", body) as reply:
            prompt = json.loads(reply.read())["prompt"]
        held = psutil.Process(speaker.asked.program.pid).environ()
    assert prompt == "<|user|>Of time<|end|><|assistant|>" and SECRET not in held.values()


def test_a_server_that_ends_is_told_and_ends_the_conversation(gguf: Path, servers: Servers) -> None:
    with terminal(gguf) as person:
        person.read_until(lambda: person.text.endswith("> "))
        (server,) = servers()
        server.kill()
        person.press(b"Of time\n")
        assert person.ended() == 78
        assert "was killed by signal 9" in person.text and "Traceback" not in person.text
