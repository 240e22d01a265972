"""`logs`, `wait`, `cancel`, `resume` and `gpus`."""

import sys
from typing import Annotated, Any

import typer

from job import strict_json
from job.escape import harmless_json
from k8s.cli.options import Context, Name, Namespace, Shown, Timeout
from k8s.output import Output, lasted, meaning, result, say, say_wait


def to_its_end(cluster: Any, name: str, *, logs: bool, timeout_s: float | None) -> None:
    """Follows a run, and exits with its code. Ctrl-C leaves it running."""
    from k8s.cluster.follow import Follower
    from k8s.cluster.runs import last_words
    from k8s.errors import RunAborted

    sink, close = _sink() if logs else ((lambda event: None), (lambda: None))
    try:
        run = Follower(cluster, name, sink, say_wait, logs=logs).run(timeout_s)
    except KeyboardInterrupt:
        close()
        say(f"\n{name} goes on; `finetune-run logs -f {name}` follows it again, `finetune-run cancel {name}` ends it")
        raise typer.Exit(130) from None
    finally:
        close()
    if run.state == "complete":
        say(
            f"{name} is complete after {lasted(run.seconds)}; `finetune-run results {name}` downloads the files",
            style="good",
        )
        return
    if run.code:
        say(f"{name} failed with exit code {run.code}: {meaning(run.code)}", style="bad")
        for line in last_words(cluster, name):
            say(line)
        raise typer.Exit(run.code)
    raise RunAborted(f"{name} ended without an exit code: {run.why or 'its Job gives no reason'}")


def _sink() -> tuple[Any, Any]:
    """Where events go: progress bars on a terminal, else one JSON object a line on stdout."""
    if not sys.stdout.isatty():
        return (lambda event: typer.echo(harmless_json(strict_json.dumps(event, ensure_ascii=False)))), (lambda: None)
    from job.console import ConsoleSink

    screen = ConsoleSink()
    return screen, screen.close


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log to the end of the run.")] = False,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show a run's log: from its pods, or from its store if they are gone."""
    from k8s.cluster.client import Cluster
    from k8s.cluster.follow import event_of
    from k8s.cluster.runs import run_of
    from k8s.manifest.base import CONTAINER

    cluster = Cluster(context, namespace)
    if follow:
        to_its_end(cluster, name, logs=True, timeout_s=None)
        return
    sink, close = _sink()
    run, seen = run_of(cluster.job(name)), 0
    try:
        for pod in cluster.pods(name):
            if pod["status"].get("phase") in ("Running", "Succeeded", "Failed"):
                for raw in cluster.log(pod["metadata"]["name"], CONTAINER, follow=False):
                    if event := event_of(raw.decode(errors="replace").partition(" ")[2]):
                        seen += 1
                        sink(event)
        if not seen:
            _from_store(run, sink)
    finally:
        close()


def _from_store(run: Any, sink: Any) -> None:
    from job.run.events import read_events
    from k8s.results.download import store_of

    store = store_of(run)
    for identity in run.ids:
        for event in read_events(store, identity):
            sink(event)


def wait(name: Name, timeout: Timeout = None, context: Context = None, namespace: Namespace = None) -> None:
    """Wait for the end of a run, and exit with its code."""
    from k8s.cluster.client import Cluster

    to_its_end(Cluster(context, namespace), name, logs=False, timeout_s=timeout)


def cancel(
    name: Name,
    pause: Annotated[bool, typer.Option("--pause", help="Suspend it instead; `resume` continues it.")] = False,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """End a run and its pods, and wait until they are gone. Its work stays in the store."""
    from k8s.cluster.client import Cluster
    from k8s.cluster.submit import wait_until_gone

    cluster = Cluster(context, namespace)
    if pause:
        cluster.patch_job(name, {"spec": {"suspend": True}})
        say(f"{name} is suspended and saves a checkpoint; `finetune-run resume {name}` continues it", style="good")
        return
    cluster.delete_job(name)
    say(f"ending {name} …", style="dim")
    wait_until_gone(cluster, name)
    say(f"{name} is deleted; its work is in the store, and launching it again continues from there", style="good")


def resume(name: Name, context: Context = None, namespace: Namespace = None) -> None:
    """Continue a suspended run from its last checkpoint."""
    from k8s.cluster.client import Cluster

    Cluster(context, namespace).patch_job(name, {"spec": {"suspend": False}})
    say(f"{name} goes on", style="good")


def gpus(context: Context = None, namespace: Namespace = None, output: Shown = Output.table) -> None:
    """Show the GPUs that this cluster offers, and how many are free."""
    from k8s.cluster.client import cluster_or_none
    from k8s.errors import AccessDenied
    from k8s.placement.inventory import offers

    cluster = cluster_or_none(context, namespace, needed=True)
    assert cluster
    nodes = cluster.nodes()
    if nodes is None:
        raise AccessDenied("this user is not allowed to list nodes", hint="k8s/rbac.yaml has a ClusterRole for that.")
    found = offers(nodes)
    headings = ("GPU", "KIND", "SPOT", "NODES", "UNITS", "FREE", "")
    rows = [
        [
            one.gpu,
            str(one.kind) or "whole",
            "yes" if one.spot else "",
            str(one.nodes),
            str(one.units),
            str(one.free),
            one.blocked,
        ]
        for one in found
    ]
    values = [
        {"gpu": one.gpu, "kind": one.kind.what, "resource": one.kind.resource, "spot": one.spot, "nodes": one.nodes,
         "units": one.units, "free": one.free, "blocked": one.blocked}
        for one in found
    ]  # fmt: skip
    result(values, output, headings, rows)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (logs, wait, cancel, resume, gpus):
        app.command()(command)
