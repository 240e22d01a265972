"""Follows a run to its end: its log, without repeated lines, and what it is waiting for.

The API server may cut off a log stream at any time (its own timeout, a load balancer's, a rotated file). It is
continued from the second where it stopped, and events that were seen already are dropped by attempt and number.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from k8s.cluster.client import Cluster
from k8s.cluster.image import check_image
from k8s.cluster.runs import Run, run_of, why_it_ended
from k8s.cluster.waiting import lost_node, waiting_for
from k8s.errors import AlreadyThere, ClusterUnreachable, ObjectNotFound, SettingsInvalid, WaitedTooLong
from k8s.manifest.base import CONTAINER

Event = dict[str, Any]
PAUSE_S = 1.0
UNREACHABLE_S = 300.0
"""Seconds for which an unreachable cluster is retried: API servers are restarted."""


class Follower:
    """Follows one run. `on_event`: called with each event of its log; `on_words`: with each sentence about it that
    changes."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        on_event: Callable[[Event], None],
        on_words: Callable[[str], None],
        *,
        logs: bool = True,
    ) -> None:
        self._cluster, self._name = cluster, name
        self._on_event, self._on_words, self._logs = on_event, on_words, logs
        self._seen: set[tuple[Any, Any]] = set()
        self._readers: dict[str, threading.Thread] = {}
        self._last_words: list[str] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self, timeout_s: float | None = None) -> Run:
        """Follows it to its end. Raises WaitedTooLong after `timeout_s` (the run goes on), ObjectNotFound if it is
        deleted meanwhile, ImageUnavailable, and ClusterUnreachable after UNREACHABLE_S without an answer."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while True:
                run = self._patiently(self._look)
                if run.is_over:
                    self._finish()
                    return run
                if until is not None and time.monotonic() > until:
                    raise WaitedTooLong(
                        f"{self._name} is still {run.state} after {timeout_s:g} s; it goes on",
                        hint=f"`finetune-run wait {self._name}` waits again.",
                    )
                time.sleep(PAUSE_S)
        finally:
            self._stopped.set()

    def _patiently(self, what: Callable[[], Run]) -> Run:
        since = time.monotonic()
        while True:
            try:
                return what()
            except ClusterUnreachable as error:
                if time.monotonic() - since > UNREACHABLE_S:
                    raise
                self._say([f"{error.message}; trying again"])
                time.sleep(5 * PAUSE_S)

    def _look(self) -> Run:
        job = self._cluster.job(self._name)
        pods = self._cluster.pods(self._name)
        run = run_of(job, pods)
        words: list[str] = []
        if not run.is_over and run.state != "running":
            said = self._cluster.events(run.uid)
            said += self._cluster.events(pods[-1]["metadata"]["uid"]) if pods else []
            words = waiting_for(job, pods, said)
            check_image(self._name, pods, said)
        if node := lost_node(pods):
            words.append(
                f"node {node} does not answer; the run continues on another node once this one is removed "
                f"(`kubectl delete node {node}`, or taint it out-of-service)"
            )
        words += [f"pod {pod['metadata']['name']}: {why}" for pod in pods if (why := why_it_ended(pod))]
        self._say(words)
        for pod in pods if self._logs else ():
            self._read(pod)
        return run

    def _say(self, words: list[str]) -> None:
        for sentence in words:
            if sentence not in self._last_words:
                self._on_words(sentence)
        self._last_words = words

    # --- the log ---

    def _read(self, pod: Event) -> None:
        """Starts reading the log of a pod, once."""
        name = pod["metadata"]["name"]
        if name in self._readers or pod["status"].get("phase") not in ("Running", "Succeeded", "Failed"):
            return
        thread = threading.Thread(target=self._read_all, args=(name,), name=f"log of {name}", daemon=True)
        self._readers[name] = thread
        thread.start()

    def _read_all(self, pod: str) -> None:
        """Reads until the container has ended and its whole log was read."""
        since: str | None = None
        while not self._stopped.is_set():
            over = self._is_over(pod)
            try:
                for when, line in _lines(self._cluster, pod, since):
                    since = when or since
                    self._take(line)
            except (SettingsInvalid, ObjectNotFound, AlreadyThere):
                pass  # the container has not started yet, or its pod is gone
            except ClusterUnreachable:
                over = False
            if over:
                return
            self._stopped.wait(PAUSE_S)

    def _is_over(self, pod: str) -> bool:
        try:
            found = self._cluster.call("GET", f"/api/v1/namespaces/{self._cluster.namespace}/pods/{pod}")
        except ObjectNotFound:
            return True
        except ClusterUnreachable:
            return False
        return found["status"].get("phase") in ("Succeeded", "Failed")

    def _take(self, line: str) -> None:
        event = event_of(line)
        if event is None:
            return
        key = (event.get("attempt"), event.get("seq"))
        with self._lock:
            if None not in key:
                if key in self._seen:
                    return
                self._seen.add(key)
            self._on_event(event)

    def _finish(self) -> None:
        for thread in self._readers.values():
            thread.join(timeout=30)


def _lines(cluster: Cluster, pod: str, since: str | None) -> Iterator[tuple[str, str]]:
    """Each line's time, to the second, and its text."""
    for raw in cluster.log(pod, CONTAINER, follow=True, since=since):
        when, _, text = raw.decode(errors="replace").partition(" ")
        yield f"{when[:19]}Z" if when[:4].isdigit() else "", text


def event_of(line: str) -> Event | None:
    """The event in a line of the log; any other line becomes an event that contains it."""
    line = line.rstrip()
    if not line:
        return None
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict) and "event" in found:
            return found
    return {"event": "line", "level": "info", "message": line}
