"""Records what each attempt of a run was doing, so that a later one can report a death without a message.

`runs/<run id>/attempts/<n>.json`: {"n", "stage", "point", "progress", "ended"}. A process that is killed leaves
`ended` empty; the run ends (79) if two attempts died this way at the same point, or if many in a row saved nothing new.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from job.errors import DiedSilently
from job.logs import log
from job.store import Store
from job.store.base import Conflict

SILENT_DEATHS = 2
WITHOUT_PROGRESS = 8
EVERY_S = 15.0
UNSAID = "it ended without a message: killed for memory, or its node was lost"


@dataclass
class Attempt:
    """One attempt's record; `n` counts from 1."""

    store: Store
    run: str
    n: int
    stage: str = "start"
    point: str = "start"
    progress: bool = False
    _written: float = field(default=0.0, repr=False)

    def doing(self, stage: str, point: str) -> None:
        """Records where the attempt is: at once for a new stage, else every 15 seconds."""
        same = stage == self.stage
        self.stage, self.point = stage, point
        if not same or time.monotonic() - self._written > EVERY_S:
            self._write(None)

    def saved(self) -> None:
        """Records that something new is in the store."""
        if not self.progress:
            self.progress = True
            self._write(None)

    def end(self, code: int) -> None:
        """Records the exit code: this attempt did not die silently."""
        self._write(code)

    def _write(self, ended: int | None) -> None:
        self._written = time.monotonic()
        self.store.put(_key(self.run, self.n), _text(self, ended))


def begin(store: Store, run: str) -> Attempt:
    """Starts the next attempt's record."""
    n = max((number for number, _ in _records(store, run)), default=0)
    while True:
        n += 1
        attempt = Attempt(store, run, n)
        try:
            store.put(_key(run, n), _text(attempt, None), if_absent=True)
            return attempt
        except Conflict:
            continue


def judge(store: Store, run: str, current: Attempt) -> None:
    """Raises DiedSilently if the earlier attempts show that another one will not help."""
    earlier = [record for number, record in sorted(_records(store, run)) if number < current.n]
    silent = [one for one in earlier if one["ended"] is None]
    if silent and silent[-1] is earlier[-1]:
        dead = silent[-1]
        log.warning("attempt.died", died=dead["n"], stage=dead["stage"], point=dead["point"], why=UNSAID)
    last = [one for one in silent[-SILENT_DEATHS:] if not one["progress"]]
    if len(last) == SILENT_DEATHS and earlier[-1]["ended"] is None:
        points = {(one["stage"], one["point"]) for one in last}
        if len(points) == 1:
            stage, point = points.pop()
            where = stage if stage == point else f"{stage}, {point}"
            raise DiedSilently(
                f"{SILENT_DEATHS} attempts ended without a message at the same point: {where}",
                hint="They were probably killed for memory. Give the pod more, or set a smaller batch or max_length.",
            )
    tail = earlier[-WITHOUT_PROGRESS:]
    if len(tail) == WITHOUT_PROGRESS and not any(one["progress"] for one in tail):
        raise DiedSilently(
            f"{WITHOUT_PROGRESS} attempts in a row saved nothing new; the last was at {tail[-1]['stage']}",
            hint="If the node is lost before training.save_steps is reached, set it lower, or use another node.",
        )


def _key(run: str, n: int) -> str:
    return f"runs/{run}/attempts/{n}.json"


def _text(attempt: Attempt, ended: int | None) -> bytes:
    record = {"n": attempt.n, "stage": attempt.stage, "point": attempt.point, "progress": attempt.progress}
    return json.dumps(record | {"ended": ended}).encode()


def _records(store: Store, run: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for key in store.list(f"runs/{run}/attempts/"):
        found, number = store.get(key), re.search(r"/(\d+)\.json$", key)
        if found and number:
            yield int(number[1]), json.loads(found[0])
