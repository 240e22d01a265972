"""`results`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from k8s.cli.bars import bars
from k8s.cli.options import Context, Name, Namespace
from k8s.output import say


def results(
    name: Name,
    into: Annotated[
        Path | None, typer.Option("--into", help="The folder for the files; default: the run's name.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only files of this type: q4_k_m, document, …")
    ] = None,
    index: Annotated[
        int, typer.Option(help="Number of the run in a sweep; default: the best.", show_default=False)
    ] = -1,
    store_pvc: Annotated[str | None, typer.Option(help="Read the store from this volume claim, through a pod.")] = None,
    store: Annotated[str | None, typer.Option(help="Address of the store: s3://… or a mounted folder.")] = None,
    image: Annotated[str | None, typer.Option(envvar="FINETUNE_IMAGE", help="The reader pod's image.")] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Download a run's files, as listed in its manifest, and verify them.

    Example: `finetune-run results quotes-1a2b3c4d --type q4_k_m --into models`
    """
    from k8s.cluster.client import Cluster
    from k8s.cluster.runs import run_of
    from k8s.errors import SettingsInvalid
    from k8s.results.compare import best_of
    from k8s.results.download import download, manifest_of, store_of, wanted

    cluster = Cluster(context, namespace)
    job = cluster.job(name)
    run = run_of(job, cluster.pods(name))
    if index >= len(run.ids):
        raise SettingsInvalid(f"--index {index}: {name} has {len(run.ids)} runs", hint="Runs are counted from 0.")
    with _opened(cluster, run, job, store_pvc, store, image, store_of) as found:
        identity = run.ids[max(index, 0)]
        if run.indexes and index < 0:
            best = best_of(found, run)
            identity = best.id
            say(f"index {best.number} is the best: held-out loss {best.loss:.4f} ({best.what})", style="good")
        manifest = manifest_of(found, identity)
        folder = into or Path(name)
        with bars() as on_progress:
            download(found, wanted(manifest, types or []), folder, on_progress)
    say(f"{manifest.name}: {len(wanted(manifest, types or []))} files in {folder}, verified", style="good")
    for place in manifest.places:
        say(f"published to {place}", style="dim")


@contextmanager
def _opened(
    cluster: Any, run: Any, job: Any, claim: str | None, store: str | None, image: str | None, store_of: Any
) -> Iterator[Any]:
    """Opens the store, directly or through a pod that mounts its volume."""
    pod = job["spec"]["template"]["spec"]
    claims = {one["name"]: one.get("persistentVolumeClaim", {}).get("claimName") for one in pod["volumes"]}
    claim = claim or (None if store else claims.get("store"))
    if claim is None:
        yield store_of(run, store)
        return
    from k8s.cluster.pod_store import pod_store

    say(f"reading the volume {claim} through a pod …", style="dim")
    user = pod.get("securityContext", {}).get("runAsUser")
    with pod_store(cluster, claim, image or pod["containers"][0]["image"], user, pod) as found:
        yield found


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(results)
