"""`results`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from k8s.cli.bars import bars
from k8s.cli.options import Context, Name, Namespace
from k8s.cli.stores import ReaderImage, StoreAddress, StorePvc, store_opened
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
    store_pvc: StorePvc = None,
    store: StoreAddress = None,
    image: ReaderImage = None,
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
    from k8s.results.download import download, manifest_of, wanted

    cluster = Cluster(context, namespace)
    job = cluster.job(name)
    run = run_of(job, cluster.pods(name))
    if index >= len(run.ids):
        raise SettingsInvalid(f"--index {index}: {name} has {len(run.ids)} runs", hint="Runs are counted from 0.")
    with store_opened(cluster, run, job, store_pvc, store, image) as found:
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
    if command := _chat(wanted(manifest, types or []), folder):
        say(f"talk to it, where `make llama` was run: {command}")
    for place in manifest.places:
        say(f"published to {place}", style="dim")


def _chat(files: Sequence[Any], folder: Path) -> str:
    """The command that talks to the Q4_K_M, else to the first GGUF; empty without one."""
    models = [one for one in files if one.name.endswith(".gguf") and one.type not in ("train", "export", "imatrix")]
    best = next((one for one in models if one.type == "q4_k_m"), models[0] if models else None)
    return f"python -m job chat {shlex.quote(str(folder / best.name))}" if best else ""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(results)
