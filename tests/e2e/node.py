"""A node that really runs pods: containerd and a kubelet beside the control plane of the tests.

scripts/e2e.sh starts Python in network, mount and process namespaces of its own, so nothing of it reaches the
machine's network, and everything ends with it. There is no kube-proxy and no DNS: pods reach servers at HOST.

<folder>/                 of one session
    containerd/state      sockets
    cni, cni.d            the bridge's configuration and addresses
    kubelet               volumes and logs of pods
<cache>/e2e/containerd    images, kept from session to session
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.cluster.control_plane import ControlPlane, programs
from tests.cluster.pki import by_certificate, kubeconfig
from tests.e2e.images import PAUSE, Image, save, save_pause

HOST = "10.88.255.1"
"""The node's address, and that of the servers."""
PODS = "10.88.0.0/17"
NODE = "node1"
T4 = {
    "nvidia.com/gpu.product": "Tesla-T4",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
}
"""As GPU feature discovery labels it."""


class Cluster(ControlPlane):
    """One node with one T4, which is only said to be there: its pods run on the CPU."""

    grace_s = 40

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__(folder)
        self._cache = cache / "e2e" / "containerd"
        self._socket = folder / "containerd.sock"

    def start(self) -> "Cluster":
        """Some 20 seconds."""
        for command in ("link set lo up", f"addr add {HOST}/32 dev lo", "route add default dev lo"):
            subprocess.run(["ip", *command.split()], check=True)
        super().start()
        self._run_containerd()
        self._run_kubelet()
        self._until(lambda: "True" in self._ready(), f"{NODE} is not ready")
        self._advertise_card()
        return self

    def load(self, image: Image) -> None:
        """Imports an image into the node, and drops those that were there before."""
        known = self._ctr("images", "ls", "-q").split()
        if not any(one.endswith(image.name) for one in known):
            for old in known:
                if "finetune-run" in old:
                    self._ctr("images", "rm", "--sync", old)
            archive = self.folder / "image.tar"
            save(image, archive)
            self._ctr("images", "import", "--all-platforms", str(archive))
            archive.unlink()

    def by_digest(self) -> str:
        """The job's image under a name with its digest, as a registry would give it."""
        rows = [line.split() for line in self._ctr("images", "ls").splitlines()[1:]]
        name, digest = next((row[0], row[2]) for row in rows if "finetune-run:" in row[0])
        pinned = f"{name.rpartition(':')[0]}@{digest}"
        if pinned not in (row[0] for row in rows):
            self._ctr("images", "tag", name, pinned)
        return pinned

    def processes_of(self, container: str) -> list[int]:
        """The process ids of a container, given as the API names it, as the kernel numbers them here."""
        container = container.removeprefix("containerd://")
        lines = self._ctr("tasks", "ps", container).splitlines()[1:]
        return [int(line.split()[0]) for line in lines]

    def kill_for_memory(self, container: str) -> None:
        """Fills a container's memory until the kernel has killed the largest of its processes, or all of them. The
        first one is held meanwhile: it would end the run before."""
        processes = self.processes_of(container)
        group, kills = _memory_group(processes[0])
        largest = max(processes, key=lambda process: psutil.Process(process).memory_info().rss)
        Path(f"/proc/{largest}/oom_score_adj").write_text("1000")  # it goes first, whatever the other one has taken
        before = _kills(group / kills)
        os.kill(processes[0], signal.SIGSTOP)
        try:
            with self.filled(container):
                self._until(lambda: not group.is_dir() or _kills(group / kills) > before, "nothing was killed", 60)
        finally:
            with suppress(ProcessLookupError):
                os.kill(processes[0], signal.SIGCONT)

    @contextmanager
    def filled(self, container: str) -> Iterator[None]:
        """Another process in the container takes memory, more and more, while the block lasts."""
        group, _ = _memory_group(self.processes_of(container)[0])
        glutton = subprocess.Popen([sys.executable, "-c", _FILL, group / "cgroup.procs"])
        try:
            yield
        finally:
            glutton.kill()
            glutton.wait()

    def kills_together(self, container: str) -> bool:
        """Whether the kernel kills all of the container for memory, as it does on cgroup v2 if Kubernetes asks it."""
        together = _memory_group(self.processes_of(container)[0])[0] / "memory.oom.group"
        if together.is_file():
            together.write_text("1")
        return together.is_file()

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", self._socket, "--namespace", "k8s.io", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _run_containerd(self) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        bridge: dict[str, Any] = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False}
        bridge["ipam"] = {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
        (self.folder / "cni.d").mkdir()
        conflist = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (self.folder / "cni.d" / "10-pods.conflist").write_text(json.dumps(conflist))
        (self.folder / "containerd.toml").write_text(f"""
version = 2
root = "{self._cache}"
state = "{self.folder}/containerd"
[grpc]
  address = "{self._socket}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "{PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.folder}/cni.d"
""")
        self._spawn("containerd", ["containerd", "-c", self.folder / "containerd.toml"])
        self._until(self._socket.exists, "containerd does not answer")
        self._until(lambda: self._answers(), "containerd does not answer")
        self._ctr("images", "import", str(save_pause(self.folder)))

    def _answers(self) -> bool:
        command = ["ctr", "--address", self._socket, "version"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _run_kubelet(self) -> None:
        self.authority.issue("node", f"system:node:{NODE}", "system:nodes")
        kubeconfig(self.folder / "node.conf", self.server, self.pki, by_certificate(self.pki, "node"))
        config: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": HOST,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "podLogsDir": str(self.folder / "pods"),
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "failCgroupV1": False,
            "enforceNodeAllocatable": [],
            "cgroupsPerQOS": False,
            "oomScoreAdj": 0,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"nodefs.available": "1Gi", "imagefs.available": "1Gi", "memory.available": "200Mi"},
            "featureGates": {
                "KubeletInUserNamespace": True,  # it may not be allowed to set kernel parameters
                "InPlacePodVerticalScaling": False,  # without cgroups of pods, 1.34.4 dies of it when a pod goes early
            },
        }
        path = self.folder / "kubelet.yaml"
        path.write_text(yaml.safe_dump(config))
        kubelet: list[str | Path] = [programs() / "kubelet", "--config", path]
        kubelet += ["--kubeconfig", self.folder / "node.conf", "--root-dir", self.folder / "kubelet"]
        self._spawn("kubelet", [*kubelet, "--hostname-override", NODE, "--node-ip", HOST])

    def _ready(self) -> str:
        path = "{.status.conditions[?(@.type=='Ready')].status}"
        command = ["get", "node", NODE, "--ignore-not-found", "-o", f"jsonpath={path}"]
        return self.kubectl(*command)

    def _advertise_card(self) -> None:
        labels = [f"{key}={value}" for key, value in T4.items()]
        self.kubectl("label", "node", NODE, *labels)
        self.kubectl("taint", "node", NODE, "nvidia.com/gpu=present:NoSchedule")
        patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "1"}]
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(patch))

    def _until(self, holds: Any, what: str, timeout_s: float = 90) -> None:
        until = time.monotonic() + timeout_s
        while not holds():
            self.check()
            assert time.monotonic() < until, what
            time.sleep(0.3)


_FILL = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
taken = []
while True:
    taken.append(b"x" * (8 << 20))
    time.sleep(0.02)
"""
"""Joins a cgroup and takes memory until it is stopped; the group's limit bounds it."""


def _memory_group(process: int) -> tuple[Path, str]:
    """A process's memory cgroup, and its file that counts kills (cgroup v1, else v2)."""
    groups = [line.split(":", 2) for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory" + path), "memory.oom_control"
    return Path("/sys/fs/cgroup" + groups[-1][2]), "memory.events"


def _kills(path: Path) -> int:
    return int(dict(line.split() for line in path.read_text().splitlines()).get("oom_kill", 0))
