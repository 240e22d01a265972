"""Renders settings and spec as a ConfigMap and a Job, as plain dicts. Pure: no cluster, no clock, no randomness.

The part that does not depend on settings is k8s/manifest/base.py. The owner reference from ConfigMap to Job is added
after the Job's creation, since only the API server knows its uid.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from job import strict_json
from job.redaction import SECRET_SHAPES
from job.spec import JobSpec
from k8s.errors import SettingsInvalid
from k8s.manifest.base import BASE, INPUTS_FILE, STORE
from k8s.manifest.claims import check_claims
from k8s.manifest.folders import check_folders
from k8s.manifest.names import config_map_name
from k8s.manifest.pod import Object, annotations_of, pod_of
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import Index, specs_of

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
    for one in specs_of(spec, sweep):
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


def _labels(settings: Settings) -> dict[str, str]:
    base: dict[str, str] = BASE["labels"]
    return settings.labels | base | {"app.kubernetes.io/instance": settings.name}


def _about(settings: Settings, spec: JobSpec, sweep: Sequence[Index]) -> dict[str, str]:
    """Annotations that `list` shows without reading anything else."""
    models = dict.fromkeys(one.model.id for one in specs_of(spec, sweep))
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
    metadata = {"labels": _labels(settings), "annotations": annotations_of(settings)}
    found["template"] = {"metadata": metadata, "spec": pod_of(settings, spec, config, sweep)}
    return found
