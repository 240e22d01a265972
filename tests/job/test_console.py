"""Whatever a file is called and whatever a model says, a terminal shows it as text."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from job import console, logs
from job.__main__ import _say_last_words, app
from job.errors import DataInvalid
from k8s import output
from k8s.cli import manage

NAMES = ["data[/b].jsonl", "[red]red[/red].jsonl", "[/].txt", "back\\", "a\x1b]0;taken\x07.jsonl", "\x9b2Jrows", "a\rb"]
EVENTS: list[dict[str, Any]] = [
    {"event": "progress", "what": "downloading %", "done": 1, "total": 9, "unit": "bytes"},
    {"event": "progress", "what": "downloading %", "done": 9, "total": 9, "unit": "%"},
    {"event": "stage.start", "stage": "%"},
    {"event": "stage.end", "stage": "%", "seconds": "%"},
    {"event": "%", "level": "warning", "file": "%"},
    {"event": "line", "message": "%"},
    {"event": "train.log", "step": 1, "total": 2, "loss": "%"},
]
DRIVES = "\x1b\x07\x9b\r"


@pytest.mark.parametrize("name", NAMES)
def test_no_event_ends_or_drives_the_console(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(
        console, "Console", lambda **_: Console(file=out, width=200, color_system=None, force_terminal=False)
    )
    screen = console.ConsoleSink()
    for event in EVENTS:
        screen({key: text.replace("%", name) if isinstance(text, str) else text for key, text in event.items()})
    screen.console.print(console.result_table([(name,)], ("file",), name))
    screen.console.print(screen._bars)
    screen.close()
    text = out.getvalue()
    assert not set(DRIVES) & set(text)
    assert text.count(name.split("\x1b")[0].split("\x9b")[-1].split("\r")[0]) > 5


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_the_log_drives_a_terminal_and_each_says_the_same(name: str) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        logs.configure()
        logs.log.info("data.files", file=name)
    assert not set(DRIVES) & set(out.getvalue())
    assert json.loads(out.getvalue())["file"] == name


@pytest.mark.parametrize("name", NAMES)
def test_the_last_words_of_a_run_drive_no_terminal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "last").touch()
    monkeypatch.setenv("FINETUNE_TERMINATION_LOG", str(tmp_path / "last"))
    _say_last_words(DataInvalid(f"{name} is not data", hint=f"Rename {name}."))
    for said in (capsys.readouterr().err, (tmp_path / "last").read_bytes().decode()):
        assert "is not data" in said and not set(DRIVES) & set(said)


@pytest.mark.parametrize("kind", list(output.Output))
def test_what_the_launcher_prints_drives_no_terminal(kind: output.Output, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        output.say(name, style="bad")
        output.result([{"why": name}], kind, ("WHY",), ((name,),))
    printed = capsys.readouterr()
    assert not set(DRIVES) & set(printed.out + printed.err)
    assert "data[/b].jsonl" in printed.out and "data[/b].jsonl" in printed.err


@pytest.mark.parametrize("name", [name for name in NAMES if set(DRIVES) & set(name)])
def test_what_check_and_plan_say_drives_no_terminal(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spec's own words hold no control characters; its files may."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"architectures": [name], "model_type": name}))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / f"{name.replace('/', '-')}.jsonl").write_text('{"text": "a row"}\n' * 200 + "broken\n")
    path, about = tmp_path / "spec.json", {"dataset": {"id": str(tmp_path / "rows")}}
    for command, model, said in (
        ("check", "a/b", "200 rows; 1 broken"),
        ("plan", str(tmp_path / "model"), "a run would fail: model.id"),
    ):
        path.write_text(json.dumps({"model": {"id": model}} | about))
        done = CliRunner().invoke(app, [command, str(path)])
        assert said in done.output and not set(DRIVES) & set(done.output), command


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_the_launcher_passes_on_drives_no_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    manage._sink()[0]({"event": "data.files", "file": name})
    printed = capsys.readouterr().out
    assert json.loads(printed)["file"] == name and not set(DRIVES) & set(printed)


def test_the_end_of_one_stage_leaves_the_bars_of_work_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "Console", lambda **_: Console(file=out, width=200, force_terminal=False))
    screen = console.ConsoleSink()
    try:
        works = [{"stage": "quantize", "type": "q8_0"}, {"stage": "evaluate", "type": "q4_k_m"}]
        for number, work in enumerate(works):
            screen({"event": "stage.start", **work})
            screen({"event": "progress", "what": f"bar {number}", "done": 1, "total": 9, "unit": "", **work})
        screen({"event": "progress", "what": "an earlier stage's bar", "done": 1, "total": 9, "stage": "fetch"})
        screen({"event": "stage.end", "seconds": 3.0, **works[1]})
        assert list(screen._tasks) == ["bar 0"]
        screen({"event": "stage.error", "level": "error", "error": "no memory", **works[0]})
        assert not screen._tasks
    finally:
        screen.close()
    assert "judging q4_k_m: done in 3 s" in out.getvalue() and "no memory" in out.getvalue()
