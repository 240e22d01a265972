"""Renders settings and spec as a ConfigMap and a Job, as plain dicts. Pure: no cluster, no clock, no randomness.

The part that does not depend on settings is k8s/manifest/base.py. The owner reference from ConfigMap to Job is added
after the Job's creation, since only the API server knows its uid.
"""

import json
from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

from job import strict_json
from job.node_disk import FOLDERS
from job.redaction import SECRET_SHAPES
from job.spec import JobSpec
from k8s.errors import SettingsInvalid
from k8s.manifest.base import BASE, CA_FOLDER, CACHE, INPUTS_FILE, STORE, WORK
from k8s.manifest.claims import check_claims
from k8s.manifest.folders import check_folders
from k8s.manifest.names import config_map_name
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import Index

Object = dict[str, Any]
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
MOST_INDEXES = 10_000
"""Limit, so that `-<index>` can be appended to the longest name."""
MOST_BYTES = 1_000_000
"""Bytes of a ConfigMap; the API server's limit is 1 MiB."""
MOST_ABOUT = 240_000
"""Bytes of the Job's annotations; the API server's limit is 256 KiB, and a push adds its own."""


class Manifest(NamedTuple):
    """The objects, in the order of their creation."""

    config_map: Object
    job: Object


def render(settings: Settings, spec: JobSpec, sweep: Sequence[Index] = ()) -> Manifest:
    """Both objects of a run, or of a sweep, in which each index is a run.

    Raises SettingsInvalid for a secret in a spec, a folder that is lost with the pod, a sweep that is too large, or one
    with more runs at a time than can mount its volumes.
    """
    for one in _runs(spec, sweep):
        check_folders(one, settings)
    check_claims(settings, len(sweep))
    data = _data(spec, sweep)
    binary = {INPUTS_FILE: settings.inputs} if settings.inputs else {}
    if binary and _size(data) + len(settings.inputs) * 3 // 4 > MOST_BYTES:
        raise SettingsInvalid(
            "the specs and what goes along do not fit into a ConfigMap",
            hint="Split the sweep, or name a store: --set run.store=s3://BUCKET/runs, or --store-pvc NAME.",
        )
    config = config_map_name(settings.name, data | binary)
    labels = _labels(settings)
    config_map: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config, "namespace": settings.namespace, "labels": labels},
        "immutable": True,
        "data": data,
        **({"binaryData": binary} if binary else {}),
    }
    metadata: Object = {"name": settings.name, "namespace": settings.namespace, "labels": labels}
    if settings.queue:
        metadata["labels"] = labels | {QUEUE_LABEL: settings.queue}
    metadata["annotations"] = settings.annotations | _about(settings, spec, sweep)
    job: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    return Manifest(_plain(config_map), _plain(job | {"spec": _job_spec(settings, spec, config, sweep)}))


def comment_on(manifest: Manifest) -> str:
    """What a reader of the manifest should know, who applies it by other means than the launcher."""
    job = manifest.job["metadata"]
    return (
        "Nothing owns the ConfigMap, since only the API server knows the Job's uid. To delete both:\n"
        f"  kubectl delete job,configmap -n {job['namespace']} -l app.kubernetes.io/instance={job['name']}\n"
        "The volumes work, cache and tmp each have the limit of the whole node disk: what is on them is counted "
        "together, as\n"
        "the container's ephemeral-storage, so the Job can never use more than that one limit.\n"
        + (_LARGE if "binaryData" in manifest.config_map else "")
    )


_LARGE = (
    "`kubectl apply` keeps a copy of each object in an annotation of at most 256 KiB: for a larger ConfigMap use "
    "`kubectl create`,\nor `kubectl apply --server-side`.\n"
)


def _plain(value: Object) -> Object:
    """A deep copy, so that constants are not shared and YAML writes no aliases."""
    copy: Object = json.loads(strict_json.dumps(value))
    return copy


def _data(spec: JobSpec, sweep: Sequence[Index]) -> dict[str, str]:
    """The spec without defaults, which are the image's. As JSON, since YAML parsers differ about `off`."""
    named = {f"spec-{number}.json": one.spec for number, one in enumerate(sweep)} or {"spec.json": spec}
    data = {
        name: strict_json.dumps(one.model_dump(mode="json", exclude_unset=True), indent=2, ensure_ascii=False) + "\n"
        for name, one in named.items()
    }
    if any(SECRET_SHAPES.search(text) for text in data.values()):
        raise SettingsInvalid("the spec contains a secret", hint="Put it into a Secret, and name that with --secret.")
    if len(sweep) > MOST_INDEXES or _size(data) > MOST_BYTES:
        raise SettingsInvalid("the specs do not fit into a ConfigMap", hint="Split the sweep, or shorten the spec.")
    return data


def _size(data: dict[str, str]) -> int:
    return sum(len(text.encode()) for text in data.values())


def _runs(spec: JobSpec, sweep: Sequence[Index]) -> list[JobSpec]:
    """The spec of each run: of a sweep's, none is the spec that they were made from."""
    return [one.spec for one in sweep] or [spec]


def _labels(settings: Settings) -> dict[str, str]:
    base: dict[str, str] = BASE["labels"]
    return settings.labels | base | {"app.kubernetes.io/instance": settings.name}


def _about(settings: Settings, spec: JobSpec, sweep: Sequence[Index]) -> dict[str, str]:
    """Annotations that `list` shows without reading anything else."""
    models = dict.fromkeys(one.model.id for one in _runs(spec, sweep))
    found = {"finetune-run/model": ", ".join(models), "finetune-run/gpu": ",".join(settings.placement.gpus) or "none"}
    found["finetune-run/run"] = spec.run.id or settings.name
    if store := spec.run.store or (STORE if settings.store_pvc else None):
        found["finetune-run/store"] = store
    if sweep:
        found["finetune-run/sweep"] = strict_json.dumps([one.changes for one in sweep])
    if sum(len(key.encode()) + len(text.encode()) for key, text in (settings.annotations | found).items()) > MOST_ABOUT:
        raise SettingsInvalid(
            "the values of the sweep and the annotations do not fit into the Job's annotations", hint="Split the sweep."
        )
    return found


def _job_spec(settings: Settings, spec: JobSpec, config: str, sweep: Sequence[Index]) -> Object:
    found: Object = BASE["job"] | BASE["sweep" if sweep else "single"]
    found["activeDeadlineSeconds"] = settings.deadline_s
    if sweep:
        found |= {"completions": len(sweep), "parallelism": min(settings.parallel, len(sweep))}
    if settings.suspend:
        found["suspend"] = True
    if settings.ttl_s is not None:
        found["ttlSecondsAfterFinished"] = settings.ttl_s
    metadata = {"labels": _labels(settings), "annotations": _pod_annotations(settings)}
    found["template"] = {"metadata": metadata, "spec": _pod(settings, spec, config, sweep)}
    return found


def _pod_annotations(settings: Settings) -> dict[str, str]:
    refused = settings.placement.refused_annotations()
    base = {name: value for name, value in BASE["podAnnotations"].items() if name not in refused}
    return base | settings.annotations


def _pod(settings: Settings, spec: JobSpec, config: str, sweep: Sequence[Index]) -> Object:
    pod: Object = dict(BASE["pod"])
    pod["terminationGracePeriodSeconds"] = settings.grace_s
    if settings.user is not None:
        user = settings.user
        pod["securityContext"] = pod["securityContext"] | {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    if tolerations := [one.manifest() for one in settings.placement.tolerations]:
        pod["tolerations"] = tolerations
    if affinity := _affinity(settings):
        pod["affinity"] = affinity
    pod["nodeSelector"] = settings.node_selector | settings.required_labels
    if settings.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    named = {
        "serviceAccountName": settings.service_account,
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
    }
    pod |= {key: name for key, name in named.items() if name}
    volumes, mounts = _volumes(settings, config)
    container: Object = BASE["container"] | {
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "resources": _resources(settings),
    }
    container["env"] = _env(settings, spec, sweep)
    if settings.env_secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in settings.env_secrets]
    container["volumeMounts"] = container["volumeMounts"] + mounts
    return pod | {"containers": [container], "volumes": volumes}


def _affinity(settings: Settings) -> Object:
    """The user's preferences, and the nodes that the placement requires."""
    demanded = settings.placement.affinity()
    nodes = settings.affinity.get("nodeAffinity", {}) | demanded.get("nodeAffinity", {})
    return settings.affinity | ({"nodeAffinity": nodes} if nodes else {})


def _env(settings: Settings, spec: JobSpec, sweep: Sequence[Index]) -> list[Object]:
    """The pod's variables. Those of the base come first, since names in `$(…)` must be defined before their use; the
    user's replace them."""
    parts: list[list[Object]] = [BASE["env"], BASE["sweepEnv" if sweep else "singleEnv"]]
    parts.append([{"name": FOLDERS, "value": ":".join(_on_node_disk(settings))}])
    if settings.placement.resource and any(one.training for one in _runs(spec, sweep)):
        parts.append(BASE["gpuEnv"])
    if settings.store_pvc and not spec.run.store:
        parts.append(BASE["storeEnv"])
    if settings.inputs:
        parts.append(BASE["inputsEnv"])
    if settings.ca:
        parts.append(BASE["caEnv"])
    given = settings.proxies | settings.env
    parts.append([{"name": name, "value": given[name]} for name in sorted(given)])
    for name, one in sorted(settings.secret_env.items()):
        parts.append([{"name": name, "valueFrom": {"secretKeyRef": {"name": one.name, "key": one.key}}}])
    return list({one["name"]: one for part in parts for one in part}.values())


def _resources(settings: Settings) -> Object:
    """Limits for memory and disk, whose shortage ends or evicts a pod; for CPU only the user's, which throttles."""
    size = settings.resources
    bounded: Object = {"memory": amount(size.memory), "ephemeral-storage": amount(size.disk)}
    if settings.placement.resource:
        bounded[settings.placement.resource] = "1"
    limit = {} if size.cpu_limit is None else {"cpu": f"{size.cpu_limit:g}"}
    return {"requests": {"cpu": f"{size.cpu:g}"} | bounded, "limits": limit | bounded}


def amount(count: int) -> str:
    """Bytes as a Kubernetes quantity, in whole MiB, rounded up."""
    mebibytes = ceil(count / (1 << 20))
    return f"{mebibytes >> 10}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"


def _volumes(settings: Settings, config: str) -> tuple[list[Object], list[Object]]:
    """All volumes, and the mounts besides those of the base. The node's disk has one limit in total: each emptyDir may
    use all of it, and the container's limit counts them together."""
    node_disk = {"emptyDir": {"sizeLimit": amount(settings.resources.disk)}}
    volumes: list[Object] = [
        {"name": "spec", "configMap": {"name": config}},
        {"name": "work"} | (_scratch(settings) or node_disk),
        {"name": "cache"} | (_claim(settings.cache_pvc) or node_disk),
        {"name": "tmp"} | node_disk,
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": amount(settings.resources.shm)}},
    ]
    mounts: list[Object] = []
    if settings.store_pvc:
        volumes.append({"name": "store"} | _claim(settings.store_pvc))
        mounts.append({"name": "store", "mountPath": STORE})
    if settings.ca:
        items = [{"key": settings.ca.key, "path": "ca.crt"}]
        volumes.append({"name": "ca", "configMap": {"name": settings.ca.name, "items": items}})
        mounts.append({"name": "ca", "mountPath": CA_FOLDER, "readOnly": True})
    for number, (name, path) in enumerate(sorted(settings.secret_files.items())):
        volumes.append({"name": f"secret-{number}", "secret": {"secretName": name}})
        mounts.append({"name": f"secret-{number}", "mountPath": path, "readOnly": True})
    return [*volumes, *settings.volumes], [*mounts, *settings.volume_mounts]


def _on_node_disk(settings: Settings) -> list[str]:
    """The folders that the limit of ephemeral-storage counts."""
    own = {WORK: not settings.scratch, CACHE: not settings.cache_pvc, "/tmp": True}
    empty = {one["name"]: one["emptyDir"] for one in settings.volumes if isinstance(one.get("emptyDir"), dict)}
    theirs = {name for name, volume in empty.items() if not volume.get("medium")}
    mounts = [one["mountPath"] for one in settings.volume_mounts if one["name"] in theirs]
    return [*(folder for folder, counts in own.items() if counts), *mounts]


def _claim(name: str | None) -> Object:
    return {"persistentVolumeClaim": {"claimName": name}} if name else {}


def _scratch(settings: Settings) -> Object:
    if not settings.scratch:
        return {}
    wanted: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": amount(settings.scratch.size)}},
    }
    if settings.scratch.storage_class:
        wanted["storageClassName"] = settings.scratch.storage_class
    return {"ephemeral": {"volumeClaimTemplate": {"spec": wanted}}}
