"""How long the launcher takes, and what its follower holds, against a real API server.

    python -m bench.launcher [--runs 200] [--events 10000] [--tries 5]

`kubectl` does the same beside each, in the same minute on the same machine. `--dry-run` is of a model that the plan
knows: its config.json comes from a Hub on this machine, so no network is asked. The launcher is measured as
`pip install .` leaves it: compiled, and without the job's extra, with which it would rehearse the model too.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import psutil

from tests.cluster.control_plane import ControlPlane, programs
from tests.cluster.fixtures import Cluster
from tests.job.predict.sizes import SIZES
from tests.k8s.launcher import Launcher

RUN = ["--model", "team/llama-7b", "--dataset", "team/rows", "--gpu", "none"]
WITHOUT_EXTRA = "import sys; sys.modules['torch'] = None; from k8s.launch import main; main()"


def seconds(command: Sequence[str | Path], environment: dict[str, str], tries: int) -> tuple[float, float]:
    """The median of the time on the wall, and the least on the processor, on which other work tells less. A first try
    is not counted: it compiles."""
    subprocess.run(command, check=True, capture_output=True, env=environment)
    walls, cpus = [], []
    for _ in range(tries):
        started, before = time.monotonic(), getrusage(RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=environment)
        used = getrusage(RUSAGE_CHILDREN)
        walls.append(time.monotonic() - started)
        cpus.append(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls), min(cpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--tries", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(folder)).start()
        cluster = Cluster(plane)
        try:
            launcher = Real(cluster, cluster.namespace())
            with hub_of_7b(Path(folder) / "hub") as hub:
                report(cluster, launcher, hub, given.runs, given.events, given.tries)
        finally:
            cluster.nodes.stop()
            cluster.kubelet.stop()
            plane.stop()


class Real(Launcher):
    """Its commands are processes of their own, which import what they need; those of the tests are forked."""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", WITHOUT_EXTRA, *arguments, "--namespace", self.namespace]

    @property
    def environment(self) -> dict[str, str]:
        compiled = {"PYTHONPYCACHEPREFIX": str(self.cluster.plane.folder / "compiled")}
        return {
            name: value for name, value in super().environment.items() if name != "PYTHONDONTWRITEBYTECODE"
        } | compiled


class Hub(SimpleHTTPRequestHandler):
    """A Hub that has one file."""

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def hub_of_7b(folder: Path) -> Iterator[str]:
    """The address of a Hub on which the config.json of team/llama-7b is."""
    file = folder / "team" / "llama-7b" / "resolve" / "main" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(SIZES["7B"][0]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def report(cluster: Cluster, launcher: Launcher, hub: str, count: int, events: int, tries: int) -> None:
    environment = launcher.environment | {"HF_ENDPOINT": hub}
    dry_run = launcher.command("launch", *RUN, "--dry-run")
    kubectl = [programs() / "kubectl", "-n", launcher.namespace]
    printed = subprocess.run(dry_run, check=True, capture_output=True, text=True, env=environment)
    file = cluster.plane.folder / "printed.yaml"
    file.write_text(printed.stdout)
    rows = [
        ("`--help`", seconds([Path(sys.executable).with_name("finetune-run"), "--help"], environment, tries), "0.5"),
        ("`--dry-run`", seconds(dry_run, environment, tries), "0.6"),
        (
            "`kubectl create --dry-run=client` of what it prints",
            seconds([*kubectl, "create", "--dry-run=client", "-o", "yaml", "-f", file], environment, tries),
            "",
        ),
    ]
    made = cluster.plane.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=printed.stdout)
    job = next(one for one in items_of(made) if one["kind"] == "Job")
    for number in range(count):
        metadata = job["metadata"] | {"name": f"run-{number}", "namespace": launcher.namespace}
        body = job | {"metadata": metadata, "spec": job["spec"] | {"suspend": True}}
        cluster.batch.create_namespaced_job(launcher.namespace, body)
    rows.append((f"`list` of {count} runs", seconds(launcher.command("list"), environment, tries), "0.6"))
    rows.append((f"`kubectl get jobs` of the same {count}", seconds([*kubectl, "get", "jobs"], environment, tries), ""))
    print("| command | seconds (median) | of processor (least) | aim |\n| --- | ---: | ---: | ---: |")
    for what, (wall, cpu), aim in rows:
        print(f"| {what} | {wall:.2f} | {cpu:.2f} | {aim} |")
    held = followed(cluster, launcher, events)
    print(f"\nfollower after {events:,} events: {held / 1e6:.0f} MB of memory (aim: 100)")


def items_of(text: str) -> list[Any]:
    """kubectl prints one JSON object after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        item, at = decoder.raw_decode(text, at)
        found += item.get("items", [item])
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def followed(cluster: Cluster, launcher: Launcher, events: int) -> int:
    """Anonymous memory of `launch --follow` when it has seen so many events."""
    cluster.nodes.add("plain")
    with launcher.started("launch", *RUN, "--follow") as process:
        pod = launcher.run_pod()
        log = cluster.kubelet.log(pod)
        for number in range(events):
            log.write(json.dumps({"event": "train.log", "attempt": 1, "seq": number, "step": number, "loss": 1.5}))
        log.close()
        assert process.stdout
        for _, _line in zip(range(events), process.stdout, strict=False):
            pass
        info = psutil.Process(process.pid).memory_info()
        launcher.end_pod_of(pod, 0)
        return int(info.rss)


if __name__ == "__main__":
    main()
