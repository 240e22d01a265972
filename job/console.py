"""Shows events to a person at a terminal: progress bars for long work, one line for the rest."""

import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from job.logs import Record

_QUIET = {"command", "checkpoint.stored"}
_HIDDEN_FIELDS = {"event", "level", "time", "run", "attempt", "seq", "stage"}


class ConsoleSink:
    """A sink for `job.logs.configure` that draws on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def __call__(self, record: Record) -> None:
        event, level = str(record.get("event")), record.get("level")
        if event == "progress" and record.get("total"):
            self._advance(record["what"], record["done"], record["total"], record.get("unit", ""))
        elif event == "train.log":
            self._advance("training", record["step"], record["total"], "steps")
            self._line(record, "cyan")
        elif event == "stage.start":
            self.console.print(f"[bold]{record.get('stage')}[/]")
        elif event == "stage.end":
            self._forget()
            self.console.print(f"[green]{record.get('stage')} done[/] [dim]{record.get('seconds')} s[/]")
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
        self.console.print(f"  [{style}]{escape(str(record['event']))}[/] [dim]{escape(fields)}[/]")

    def close(self) -> None:
        self._forget()
        self._bars.stop()


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
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
