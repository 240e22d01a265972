"""The Job and its ConfigMap: what every run has, what settings change, and what never gets in."""

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from job import node_disk
from job.errors import every_error
from job.spec.load import load
from k8s.errors import SettingsInvalid
from k8s.manifest.base import BASE
from k8s.manifest.render import Manifest, render
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import Index
from k8s.placement.place import place
from k8s.placement.wish import Wish
from k8s.yaml_text import text_of
from tests import ROOT
from tests.k8s.autopilot import refusals
from tests.k8s.gpu_nodes import whole
from tests.k8s.job_settings import EVERYTHING, pod_of, runs, settings, spec, variables

RELEASES = ("1.29", "1.34", "1.37")
"""The oldest that has all fields in use, the one of the tests' cluster, the newest that is known."""


def valid(found: Manifest) -> None:
    for one in found:
        for release in RELEASES:
            kubernetes_validate.validate(one, release, strict=True)


VARIANTS = {
    "plain": render(settings(), spec()),
    "everything": render(settings(**EVERYTHING), spec()),
    "sweep": render(settings(parallel=2), spec(), runs(3)),
    "sweep with everything": render(settings(**EVERYTHING, parallel=8), spec(), runs(3)),
}
each_variant = pytest.mark.parametrize("found", VARIANTS.values(), ids=VARIANTS.keys())


def test_the_page_on_istio_keeps_its_sidecar_out_of_the_pod() -> None:
    options = " ".join((ROOT / "docs" / "on-premises.md").read_text().split())
    assert "`--label sidecar.istio.io/inject=false --annotation sidecar.istio.io/inject=false`" in options
    off = {"sidecar.istio.io/inject": "false"}
    metadata = render(settings(labels=off, annotations=off), spec()).job["spec"]["template"]["metadata"]
    assert metadata["labels"].items() >= off.items() <= metadata["annotations"].items()


def test_the_case_with_everything_leaves_no_setting_at_its_default() -> None:
    left = {name for name, field in Settings.model_fields.items() if name not in EVERYTHING}
    assert left == {"name", "parallel", "http_proxy"}
    changed = settings(**EVERYTHING)
    assert all(getattr(changed, name) != Settings.model_fields[name].default for name in EVERYTHING)


@each_variant
def test_kubernetes_knows_every_field(found: Manifest) -> None:
    valid(found)


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
def test_what_is_written_and_read_again_is_the_same_and_has_no_aliases(found: Manifest) -> None:
    text = text_of(found)
    assert tuple(yaml.safe_load_all(text)) == tuple(found)
    assert "&id" not in yaml.safe_dump_all(found)


@each_variant
def test_every_mount_has_its_volume_and_every_volume_is_mounted_once(found: Manifest) -> None:
    volumes = [one["name"] for one in pod_of(found)["volumes"]]
    mounts = [one["name"] for one in pod_of(found)["containers"][0]["volumeMounts"]]
    paths = [one["mountPath"] for one in pod_of(found)["containers"][0]["volumeMounts"]]
    assert sorted(volumes) == sorted(mounts) and len(set(paths)) == len(paths)


@pytest.mark.parametrize(("variant", "wrong"), [("plain", "FailJob"), ("sweep", "FailIndex")])
def test_the_failure_policy_says_what_the_table_of_errors_says(variant: str, wrong: str) -> None:
    rules = VARIANTS[variant].job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    means = {code: rule["action"] for rule in rules[1:] for code in rule["onExitCodes"]["values"]}
    kubernetes = {"FailJob": wrong, "Ignore": "Ignore"}
    assert means == {one.code: kubernetes[one.kubernetes] for one in every_error() if one.kubernetes != "Count"}
    container = pod_of(VARIANTS[variant])["containers"][0]["name"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {container}


def test_a_run_is_retried_six_times_and_an_index_by_itself() -> None:
    single, sweep = VARIANTS["plain"].job["spec"], VARIANTS["sweep"].job["spec"]
    assert single["backoffLimit"] == 6 and "backoffLimitPerIndex" not in single
    assert sweep["backoffLimitPerIndex"] == 6 and not {"backoffLimit", "maxFailedIndexes"} & set(sweep)
    assert (sweep["completionMode"], sweep["completions"], sweep["parallelism"]) == ("Indexed", 3, 2)
    for one in (single, sweep):
        assert one["podReplacementPolicy"] == "Failed" and one["template"]["spec"]["restartPolicy"] == "Never"
        assert one["activeDeadlineSeconds"] >= 7 * 24 * 3600


@each_variant
def test_the_pod_asks_for_a_node_that_the_image_is_built_for(found: Manifest) -> None:
    assert {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}.items() <= pod_of(found)["nodeSelector"].items()


@pytest.mark.parametrize("key", ["kubernetes.io/arch", "cloud.google.com/gke-accelerator"])
def test_a_node_selector_that_contradicts_the_job_is_refused(key: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{key}=other, but the Job needs"):
        settings(placement=place(Wish.of("t4", platform="gke"), None), node_selector={key: "other"})


def test_annotations_of_the_user_replace_those_of_the_job() -> None:
    evict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    assert annotations(render(settings(), spec()))[evict] == "false"
    assert annotations(render(settings(annotations={evict: "true"}), spec()))[evict] == "true"


def annotations(found: Manifest) -> dict[str, str]:
    named: dict[str, str] = found.job["spec"]["template"]["metadata"]["annotations"]
    return named


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


def test_the_config_map_never_changes_and_its_name_says_what_is_in_it() -> None:
    first, other = render(settings(), spec()), render(settings(), spec(run={"seed": 7}))
    assert first.config_map["immutable"] is True
    assert first.config_map["metadata"]["name"] != other.config_map["metadata"]["name"]
    assert {"name": "spec", "configMap": {"name": first.config_map["metadata"]["name"]}} in pod_of(first)["volumes"]
    assert render(settings(), spec()) == first


def test_the_job_reads_the_very_spec_that_was_given(tmp_path: Any) -> None:
    given_spec = spec(
        training=None, export={"types": ["Q4_K_M", "q8_0"]}, chat={"system": "012", "template": "off {{ messages }}"}
    )
    file = tmp_path / "spec.json"
    file.write_text(render(settings(), given_spec).config_map["data"]["spec.json"])
    assert load(file, {}) == given_spec


def test_each_index_reads_its_own_spec_and_has_its_own_run() -> None:
    found = VARIANTS["sweep"]
    assert [json.loads(found.config_map["data"][f"spec-{n}.json"])["lora"]["r"] for n in range(3)] == [1, 2, 3]
    names = list(variables(found))
    assert variables(found)["FINETUNE_SPEC"].endswith("spec-$(JOB_COMPLETION_INDEX).json")
    assert variables(found)["FINETUNE_JOB_NAME"] == "$(JOB_NAME)-$(JOB_COMPLETION_INDEX)"
    assert max(names.index("JOB_NAME"), names.index("JOB_COMPLETION_INDEX")) < names.index("FINETUNE_SPEC")


def test_the_run_is_named_by_its_job() -> None:
    path = variables(VARIANTS["plain"])["FINETUNE_JOB_NAME"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/job-name']"


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


T4 = place(Wish.of("t4"), [whole("gfd", "t4")])


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


def test_labels_of_the_run_win_over_the_users() -> None:
    assert VARIANTS["everything"].job["metadata"]["labels"]["app.kubernetes.io/name"] == "finetune-run"
    assert VARIANTS["everything"].job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert VARIANTS["everything"].job["spec"]["suspend"] is True


def test_secrets_are_only_named() -> None:
    found = variables(VARIANTS["everything"])
    assert found["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert pod_of(VARIANTS["everything"])["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]


def test_a_sweep_that_does_not_fit_into_a_config_map_is_refused() -> None:
    long = Index(changes={}, spec=spec(chat={"system": "x" * 20_000}))
    with pytest.raises(SettingsInvalid, match="do not fit"):
        render(settings(), spec(), [long] * 60)


def test_rendering_leaves_the_constants_as_they_are() -> None:
    before = json.dumps(BASE)
    render(settings(**EVERYTHING), spec(), runs(2))
    assert json.dumps(BASE) == before


def test_nothing_of_a_sweeps_job_is_of_the_spec_that_its_runs_were_made_from() -> None:
    sweep = [Index(changes={"model.id": one}, spec=spec(model={"id": one})) for one in ("a/b", "c/d", "a/b")]
    none_has_it = spec(
        model={"id": "none/has-it", "revision": "x"}, training=None, chat={"system": "x"}, load={"bits": 16},
        lora={"r": 3}, export={"types": ["q2_k"]}, publish={"name": "x"}, evaluation={"judge": False},
    )  # fmt: skip
    made = settings(placement=T4, store_pvc="runs")
    assert render(made, none_has_it, sweep) == render(made, spec(), sweep)
    assert render(made, spec(), sweep).job["metadata"]["annotations"]["finetune-run/model"] == "a/b, c/d"


def test_values_that_do_not_fit_into_annotations_are_refused_here() -> None:
    sweep = [Index(changes={"chat.system": "x" * 5000}, spec=spec()) for _ in range(50)]
    with pytest.raises(SettingsInvalid, match="do not fit into the Job's annotations"):
        render(settings(), spec(), sweep)


def test_a_sweeps_runs_can_be_read_back_from_the_job() -> None:
    text = VARIANTS["sweep"].job["metadata"]["annotations"]["finetune-run/sweep"]
    assert json.loads(text) == [{"lora.r": 1}, {"lora.r": 2}, {"lora.r": 3}]
