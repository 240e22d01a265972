"""Prints the launcher's results: as a table for people, as JSON or YAML for programs."""

import shutil
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from job import strict_json
from job.escape import harmless, harmless_json, one_line

if TYPE_CHECKING:
    from k8s.cluster.progress import Progress
    from k8s.cluster.runs import Run


_GAP = "  "


class Output(StrEnum):
    """`-o`."""

    table = "table"
    json = "json"
    yaml = "yaml"


def say(text: str, *, style: str | None = None) -> None:
    """Prints a message to stderr; stdout is for results."""
    colours = {"warn": typer.colors.YELLOW, "good": typer.colors.GREEN, "bad": typer.colors.RED, "dim": None}
    typer.secho(harmless(text), err=True, fg=colours.get(style or ""), dim=style == "dim")


def say_wait(why: str) -> None:
    """Says why something has not begun yet."""
    say(f"… {why}", style="dim")


def result(value: Any, output: Output, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints `value` for programs, or the rows for people."""
    if output is Output.json:
        typer.echo(harmless_json(strict_json.dumps(value, indent=2, ensure_ascii=False)))
    elif output is Output.yaml:
        from k8s.yaml_text import text_of

        typer.echo(text_of([value]), nl=False)  # YAML escapes such characters itself
    else:
        table(headings, rows)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints columns as wide as needed. A terminal that is too narrow for them gets their cells folded."""
    from rich.cells import cell_len, set_cell_size

    cells = [[one_line(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    on_terminal = sys.stdout.isatty()
    if on_terminal and sum(widths) + len(_GAP) * (len(widths) - 1) > shutil.get_terminal_size().columns:
        lines = _folded(cells)
    else:
        lines = [_GAP.join(map(set_cell_size, row, widths)).rstrip() for row in cells]
        lines[:1] = [typer.style(lines[0], bold=True)] if on_terminal else lines[:1]
    typer.echo("\n".join(lines))


def _folded(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table as wide as the terminal. They need rich's tables, which take long to import and to draw."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in cells[0]:
        drawn.add_column(heading, overflow="fold")
    for row in cells[1:]:
        drawn.add_row(*map(Text, row))
    console = Console(highlight=False, markup=False)
    with console.capture() as caught:
        console.print(drawn)
    return [line.rstrip() for line in caught.get().splitlines()]


def lasted(seconds: float | None) -> str:
    """`3d4h`, `2h05m`, `7m12s`, `9s`."""
    if seconds is None:
        return ""
    whole = int(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def run_headings(everywhere: bool = False) -> tuple[str, ...]:
    """The columns of `list`."""
    space = ("NAMESPACE",) if everywhere else ()
    return (*space, "NAME", "STATE", "CODE", "MODEL", "GPU", "DOING", "LASTED", "HOURS", "COST")


def run_row(run: "Run", progress: "Progress | None" = None, *, everywhere: bool = False) -> list[str]:
    """One line of `list`."""
    state: str = run.state
    if run.indexes:
        failed = f", {run.failed_indexes} failed" if run.failed_indexes else ""
        state += f" (of {run.indexes}: {run.completed_indexes or 'none'} done{failed})"
    code = "" if run.code is None else str(run.code)
    hours = "" if run.held_s is None else f"{run.held_s / 3600:.2f}"
    cost = "" if run.cost is None else f"{run.cost:.2f}"
    space = [run.namespace] if everywhere else []
    return [*space, run.name, state, code, run.model, run.gpu, doing(progress), lasted(run.seconds), hours, cost]


def doing(progress: "Progress | None") -> str:
    """`training 120 of 500 steps, loss 1.234, 25m00s left`."""
    if progress is None:
        return ""
    from job.sentences import TITLES, size

    said = TITLES.get(progress.stage, progress.stage)
    if progress.done is not None and progress.total:
        shown: Callable[[float], str] = size if progress.unit == "bytes" else "{:,.0f}".format
        said += f" {shown(progress.done)} of {shown(progress.total)}"
        said += f" {progress.unit}" if progress.unit != "bytes" else ""
    said += f", loss {progress.loss:.3f}" if progress.loss is not None else ""
    return said + (f", {lasted(progress.left_s)} left" if progress.left_s else "")


def meaning(code: int) -> str:
    """The meaning of a job's exit code, from the table of its faults."""
    from job.errors import every_error

    return next((" ".join((one.__doc__ or "").split()) for one in every_error() if one.code == code), "")
