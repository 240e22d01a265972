"""The chart as real Helm renders it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from k8s.yaml_text import text_of
from tests import ROOT

CHART = ROOT / "helm" / "finetune-run"
HELM = Path(os.environ.get("HELM") or ROOT / ".venv" / "bin" / "helm")
"""HELM=/path/to/helm runs the tests with another one: Helm 3, say."""
IMAGE = {"repository": "registry.example/finetune-run"}
LEAST: dict[str, Any] = {"spec": {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}}, "image": IMAGE}
RELEASES = ("1.29", "1.37")
"""The oldest and the newest Kubernetes that is supported."""
EXTRAS: dict[str, Any] = {
    "serviceAccount": {"create": True, "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    "store": {"size": "20Gi", "storageClass": "fast"},
    "cache": {"size": "50Gi", "accessMode": "ReadWriteMany"},
    "networkPolicy": {"enabled": True, "egress": [{"cidr": "10.0.0.0/8", "ports": [9000]}]},
}


def helm(*arguments: str, stdin: str = "", check: bool = True) -> str:
    """What it prints. Raises AssertionError with what it says where it fails."""
    done = subprocess.run([HELM, *arguments], input=stdin, capture_output=True, text=True, timeout=600, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout if check else done.stderr


def template(values: dict[str, Any], *options: str, chart: Path = CHART, release: str = "mine") -> list[dict[str, Any]]:
    """The objects, in Helm's order; hooks are behind them."""
    return documents(helm("template", release, str(chart), "-f", "-", *options, stdin=text_of([values])))


class AsGo(yaml.CSafeLoader):
    """YAML 1.1, as Helm writes it and the API server reads it: `._` is a word, and so is `=`."""


AsGo.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


def documents(text: str) -> list[dict[str, Any]]:
    """What Helm has written."""
    return [one for one in yaml.load_all(text, AsGo) if one]


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one of this kind."""
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


def refused(values: dict[str, Any], *options: str) -> str:
    """What Helm says when it does not render. Raises AssertionError where it does."""
    text = helm("template", "mine", str(CHART), "-f", "-", *options, stdin=text_of([values]), check=False)
    assert "Error:" in text, "it was rendered"
    return text


def with_spec(**spec: Any) -> dict[str, Any]:
    return LEAST | {"spec": LEAST["spec"] | spec}


def spec_of(objects: list[dict[str, Any]]) -> Any:
    """What the job will read."""
    return json.loads(of_kind(objects, "ConfigMap")["data"]["spec.json"])


def pod_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = of_kind(objects, "Job")["spec"]["template"]["spec"]
    return pod


def container_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = pod_of(objects)["containers"][0]
    return found


def variables(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in container_of(objects)["env"]}
