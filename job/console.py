"""Shows events to a person at a terminal: progress bars for long work, one line for the rest."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from job.escape import harmless, one_line
from job.logs import Record

_QUIET = {"command", "checkpoint.stored"}
_HIDDEN_FIELDS = {"event", "level", "time", "run", "attempt", "seq", "stage"}


class ConsoleSink:
    """A sink for `job.logs.configure` that draws on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def __call__(self, record: Record) -> None:
        event, level = str(record.get("event")), record.get("level")
        if event == "progress" and record.get("total"):
            self._advance(one_line(str(record["what"])), record["done"], record["total"], record.get("unit", ""))
        elif event == "train.log":
            self._advance("training", record["step"], record["total"], "steps")
            self._line(record, "cyan")
        elif event == "stage.start":
            self.console.print(words(record.get("stage"), "bold"))
        elif event == "stage.end":
            self._forget()
            done = words(f"{record.get('stage')} done", "green")
            self.console.print(done, words(f"{record.get('seconds')} s", "dim"))
        elif level == "debug" or event in _QUIET or event == "progress":
            return
        else:
            self._line(record, {"warning": "yellow", "error": "red"}.get(str(level), "dim"))

    def _advance(self, what: str, done: float, total: float, unit: str) -> None:
        scale = 1e6 if unit == "bytes" else 1
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, unit="MB" if unit == "bytes" else unit, total=None)
        self._bars.update(self._tasks[what], completed=int(done / scale), total=int(total / scale) or 1)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(what))

    def _forget(self) -> None:
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()

    def _line(self, record: Record, style: str) -> None:
        fields = " ".join(f"{k}={_short(v)}" for k, v in record.items() if k not in _HIDDEN_FIELDS)
        self.console.print(" ", words(record["event"], style), words(fields, "dim"))

    def close(self) -> None:
        self._forget()
        self._bars.stop()


def words(text: object, style: str = "") -> Text:
    """Text by anybody for a console of rich: no markup, and nothing that drives a terminal."""
    return Text(harmless(str(text)), style)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value).replace("\n", " ")
    return text if len(text) <= 160 else text[:157] + "..."


def wanted() -> bool:
    """Whether a person is watching: stdout is a terminal."""
    return sys.stdout.isatty()


def result_table(rows: list[tuple[str, ...]], columns: tuple[str, ...], title: str) -> Table:
    """A table for the end of a run."""
    table = Table(title=words(title), title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(words(cell) for cell in row))
    return table
