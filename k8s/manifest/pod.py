"""The Job's pod: where it may run, its variables, resources and volumes."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from job.node_disk import FOLDERS
from job.spec import JobSpec
from k8s.manifest.base import BASE, CA_FOLDER, CACHE, STORE, WORK
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import Index, specs_of

Object = dict[str, Any]


def annotations_of(settings: Settings) -> dict[str, str]:
    """The user's, and those of the base that the placement's platform does not refuse."""
    refused = settings.placement.refused_annotations()
    base = {name: value for name, value in BASE["podAnnotations"].items() if name not in refused}
    return base | settings.annotations


def pod_of(settings: Settings, spec: JobSpec, config: str, sweep: Sequence[Index]) -> Object:
    """The pod's spec. `config`: the name of the ConfigMap."""
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
    if settings.placement.resource and any(one.training for one in specs_of(spec, sweep)):
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
