"""Specs, settings and rendered Jobs that several tests begin with."""

from typing import Any

from job.spec import JobSpec
from k8s.manifest.render import Manifest
from k8s.manifest.settings import GIB, Reference, Resources, Scratch, Settings
from k8s.manifest.sweep import Index
from k8s.placement.place import place
from k8s.placement.wish import Wish


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "owner/model"}, "dataset": {"id": "owner/rows"}, **sections})


def settings(**values: Any) -> Settings:
    return Settings.of(**{"image": "registry.example/finetune-run:1", "name": "quotes-12345678"} | values)


EVERYTHING: dict[str, Any] = {
    "image": f"registry.example:5000/team/finetune-run@sha256:{'a' * 64}",
    "namespace": "training",
    "placement": place(Wish.of("t4", spot=True, platform="aks"), None),
    "resources": Resources(cpu=3.5, cpu_limit=7, memory=11 * GIB, disk=50 * GIB + 1),
    "pull_policy": "Always",
    "pull_secrets": ("registry",),
    "env": {"AWS_ENDPOINT_URL": "https://s3.example", "HF_HOME": "/cache/elsewhere"},
    "env_secrets": ("s3-keys",),
    "secret_env": {"HF_TOKEN": Reference(name="hub", key="token")},
    "secret_files": {"aws-profile": "/secrets/aws"},
    "store_pvc": "runs",
    "cache_pvc": "models",
    "inputs": "H4sIAAAA",
    "access_modes": {"runs": "ReadWriteMany", "models": "ReadWriteMany"},
    "scratch": Scratch(size=200 * GIB, storage_class="fast"),
    "service_account": "trainer",
    "priority_class": "batch",
    "runtime_class": "nvidia",
    "queue": "team-a",
    "suspend": True,
    "labels": {"team": "nlp", "app.kubernetes.io/name": "mine"},
    "annotations": {"example.com/owner": "nlp"},
    "node_selector": {"zone": "a"},
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
    "volumes": ({"name": "rows", "persistentVolumeClaim": {"claimName": "rows"}},),
    "volume_mounts": ({"name": "rows", "mountPath": "/rows"},),
    "https_proxy": "http://proxy.example:3128",
    "no_proxy": "10.0.0.0/8",
    "ca": Reference(name="company-ca", key="bundle.pem"),
    "user": None,
    "grace_s": 25,
    "deadline_s": 3600,
    "ttl_s": 600,
}
"""Every setting off its default (but the name, and `parallel`, which is a sweep's)."""


def runs(number: int) -> tuple[Index, ...]:
    return tuple(Index(changes={"lora.r": n + 1}, spec=spec(lora={"r": n + 1})) for n in range(number))


def pod_of(found: Manifest) -> dict[str, Any]:
    pod: dict[str, Any] = found.job["spec"]["template"]["spec"]
    return pod


def variables(found: Manifest) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in pod_of(found)["containers"][0]["env"]}


def annotations(found: Manifest) -> dict[str, str]:
    named: dict[str, str] = found.job["spec"]["template"]["metadata"]["annotations"]
    return named
