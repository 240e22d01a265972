"""Values as users write them: what reaches the job, what is refused, and what an old name means."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from k8s.yaml_text import text_of
from tests.k8s.chart.charts import (
    CHART,
    HELM,
    IMAGE,
    LEAST,
    container_of,
    documents,
    helm,
    refused,
    spec_of,
    template,
    with_spec,
)

pytestmark = pytest.mark.slow
SECRET = {"name": "mine", "key": "token"}
TOKEN = "hf_" + "a1" * 17
DEMANDED = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}


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
        (LEAST | {"env": {"FINETUNE_SPEC": "/x"}}, "FINETUNE_SPEC is set by the Job itself"),
        (LEAST | {"secretEnv": {"JOB_NAME": SECRET}}, "JOB_NAME is set by the Job itself"),
        (LEAST | {"env": {"A": "x"}, "secretEnv": {"A": SECRET}}, "A is in secretEnv too"),
        (LEAST | {"env": {"MY_PASSWORD": "correct horse"}}, "MY_PASSWORD looks like a secret"),
        (LEAST | {"env": {"A": TOKEN}}, "env: a value is a secret"),
        (LEAST | {"podAnnotations": {"a": TOKEN}}, "podAnnotations: a value is a secret"),
        (with_spec(chat={"system": TOKEN}), "spec: a value is a secret"),
        *((LEAST | {"resources": {"cpu": none}}, "/resources/cpu") for none in (0, "0", "0m", "0.0", ".000", "1.2m")),
        (LEAST | {"secretFiles": {"s": "relative"}}, "/secretFiles/s"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_place(values: dict[str, Any], said: str) -> None:
    message = refused(values)
    assert said in message and TOKEN not in message and "correct horse" not in message


def test_a_variable_of_the_job_that_comes_from_a_secret_is_there_once() -> None:
    found = [
        one for one in container_of(template(LEAST | {"secretEnv": {"HOME": SECRET}}))["env"] if one["name"] == "HOME"
    ]
    assert [one["valueFrom"]["secretKeyRef"] for one in found] == [SECRET]


@pytest.mark.parametrize("key", ["kubernetes.io/arch", "cloud.google.com/gke-accelerator"])
def test_a_node_selector_that_contradicts_the_job_is_refused(key: str) -> None:
    said = refused(LEAST | {"gpu": "t4", "platform": "gke", "nodeSelector": {key: "other"}})
    assert f"nodeSelector: {key} is other, but the Job needs" in said


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


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


SOME: dict[str, Any] = {
    "spec": {"lora": {"r": 4}}, "sweep": [{"lora.r": 8}], "parallel": 2, "image.repository": "r.example/other",
    "image.tag": "2", "image.digest": f"sha256:{'a' * 64}", "image.pullPolicy": "Always", "imagePullSecrets": ["a"],
    "gpu": "l4", "platform": "gke", "gpuLabel": "a=b", "spot": True, "shared": True, "mig": "1g.5gb",
    "singleStrategy": True, "resources.cpu": "3", "resources.cpuLimit": "9", "resources.memory": "11Gi",
    "resources.disk": "41Gi", "resources.shm": "2Gi", "nodeSelector": {"a": "b"}, "tolerations": [{"key": "a"}],
    "affinity": {"podAffinity": {}}, "existingSecret": "a", "secretEnv": {"A": {"name": "a", "key": "b"}},
    "secretFiles": {"a": "/a"}, "env": {"A": "b"}, "inputs": "H4sIAAAA", "scratch.size": "1Gi",
    "scratch.storageClass": "a", "volumes": [{"name": "a", "emptyDir": {}}],
    "volumeMounts": [{"name": "a", "mountPath": "/a"}], "serviceAccount.create": True, "serviceAccount.name": "a",
    "serviceAccount.annotations": {"a": "b"}, "queue": "a", "priorityClassName": "a", "runtimeClassName": "a",
    "podLabels": {"a": "b"}, "podAnnotations": {"a": "b"}, "proxy.https": "http://a", "proxy.http": "http://a",
    "proxy.exclude": "a", "ca.configMap": "a", "ca.key": "a", "user": 1, "graceSeconds": 9, "deadlineSeconds": 99,
    "ttlSeconds": 9, "keepOldRuns": True, "networkPolicy.enabled": True,
    "networkPolicy.egress": [{"cidr": "1.2.3.4/32"}], "networkPolicy.metadata": False, "fullnameOverride": "a",
    **{f"{of}.{name}": value for of in ("store", "cache") for name, value in
       {"existingClaim": "a", "size": "1Gi", "storageClass": "a", "accessMode": "ReadWriteMany"}.items()},
}  # fmt: skip
"""A value of each name that is not its default."""


def test_each_value_alone_changes_what_is_sent_or_is_refused() -> None:
    assert set(SOME) == set(leaves(YAML(typ="safe").load(CHART / "values.yaml")))
    least = template(LEAST)
    for path, value in SOME.items():
        section, _, name = path.partition(".")
        within = LEAST.get(section, {})
        given = (within | ({name: value} if name else value)) if within or name else value
        text = text_of([LEAST | {section: given}])
        done = subprocess.run(
            [HELM, "template", "mine", CHART, "-f", "-"], input=text, capture_output=True, text=True, check=False
        )
        assert "nothing would read" in done.stderr or "gpuLabel" in done.stderr or documents(done.stdout) != least, path


def test_every_value_is_used_by_some_template() -> None:
    """By its own name: `.Values.image.tag`, or `.tag` within `with .Values.image`."""
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    values = YAML(typ="safe").load(CHART / "values.yaml")
    unused = [path for path in leaves(values) if f".{path.rsplit('.', 1)[-1]}" not in text]
    assert not unused
    sections = [name for name in values if f".Values.{name}" not in text and f"$values.{name}" not in text]
    assert sections == ["store", "cache"] and 'list "store" "cache"' in text
