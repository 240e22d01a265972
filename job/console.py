"""Shows events to a person at a terminal: progress bars for long work, one line for the rest."""

import sys
from collections.abc import Mapping, Set
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from job.escape import harmless, one_line
from job.logs import Record
from job.sentences import amount, sentence, stage_title

_QUIET = {
    "command",
    "data.format",
    "checkpoint.stored",
    "train.checkpoint",
    "stage.needed",
    "preflight.memory",
    "preflight.vram",
    "run.end",
}
"""Of use in a log only: words follow `data.format`, and a warning `preflight.memory` and `preflight.vram`, if they
matter."""
_STYLES = {"warning": "yellow", "error": "red"}


Work = tuple[str, str]
"""A stage and the type that it works on: two may be at work at once."""


class ConsoleSink:
    """A sink for `job.logs.configure` that draws on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}", markup=False),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, tuple[TaskID, Work]] = {}
        self._at_work: set[Work] = set()
        self._waiting = ""
        self._bars.start()

    def __call__(self, record: Record) -> None:
        event, level = str(record.get("event")), str(record.get("level"))
        if level != "debug" and record.get("what") != self._waiting:
            self._end_waiting()
        if event == "progress":
            self._advance(record)
        elif event == "train.log":
            self._advance({**record, "what": "training", "done": record["step"], "unit": "steps"})
            self._line(record, "cyan")
        elif event == "stage.start":
            self._at_work.add(_work(record))
            self.console.print(words(stage_title(record), "bold"))
        elif event in ("stage.end", "stage.error"):
            self._at_work.discard(_work(record))
            self._forget(but=self._at_work)
            if event == "stage.end":
                self.console.print(words(sentence(record), "green"))
            else:
                self._line(record, _STYLES["error"])
        elif event == "run.result":
            self._forget()
            show_result(record, self.console)
        elif event == "stage.skipped" and record.get("type"):
            return  # `quantize.planned` says it of all types at once
        elif level != "debug" and event not in _QUIET:
            self._line(record, _STYLES.get(level, "dim"))

    def _advance(self, record: Record) -> None:
        what, done, total = one_line(str(record["what"])), record["done"], record["total"]
        if total is None and what in self._tasks and what != self._waiting:
            return  # its bar shows how far it is
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, amount=""), _work(record)
            self._waiting = what if total is None else ""
        text = one_line(amount(record))
        self._bars.update(self._tasks[what][0], completed=done or 0, total=total, amount=text)
        if total is not None and done >= total:
            self._bars.remove_task(self._tasks.pop(what)[0])

    def _end_waiting(self) -> None:
        """Work whose end is not known has a moving bar, only until something else is said."""
        if self._waiting in self._tasks:
            self._bars.remove_task(self._tasks.pop(self._waiting)[0])
        self._waiting = ""

    def _forget(self, but: Set[Work] = frozenset()) -> None:
        """Removes the bars of all work but what goes on beside it."""
        for what, (task, work) in list(self._tasks.items()):
            if work not in but:
                self._bars.remove_task(task)
                del self._tasks[what]

    def _line(self, record: Record, style: str) -> None:
        self.console.print(" ", words(sentence(record), style))

    def close(self) -> None:
        self._forget()
        self._bars.stop()


def _work(record: Record) -> Work:
    return str(record.get("stage") or ""), str(record.get("type") or "")


def words(text: object, style: str = "") -> Text:
    """Text by anybody for a console of rich: no markup, and nothing that drives a terminal."""
    return Text(harmless(str(text)), style)


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


def show_result(result: Mapping[str, Any], console: Console) -> None:
    """The end of a run: the fields of `run.result`, as job/report/ending.py makes them."""
    cells = [tuple(row) for row in result["rows"]]
    _print_whole(result_table(cells, tuple(result["columns"]), f"{result['name']}-<type>.gguf"), console)
    lines = []
    if result.get("loss_before") is not None and result.get("loss_after") is not None:
        before, after, steps = result["loss_before"], result["loss_after"], result["steps"]
        lines.append(("held-out loss", f"{before:.3f} before, {after:.3f} after {steps} steps"))
    if take := result.get("take"):
        lines.append((f"with {take['gigabytes']} GB of memory, take", take["name"]))
    lines += [("files:", place) for place in result["places"]]
    lines.append(("report:", result["report"]))
    lines += [(f"{how}:", command) for how, command in result["try"].items()]
    for about, value in lines:
        console.print(words(about), words(value, "bold"), soft_wrap=True)


def _print_whole(table: Table, console: Console) -> None:
    """Never cut: without a terminal, and on a dumb one, rich takes any screen for one of 80 columns."""
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    if needed > console.width:
        Console(file=console.file, highlight=False, width=needed, height=console.height).print(table)
    else:
        console.print(table)
