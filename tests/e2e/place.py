"""A namespace in which a case runs the launcher as its users do, with a bucket and the Hub's token in a Secret."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubernetes import client, config

from tests.cluster.control_plane import programs
from tests.hub_server import Hub
from tests.k8s.launcher import Said
from tests.s3_server import REGION, Server

SECRET = "access"
RESOURCES = ["--cpu", "0.2", "--memory", "3Gi", "--disk", "4Gi"]


def address_towards(kubeconfig: Path) -> str:
    """This machine's address as the cluster sees it."""
    server = urlsplit(config.new_client_from_config(str(kubeconfig)).configuration.host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))
        return str(probe.getsockname()[0])


def eventually(found: Callable[[], Any], what: str, timeout_s: float = 300) -> Any:
    """The first value that is something. Raises AssertionError after a while."""
    until = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < until, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.5)
    return value


class Place:
    """`create` and `delete` are the fixture's."""

    def __init__(self, kubeconfig: Path, hub: Hub, s3: Server, token: str, folder: Path) -> None:
        self.kubeconfig, self.hub, self.s3, self.token, self.folder = kubeconfig, hub, s3, token, folder
        self.namespace = f"e2e-{secrets.token_hex(3)}"
        self.bucket = self.namespace
        self.store = f"s3://{self.bucket}/runs"
        self._volumes: list[str] = []
        self.api = config.new_client_from_config(str(kubeconfig))
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)

    def create(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.core.create_namespace({"metadata": {"name": self.namespace, "labels": labels}})
        self.s3.client().create_bucket(Bucket=self.bucket)
        self.core.create_namespaced_secret(
            self.namespace, {"metadata": {"name": SECRET}, "stringData": self.keys | {"HF_TOKEN": self.token}}
        )
        accounts = self.core.list_namespaced_service_account
        eventually(lambda: accounts(self.namespace).items, "a service account", 30)

    def delete(self) -> None:
        for pod in self.pods():
            self.core.delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=0)
        self.core.delete_namespace(self.namespace)
        for name in self._volumes:
            self.core.delete_persistent_volume(name)
        namespaces = self.core.list_namespace
        eventually(
            lambda: self.namespace not in {one.metadata.name for one in namespaces().items}, "the namespace to go", 120
        )

    @property
    def keys(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.s3.access_key, "AWS_SECRET_ACCESS_KEY": self.s3.secret_key}

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.s3.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
        }

    @property
    def variables(self) -> dict[str, str]:
        """Of a run's pod. The node only claims its card, so a run may do without one."""
        return self.addresses | {"FINETUNE_GPU": ""}

    # --- runs ---

    def spec(self, **sections: Any) -> dict[str, Any]:
        """Eight steps of NF4 QLoRA on the tiny model, one type, with a checkpoint at every other step."""
        base: dict[str, Any] = {
            "model": {"id": "me/tiny"},
            "dataset": {"id": "me/quotes", "text": "quote", "eval_fraction": 0.1},
            "training": {
                "max_steps": 8,
                "max_length": 48,
                "save_steps": 2,
                "logging_steps": 1,
                "per_device_train_batch_size": 2,
            },
            "evaluation": {"samples": 1, "max_new_tokens": 4},
            "export": {"types": ["q8_0"]},
            "publish": {"name": "tiny", "s3": f"s3://{self.bucket}/models"},
            "run": {"store": self.store},
        }
        return {name: _merged(base.get(name), sections.get(name)) for name in {**base, **sections}}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "k8s.launch", *arguments, "--namespace", self.namespace]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_"))}
        given = {"KUBECONFIG": str(self.kubeconfig), "COLUMNS": "200", "HF_TOKEN": self.token}
        return kept | given | self.addresses | self.keys

    def __call__(self, *arguments: str, timeout_s: float = 900) -> Said:
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self.environment,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def launch(self, spec: dict[str, Any], *arguments: str, gpu: str = "t4", follow: bool = False) -> tuple[str, Said]:
        """Submits it; the Job's name, and what was said."""
        path = self.folder / f"spec-{secrets.token_hex(3)}.json"
        path.write_text(json.dumps(spec))
        known = set(self.jobs())
        flags = [text for name, value in self.variables.items() for text in ("--env", f"{name}={value}")]
        said = self(
            "launch", "--spec", str(path), "--gpu", gpu, "--secret", SECRET, "--follow" if follow else "--detach",
            *RESOURCES, *flags, *arguments,
        )  # fmt: skip
        assert follow or said.code == 0, said.err
        new = set(self.jobs()) - known
        return (new.pop() if new else ""), said

    def jobs(self) -> list[str]:
        return [one.metadata.name for one in self.batch.list_namespaced_job(self.namespace).items]

    def condition(self, job: str) -> str:
        """`Complete`, `Failed` or nothing."""
        found = self.batch.read_namespaced_job(job, self.namespace).status.conditions or []
        return next((one.type for one in found if one.type in ("Complete", "Failed") and one.status == "True"), "")

    def ended(self, job: str, timeout_s: float = 1200) -> str:
        return str(eventually(lambda: self.condition(job), f"the end of {job}\n{self.state()}", timeout_s))

    def state(self) -> str:
        return self.kubectl("get", "jobs,pods", "-o", "wide", "-n", self.namespace)

    def kubectl(self, *arguments: str) -> str:
        command = [programs() / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    # --- pods ---

    def pods(self, phase: str | None = None) -> list[Any]:
        """By age."""
        found = sorted(
            self.core.list_namespaced_pod(self.namespace).items, key=lambda one: one.metadata.creation_timestamp
        )
        return [one for one in found if phase is None or one.status.phase == phase]

    def running(self) -> str:
        """The name of the pod that runs, as soon as one does."""

        def found() -> Any:
            alive = [one for one in self.pods("Running") if not one.metadata.deletion_timestamp]
            return alive[-1].metadata.name if alive else None

        return str(eventually(found, "a pod that runs"))

    def container(self, pod: str) -> str:
        """The id of the pod's container."""
        return str(self.core.read_namespaced_pod(pod, self.namespace).status.container_statuses[0].container_id)

    def delete_pod(self, pod: str) -> None:
        """As anybody may, with the pod's own grace period."""
        self.core.delete_namespaced_pod(pod, self.namespace)

    def log(self, pod: str) -> list[dict[str, Any]]:
        """The events of a pod so far."""
        text = self.kubectl("logs", pod, "-n", self.namespace)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def until_event(self, pod: str, holds: Callable[[dict[str, Any]], bool], what: str) -> None:
        eventually(lambda: any(holds(event) for event in self.log(pod)), f"{what} in the log of {pod}")

    def until_step(self, pod: str, step: int) -> None:
        """Until the pod has trained this far."""
        self.until_event(pod, lambda event: event.get("step", -1) >= step, f"step {step}")

    # --- the store ---

    def stored(self, prefix: str) -> list[str]:
        """Keys of the bucket."""
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def events(self, run: str) -> list[dict[str, Any]]:
        """What all attempts of a run have written into the store."""
        pieces = self.stored(f"runs/runs/{run}/events/")
        client = self.s3.client()
        texts = [client.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode() for key in sorted(pieces)]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def volume(self, name: str) -> Path:
        """A claim, bound to a folder of the node, which is this machine."""
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o777)  # the kubelet changes no owner of a hostPath
        size = {"storage": "5Gi"}
        volume = f"{self.namespace}-{name}"
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        reference = {"namespace": self.namespace, "name": name}
        self.core.create_persistent_volume({
            "metadata": {"name": volume},
            "spec": spec | {"capacity": size, "hostPath": {"path": str(folder)}, "claimRef": reference},
        })  # fmt: skip
        self._volumes.append(volume)
        claim = spec | {"resources": {"requests": size}, "volumeName": volume}
        self.core.create_namespaced_persistent_volume_claim(self.namespace, {"metadata": {"name": name}, "spec": claim})
        return folder


def _merged(base: Any, more: Any) -> Any:
    return {**base, **more} if isinstance(base, dict) and isinstance(more, dict) else base if more is None else more
