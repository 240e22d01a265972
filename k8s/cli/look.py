"""`list` and `status`."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from k8s.cli.options import Context, Name, Namespace, Shown
from k8s.output import Output, meaning, result, run_headings, run_row, say, table

if TYPE_CHECKING:
    from k8s.cluster.runs import Run

EVERY_S = 5.0
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every few seconds, until Ctrl-C.")]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of every namespace.")]


def list_runs(
    context: Context = None,
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    watch: Watch = False,
    output: Shown = Output.table,
) -> None:
    """List the runs of a namespace, newest first, including those of the Helm chart: what each is doing, the hours that
    its pods have run, and what they cost if its price is known."""
    from k8s.cluster.client import Cluster

    cluster = Cluster(context, namespace)
    _shown(lambda: _list(cluster, everywhere, output), watch, output)


def _list(cluster: Any, everywhere: bool, output: Output) -> bool:
    from k8s.cluster.progress import progress_by_run
    from k8s.cluster.runs import SELECTOR, pods_by_run, run_of
    from k8s.errors import AccessDenied

    jobs = cluster.jobs(SELECTOR, everywhere=everywhere)
    try:
        pods = cluster.pods_of_all(SELECTOR, everywhere=everywhere)
    except AccessDenied:
        pods = []
    own = pods_by_run(pods)
    runs = [run_of(job, own.get(job["metadata"]["uid"], ())) for job in jobs]
    runs.sort(key=lambda run: run.created, reverse=True)
    progress = progress_by_run(cluster, runs, pods)
    shown = [(run, progress.get(run.uid)) for run in runs]
    values = [_value(*one) for one in shown]
    result(values, output, run_headings(everywhere), [run_row(*one, everywhere=everywhere) for one in shown])
    return all(run.is_over for run in runs)


def _value(run: "Run", progress: Any) -> dict[str, Any]:
    return run.model_dump(mode="json") | {"progress": progress.model_dump() if progress else None}


def _shown(show: Callable[[], bool], watch: bool, output: Output) -> None:
    """Shows it once, or until everything is over."""
    if watch and output is not Output.table:
        raise typer.BadParameter("--watch shows a table; leave out --output")
    try:
        while not show() and watch:
            time.sleep(EVERY_S)
            _clear()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _clear() -> None:
    """An empty screen; in a file an empty line."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().clear()
    else:
        typer.echo()


def status(
    name: Name,
    context: Context = None,
    namespace: Namespace = None,
    watch: Watch = False,
    output: Shown = Output.table,
) -> None:
    """Show a run's state, what it is doing or waiting for, what it has cost, and how its pods ended."""
    from k8s.cluster.client import Cluster

    cluster = Cluster(context, namespace)
    _shown(lambda: _status(cluster, name, output), watch, output)


def _status(cluster: Any, name: str, output: Output) -> bool:
    from k8s.cluster.image import check_image
    from k8s.cluster.progress import progress_by_run
    from k8s.cluster.runs import last_words, run_of
    from k8s.cluster.waiting import waiting_for

    job, pods = cluster.job(name), cluster.pods(name)
    run = run_of(job, pods)
    said = cluster.events(run.uid) + (cluster.events(pods[-1]["metadata"]["uid"]) if pods else [])
    waits = waiting_for(job, pods, said)
    progress = progress_by_run(cluster, [run], pods).get(run.uid)
    if output is not Output.table:
        result(_value(run, progress) | {"waiting_for": waits}, output, (), ())
        check_image(name, pods, said)
        return run.is_over
    table(run_headings(), [run_row(run, progress)])
    for sentence in waits:
        say(f"… {sentence}")
    if run.why:
        say(run.why)
    if run.code:
        say(f"exit code {run.code}: {meaning(run.code)}", style="bad")
        for line in last_words(cluster, name):
            say(line)
    if pods:
        typer.echo()
        table(("POD", "PHASE", "CODE", "REASON"), [_pod_row(pod) for pod in pods])
    if run.sweep:
        show_sweep(run)
    check_image(name, pods, said)
    return run.is_over


def _pod_row(pod: Any) -> list[str]:
    from k8s.cluster.runs import exit_code, why_it_ended

    code = exit_code(pod)
    number = "" if code is None else str(code)
    return [pod["metadata"]["name"], pod["status"].get("phase", ""), number, why_it_ended(pod)]


def show_sweep(run: "Run") -> None:
    """Prints the table of a sweep's runs with the best marked, if this user can read the store."""
    from job.errors import JobError
    from k8s.errors import LauncherError
    from k8s.results.compare import entries, lowest
    from k8s.results.download import store_of

    try:
        found = entries(store_of(run), run)
    except (LauncherError, JobError) as error:
        say(f"the runs cannot be compared from here: {error.message}", style="dim")
        return
    best = lowest(found)
    rows = [
        [
            str(one.number),
            one.what,
            "" if one.loss is None else f"{one.loss:.4f}{'  best' if best and one.loss == best.loss else ''}",
            one.smallest,
        ]
        for one in found
    ]
    table(("INDEX", "CHANGES", "HELD-OUT LOSS", "SMALLEST FILE"), rows)
    if best is None and any(one.loss is not None for one in found):
        say(f"the losses are not of the same held-out rows: `finetune-run compare {run.name}` says of which")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("list")(list_runs)
    app.command()(status)
