"""The objects that real Helm renders of the chart: valid, named, and for the card that was asked for."""

import json
import os
import subprocess
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from k8s.chart.emit import values_of
from tests import forks
from tests.k8s.autopilot import refusals
from tests.k8s.chart.charts import (
    EXTRAS,
    IMAGE,
    LEAST,
    RELEASES,
    container_of,
    of_kind,
    pod_of,
    refused,
    template,
    with_spec,
)
from tests.k8s.job_settings import EVERYTHING, settings, spec

pytestmark = pytest.mark.slow


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


def test_a_card_on_any_of_two_platforms_gives_alternatives() -> None:
    affinity = pod_of(template(LEAST | {"gpu": ["t4", "l4"], "platform": ["karpenter", "eks"]}))["affinity"]
    terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert len(terms) == 4


def test_without_a_gpu_nothing_is_asked_for_and_any_node_will_do() -> None:
    objects = template(LEAST | {"gpu": "none"})
    assert "affinity" not in pod_of(objects)
    assert set(container_of(objects)["resources"]["limits"]) == {"memory", "ephemeral-storage"}


def test_the_service_account_of_the_chart_carries_its_annotations_and_no_token() -> None:
    objects = template(LEAST | {"serviceAccount": EXTRAS["serviceAccount"]})
    account = of_kind(objects, "ServiceAccount")
    assert account["metadata"]["annotations"] == EXTRAS["serviceAccount"]["annotations"]
    assert account["automountServiceAccountToken"] is False
    assert pod_of(objects)["serviceAccountName"] == account["metadata"]["name"]


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


def test_nothing_that_autopilot_is_known_to_refuse_is_in_the_charts_pods() -> None:
    objects = template(LEAST | {"gpu": "t4", "platform": "gke", "spot": True})
    for pod in (of_kind(objects, "Job")["spec"]["template"], of_kind(objects, "Pod")):
        assert list(refusals(pod)) == []


def test_old_runs_are_kept_with_all_that_they_need_when_that_is_asked_for() -> None:
    needed = {kind: value for kind, value in EXTRAS.items() if kind in ("serviceAccount", "networkPolicy")}
    for objects, kept in ((template(LEAST | needed | {"keepOldRuns": True}), "keep"), (template(LEAST | needed), None)):
        for kind in ("Job", "ConfigMap", "ServiceAccount", "NetworkPolicy"):
            annotations = of_kind(objects, kind)["metadata"].get("annotations", {})
            assert annotations.get("helm.sh/resource-policy") == kept, kind
    assert of_kind(objects, "ServiceAccount")["metadata"]["annotations"] == EXTRAS["serviceAccount"]["annotations"]


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
