"""What of this machine goes along with a launched run: looked at, told, and uploaded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from k8s.cli.bars import bars
from k8s.output import say, say_wait

if TYPE_CHECKING:
    from job.spec import JobSpec
    from k8s.cluster.client import Cluster
    from k8s.inputs.along import Along
    from k8s.prepare import Prepared

LEAST = 1 << 20
"""Bytes of a file from which on its progress is shown."""
_TO = {"store": "to the store", "volume": "to the volume", "config_map": "in the Job's ConfigMap"}


def bring(specs: "Sequence[JobSpec]", settings: Mapping[str, Any], reachable: "Sequence[bool]") -> "Along":
    """What goes along with these runs, once it was checked as the run would check it. `reachable`: whether each
    run's model can be read from here. Raises the run's errors."""
    from k8s.inputs.along import along, places_along

    if places := places_along(specs, settings):
        from k8s.inputs.look import look

        for line in look(specs, places, reachable=reachable):
            say(line, style="dim")
    with bars(LEAST) as told:
        return along(specs, settings, places, told)


def tell_inputs(along: "Along", what: str) -> None:
    if along.way == "config_map":
        what = "goes along"
    for line in along.described():
        say(f"{what} {_TO[along.way]}: {line}", style="dim")


def send_inputs(cluster: "Cluster | None", prepared: "Prepared") -> None:
    """Uploads what is not there yet, and says where it lies."""
    from k8s.inputs.upload import upload

    along = prepared.along
    if not along.inputs:
        return
    if along.way == "volume":
        say(f"uploading to the volume {prepared.settings.store_pvc} through a pod …", style="dim")
    with bars(LEAST) as told:
        upload(along, prepared.settings, cluster, prepared.manifest.job["spec"]["template"]["spec"], told, say_wait)
    tell_inputs(along, "uploaded and verified,")
