"""Both doors send the same Job: for any spec and settings, what Helm renders is what the launcher would send."""

import json
import os
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from pydantic import ValidationError
from ruamel.yaml import YAML

from job.spec import JobSpec
from k8s.chart.emit import values_of
from k8s.chart.values import ChartValues
from k8s.errors import SettingsInvalid
from k8s.manifest.render import render
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import apart, indexes
from tests import forks
from tests.k8s.chart.charts import of_kind, refused, template
from tests.k8s.chart.strategies import deployments, spec_data, sweeps

pytestmark = pytest.mark.slow


WITHOUT_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # which would take minutes of Helm


@settings(max_examples=200, suppress_health_check=list(HealthCheck), phases=WITHOUT_SHRINKING)
@given(spec=spec_data, deployment=deployments, options=sweeps)
def test_the_chart_and_the_launcher_give_the_same_objects(spec: Any, deployment: Any, options: Any) -> None:
    if isinstance(spec["dataset"], list):
        options = [one for one in options if not one.startswith("dataset")]
    try:
        asked = JobSpec.model_validate(spec)
        sweep = tuple(
            one.model_copy(update={"spec": apart(with_changes(spec, one.changes), number)})
            for number, one in enumerate(indexes(lambda _: asked, options))
        )
    except ValidationError:
        assume(False)
    made = Settings.of(**deployment)
    values = values_of(made, asked, sweep)
    ChartValues.model_validate(values)
    try:
        manifest = render(made, asked, sweep)
    except SettingsInvalid:  # tests/k8s/manifest/test_folders.py: the chart refuses the same
        said = refused(values, "--namespace", "team")
        assert any(words in said for words in ("would stay empty", "lost with it", "runs at a time cannot mount"))
        return
    objects = template(values, "--namespace", "team")
    assert comparable(of_kind(objects, "Job")) == comparable(manifest.job)
    config, sent = of_kind(objects, "ConfigMap"), manifest.config_map
    assert comparable(config) == comparable(sent)
    assert {name: read(text) for name, text in config["data"].items()} == {
        name: read(text) for name, text in sent["data"].items()
    }


def with_changes(spec: Any, changes: dict[str, Any]) -> JobSpec:
    data = deepcopy(spec)
    for path, value in changes.items():
        section, *field = path.split(".")
        data[section] = (data.get(section) or {}) | {field[0]: value} if field else value
    return JobSpec.model_validate(data)


def read(text: str) -> Any:
    """As the job does; what was set, too."""
    spec = JobSpec.model_validate(json.loads(text))
    return spec, spec.model_dump(exclude_unset=True)


def comparable(made: dict[str, Any]) -> dict[str, Any]:
    """Without names, and without what says that Helm sent it."""
    found = deepcopy(made)
    metadata = found["metadata"]
    name = metadata.pop("name")
    found.pop("data", None)
    for key in ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"):
        metadata["labels"].pop(key, None)
    if found["kind"] == "Job":
        about = metadata["annotations"]
        about["finetune-run/run"] = about["finetune-run/run"].replace(name, "<name>")
        about["finetune-run/sweep"] = json.loads(about.get("finetune-run/sweep", "null"))
        found["spec"]["template"]["metadata"]["labels"].pop("app.kubernetes.io/instance")
        found["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = "<config>"
        found["spec"].pop("suspend", None)
    return dict(flat(found))


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf by its path, so that a failure names what differs."""
    if not value or not isinstance(value, (dict, list)):
        yield path, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from flat(item, f"{path}.{key}")


@pytest.mark.parametrize(
    "options", [[], ["--spot"], ["--queue", "team"], ["--sweep", "lora.r=8,16"], ["--set", "training=null"]], ids=str
)
def test_the_values_that_the_launcher_prints_give_what_it_would_send(tmp_path: Path, options: list[str]) -> None:
    command = [forks.commands(), "-m", "k8s.launch", "launch", "--model", "/no/model", "--dataset", "/rows.jsonl"]
    command += ["--gpu", "t4", "--platform", "gke", "--namespace", "team", "--image", "docker.io/me/x:1", *options]
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "none")}

    def said(*how: str) -> list[Any]:
        done = subprocess.run([*command, *how], capture_output=True, text=True, env=environment, check=True, timeout=60)
        return list(YAML(typ="safe").load_all(done.stdout))

    (values,) = said("--emit", "values")
    rendered = template(values, "--namespace", "team")
    for sent in said("--dry-run"):
        assert comparable(of_kind(rendered, sent["kind"])) == comparable(sent)
