"""The page of each platform against its example: what its commands make is what the run of the launcher and that of the
chart ask for, under the same names."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from k8s.placement.nodes import Expression, Node, Taint, Toleration, quantity
from tests import ROOT
from tests.k8s.chart.charts import HELM, documents, of_kind
from tests.k8s.gpu_nodes import linux
from tests.placeholders import filled
from tests.repository.commands import Command, in_blocks, specs

pytestmark = pytest.mark.slow
NAMES = ("gke", "eks", "aks", "on-premises")
LOADED_BY_US = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"}
Object = dict[str, Any]


class Page(NamedTuple):
    """A page's commands, its specs, and the objects that it makes: Secrets and ConfigMaps with their keys, by kind and
    name; the service account as (namespace, name), if a command makes one."""

    name: str
    commands: list[Command]
    folder: Path

    def of(self, *words: str) -> list[Command]:
        return [one for one in self.commands if one.words[: len(words)] == words]

    @property
    def made(self) -> dict[tuple[str, str], set[str]]:
        found = {}
        for command in self.of("kubectl", "create"):
            kind, *rest = command.words[2:]
            keys = {option(word.split("=", 1)[1]) for word in rest if word.startswith("--from-")}
            found[kind, [word for word in rest if not word.startswith("-")][-1]] = keys
        return found

    @property
    def account(self) -> tuple[str, str] | None:
        for command in self.of("eksctl", "create", "iamserviceaccount"):
            return values(command)["--namespace"], values(command)["--name"]
        return None


def option(text: str) -> str:
    """The key that `--from-literal=KEY=value` or `--from-file=key` makes."""
    return text.split("=")[0]


def values(command: Command) -> dict[str, str]:
    """The options of a command; a flag's value is empty."""
    found: dict[str, str] = {}
    for word, after in zip(command.words, (*command.words[1:], "--"), strict=True):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            found[name] = value if equals else "" if after.startswith("--") else after
    return found


@pytest.fixture(params=NAMES)
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Page:
    path = ROOT / "docs" / f"{request.param}.md"
    for name, text in specs(path).items():
        (tmp_path / name).write_text(text)
    return Page(request.param, in_blocks(path), tmp_path)


def example(page: Page) -> Object:
    found: Object = yaml.safe_load(filled((ROOT / "examples" / "helm" / f"{page.name}.yaml").read_text()))
    return found


def from_the_chart(page: Page) -> Object:
    """The Job of the page's `helm install`."""
    (command,) = page.of("helm", "install")
    words = list(command.words[2:])
    words[words.index("-f") + 1] = str(page.folder / "values.yaml")
    (page.folder / "values.yaml").write_text(yaml.safe_dump(example(page)))
    run = subprocess.run([HELM, "template", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return of_kind(documents(run.stdout), "Job")


def from_the_launcher(page: Page) -> Object:
    """The Job of the page's launch. Its cluster would tell the platform; here the example does, with its last one."""
    (command,) = [one for one in page.of("finetune-run") if "--image" in one.words]
    platform = example(page)["platform"]
    words = [*command.words[1:], "--platform", platform if isinstance(platform, str) else platform[-1], "--dry-run"]
    environment = os.environ | {"KUBECONFIG": "/nowhere", "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "k8s.launch", *words], cwd=page.folder, env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return of_kind([one for one in yaml.safe_load_all(run.stdout) if one], "Job")


def pod_of(job: Object) -> Object:
    found: Object = job["spec"]["template"]["spec"]
    return found


def named(job: Object) -> Iterator[tuple[str, str]]:
    """The Secrets and ConfigMaps that a pod reads and that the page has to make."""
    pod = pod_of(job)
    for one in pod["containers"][0].get("envFrom", []):
        yield "secret", one["secretRef"]["name"]
    for one in pod.get("imagePullSecrets", []):
        yield "secret", one["name"]
    for one in pod["volumes"]:
        if one["name"] == "ca":
            yield "configmap", one["configMap"]["name"]


@pytest.mark.parametrize("sent", [from_the_chart, from_the_launcher], ids=["chart", "launcher"])
def test_what_a_run_reads_is_what_the_page_makes(page: Page, sent: Any) -> None:
    job = sent(page)
    assert set(named(job)) == set(page.made)
    pod = pod_of(job)
    for one in pod["volumes"]:
        if one["name"] == "ca":
            assert {item["key"] for item in one["configMap"]["items"]} <= page.made[
                "configmap", one["configMap"]["name"]
            ]
    keys = {key for (kind, _), found in page.made.items() if kind == "secret" for key in found}
    assert keys <= LOADED_BY_US, "a key that nothing reads"


@pytest.mark.parametrize("sent", [from_the_chart, from_the_launcher], ids=["chart", "launcher"])
def test_the_service_account_is_the_one_that_the_page_binds_a_role_to(page: Page, sent: Any) -> None:
    job = sent(page)
    account = pod_of(job).get("serviceAccountName")
    assert page.account == ((job["metadata"]["namespace"], account) if account else None)


def test_the_commands_of_a_page_are_about_one_namespace_and_release(page: Page) -> None:
    (install,), (test,) = page.of("helm", "install"), page.of("helm", "test")
    launches = [one for one in page.of("finetune-run") if "--image" in one.words]
    spaces = {values(one).get("--namespace", "default") for one in (install, test, *launches)}
    assert len(spaces) == 1 and install.words[2] == test.words[2]
    header = re.findall(r"^#  +(.*?)\\?$", filled((ROOT / "examples" / "helm" / f"{page.name}.yaml").read_text()), re.M)
    assert " ".join(header).split() == list(install.words), "the example's own command"


def test_chart_and_launcher_send_the_same(page: Page) -> None:
    chart, launcher = pod_of(from_the_chart(page)), pod_of(from_the_launcher(page))
    same = [
        "terminationGracePeriodSeconds",
        "serviceAccountName",
        "runtimeClassName",
        "imagePullSecrets",
        "tolerations",
    ]
    assert {key: chart.get(key) for key in same} == {key: launcher.get(key) for key in same}
    first, second = chart["containers"][0], launcher["containers"][0]
    assert first["image"] == second["image"] and first.get("envFrom") == second.get("envFrom")
    given = {one["name"]: one.get("value") for one in first["env"]}
    assert {one["name"]: one.get("value") for one in second["env"]}.items() <= given.items()
    assert ("ephemeral" in str(chart["volumes"])) == ("ephemeral" in str(launcher["volumes"]))


def pool(page: Page) -> Node | None:
    """A node of the pool that the page makes, as the platform labels and taints it; `disk` as the page sets it."""
    for command in page.of("gcloud", "container", "node-pools", "create"):
        given = values(command)
        card = dict(part.split("=") for part in given["--accelerator"].split(","))
        labels = {"cloud.google.com/gke-accelerator": card["type"]}
        labels |= {"cloud.google.com/gke-spot": "true"} if "--spot" in given else {}
        return _node(labels, [Taint("nvidia.com/gpu", "present", "NoSchedule")], int(given["--disk-size"]))
    for command in page.of("eksctl", "create", "nodegroup"):
        given = values(command)
        labels = {"node.kubernetes.io/instance-type": given["--node-type"]}
        labels |= {"eks.amazonaws.com/capacityType": "SPOT"} if "--spot" in given else {}
        return _node(labels, [], int(given["--node-volume-size"]))
    for command in page.of("az", "aks", "nodepool", "add"):
        given = values(command)
        labels = {"node.kubernetes.io/instance-type": given["--node-vm-size"]}
        taints = [Taint(*re.split("[=:]", text)) for text in given["--node-taints"].split(",")]
        if given.get("--priority") == "Spot":
            labels["kubernetes.azure.com/scalesetpriority"] = "spot"
            taints.append(Taint("kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule"))
        return _node(labels, taints, int(given["--node-osdisk-size"]))
    return None


def _node(labels: dict[str, str], taints: list[Taint], disk_gb: int) -> Node:
    return linux("pool", labels, taints=tuple(taints), gpus={"nvidia.com/gpu": 1}, disk=disk_gb * 10**9)


def test_a_node_of_the_pages_pool_takes_the_run(page: Page) -> None:
    node = pool(page)
    assert (node is None) == (page.name == "on-premises")
    for pod in [pod_of(from_the_chart(page)), pod_of(from_the_launcher(page))] if node else []:
        assert node and pod["nodeSelector"].items() <= node.labels.items()
        required = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        terms = required["nodeSelectorTerms"] if required else [{"matchExpressions": []}]
        assert node.satisfies([tuple(map(expression, term["matchExpressions"])) for term in terms])
        assert node.barriers(map(toleration, pod["tolerations"])) == []
        asked = pod["containers"][0]["resources"]["requests"]["ephemeral-storage"]
        assert quantity(asked) < node.disk * 6 // 10, "Kubernetes and the image take up to half"


def expression(one: Object) -> Expression:
    return Expression(one["key"], one["operator"], tuple(one.get("values", ())))


def toleration(one: Object) -> Toleration:
    return Toleration(one["key"], one["value"] if one["operator"] == "Equal" else None, one.get("effect"))


def test_the_page_says_at_its_top_what_of_it_was_run_where(page: Page) -> None:
    text = (ROOT / "docs" / f"{page.name}.md").read_text()
    top = text.split("\n\n")[1]
    assert top.startswith("| part of this page | run where |") and "not run there" in top
