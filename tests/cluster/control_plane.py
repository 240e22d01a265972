"""A real Kubernetes control plane on loopback, without root: etcd, API server, controller manager, scheduler.

No kubelet runs: nodes are objects whose heartbeats are renewed here (tests/cluster/nodes.py), and a test says how a
pod ends by writing its status as a kubelet does.
"""

import ctypes
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.cluster.pki import Authority, by_certificate, kubeconfig

START_S = 90
GATES = "DRAExtendedResource=true"
"""On by default from Kubernetes 1.36."""
GRACE_S = 6
"""After so long without a heartbeat a node is not ready: short, so that a test can see it."""


PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


@cache
def programs() -> Path:
    """The folder of the programs; built into the cache by the first who asks."""
    command = [ROOT / "scripts" / "build-kubernetes.sh"]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _dies_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class ControlPlane:
    """`start` takes some four seconds; `admin` is then the kubeconfig of a cluster administrator."""

    grace_s = GRACE_S

    def __init__(self, folder: Path) -> None:
        self.folder, self.pki = folder, folder / "pki"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._etcd, self._peer, self._port = free_ports(3)
        self.server = f"https://127.0.0.1:{self._port}"
        self.admin = folder / "admin.conf"

    def start(self) -> "ControlPlane":
        self.authority = authority = Authority(self.pki)
        authority.issue("apiserver", "kube-apiserver")
        authority.issue("admin", "admin", "system:masters")
        for name in ("controller-manager", "scheduler"):
            authority.issue(name, f"system:kube-{name}")
            kubeconfig(self.folder / f"{name}.conf", self.server, self.pki, by_certificate(self.pki, name))
        kubeconfig(self.admin, self.server, self.pki, by_certificate(self.pki, "admin"))
        self._run_etcd()
        self._run_api_server()
        self._wait_ready()
        self._run(
            "kube-controller-manager", kubeconfig=self.folder / "controller-manager.conf",
            root_ca_file=self.pki / "ca.crt", service_account_private_key_file=self.pki / "sa.key",
            use_service_account_credentials="true", leader_elect="false", secure_port=0,
            node_monitor_grace_period=f"{self.grace_s}s", node_monitor_period="1s",
            kube_api_qps=500, kube_api_burst=1000,  # it starts, and deletes namespaces, seconds sooner
        )  # fmt: skip
        self._run(
            "kube-scheduler", kubeconfig=self.folder / "scheduler.conf", leader_elect="false", secure_port=0,
            feature_gates=GATES,
        )  # fmt: skip
        return self

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def check(self) -> None:
        """Raises AssertionError with the last words of a program that has ended."""
        for program, process in self._processes.items():
            assert process.poll() is None, f"{program} ended with {process.returncode}: {self._said(program)}"

    def account(self, namespace: str, name: str = "default") -> Path:
        """A kubeconfig of a service account, by a token for an hour. It may do what RBAC lets it, which is little."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}").strip()
        return kubeconfig(self.folder / f"{namespace}-{name}.conf", self.server, self.pki, {"token": token})

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints as the administrator. Raises CalledProcessError."""
        command = [programs() / "kubectl", f"--kubeconfig={self.admin}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout

    def _run_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        self._run(
            "etcd", data_dir=self.folder / "etcd", unsafe_no_fsync="", listen_client_urls=client,
            advertise_client_urls=client, listen_peer_urls=peer, initial_advertise_peer_urls=peer,
            initial_cluster=f"default={peer}", log_level="error",
        )  # fmt: skip

    def _run_api_server(self) -> None:
        self._run(
            "kube-apiserver", etcd_servers=f"http://127.0.0.1:{self._etcd}", bind_address="127.0.0.1",
            secure_port=self._port, tls_cert_file=self.pki / "apiserver.crt",
            tls_private_key_file=self.pki / "apiserver.key", client_ca_file=self.pki / "ca.crt",
            service_account_key_file=self.pki / "sa.key", service_account_signing_key_file=self.pki / "sa.key",
            service_account_issuer="https://kubernetes.default.svc", authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction,ExtendedResourceToleration",
            service_cluster_ip_range="10.96.0.0/16", endpoint_reconciler_type="none",
            kubelet_preferred_address_types="InternalIP", audit_log_path=self.folder / "audit.log",
            audit_policy_file=self._audit_policy(), feature_gates=GATES,
        )  # fmt: skip

    def _audit_policy(self) -> Path:
        """Who asked for what is written down, once the answer is sent."""
        path = self.folder / "audit.yaml"
        rules = [{"level": "None", "userGroups": ["system:masters", "system:nodes"]}, {"level": "Metadata"}]
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
        path.write_text(json.dumps(policy))
        return path

    def asked_by(self, user: str) -> set[tuple[str, str]]:
        """Verb and resource (with its subresource) of every request of a user."""
        found = set()
        for line in (self.folder / "audit.log").read_text().rpartition("\n")[0].splitlines():
            entry = json.loads(line)
            what = entry.get("objectRef")
            if entry["user"].get("username") == user and what:  # one whose token was refused has no name
                resource = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
                found.add((entry["verb"], resource))
        return found

    def _run(self, program: str, **options: Any) -> None:
        flags = [
            f"--{name.replace('_', '-')}" + (f"={value}" if value != "" else "") for name, value in options.items()
        ]
        self._spawn(program, [programs() / program, *flags])

    def _spawn(self, name: str, command: list[str | Path]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=_dies_with_parent, cwd=self.folder
            )

    def _wait_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            self.check()
            try:
                with urllib.request.urlopen(f"{self.server}/readyz", context=context, timeout=5) as reply:
                    if reply.status == 200:
                        return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"the API server was not ready in {START_S} s: {self._said('kube-apiserver')}")

    def _said(self, program: str) -> str:
        return (self.folder / f"{program}.log").read_text(errors="replace")[-2000:]
