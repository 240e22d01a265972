"""What each template of the chart makes of its values, with real Helm."""

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from k8s.chart.emit import values_of
from k8s.yaml_text import text_of
from tests import forks
from tests.k8s.autopilot import refusals
from tests.k8s.chart.charts import CHART, IMAGE, LEAST, ROOT, helm, of_kind, refused, spec_of, template, with_spec
from tests.k8s.job_settings import EVERYTHING, settings, spec

pytestmark = pytest.mark.slow
RELEASES = ("1.29", "1.37")
"""The oldest and the newest Kubernetes that is supported."""
DEMANDED = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}
EXTRAS: dict[str, Any] = {
    "serviceAccount": {"create": True, "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    "store": {"size": "20Gi", "storageClass": "fast"},
    "cache": {"size": "50Gi", "accessMode": "ReadWriteMany"},
    "networkPolicy": {"enabled": True, "egress": [{"cidr": "10.0.0.0/8", "ports": [9000]}]},
}


def pod_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = of_kind(objects, "Job")["spec"]["template"]["spec"]
    return pod


def container_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = pod_of(objects)["containers"][0]
    return found


def variables(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in container_of(objects)["env"]}


@pytest.mark.parametrize(
    "values",
    [
        LEAST,
        LEAST | EXTRAS,
        values_of(settings(**EVERYTHING), spec()),
        LEAST | {"sweep": [{"lora.r": 8}, {"lora.r": 9}]},
    ],
    ids=["least", "extras", "everything", "sweep"],
)
def test_the_oldest_and_the_newest_kubernetes_know_every_field(values: dict[str, Any]) -> None:
    for one in template(values):
        for release in RELEASES:
            kubernetes_validate.validate(one, release, strict=True)


def test_by_default_there_is_a_config_map_a_job_and_a_test() -> None:
    assert sorted(one["kind"] for one in template(LEAST)) == ["ConfigMap", "Job", "Pod"]


def test_bare_lint_passes() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHART))


def test_a_missing_model_is_named_with_what_to_write() -> None:
    assert "--set spec.model.id=" in refused({"image": IMAGE})


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({}, "--set image.repository="),
        ({"repository": "finetune-run"}, "image.repository: finetune-run names no registry"),
        ({"repository": "owner/finetune-run"}, "docker.io/owner/finetune-run"),
        ({"repository": "finetune-run", "pullPolicy": "Always"}, "names no registry"),
    ],
    ids=str,
)
def test_an_image_that_no_registry_is_named_for_is_refused(image: dict[str, str], said: str) -> None:
    assert said in refused(LEAST | {"image": image})


@pytest.mark.parametrize("name", ["ghcr.io/me/x", "localhost/x", "r.example:5000/x", "10.0.0.1/x"])
def test_an_image_with_its_registry_is_used(name: str) -> None:
    assert container_of(template(LEAST | {"image": {"repository": name}}))["image"].startswith(f"{name}:")


def test_an_image_that_is_never_pulled_needs_no_registry() -> None:
    found = container_of(template(LEAST | {"image": {"repository": "finetune-run", "pullPolicy": "Never"}}))
    assert found["image"].startswith("finetune-run:") and found["imagePullPolicy"] == "Never"


def test_a_training_of_null_arrives() -> None:
    objects = template(with_spec(training=None))
    assert spec_of(objects)["training"] is None


def test_the_chart_works_below_another_one(tmp_path: Any) -> None:
    above = tmp_path / "team"
    (above / "charts").mkdir(parents=True)
    (above / "charts" / "finetune-run").symlink_to(CHART)
    (above / "Chart.yaml").write_text(
        "apiVersion: v2\nname: team\nversion: 1.0.0\n"
        "dependencies: [{name: finetune-run, version: '*', condition: finetune-run.enabled}]\n"
    )
    values = {"global": {"team": "nlp"}, "finetune-run": LEAST | {"enabled": True}}
    assert of_kind(template(values, chart=above), "Job")["metadata"]["name"].startswith("mine-finetune-run-")
    assert template({"finetune-run": {"enabled": False}}, chart=above) == []


def test_what_set_makes_of_numbers_reaches_the_job_as_numbers() -> None:
    sets = ("spec.training.learning_rate=2e-4", "spec.lora.dropout=0.05", "spec.lora.r=012", "spec.run.seed=4000000000")
    found = spec_of(template(LEAST, *(part for one in sets for part in ("--set", one))))
    from job.spec import JobSpec

    read = JobSpec.model_validate(found)
    assert read.training and (read.training.learning_rate, read.lora.dropout) == (2e-4, 0.05)
    assert (read.lora.r, read.run.seed) == (12, 4_000_000_000)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (with_spec(training={"learning_rat": 1}), "learning_rat"),
        (with_spec(load={"bits": 5}), "/spec/load/bits"),
        (LEAST | {"gpu": "t5"}, "/gpu"),
        (LEAST | {"resources": {"memory": "lots"}}, "/resources/memory"),
        (LEAST | {"grace": 1}, "grace"),
        (LEAST | {"env": {"A-B": "c"}}, "A-B"),
        (LEAST | {"sweep": [{"lora": 8}]}, "/sweep/0"),
        (LEAST | {"shared": True, "mig": "1g.5gb"}, "leave one out"),
        (LEAST | {"gpu": "l4", "platform": "aks"}, "there is no whole l4 on platform"),
        (LEAST | {"mig": "1g.5gb"}, "there is no mig t4"),
        (LEAST | {"platform": "gfd", "spot": True}, "the label of spot nodes is unknown"),
        (LEAST | {"platform": "custom"}, "gpuLabel"),
        (LEAST | {"gpuLabel": "a=b"}, "platform: custom"),
        (LEAST | {"affinity": DEMANDED}, "nodeSelector"),
        (with_spec(publish={"s3": "s3://YOUR-BUCKET/x"}), "placeholders of the examples (YOUR-BUCKET)"),
        (LEAST | {"env": {"A": "YOUR-ACCOUNT"}}, "placeholders of the examples (YOUR-ACCOUNT)"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_place(values: dict[str, Any], said: str) -> None:
    assert said in refused(values)


def test_a_card_on_any_of_two_platforms_gives_alternatives() -> None:
    affinity = pod_of(template(LEAST | {"gpu": ["t4", "l4"], "platform": ["karpenter", "eks"]}))["affinity"]
    terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert len(terms) == 4


def test_without_a_gpu_nothing_is_asked_for_and_any_node_will_do() -> None:
    objects = template(LEAST | {"gpu": "none"})
    assert "affinity" not in pod_of(objects)
    assert set(container_of(objects)["resources"]["limits"]) == {"memory", "ephemeral-storage"}


def test_volumes_that_the_chart_makes_are_kept() -> None:
    objects = template(LEAST | {"store": {"size": "20Gi"}, "cache": {"size": "5Gi"}})
    claims = {one["metadata"]["name"]: one for one in objects if one["kind"] == "PersistentVolumeClaim"}
    assert set(claims) == {"mine-finetune-run-store", "mine-finetune-run-cache"}
    assert all(one["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for one in claims.values())
    assert variables(objects)["FINETUNE__RUN__STORE"] == "/store"
    used = [
        one["persistentVolumeClaim"]["claimName"]
        for one in pod_of(objects)["volumes"]
        if "persistentVolumeClaim" in one
    ]
    assert sorted(used) == sorted(claims)


def test_a_claim_that_is_there_is_used_and_not_made() -> None:
    objects = template(LEAST | {"cache": {"existingClaim": "models", "size": "5Gi"}})
    assert not [one for one in objects if one["kind"] == "PersistentVolumeClaim"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}} in pod_of(objects)["volumes"]


@pytest.mark.parametrize(("of", "mode"), [("store", "ReadWriteOnce"), ("cache", "ReadWriteOncePod")])
@pytest.mark.parametrize("claim", [{"existingClaim": "mine"}, {"size": "5Gi"}], ids=str)
def test_runs_at_a_time_need_a_volume_that_several_nodes_can_mount(of: str, mode: str, claim: dict[str, Any]) -> None:
    sweep = LEAST | {"sweep": [{"lora.r": 8}, {"lora.r": 16}], "parallel": 5}
    said = refused(sweep | {of: claim | {"accessMode": mode}})
    assert "2 runs at a time cannot mount the claim mine" in said and f"{of}.accessMode is {mode}" in said
    template(sweep | {of: claim | {"accessMode": "ReadWriteMany"}})
    template(sweep | {of: claim, "parallel": 1})
    on_one_node = sweep | {of: claim | {"accessMode": mode}, "nodeSelector": {"kubernetes.io/hostname": "a"}}
    if mode == "ReadWriteOnce":
        template(on_one_node)
    else:
        assert "runs at a time" in refused(on_one_node)


def test_the_service_account_of_the_chart_carries_its_annotations_and_no_token() -> None:
    objects = template(LEAST | {"serviceAccount": EXTRAS["serviceAccount"]})
    account = of_kind(objects, "ServiceAccount")
    assert account["metadata"]["annotations"] == EXTRAS["serviceAccount"]["annotations"]
    assert account["automountServiceAccountToken"] is False
    assert pod_of(objects)["serviceAccountName"] == account["metadata"]["name"]


def test_the_network_policy_lets_out_what_it_says() -> None:
    policy = of_kind(template(LEAST | {"networkPolicy": EXTRAS["networkPolicy"]}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in policy
    assert policy["egress"][-1] == {
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 9000}]
    }  # fmt: skip
    closed = of_kind(template(LEAST | {"networkPolicy": {"enabled": True, "metadata": False}}), "NetworkPolicy")
    assert len(closed["spec"]["egress"]) == 2
    dns = {(one["protocol"], one["port"]) for one in closed["spec"]["egress"][0]["ports"]}
    assert dns == {(protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)}, "5353 is OpenShift's"
    metadata = {one["ipBlock"]["cidr"] for one in policy["egress"][2]["to"]}
    assert metadata >= {"169.254.169.254/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128"}


def test_the_network_policy_lets_out_other_protocols_than_tcp() -> None:
    ports = [9000, {"port": 123, "protocol": "UDP"}, {"port": 514}]
    egress = [{"cidr": "fd00::/8", "ports": ports}, {"cidr": "10.0.0.0/8"}]
    objects = template(LEAST | {"networkPolicy": {"enabled": True, "egress": egress}})
    policy = of_kind(objects, "NetworkPolicy")
    kubernetes_validate.validate(policy, RELEASES[-1], strict=True)
    wanted = [("TCP", 9000), ("UDP", 123), ("TCP", 514)]
    some, every = policy["spec"]["egress"][-2:]
    assert [(one["protocol"], one["port"]) for one in some["ports"]] == wanted and "ports" not in every
    for wrong in ({"port": 0}, {"port": 1, "protocol": "ICMP"}, {"protocol": "UDP"}):
        assert "/networkPolicy/egress/0/ports/0" in refused(
            LEAST | {"networkPolicy": {"egress": [{"cidr": "10.0.0.0/8", "ports": [wrong]}]}}
        )


def test_a_sweep_is_one_indexed_job_whose_runs_publish_apart() -> None:
    publish = {"s3": "s3://b/out/", "hub": {"repo_id": "me/out-GGUF"}}
    values = with_spec(publish=publish, run={"id": "mine"}) | {"sweep": [{"lora.r": 8}, {"lora.r": 16}], "parallel": 5}
    objects = template(values)
    job = of_kind(objects, "Job")["spec"]
    assert (job["completions"], job["parallelism"], job["completionMode"]) == (2, 2, "Indexed")
    second = json.loads(of_kind(objects, "ConfigMap")["data"]["spec-1.json"])
    assert second["lora"] == {"r": 16} and second["run"]["id"] == "mine-1"
    assert second["publish"] == {"s3": "s3://b/out/1", "hub": {"repo_id": "me/out-1-GGUF"}}


def test_the_name_changes_with_all_that_is_rendered_and_with_nothing_else() -> None:
    name = of_kind(template(LEAST), "Job")["metadata"]["name"]
    assert of_kind(template(LEAST | {"networkPolicy": {"enabled": True}}), "Job")["metadata"]["name"] == name
    for other in (with_spec(lora={"r": 4}), LEAST | {"env": {"A": "b"}}, LEAST | {"image": IMAGE | {"tag": "2"}}):
        assert of_kind(template(other), "Job")["metadata"]["name"] != name
    long = of_kind(template(LEAST, release="x" * 53), "Job")["metadata"]["name"]
    assert len(long) <= 52


def test_the_access_test_is_a_small_pod_of_the_same_image_without_a_gpu() -> None:
    values = LEAST | {"gpu": "t4", "existingSecret": "tokens", "nodeSelector": {"zone": "a"}}
    pod = of_kind(template(values), "Pod")
    container = pod["spec"]["containers"][0]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert container["args"] == ["check", "--access"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "3Gi", "ephemeral-storage": "1Gi"}
    assert container["envFrom"] == [{"secretRef": {"name": "tokens"}}]
    assert "affinity" not in pod["spec"]
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    assert {"name": "FINETUNE_SPEC", "value": "/etc/finetune-run/spec.json"} in container["env"]
    run = of_kind(template(values), "Job")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "FINETUNE_GPU", "value": "required"} in run["env"]
    assert "FINETUNE_GPU" not in [one["name"] for one in container["env"]]


def test_the_access_test_needs_no_volume_of_the_run() -> None:
    """The run may work on the claim on another node, and a volume of the test's own would choose its zone."""
    volumes = [{"name": "rows", "persistentVolumeClaim": {"claimName": "rows"}}]
    volumes.append({"name": "more", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}})
    values = LEAST | {"store": {"size": "20Gi"}, "cache": {"existingClaim": "models"}, "scratch": {"size": "90Gi"}}
    objects = template(values | {"volumes": volumes})
    found = {one["name"]: set(one) - {"name"} for one in of_kind(objects, "Pod")["spec"]["volumes"]}
    assert {name for name, kinds in found.items() if kinds == {"emptyDir"}} >= {"work", "store", "cache", "tmp", "more"}
    assert found["rows"] == {"persistentVolumeClaim"}
    assert {one["name"] for one in pod_of(objects)["volumes"]} == set(found)


def test_the_access_test_mounts_a_claim_from_which_the_run_reads() -> None:
    read = {"spec": {"model": {"id": "/cache/llama"}, "dataset": [{"id": "/store/rows.jsonl"}]}}
    objects = template(LEAST | read | {"store": {"size": "20Gi"}, "cache": {"existingClaim": "models"}})
    found = {one["name"]: set(one) for one in of_kind(objects, "Pod")["spec"]["volumes"]}
    assert "persistentVolumeClaim" in found["store"] & found["cache"]
    assert of_kind(objects, "Pod")["spec"]["tolerations"] == pod_of(objects)["tolerations"], "its node may be a GPU's"


def test_nothing_that_autopilot_is_known_to_refuse_is_in_the_charts_pods() -> None:
    objects = template(LEAST | {"gpu": "t4", "platform": "gke", "spot": True})
    for pod in (of_kind(objects, "Job")["spec"]["template"], of_kind(objects, "Pod")):
        assert list(refusals(pod)) == []


@pytest.mark.parametrize(
    ("platform", "tolerates"),
    [("gke", False), ("aks", True), ("gfd", True), (["eks", "karpenter"], True), (["gke", "gfd"], False)],
)
def test_the_access_test_goes_to_a_gpu_node_where_there_may_be_no_other(
    platform: str | list[str], tolerates: bool
) -> None:
    """Not on GKE: Autopilot refuses it. What the user tolerates it does everywhere."""
    mine = {"key": "team", "operator": "Exists"}
    pod = of_kind(template(LEAST | {"gpu": "t4", "platform": platform, "tolerations": [mine]}), "Pod")
    assert mine in pod["spec"]["tolerations"]
    assert ("nvidia.com/gpu" in [one["key"] for one in pod["spec"]["tolerations"]]) == tolerates


@pytest.mark.parametrize("key", ["kubernetes.io/arch", "cloud.google.com/gke-accelerator"])
def test_a_node_selector_that_contradicts_the_job_is_refused(key: str) -> None:
    said = refused(LEAST | {"gpu": "t4", "platform": "gke", "nodeSelector": {key: "other"}})
    assert f"nodeSelector: {key} is other, but the Job needs" in said


def test_old_runs_are_kept_with_all_that_they_need_when_that_is_asked_for() -> None:
    needed = {kind: value for kind, value in EXTRAS.items() if kind in ("serviceAccount", "networkPolicy")}
    for objects, kept in ((template(LEAST | needed | {"keepOldRuns": True}), "keep"), (template(LEAST | needed), None)):
        for kind in ("Job", "ConfigMap", "ServiceAccount", "NetworkPolicy"):
            annotations = of_kind(objects, kind)["metadata"].get("annotations", {})
            assert annotations.get("helm.sh/resource-policy") == kept, kind
    assert of_kind(objects, "ServiceAccount")["metadata"]["annotations"] == EXTRAS["serviceAccount"]["annotations"]


OLD_NAMES: dict[str, tuple[str, Any]] = {
    "annotations": ("podAnnotations", {"a/b": "c"}),
    "labels": ("podLabels", {"team": "nlp"}),
    "nameOverride": ("fullnameOverride", "quotes"),
    "priorityClass": ("priorityClassName", "batch"),
    "runtimeClass": ("runtimeClassName", "nvidia"),
}


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_old_name_of_a_value_means_the_same_and_is_told(old: str) -> None:
    new, value = OLD_NAMES[old]
    assert template(LEAST | {old: value}) == template(LEAST | {new: value}) != template(LEAST)
    assert f"{old} is the old name of {new}" in refused(LEAST | {old: value, new: value})
    values = text_of([LEAST | {old: value}])
    said = helm("install", "mine", str(CHART), "--dry-run=client", "-f", "-", stdin=values)
    assert f"`{old}` is called `{new}` now" in said


@pytest.mark.parametrize("sweep", [[], ["--sweep", "lora.r=8,16,32"]], ids=["run", "sweep"])
def test_the_deadline_is_the_same_from_both_doors(sweep: list[str]) -> None:
    """Of a run of which nothing is predicted."""
    command = [forks.commands(), "-m", "k8s.launch", "--model", "/no/model", "--dataset", "/rows.jsonl", "--dry-run"]
    command += ["--gpu", "none", "--image", "registry.example/x:1", *sweep]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KUBECONFIG": "/no"}, check=True)
    _, sent = YAML(typ="safe").load_all(done.stdout)
    values = LEAST | {"sweep": [{"lora.r": 8}, {"lora.r": 16}, {"lora.r": 32}] if sweep else []}
    made = of_kind(template(values), "Job")["spec"]["activeDeadlineSeconds"]
    assert made == sent["spec"]["activeDeadlineSeconds"] == 604800 * (3 if sweep else 1)
    assert of_kind(template(values | {"deadlineSeconds": 90}), "Job")["spec"]["activeDeadlineSeconds"] == 90
    assert "/deadlineSeconds" in refused(LEAST | {"deadlineSeconds": 59})


def test_the_chart_has_the_version_of_the_package() -> None:
    import job

    chart = YAML(typ="safe").load(CHART / "Chart.yaml")
    assert chart["appVersion"] == chart["version"] == job.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"][0] == "version"


def test_packaging_takes_along_all_that_is_needed_and_no_more(tmp_path: Any) -> None:
    helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("finetune-run-*.tgz")
    packed = of_kind(template(LEAST, chart=package), "Job")
    assert packed == of_kind(template(LEAST), "Job")
    assert package.stat().st_size < 100_000


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_value_is_used_by_some_template() -> None:
    """By its own name: `.Values.image.tag`, or `.tag` within `with .Values.image`."""
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    values = YAML(typ="safe").load(CHART / "values.yaml")
    unused = [path for path in leaves(values) if f".{path.rsplit('.', 1)[-1]}" not in text]
    assert not unused
    sections = [name for name in values if f".Values.{name}" not in text and f"$values.{name}" not in text]
    assert sections == ["store", "cache"] and 'list "store" "cache"' in text
