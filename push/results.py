"""The results of a complete run, for the page: its table of files, a plot of its loss, and where the files are.

They are read from the run's store with this job's own credentials; without these, the page says so.
"""

from collections.abc import Sequence
from typing import Any

from job.errors import JobError
from job.report import table
from job.run.records import Manifest
from k8s.cluster.runs import Run
from k8s.errors import LauncherError
from k8s.results.download import manifest_of, store_of
from push.escape import code, one_line

MOST_POINTS = 60
"""Points of the plot: a page is limited to about a megabyte."""


def results(run: Run) -> list[str]:
    """Lines of Markdown; none if the run is not complete."""
    if run.state != "complete":
        return []
    heading = ["", f"#### {run.name}", ""]
    try:
        manifest = manifest_of(store_of(run), run.id)
    except (JobError, LauncherError) as error:
        return [*heading, f"The results cannot be read from here: {code(one_line(error.message, 200))}"]
    return [*heading, *_table(manifest), *_plot(manifest), "", *(f"- {code(place)}" for place in manifest.places)]


def _table(manifest: Manifest) -> list[str]:
    files = [(one.name, one.type) for one in manifest.files if f"quantize/{one.type}" in manifest.stages]
    found = table.lines(files, manifest.stages)
    columns = table.columns(found)
    rows = [[code(text) if (text := column.shown(line)) else "" for column in columns] for line in found]
    head = [[column.heading for column in columns], ["---"] * len(columns)]
    return [f"| {' | '.join(cells)} |" for cells in [*head, *rows]]


def _plot(manifest: Manifest) -> list[str]:
    """https://mermaid.js.org/syntax/xyChart.html, which GitHub and GitLab draw: numbers alone."""
    train = manifest.stages.get("train")
    points: Sequence[Any] = train.metrics.get("losses") or [] if train else []
    losses = [float(one["loss"]) for one in points if "loss" in one]
    if len(losses) < 2:
        return []
    shown = losses[:: -(-len(losses) // MOST_POINTS)]
    steps = [int(one["step"]) for one in points if "loss" in one]
    return [
        "",
        "```mermaid",
        "xychart-beta",
        f'    x-axis "step" {steps[0]} --> {steps[-1]}',
        '    y-axis "loss"',
        f"    line [{', '.join(f'{loss:.4f}' for loss in shown)}]",
        "```",
    ]
