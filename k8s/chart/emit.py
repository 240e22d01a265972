"""The chart's values for the same run as the launcher's (`launch --emit values`)."""

from collections.abc import Sequence
from typing import Any

from job.spec import JobSpec
from k8s.chart.tables import placement_values
from k8s.chart.values import DEFAULTS
from k8s.errors import SettingsInvalid
from k8s.manifest.pod import amount
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import Index

MOST_INPUTS = 400_000
"""Characters of packed files: Helm keeps a release, with values and manifest, in one Secret of 1 MiB."""


def values_of(settings: Settings, spec: JobSpec, sweep: Sequence[Index] = ()) -> dict[str, Any]:
    """The values with which the chart sends the same Job and ConfigMap, except for their names. Raises SettingsInvalid
    for more packed files than a release of Helm holds."""
    if len(settings.inputs) > MOST_INPUTS:
        raise SettingsInvalid(
            f"what goes along is too large for Helm: {len(settings.inputs):,} characters, at most {MOST_INPUTS:,}",
            hint="Name a store: --set run.store=s3://BUCKET/runs, or --store-pvc NAME.",
        )
    size = settings.resources
    found: dict[str, Any] = {
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "sweep": [one.changes for one in sweep],
        "parallel": settings.parallel if sweep else 1,
        "image": _image(settings.image) | {"pullPolicy": settings.pull_policy},
        "imagePullSecrets": list(settings.pull_secrets),
        **placement_values(settings.placement),
        "resources": {
            "cpu": f"{size.cpu:g}", "memory": amount(size.memory), "disk": amount(size.disk), "shm": amount(size.shm),
            "cpuLimit": None if size.cpu_limit is None else f"{size.cpu_limit:g}",
        },
        "nodeSelector": settings.node_selector,
        "affinity": settings.affinity,
        "existingSecret": list(settings.env_secrets),
        "secretEnv": {name: one.model_dump() for name, one in settings.secret_env.items()},
        "secretFiles": settings.secret_files,
        "env": settings.env,
        "store": _claim(settings, settings.store_pvc),
        "cache": _claim(settings, settings.cache_pvc),
        "inputs": settings.inputs,
        "volumes": list(settings.volumes),
        "volumeMounts": list(settings.volume_mounts),
        "serviceAccount": {"name": settings.service_account},
        "queue": settings.queue,
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
        "podLabels": settings.labels,
        "podAnnotations": settings.annotations,
        "proxy": {"https": settings.https_proxy, "http": settings.http_proxy, "exclude": settings.no_proxy},
        "user": settings.user or 0,
        "graceSeconds": settings.grace_s,
        "deadlineSeconds": settings.deadline_s,
        "ttlSeconds": -1 if settings.ttl_s is None else settings.ttl_s,
    }  # fmt: skip
    if settings.scratch:
        found["scratch"] = {"size": amount(settings.scratch.size), "storageClass": settings.scratch.storage_class}
    if settings.ca:
        found["ca"] = {"configMap": settings.ca.name, "key": settings.ca.key}
    return _set(found)


def _claim(settings: Settings, name: str | None) -> dict[str, Any]:
    return {"existingClaim": name, "accessMode": settings.access_modes.get(name or "")}


def _image(reference: str) -> dict[str, str]:
    repository, at, digest = reference.partition("@")
    if at:
        return {"repository": repository, "digest": digest}
    name, colon, tag = repository.rpartition(":")
    return {"repository": name, "tag": tag} if colon and "/" not in tag else {"repository": tag, "tag": "latest"}


def _set(values: dict[str, Any]) -> dict[str, Any]:
    """The values without empty ones and defaults. The spec is unchanged: its nulls matter."""
    found = {}
    for name, value in values.items():
        if name != "spec" and isinstance(value, dict):
            value = {key: one for key, one in value.items() if one is not None}
        if value not in (None, "", [], {}) and value != DEFAULTS.get(name):
            found[name] = value
    return found
