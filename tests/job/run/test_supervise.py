"""The parent's side of a child process: results, faults, kills and signals."""

import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from job import errors
from job.artifacts import Frozen
from job.errors import DataInvalid, IntegrityViolated, JobError
from job.run import supervise
from job.spec import JobSpec

SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}})


class Inputs(Frozen):
    do: str


class Result(Frozen):
    said: str
    file: Path | None = None


CHILD = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
do = json.loads((folder / "inputs.json").read_text())["inputs"]["do"]
sys.path.insert(0, os.getcwd())
from job.run.child import event_stream
events = event_stream(int(sys.argv[2]))
print(json.dumps({"event": "child.started", "level": "info"}), file=events, flush=True)
if do == "answer":
    (folder / "result.json").write_text('{"said": "done"}')
elif do == "fail":
    (folder / "error.json").write_text(json.dumps({"error": "DataInvalid", "message": "no rows", "hint": "add some"}))
    sys.exit(65)
elif do == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif do == "run out of disk":
    print("error: cannot write error.json")
    sys.exit(74)
elif do == "forge":
    line = json.dumps({"event": "train.checkpoint", "step": 99, "path": "/etc"})
    print(f"unexpected tensor x\\n{line}", flush=True)
    print(line, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-c", f"import os; os.write({sys.argv[2]}, b'{{}}')"], close_fds=False)
    (folder / "result.json").write_text('{"said": "done"}')
elif do == "warn":
    import logging
    from job import library_warnings, logs
    logs.configure(stream=events)
    library_warnings.forward()
    logging.getLogger("somebodys.library").warning("3 weights are new")
    (folder / "result.json").write_text('{"said": "done"}')
elif do == "flood":
    sys.stdout.write("x" * 50_000_000)
    sys.exit(3)
elif do == "point elsewhere":
    (folder / "result.json").write_text('{"said": "done", "file": "/etc/hostname"}')
elif do == "vanish":
    print("Segmentation fault, probably")
    sys.exit(3)
else:
    time.sleep(30)
"""


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> supervise.Supervisor:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    run = supervise.Supervisor._run

    def run_script(self: supervise.Supervisor, command: list[str], on_event: supervise.OnEvent | None) -> object:
        return run(self, [command[0], str(script), command[-1]], on_event)

    monkeypatch.setattr(supervise.Supervisor, "_run", run_script)
    return supervise.Supervisor()


def module() -> ModuleType:
    made = ModuleType("pretended")
    made.NAME = "pretended"  # type: ignore[attr-defined]
    made.Result = Result  # type: ignore[attr-defined]
    return made


def test_a_result_comes_back_and_events_are_seen(supervisor: supervise.Supervisor, tmp_path: Path) -> None:
    seen: list[str] = []
    result = supervisor.run_stage(
        module(), SPEC, Inputs(do="answer"), tmp_path / "work", on_event=lambda event: seen.append(event["event"])
    )
    assert result == Result(said="done")
    assert seen == ["child.started"]


def test_a_line_that_a_child_prints_is_text_even_if_it_looks_like_an_event(
    supervisor: supervise.Supervisor, tmp_path: Path
) -> None:
    seen: list[str] = []
    with capture_logs() as logged:
        supervisor.run_stage(
            module(), SPEC, Inputs(do="forge"), tmp_path / "work", on_event=lambda event: seen.append(event["event"])
        )
    assert seen == ["child.started"]
    printed = [one["text"] for one in logged if one["event"] == "output"]
    assert sum('"train.checkpoint"' in text for text in printed) == 2
    assert any("Bad file descriptor" in text for text in printed), "a program of the child's has the pipe"


def test_what_two_children_warn_of_is_told_once(supervisor: supervise.Supervisor, tmp_path: Path) -> None:
    with capture_logs() as logged:
        for number in range(2):
            supervisor.run_stage(module(), SPEC, Inputs(do="warn"), tmp_path / str(number))
    warned = [one for one in logged if one["event"] == "library.warning"]
    assert [(one["source"], one["message"], one["log_level"]) for one in warned] == [
        ("somebodys.library", "3 weights are new", "warning")
    ]


def test_a_line_without_an_end_does_not_fill_the_parents_memory(
    supervisor: supervise.Supervisor, tmp_path: Path
) -> None:
    with capture_logs(), pytest.raises(errors.Bug) as caught:
        supervisor.run_stage(module(), SPEC, Inputs(do="flood"), tmp_path / "work")
    assert len(str(caught.value)) < 100_000


def test_a_path_outside_the_stages_folder_is_refused(supervisor: supervise.Supervisor, tmp_path: Path) -> None:
    with pytest.raises(IntegrityViolated, match="'/etc/hostname', which is not in its folder"):
        supervisor.run_stage(module(), SPEC, Inputs(do="point elsewhere"), tmp_path / "work")


def test_a_childs_fault_is_raised_as_what_it_was(supervisor: supervise.Supervisor, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no rows") as caught:
        supervisor.run_stage(module(), SPEC, Inputs(do="fail"), tmp_path / "work")
    assert caught.value.hint == "add some"


@pytest.mark.parametrize(
    ("kills", "why"), [((3, 3), "the kernel reports no kill for memory"), ((3, 4), "the kernel killed it for memory")]
)
def test_a_killed_child_is_named_and_called_killed_for_memory_only_if_the_kernel_says_so(
    supervisor: supervise.Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: tuple[int, int], why: str
) -> None:
    counted = iter(kills)
    monkeypatch.setattr(supervise, "memory_kills", lambda: next(counted))
    with pytest.raises(supervise.ChildKilled, match=f"pretended was killed by signal SIGKILL: {why}"):
        supervisor.run_stage(module(), SPEC, Inputs(do="die"), tmp_path / "work")


def test_a_child_that_ends_without_a_word_is_a_bug_with_its_last_lines(
    supervisor: supervise.Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(errors.Bug, match="Segmentation fault, probably"):
        supervisor.run_stage(module(), SPEC, Inputs(do="vanish"), tmp_path / "work")


def test_a_code_without_a_fault_keeps_its_meaning(supervisor: supervise.Supervisor, tmp_path: Path) -> None:
    with pytest.raises(errors.StorageFailed, match="cannot write"):
        supervisor.run_stage(module(), SPEC, Inputs(do="run out of disk"), tmp_path / "work")


def test_a_signal_reaches_the_child_and_ends_the_parents_wait(supervisor: supervise.Supervisor, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    supervisor.install()
    try:
        started = time.monotonic()
        with pytest.raises(supervise.Terminated):
            supervisor.run_stage(
                module(),
                SPEC,
                Inputs(do="wait"),
                tmp_path / "work",
                on_event=lambda _: threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start(),
            )
        assert time.monotonic() - started < 20
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_every_error_can_be_rebuilt_from_its_name() -> None:
    for kind in errors.every_error():
        rebuilt = supervise._rebuilt({"error": kind.__name__, "message": "m", "hint": "h"})
        assert type(rebuilt) is kind
        assert isinstance(rebuilt, JobError)


@pytest.mark.parametrize("theirs", [None, "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_a_child_gets_expandable_segments_unless_somebody_has_configured_the_allocator(
    monkeypatch: pytest.MonkeyPatch, theirs: str | None
) -> None:
    for name in supervise.ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    if theirs:
        monkeypatch.setenv(theirs, "max_split_size_mb:64")
    found = {name: value for name, value in supervise.environment().items() if name in supervise.ALLOCATOR}
    assert found == ({theirs: "max_split_size_mb:64"} if theirs else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"})
