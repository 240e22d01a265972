"""`compare`."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from job.escape import harmless
from k8s.cli.options import Context, Namespace, Shown
from k8s.cli.stores import ReaderImage, StoreAddress, StorePvc, claim_of, store_opened, volume_opened
from k8s.output import Output, result, say, table

Names = Annotated[
    list[str],
    typer.Argument(help="Names of runs, as `list` shows them (of a sweep: all its runs); with --store: ids of runs."),
]


def compare(
    names: Names,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the comparison as one HTML file.")] = None,
    store_pvc: StorePvc = None,
    store: StoreAddress = None,
    image: ReaderImage = None,
    context: Context = None,
    namespace: Namespace = None,
    output: Shown = Output.table,
) -> None:
    """Show runs side by side: what differs in their specs, their losses, their files.

    With `--store`, no cluster is asked.

    Examples: `finetune-run compare quotes-1a2b3c4d quotes-5e6f7a8b --html compared.html`,
    `finetune-run compare 2449ccc529475c8a 0c1f3a5b7d9e2468 --store s3://YOUR-BUCKET/runs`
    """
    from k8s.errors import SettingsInvalid
    from k8s.results.tables import values

    if store and store_pvc:
        raise SettingsInvalid("--store and --store-pvc name two places", hint="Write one of the two.")
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise SettingsInvalid(f"{twice} is named twice", hint="Name each run once.")
    with ExitStack() as stack:
        found = list(
            _in_store(names, store) if store else _in_cluster(stack, names, store_pvc, image, context, namespace)
        )
    if len(found) < 2:
        raise SettingsInvalid(f"{names[0]} is a single run", hint="Name two runs or more, or a sweep.")
    if html:
        _write(html, found)
    if output is Output.table:
        _print(found)
    else:
        result(values(found), output, (), ())


def _in_store(names: list[str], store: str) -> Iterator[Any]:
    from job.store import open_store
    from k8s.results.compare import named

    opened = open_store(store)
    for name in names:
        yield named(opened, name)


def _in_cluster(
    stack: ExitStack, names: list[str], claim: str | None, image: str | None, context: Any, namespace: Any
) -> Iterator[Any]:
    """Each store is opened once, after every name is known. Of a run whose Job is deleted, the name is its id."""
    from k8s.cluster.client import Cluster
    from k8s.cluster.runs import run_of
    from k8s.errors import ObjectNotFound
    from k8s.results.compare import entries, named

    cluster = Cluster(context, namespace)
    jobs: dict[str, Any] = {}
    for name in names:
        try:
            jobs[name] = cluster.job(name)
        except ObjectNotFound:
            if not claim or not image:
                raise
    opened: dict[str | None, Any] = {}
    for name in names:
        job = jobs.get(name)
        run = run_of(job) if job else None
        place = claim_of(job, claim, None) or (run.store if run else None) if job else claim
        if place not in opened:
            entered = store_opened(cluster, run, job, claim, None, image) if job else None
            opened[place] = stack.enter_context(entered or volume_opened(cluster, str(claim), str(image)))
        yield from (
            entries(opened[place], run) if run and run.indexes else [named(opened[place], run.id if run else name)]
        )


def _write(path: Path, found: Any) -> None:
    from k8s.errors import SettingsInvalid
    from k8s.results.page import page

    try:
        path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise SettingsInvalid(f"--html: cannot write {path}: {error.strerror or error}") from error
    say(f"{path} is written", style="good")


def _print(found: Any) -> None:
    from k8s.results.curves import curves, letters
    from k8s.results.tables import tables

    for number, one in enumerate(tables(found)):
        typer.echo(f"\n{one.title}" if number else one.title)
        if one.rows:
            table(one.headings, one.rows)
        for note in one.notes:
            typer.echo(harmless(note))
    if lines := letters(curves(found)):
        typer.echo("\nTraining loss, running mean, nats per token\n" + "\n".join(lines))


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(compare)
