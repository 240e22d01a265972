"""What builds show: one line of progress, and the end of their log if they fail (scripts/progress.sh)."""

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests import ROOT

PROGRESS = ROOT / "scripts" / "progress.sh"
NINJA = """
count() { for n in $(seq "$1" "$2"); do echo "[$n/100] Building CXX object $n.o"; echo "warning: $n"; done; }
count 1 35; sleep 2; count 36 70; sleep 2; count 71 100
"""


def environment(**extra: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm"} | extra


def run(*command: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**extra))


def on_a_terminal(columns: int, *command: str | Path, **extra: str) -> tuple[int, str]:
    """The exit code, and what a terminal of that width was sent."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stdin=writer, stdout=writer, stderr=writer, env=environment(**extra))
    os.close(writer)
    sent = b""
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # how Linux tells the end of a pseudo-terminal
            break
        sent += part
        if not part:
            break
    os.close(reader)
    return process.wait(), sent.decode()


def test_in_a_pipe_a_build_has_a_line_every_tenth_at_most(tmp_path: Path) -> None:
    log = tmp_path / "new" / "build.log"
    done = run(PROGRESS, log, "thing: building", "bash", "-c", NINJA)
    first, *lines, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout, first) == (0, "", f"thing: building; log: {log}")
    assert re.fullmatch(rf"thing: building: done in \d+ s; log: {log}", last)
    assert all(re.fullmatch(r"thing: building: \d+%, \d+ s", line) for line in lines)
    tenths = [int(line.split()[2].rstrip("%,")) // 10 for line in lines]
    assert {3, 7} <= set(tenths) and tenths == sorted(set(tenths))
    assert log.read_text().count("warning") == 100, "all of it is in the log"


@pytest.mark.parametrize("extra", [{"TERM": "dumb"}, {"CI": "true"}], ids=str)
def test_a_terminal_that_keeps_every_line_is_treated_like_a_pipe(tmp_path: Path, extra: dict[str, str]) -> None:
    code, sent = on_a_terminal(80, PROGRESS, tmp_path / "log", "thing", "bash", "-c", NINJA, **extra)
    assert code == 0 and "\x1b" not in sent and "\r" not in sent.replace("\r\n", "\n")
    assert re.search(r"thing: 3\d%, ", sent) and re.search(r"thing: 7\d%, ", sent)


def test_on_a_terminal_one_line_is_rewritten_and_fits(tmp_path: Path) -> None:
    code, sent = on_a_terminal(40, PROGRESS, tmp_path / "log", "thing: building", "bash", "-c", NINJA)
    assert code == 0
    *rewritten, end = sent.split("\r\x1b[K")
    shown = [line.removesuffix("\x1b[K") for line in "".join(rewritten).split("\r")[1:]]
    assert any(re.fullmatch(r"thing: building: 3\d%, \d+ s", line) for line in shown)
    assert all(line.startswith("thing: building: ") and len(line) < 40 and "\n" not in line for line in shown)
    assert re.fullmatch(r"thing: building: done in \d+ s; log: .*\r\n", end)


def test_on_a_terminal_a_build_without_a_percentage_shows_what_it_wrote_last(tmp_path: Path) -> None:
    speaks = r"printf 'Collecting torch\nDownloading \033[31mtorch (500 MB)\n'; sleep 2"
    code, sent = on_a_terminal(60, PROGRESS, tmp_path / "log", "environment", "bash", "-c", speaks)
    assert code == 0 and re.search(r"environment: \d s  Downloading \[31mtorch \(500 MB\)\x1b\[K", sent)


def test_in_a_pipe_a_build_without_a_percentage_has_a_line_now_and_then(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("go: downloading\n")
    done = run("bash", "-c", f'. {PROGRESS}; sleep 4.5 | _watch {log} "versitygw: building" 2')
    first, *rest = done.stderr.splitlines()
    assert first == f"versitygw: building; log: {log}"
    assert 1 <= len(rest) <= 2 and all(re.fullmatch(r"versitygw: building: [2-5] s", line) for line in rest)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_build_that_fails_shows_the_end_of_its_log_and_keeps_its_exit_code(tmp_path: Path, terminal: bool) -> None:
    log = tmp_path / "log"
    command = (PROGRESS, log, "thing", "bash", "-c", "seq 1000 2000; echo it broke >&2; exit 7")
    if terminal:
        code, text = on_a_terminal(80, *command)
    else:
        done = run(*command)
        code, text = done.returncode, done.stderr
    lines = text.replace("\r\n", "\n").splitlines()
    assert code == 7
    assert lines[-1] == f"The whole log: {log}" and lines[-2] == "it broke" and lines[-3] == "2000"
    assert re.search(r"thing: failed with exit code 7 after \d+ s\. The end of its log:$", lines[-32])
    assert log.read_text().startswith("1000\n")


def test_the_first_error_is_shown_if_other_compilers_wrote_much_after_it(tmp_path: Path) -> None:
    build = "echo 'FAILED: a.o'; echo 'a.c:1:2: error: no such thing'; seq 5000 | sed 's/^/warning: /'; exit 1"
    done = run(PROGRESS, tmp_path / "log", "thing", "bash", "-c", build)
    assert done.returncode == 1 and "a.c:1:2: error: no such thing" in done.stderr
    assert len(done.stderr.splitlines()) < 40


def test_a_function_stops_at_its_first_failure_and_cleans_up(tmp_path: Path) -> None:
    script = f"""
        set -euo pipefail
        . {PROGRESS}
        build() {{ trap 'echo cleaned' EXIT; false | cat; echo went on; }}
        progress {tmp_path}/log thing build
        echo after
    """
    done = run("bash", "-c", script)
    assert (done.returncode, done.stdout) == (1, "")
    assert (tmp_path / "log").read_text() == "cleaned\n"


def test_no_progress_outlives_a_build_that_is_killed(tmp_path: Path) -> None:
    command = [PROGRESS, tmp_path / "log", "thing", "sleep", "60"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    assert process.stderr and b"thing; log:" in process.stderr.readline()
    process.kill()
    started = time.monotonic()
    process.stderr.read()  # until nobody is left who could write there
    assert time.monotonic() - started < 30
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda one: one.name)
def test_a_build_that_is_stopped_ends_with_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    """As `make` does it, which passes a signal on to its child alone."""
    script = f"""
        set -euo pipefail
        . {PROGRESS}
        build() {{ trap 'rm {tmp_path}/work' EXIT; touch {tmp_path}/work; bash -c 'echo $$; sleep 60; echo more'; }}
        progress {tmp_path}/log thing build
        echo after
    """
    pipe = subprocess.PIPE
    heard = ["env", "--default-signal=INT,HUP,TERM"]  # nohup and a background job ignore them
    process = subprocess.Popen([*heard, "bash", "-c", script], stdout=pipe, stderr=pipe, text=True, env=environment())
    while not (tmp_path / "log").is_file() or not (inner := (tmp_path / "log").read_text()):
        time.sleep(0.05)
    process.send_signal(number)
    said, shown = process.communicate(timeout=20)
    assert process.returncode == 128 + number and said == ""
    assert re.search(r"^thing: stopped after \d+ s; log: ", shown, flags=re.M) and "The whole log" not in shown
    assert not (tmp_path / "work").exists()
    status, deadline = Path(f"/proc/{inner.strip()}/stat"), time.monotonic() + 10
    while status.exists() and " Z " not in status.read_text():  # a signal takes its time
        assert time.monotonic() < deadline
        time.sleep(0.05)


BUILDS = [
    ("build-llama.sh",),
    ("build-go.sh", "versitygw"),
    ("build-kubernetes.sh",),
    ("environment.sh",),
    ("smollm2.py",),
]


@pytest.mark.parametrize("command", BUILDS, ids=lambda command: command[0])
def test_every_build_that_fails_says_where_its_log_is(command: tuple[str, ...], tmp_path: Path) -> None:
    """Without a network, and without a Python that has pip."""
    for part in ("scripts", "requirements"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    nowhere = {"PYTHON": "false", "GOPROXY": "off", "GOMODCACHE": str(tmp_path / "go"), "PIP_RETRIES": "0"}
    nowhere |= {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_NO_INDEX": "1", "FINETUNE_CACHE": str(tmp_path / "cache")}
    name, *arguments = command
    interpreter = [sys.executable] if name.endswith(".py") else []
    done = run(*interpreter, tmp_path / "scripts" / name, *arguments, **nowhere)
    assert done.returncode not in (0, 126, 127) and done.stdout == ""
    said, _, path = done.stderr.splitlines()[-1].partition(": ")
    assert said == "The whole log" and Path(path).is_relative_to(tmp_path), done.stderr
    assert Path(path).is_file() and "failed with exit code" in done.stderr


def test_the_image_builds_llama_cpp_with_what_its_dockerfile_copies(tmp_path: Path) -> None:
    """And its key does not depend on how progress is shown."""
    stage = (ROOT / "Dockerfile").read_text().partition(" AS llama\n")[2].partition("\nFROM ")[0]
    copied = [line.split()[1:] for line in stage.splitlines() if line.startswith("COPY ")]
    assert copied
    ignored = (ROOT / ".dockerignore").read_text()
    for *sources, target in copied:
        for source in map(Path, sources):
            assert source.parent.name == "requirements" or f"!{source}\n" in ignored
            (tmp_path / target).mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    logs = []
    for change in ("", "# another way to show it\n"):
        with (tmp_path / "scripts" / "progress.sh").open("a") as script:
            script.write(change)
        done = run(tmp_path / "scripts/build-llama.sh", PYTHON="false", FINETUNE_CACHE=str(tmp_path / "cache"))
        logs.append(done.stderr.splitlines()[-1])
    assert logs[0] == logs[1] and logs[0].startswith("The whole log: ")
