"""Values as users write them: what reaches the job, what is refused, and what an old name means."""

from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from k8s.yaml_text import text_of
from tests.k8s.chart.charts import CHART, IMAGE, LEAST, container_of, helm, refused, spec_of, template, with_spec

pytestmark = pytest.mark.slow
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
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_place(values: dict[str, Any], said: str) -> None:
    assert said in refused(values)


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


def test_every_value_is_used_by_some_template() -> None:
    """By its own name: `.Values.image.tag`, or `.tag` within `with .Values.image`."""
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    values = YAML(typ="safe").load(CHART / "values.yaml")
    unused = [path for path in leaves(values) if f".{path.rsplit('.', 1)[-1]}" not in text]
    assert not unused
    sections = [name for name in values if f".Values.{name}" not in text and f"$values.{name}" not in text]
    assert sections == ["store", "cache"] and 'list "store" "cache"' in text
