"""How `make demo` begins and ends: its plan, its table in a pipe, and what it says if the run fails."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from job.errors import every_error
from job.run import active_run
from job.run.events import read_events
from job.run.records import Manifest, StageRecord
from job.run.supervise import Supervisor
from job.spec import JobSpec
from job.store import open_store
from tests import ROOT, forks
from tests.s3_server import versitygw

sys.path.insert(0, str(ROOT / "scripts"))
import demo_end


def test_every_exit_code_has_a_next_step() -> None:
    assert demo_end.NEXT.keys() == {error.code for error in every_error()}


def test_a_run_killed_for_memory_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    demo_end.say_next(128 + signal.SIGKILL, None, "make demo")
    said = capsys.readouterr().err
    assert "exit code 137" in said and "killed by SIGKILL. It was probably killed for memory" in said


def test_a_fault_of_the_embedded_default_is_not_blamed_on_who_tries_it(capsys: pytest.CaptureFixture[str]) -> None:
    demo_end.say_next(81, "/a/store/runs/r1/events", "make demo")
    own = capsys.readouterr().err
    demo_end.say_next(81, "/a/store/runs/r1/events", "SPEC=my.yaml make demo")
    given = capsys.readouterr().err
    assert "please report this" in own and "please report this" not in given
    assert "evaluation.gate" in given and "`SPEC=my.yaml make demo` again" in given
    assert "log: /a/store/runs/r1/events/" in own


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"FINETUNE_DEMO": str(folder / "demo"), "FINETUNE_WORK": str(folder / "work")}


def demo_of(path: Path) -> list[str | Path]:
    return [sys.executable, "-m", "tests.run_forked", forks.python(), ROOT / "scripts" / "demo.py", path]


def write_spec(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "my.json"
    path.write_text(json.dumps({key: value for key, value in spec.items() if key != "run"}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code", "hint", "advice"),
    [
        ({"training": {"lr": 1}}, 64, "training.lr", "-m job check SPEC"),
        ({"dataset": {"id": "./no-such-rows.jsonl"}}, 66, "no-such-rows.jsonl", "Correct the name"),
        ({"dataset": {"text": "no_such_column"}}, 65, "no_such_column", "Fix the rows"),
    ],
)
def test_a_demo_that_fails_ends_with_the_error_and_then_what_to_do(
    small_spec: dict[str, Any], tmp_path: Path, change: dict[str, Any], code: int, hint: str, advice: str
) -> None:
    versitygw()
    path = write_spec(tmp_path, small_spec | {name: small_spec[name] | values for name, values in change.items()})
    done = subprocess.run(demo_of(path), capture_output=True, text=True, check=False, env=environment(tmp_path))
    assert done.returncode == code, done.stderr
    error, _, after = done.stderr.partition(f"the run ended with exit code {code}\n")
    assert error.startswith("error: ") and hint in error
    assert after.startswith("next: ") and advice in after and f"run `SPEC={path} make demo` again" in after
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda one: one.name)
def test_a_demo_that_is_stopped_stops_in_order_and_says_that_it_continues(
    small_spec: dict[str, Any], tmp_path: Path, number: signal.Signals
) -> None:
    versitygw()
    path = write_spec(tmp_path, small_spec)
    demo = subprocess.Popen(
        demo_of(path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        start_new_session=True,
    )
    assert demo.stdout and demo.stderr
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(demo.stderr or ()))
    reader.start()
    stopped = False
    for line in demo.stdout:
        if '"train.log"' in line and not stopped:
            stopped = True
            if number is signal.SIGINT:
                os.killpg(demo.pid, number)  # as a terminal does
            else:
                demo.send_signal(number)
    code = demo.wait()
    reader.join()
    text = "".join(said)
    assert stopped and code == 75, text
    assert text.index("error: stopped by a signal") < text.index(f"next: run `SPEC={path} make demo` again")
    assert "it continues from there" in text and "Traceback" not in text
    events = tmp_path / "demo" / "store" / "runs"
    (run,) = events.iterdir()
    assert f"log: {run}/events/" in text and list((run / "events").iterdir())


def test_a_bugs_traceback_is_in_the_runs_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_WORK", str(tmp_path / "work"))
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "run": {"id": "one"}})
    with pytest.raises(active_run.Bug, match="ZeroDivisionError"), active_run.opened(spec, "one", Supervisor()):
        1 / 0  # noqa: B018
    last = read_events(open_store(str(tmp_path / "work" / "store")), "one")[-1]
    assert (last["event"], last["code"]) == ("run.failed", 70)
    assert "Traceback" in last["exception"] and "1 / 0" in last["exception"]


def plan(*arguments: str, **environ: str) -> str:
    command = [ROOT / "scripts" / "demo-plan.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environ).stdout


def test_the_plan_says_what_is_not_there_and_how_long_it_takes(tmp_path: Path) -> None:
    lines = plan(FINETUNE_CACHE=str(tmp_path), FINETUNE_DEMO=str(tmp_path / "demo")).splitlines()
    minutes = {line[2:54].strip(): line[54:].strip() for line in lines[1:-1]}
    assert minutes["llama.cpp, built from source"] == "about 5 min" and minutes["base model"] == "about 1 min"
    assert minutes["training"].startswith("about ") and len(minutes) == 6
    total = sum(int(when.split()[1]) for when in minutes.values() if when != "there")
    assert f"about {total} minutes in all" in lines[-1]
    assert not any(tmp_path.iterdir()), "it makes nothing"


@pytest.mark.slow
def test_the_plan_says_what_is_there(tmp_path: Path) -> None:
    versitygw()
    lines = plan("my.yaml", FINETUNE_DEMO=str(tmp_path)).splitlines()
    assert next(line for line in lines if "versitygw" in line).endswith(" there")
    assert "python -m job plan my.yaml" in lines[-2], "it knows no times of another's spec"


def test_what_a_model_answers_neither_ends_nor_drives_the_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = "data[/b] \x1b]0;taken\x07 \x9b2J [red]"
    samples = [dict.fromkeys(("prompt", "before", "after"), said)]
    train = StageRecord(stage="train", key="k", artifacts=[], metrics={"samples": samples})
    (tmp_path / "[/b]").mkdir(parents=True)
    about: dict[str, Any] = {"spec": {}, "sources": {}, "files": [], "stages": {"train": train}}
    demo_end.show(Manifest(run="r1", name="Tuned", places=["s3://[/b]"], **about), tmp_path)
    printed = capsys.readouterr().out
    assert not set("\x1b\x07\x9b") & set(printed)
    assert printed.count("data[/b]") == 3 and "s3://[/b] on this disk" in printed
