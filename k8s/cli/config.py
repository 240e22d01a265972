"""`config`, and what the defaults of a team and of a person are for a command."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from k8s.cli.options import Context, Namespace, Shown
from k8s.output import Output, result, say

if TYPE_CHECKING:
    from job.spec import JobSpec
    from k8s.defaults import Effective
    from k8s.prepare import Prepared


def in_effect(context: str | None, namespace: str | None) -> "Effective":
    """The defaults. A cluster that does not answer is told, and left to the command: it names wrong options first."""
    from k8s.cluster.client import cluster_or_none
    from k8s.defaults import defaults
    from k8s.errors import ClusterUnreachable

    try:
        found = defaults(cluster_or_none(context, namespace, needed=False))
    except ClusterUnreachable as error:
        found = defaults(None)._replace(notes=(f"the team's defaults are not applied: {error.message}",))
    for note in found.notes:
        say(f"note: {note}", style="warn")
    return found


def store_of(
    known: "Effective", read: Callable[[Any], "JobSpec"], claim: str | None, sweeps: Sequence[str] = ()
) -> tuple[Callable[[Any], "JobSpec"], str | None]:
    """The function that reads the spec, and the claim of the store: the default counts only if neither the spec nor the
    command line names a store."""
    from job.spec.overlay import Assignment
    from k8s.manifest.sweep import base

    if claim or not {"store", "store_pvc"} & set(known.values) or base(read, sweeps).run.store:
        return read, claim
    if store := known.values.get("store"):
        first = Assignment("run.store", store, f"{known.origins['store']}: store")
        return (lambda more: read([first, *more])), None
    return read, known.values["store_pvc"]


def check_limits(known: "Effective", prepared: "Prepared") -> None:
    """Raises SettingsInvalid if the run exceeds a limit."""
    from k8s.manifest.sweep import specs_of

    known.check_targets(specs_of(prepared.spec, prepared.sweep))
    known.check_cards(prepared.placement.cards)


def config(context: Context = None, namespace: Namespace = None, output: Shown = Output.table) -> None:
    """Show the defaults and limits that are in effect, and where each comes from.

    First the ConfigMap finetune-run-defaults of the namespace (its key defaults.yaml), then
    ~/.config/finetune-run.yaml, then FINETUNE_IMAGE; options of `launch` win over all of them. Lines of such a file:

    `image: ghcr.io/my-team/finetune-run@sha256:…`

    `store: s3://my-bucket/runs`

    `limits: {largest_gpu: l40s, max_cost: 20, publish: {hub: [my-team]}}`
    """
    from k8s.defaults import Defaults, Limits

    known = in_effect(context, namespace)
    values, origins = dict(known.values), dict(known.origins)
    if image := os.environ.get("FINETUNE_IMAGE"):
        values["image"], origins["image"] = image, "FINETUNE_IMAGE"
    keys = [name for name in Defaults.model_fields if name != "limits"]
    keys += [f"limits.{name}" for name in Limits.model_fields]
    found = {key: {"value": _plain(values.get(key)), "from": origins[key] if key in values else None} for key in keys}
    rows = [[key, str(one["value"]) if one["from"] else "", one["from"] or "not set"] for key, one in found.items()]
    result(found, output, ("KEY", "VALUE", "FROM"), rows)


def _plain(value: Any) -> Any:
    from k8s.configuration import Targets

    if isinstance(value, Targets):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(config)
