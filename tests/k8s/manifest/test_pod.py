"""The Job's pod: secure and bounded, where it may run, its variables and volumes, and what never gets in."""

from typing import Any

import pytest

from job import node_disk
from k8s.errors import SettingsInvalid
from k8s.manifest.render import Manifest, render
from k8s.manifest.sweep import Index
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests import ROOT
from tests.k8s.autopilot import refusals
from tests.k8s.gpu_nodes import whole
from tests.k8s.job_settings import annotations, pod_of, settings, spec, variables
from tests.k8s.manifest.variants import T4, VARIANTS, each_variant


def test_the_page_on_istio_keeps_its_sidecar_out_of_the_pod() -> None:
    options = " ".join((ROOT / "docs" / "on-premises.md").read_text().split())
    assert "`--label sidecar.istio.io/inject=false --annotation sidecar.istio.io/inject=false`" in options
    off = {"sidecar.istio.io/inject": "false"}
    metadata = render(settings(labels=off, annotations=off), spec()).job["spec"]["template"]["metadata"]
    assert metadata["labels"].items() >= off.items() <= metadata["annotations"].items()


@each_variant
def test_the_pod_is_within_pod_security_restricted(found: Manifest) -> None:
    pod, container = pod_of(found), pod_of(found)["containers"][0]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"].get("runAsUser", 1) > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    secure = container["securityContext"]
    assert secure["allowPrivilegeEscalation"] is False and secure["capabilities"] == {"drop": ["ALL"]}
    assert secure["readOnlyRootFilesystem"] is True and "privileged" not in secure
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "ephemeral", "projected"}
    assert pod["automountServiceAccountToken"] is False


@each_variant
def test_what_a_pod_can_fill_is_bounded(found: Manifest) -> None:
    limits = pod_of(found)["containers"][0]["resources"]["limits"]
    assert {"memory", "ephemeral-storage"} <= set(limits)
    bounds = [one["emptyDir"].get("sizeLimit") for one in pod_of(found)["volumes"] if "emptyDir" in one]
    assert bounds and all(bounds)


@each_variant
def test_the_job_is_told_the_limit_of_its_disk_and_which_folders_it_counts(found: Manifest) -> None:
    told = variables(found)
    assert told[node_disk.LIMIT] == {"resourceFieldRef": {"resource": "limits.ephemeral-storage"}}
    volumes = {one["name"]: one for one in pod_of(found)["volumes"]}
    on_disk = {name for name, one in volumes.items() if "emptyDir" in one and "medium" not in one["emptyDir"]}
    mounts = pod_of(found)["containers"][0]["volumeMounts"]
    counted = [one["mountPath"] for one in mounts if one["name"] in on_disk]
    assert sorted(told[node_disk.FOLDERS].split(":")) == sorted(counted)


@each_variant
def test_every_mount_has_its_volume_and_every_volume_is_mounted_once(found: Manifest) -> None:
    volumes = [one["name"] for one in pod_of(found)["volumes"]]
    mounts = [one["name"] for one in pod_of(found)["containers"][0]["volumeMounts"]]
    paths = [one["mountPath"] for one in pod_of(found)["containers"][0]["volumeMounts"]]
    assert sorted(volumes) == sorted(mounts) and len(set(paths)) == len(paths)


@each_variant
def test_the_pod_asks_for_a_node_that_the_image_is_built_for(found: Manifest) -> None:
    assert {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}.items() <= pod_of(found)["nodeSelector"].items()


@pytest.mark.parametrize("key", ["kubernetes.io/arch", "cloud.google.com/gke-accelerator"])
def test_a_node_selector_that_contradicts_the_job_is_refused(key: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{key}=other, but the Job needs"):
        settings(placement=place(Wish.of("t4", platform="gke"), None), node_selector={key: "other"})


@pytest.mark.parametrize("asked", [{}, {"spot": True}, {"shared": True}], ids=str)
def test_nothing_that_autopilot_is_known_to_refuse_is_in_a_pod_for_one_card(asked: dict[str, Any]) -> None:
    found = render(settings(placement=place(Wish.of("t4", platform="gke", **asked), None)), spec())
    assert list(refusals(found.job["spec"]["template"])) == []


def test_only_where_it_starts_no_spot_node_the_pod_may_be_evicted() -> None:
    evict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    for platform in ("gke", "eks", "aks", "karpenter"):
        for spot in (False, True):
            placement = place(Wish.of("t4", platform=platform, spot=spot), None)
            refused = platform == "gke" and spot
            assert (evict in annotations(render(settings(placement=placement), spec()))) != refused


def test_a_store_on_a_volume_is_used_unless_the_spec_names_another() -> None:
    assert variables(render(settings(store_pvc="runs"), spec()))["FINETUNE__RUN__STORE"] == "/store"
    named = spec(run={"store": "/store/of-a-team"})
    assert "FINETUNE__RUN__STORE" not in variables(render(settings(store_pvc="runs"), named))


def test_the_gpu_is_asked_for_under_its_own_name_and_not_on_the_cpu() -> None:
    one = place(Wish.of("t4"), [whole("gfd", "t4")])
    assert (
        pod_of(render(settings(placement=one), spec()))["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    )
    assert "affinity" in pod_of(render(settings(placement=one), spec()))
    cpu = pod_of(VARIANTS["plain"])
    assert "affinity" not in cpu and not any("nvidia" in name for name in cpu["containers"][0]["resources"]["limits"])


@pytest.mark.parametrize(
    ("placement", "sections", "required"),
    [
        (T4, {}, "required"),
        (place(Wish.of("a100-40", mig="1g.5gb", platform="gfd"), None), {}, "required"),
        (place(Wish.of("none"), None), {}, None),
        (T4, {"training": None}, None),
    ],
    ids=["a card", "a slice", "the CPU", "only quantizes"],
)
def test_a_run_that_trains_on_a_gpu_it_asks_for_requires_it(placement: Any, sections: Any, required: Any) -> None:
    found = render(settings(placement=placement), spec(**sections))
    assert variables(found).get("FINETUNE_GPU") == required


def test_a_sweep_that_trains_an_index_requires_the_gpu_too() -> None:
    quantizes = spec(training=None)
    sweep = [Index(changes={"training.max_steps": 5}, spec=spec(training={"max_steps": 5}))]
    assert variables(render(settings(placement=T4), quantizes, sweep))["FINETUNE_GPU"] == "required"
    sweep = [Index(changes={"lora.r": 5}, spec=quantizes)]
    assert "FINETUNE_GPU" not in variables(render(settings(placement=T4), quantizes, sweep))


def test_the_user_can_say_that_the_gpu_is_not_required() -> None:
    assert variables(render(settings(placement=T4, env={"FINETUNE_GPU": ""}), spec()))["FINETUNE_GPU"] == ""


def test_a_variable_that_the_user_sets_wins_and_those_of_the_job_cannot_be_set() -> None:
    assert variables(VARIANTS["everything"])["HF_HOME"] == "/cache/elsewhere"
    with pytest.raises(SettingsInvalid, match="FINETUNE_SPEC"):
        settings(env={"FINETUNE_SPEC": "/elsewhere"})


def test_proxies_and_certificates_reach_every_library() -> None:
    found = variables(VARIANTS["everything"])
    assert found["https_proxy"] == found["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert found["SSL_CERT_FILE"] == found["AWS_CA_BUNDLE"] == "/etc/finetune-run-ca/ca.crt"


def test_secrets_are_only_named() -> None:
    found = variables(VARIANTS["everything"])
    assert found["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert pod_of(VARIANTS["everything"])["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
