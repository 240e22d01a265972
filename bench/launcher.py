"""How long the launcher takes, and what its follower holds, against a real API server.

    python -m bench.launcher [--runs 200] [--events 10000] [--tries 5]

`kubectl get jobs` of the same runs stands beside `list`, in the same minute on the same machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import psutil

from tests.cluster.control_plane import ControlPlane, programs
from tests.cluster.fixtures import Cluster
from tests.k8s.launcher import Launcher

ARGUMENTS = ["--model", "./no/such/model", "--dataset", "./rows.jsonl", "--gpu", "none"]


def seconds(command: Sequence[str | Path], environment: dict[str, str], tries: int) -> tuple[float, float]:
    """The medians of the time on the wall and on the processor; the second says less of what else the machine does."""
    walls, cpus = [], []
    for _ in range(tries):
        started, before = time.monotonic(), getrusage(RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=environment)
        used = getrusage(RUSAGE_CHILDREN)
        walls.append(time.monotonic() - started)
        cpus.append(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls), statistics.median(cpus)


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
            report(cluster, Launcher(cluster, cluster.namespace()), given.runs, given.events, given.tries)
        finally:
            cluster.nodes.stop()
            cluster.kubelet.stop()
            plane.stop()


def report(cluster: Cluster, launcher: Launcher, runs: int, events: int, tries: int) -> None:
    environment = launcher.environment
    rows = [
        ("`--help`", seconds([Path(sys.executable).with_name("finetune-run"), "--help"], environment, tries), "0.5"),
        ("`--dry-run`", seconds(launcher.command("launch", *ARGUMENTS, "--dry-run"), environment, tries), "1"),
    ]
    printed = subprocess.run(
        launcher.command("launch", *ARGUMENTS, "--dry-run"), check=True, capture_output=True, text=True, env=environment
    )
    made = cluster.plane.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=printed.stdout)
    job = next(one for one in items_of(made) if one["kind"] == "Job")
    for number in range(runs):
        metadata = job["metadata"] | {"name": f"run-{number}", "namespace": launcher.namespace}
        body = job | {"metadata": metadata, "spec": job["spec"] | {"suspend": True}}
        cluster.batch.create_namespaced_job(launcher.namespace, body)
    rows.append((f"`list` of {runs} runs", seconds(launcher.command("list"), environment, tries), "1"))
    kubectl = [programs() / "kubectl", "get", "jobs", "-n", launcher.namespace]
    rows.append((f"`kubectl get jobs` of the same {runs}", seconds(kubectl, environment, tries), ""))
    print("| command | seconds (median) | of processor | aim |\n| --- | ---: | ---: | ---: |")
    for what, (wall, cpu), aim in rows:
        print(f"| {what} | {wall:.2f} | {cpu:.2f} | {aim} |")
    print(
        f"\nfollower after {events:,} events: {followed(cluster, launcher, events) / 1e6:.0f} MB of memory (aim: 100)"
    )


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
    with launcher.started("launch", *ARGUMENTS, "--follow") as process:
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
