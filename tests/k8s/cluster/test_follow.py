"""A run's log is followed through cuts, replaced pods and restarts of the API's streams, and no line comes twice."""

import json
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from k8s.cluster.client import Cluster as Api
from k8s.cluster.follow import Follower
from k8s.errors import ObjectNotFound
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import BARE, Launcher, submit

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(cluster: Cluster) -> Launcher:
    cluster.nodes.add("plain")
    return Launcher(cluster, cluster.namespace())


@pytest.fixture
def api(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("KUBECONFIG", str(launcher.kubeconfig))
    return Api(namespace=launcher.namespace)


def event(attempt: int, seq: int) -> str:
    return json.dumps({"event": "train.log", "attempt": attempt, "seq": seq, "step": seq, "total": 99, "level": "info"})


class Followed:
    """A follower at work in a thread of its own, and what it has seen."""

    def __init__(self, api: Api, name: str) -> None:
        self.events: list[Any] = []
        self.words: list[str] = []
        self.ended: Any = None
        self._follower = Follower(api, name, self.events.append, self.words.append)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(ObjectNotFound):  # the test is over, and its namespace gone
            self.ended = self._follower.run(timeout_s=90)

    def numbers(self) -> list[tuple[int, int]]:
        return [(one["attempt"], one["seq"]) for one in self.events if "seq" in one]

    def result(self) -> Any:
        self._thread.join(90)
        assert self.ended is not None, "the follower has not come to an end"
        return self.ended


def test_a_stream_that_is_cut_off_is_taken_up_where_it_stopped(launcher: Launcher, cluster: Cluster, api: Api) -> None:
    name = submit(launcher, "--gpu", "none")
    followed = Followed(api, name)
    pod = launcher.run_pod()
    log = cluster.kubelet.log(pod)
    log.cut_after = 5  # more than come in one second: the API takes up a log at a whole second
    before = cluster.kubelet.streams
    for number in range(1, 21):
        log.write(event(1, number))
        time.sleep(0.35)
    log.close()
    eventually(lambda: len(followed.numbers()) >= 20, "all twenty events")
    launcher.end_pod_of(pod, 0)
    assert followed.result().state == "complete"
    assert followed.numbers() == [(1, number) for number in range(1, 21)]
    assert cluster.kubelet.streams - before > 2


def test_a_replaced_pod_is_followed_through(launcher: Launcher, cluster: Cluster, api: Api) -> None:
    name = submit(launcher, "--gpu", "none")
    followed = Followed(api, name)
    for attempt, code in ((1, 75), (2, 0)):
        pod = eventually(lambda: next(iter(waiting(launcher)), None), "a pod", timeout_s=60)
        launcher.start_pod(pod)
        log = cluster.kubelet.log(pod)
        log.write(event(attempt, 1), event(attempt, 2))
        log.close()
        eventually(lambda attempt=attempt: (attempt, 2) in followed.numbers(), "its events")
        launcher.end_pod_of(pod, code)
    assert followed.result().code == 0
    assert followed.numbers() == [(1, 1), (1, 2), (2, 1), (2, 2)]


def waiting(launcher: Launcher) -> list[str]:
    pods = launcher.cluster.pods(launcher.namespace, "Pending")
    return [pod.metadata.name for pod in pods if pod.spec.node_name]


def test_lines_that_are_no_events_come_through_too(launcher: Launcher, cluster: Cluster, api: Api) -> None:
    name = submit(launcher, "--gpu", "none")
    followed = Followed(api, name)
    pod = launcher.run_pod()
    cluster.kubelet.log(pod).write("Traceback (most recent call last):", "{not json", event(1, 1))
    cluster.kubelet.log(pod).close()
    eventually(lambda: followed.numbers(), "the event")
    launcher.end_pod_of(pod, 70)
    said = [one["message"] for one in followed.events if one["event"] == "line"]
    assert said == ["Traceback (most recent call last):", "{not json"]


def test_logs_shows_the_log_of_a_run_as_json_lines(launcher: Launcher, cluster: Cluster) -> None:
    name = submit(launcher, "--gpu", "none")
    pod = launcher.run_pod()
    cluster.kubelet.log(pod).write(event(1, 1), event(1, 2))
    said = launcher("logs", name)
    assert [json.loads(line)["seq"] for line in said.out.splitlines()] == [1, 2]


def test_launching_with_follow_ends_with_the_code_of_the_run(launcher: Launcher, cluster: Cluster) -> None:
    with launcher.started("launch", *BARE, "--gpu", "none", "--follow") as process:
        pod = launcher.run_pod()
        cluster.kubelet.log(pod).write(event(1, 1))
        cluster.kubelet.log(pod).close()
        time.sleep(3)
        launcher.end_pod_of(pod, 81, message="nothing is published, because the result is worse than allowed")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 81
    assert json.loads(out.splitlines()[0])["seq"] == 1
    assert "the result is worse than allowed" in err
