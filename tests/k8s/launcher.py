"""Runs the launcher as its users do, against the tests' control plane."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests import forks
from tests.cluster.fixtures import Cluster, eventually
from tests.cluster.nodes import end_pod, run_pod

RUN = ["--model", "/no/such/model", "--dataset", "/rows.jsonl", "--store-pvc", "runs"]
"""A run of which nothing is predicted: no network is asked."""


def heed_interrupts() -> None:
    """A shell's background jobs, and what they start, ignore SIGINT: so might the tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Launcher:
    """The command line in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, kubeconfig: Path | None = None) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.kubeconfig = kubeconfig or cluster.plane.admin

    def command(self, *arguments: str) -> list[str]:
        return [forks.commands(), "-m", "k8s.launch", *arguments, "--namespace", self.namespace]

    @property
    def environment(self) -> dict[str, str]:
        own = {"KUBECONFIG": str(self.kubeconfig), "FINETUNE_IMAGE": "registry.example/finetune-run:1"}
        own["XDG_CONFIG_HOME"] = str(self.kubeconfig.parent / "config")  # no defaults of whoever runs the tests
        return {**os.environ, **own, "COLUMNS": "200", "HF_ENDPOINT": "http://127.0.0.1:9"}

    def __call__(self, *arguments: str) -> Said:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=120, env=self.environment, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """While the block lasts; then it is killed if it still runs."""
        process = subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            preexec_fn=heed_interrupts,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def launch(self, *arguments: str) -> str:
        """Submits RUN without following it; gives the Job's name."""
        said = self("launch", *RUN, "--detach", *arguments)
        assert said.code == 0, said.err
        (name,) = {job["metadata"]["name"] for job in self.jobs()} - getattr(self, "_known", set())
        self._known = {job["metadata"]["name"] for job in self.jobs()}
        return str(name)

    def jobs(self) -> list[Any]:
        listed = self.cluster.plane.kubectl("get", "jobs", "-n", self.namespace, "-o", "json")
        return list(json.loads(listed)["items"])

    def claims(self, mode: str = "ReadWriteOnce") -> None:
        """The volume claim that RUN names."""
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        self.cluster.core.create_namespaced_persistent_volume_claim(
            self.namespace, {"metadata": {"name": "runs"}, "spec": spec | {"storageClassName": ""}}
        )

    def pod(self) -> str:
        """The newest pod that has not ended, on a node, as soon as there is one."""

        def found() -> Any:
            alive = [one for one in self.cluster.pods(self.namespace) if one.status.phase in ("Pending", "Running")]
            return next((one.metadata.name for one in alive[::-1] if one.spec.node_name), None)

        def why() -> str:
            pods = self.cluster.pods(self.namespace)
            return "; ".join(str([one.message for one in pod.status.conditions or []]) for pod in pods) or "no pod"

        try:
            return str(eventually(found, "a pod on a node"))
        except AssertionError as error:
            raise AssertionError(f"{error}: {why()}") from error

    def run_pod(self) -> str:
        """The newest pod's container starts."""
        name = self.pod()
        self.start_pod(name)
        return name

    def start_pod(self, name: str) -> None:
        run_pod(self.cluster.core, name, self.namespace)

    def end_pod(self, code: int, **how: str) -> str:
        """The newest pod's container runs, and ends."""
        name = self.run_pod()
        self.end_pod_of(name, code, **how)
        return name

    def end_pod_of(self, name: str, code: int, **how: str) -> None:
        end_pod(self.cluster.core, name, self.namespace, code, **how)


def add(cluster: Cluster, *nodes: Any) -> None:
    """Nodes of tests/k8s/gpu_nodes.py as objects of the API."""
    for node in nodes:
        taints = [f"{taint.key}={taint.value}:{taint.effect}" for taint in node.taints]
        cluster.nodes.add(
            node.name, labels=dict(node.labels), taints=taints, gpus=dict(node.gpus), provider=node.provider_id
        )


BARE = ["--model", "/no/such/model", "--dataset", "/rows.jsonl"]


def submit(launcher: Launcher, *arguments: str) -> str:
    said = launcher("launch", *BARE, "--detach", *arguments)
    assert said.code == 0, said.err
    return next(line for line in said.err.splitlines() if "submitted" in line).split()[-4]
