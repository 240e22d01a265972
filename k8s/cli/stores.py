"""Opens the store of a run, directly or through a pod that mounts its volume."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from k8s.output import say, say_wait

StorePvc = Annotated[str | None, typer.Option(help="Read the store from this volume claim, through a pod.")]
StoreAddress = Annotated[str | None, typer.Option("--store", help="Address of the store: s3://… or a mounted folder.")]
ReaderImage = Annotated[str | None, typer.Option(envvar="FINETUNE_IMAGE", help="The reader pod's image.")]


def claim_of(job: Any, claim: str | None, store: str | None) -> str | None:
    """The volume claim to read, or None if the store is to be opened at its address."""
    volumes = job["spec"]["template"]["spec"]["volumes"]
    claims = {one["name"]: one.get("persistentVolumeClaim", {}).get("claimName") for one in volumes}
    return claim or (None if store else claims.get("store"))


@contextmanager
def store_opened(
    cluster: Any, run: Any, job: Any, claim: str | None, store: str | None, image: str | None
) -> Iterator[Any]:
    """The run's store, for as long as the block lasts. `claim`, `store`, `image`: as on the command line."""
    from k8s.results.download import store_of

    claim = claim_of(job, claim, store)
    if claim is None:
        yield store_of(run, store)
        return
    pod = job["spec"]["template"]["spec"]
    with volume_opened(cluster, claim, image or pod["containers"][0]["image"], pod) as found:
        yield found


@contextmanager
def volume_opened(cluster: Any, claim: str, image: str, pod: Any = None) -> Iterator[Any]:
    """The store on a claim. `pod`: the spec of a run's pod, whose user and tolerations are reused, if it is known."""
    from k8s.cluster.pod_store import pod_store

    say(f"reading the volume {claim} through a pod …", style="dim")
    like = (pod.get("securityContext", {}).get("runAsUser"), pod) if pod else ()
    with pod_store(cluster, claim, image, *like, on_wait=say_wait) as found:
        yield found
