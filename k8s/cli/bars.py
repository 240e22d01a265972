"""Progress bars of transfers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from job.escape import one_line

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def bars(least: int = 0) -> Iterator[Any]:
    """A progress bar for each file of `least` bytes, on stderr: a function of its name, bytes done and bytes in
    total."""
    tasks: dict[str, Any] = {}
    with ExitStack() as stack:
        drawn: list[Progress] = []

        def on_progress(name: str, done: int, total: int) -> None:
            if total < least:
                return
            if not drawn:
                drawn.append(stack.enter_context(_progress()))
            if name not in tasks:
                tasks[name] = drawn[0].add_task(one_line(name), total=total)
            drawn[0].update(tasks[name], completed=done)

        yield on_progress


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
