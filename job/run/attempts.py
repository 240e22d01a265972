"""Records what each attempt of a run was doing, so that a later one can report a death without a message.

`runs/<run id>/attempts/<n>.json`: `Record`. A process that is killed leaves `ended` empty. The run ends (79) if the
last two attempts died this way at the same point and saved nothing new, or if many in a row saved nothing new. Deaths
with an attempt between them that saved something are no verdict: on spot nodes a run may have any number of them.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import ConfigDict

from job.artifacts import Frozen
from job.errors import DiedSilently, IntegrityViolated
from job.logs import log
from job.run.records import parsed
from job.run.usage import died_of_memory
from job.store import Store
from job.store.base import Conflict

SILENT_DEATHS = 2
WITHOUT_PROGRESS = 8
EVERY_S = 15.0
UNSAID = "it ended without a message: the container was killed, or its node was lost"


class Record(Frozen):
    """An attempt as the store has it. `ended`: its exit code; `progress`: whether it put something new into the
    store. A later release may write more fields."""

    model_config = ConfigDict(extra="ignore")

    n: int
    stage: str
    point: str
    progress: bool
    ended: int | None


@dataclass
class Attempt:
    """One attempt's record; `n` counts from 1."""

    store: Store
    run: str
    n: int
    stage: str = "start"
    point: str = "start"
    progress: bool = False
    beside: str = ""
    _written: float = field(default=0.0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def at_work(self) -> str:
        """The stage, and what is done beside it."""
        return self._with_beside(self.stage)

    def _with_beside(self, what: str) -> str:
        is_another = self.beside not in ("", f"{self.stage} {self.point}")
        return f"{what} beside {self.beside}" if is_another else what

    def doing(self, stage: str, point: str) -> None:
        """Records where the attempt is: at once for a new stage, else every 15 seconds."""
        same = stage == self.stage
        self.stage, self.point = stage, point
        if not same or time.monotonic() - self._written > EVERY_S:
            self._write(None)

    @contextmanager
    def doing_beside(self, what: str) -> Iterator[None]:
        """Records what another thread does while the block lasts, with the stage's next record."""
        self.beside = what
        try:
            yield
        finally:
            self.beside = ""

    def saved(self) -> None:
        """Records that something new is in the store."""
        if not self.progress:
            self.progress = True
            self._write(None)

    def end(self, code: int) -> None:
        """Records the exit code: this attempt did not die silently."""
        self._write(code)

    def _write(self, ended: int | None) -> None:
        with self._lock:  # of two threads the later one writes what is true
            self._written = time.monotonic()
            self.store.put(_key(self.run, self.n), _text(self, ended))


def begin(store: Store, run: str) -> Attempt:
    """Starts the next attempt's record."""
    n = max(_keys(store, run), default=0)
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
    earlier = list(_records(store, run, current.n))
    if earlier and earlier[-1].ended is None:
        dead = earlier[-1]
        why = died_of_memory(store, run, dead.n) or UNSAID
        log.warning("attempt.died", died=dead.n, stage=dead.stage, point=dead.point, why=why)
    last = earlier[-SILENT_DEATHS:]
    alike = len({(one.stage, one.point) for one in last}) == 1
    if len(last) == SILENT_DEATHS and alike and all(one.ended is None and not one.progress for one in last):
        stage, point = last[-1].stage, last[-1].point
        where = stage if stage == point else f"{stage}, {point}"
        memory = died_of_memory(store, run, last[-1].n)
        raise DiedSilently(
            f"{SILENT_DEATHS} attempts in a row ended without a message at the same point: {where}"
            + (f"; of the last one: {memory}" if memory else ""),
            hint="`finetune-run status` or `kubectl describe pod` says why. If they were killed for memory, give the "
            "pod more, or set a smaller batch or max_length; if their nodes were lost, start the run again.",
        )
    tail = earlier[-WITHOUT_PROGRESS:]
    if len(tail) == WITHOUT_PROGRESS and not any(one.progress for one in tail):
        raise DiedSilently(
            f"{WITHOUT_PROGRESS} attempts in a row saved nothing new; the last was at {tail[-1].stage}",
            hint="If the node is lost before training.save_steps is reached, set it lower, or use another node.",
        )


def _key(run: str, n: int) -> str:
    return f"runs/{run}/attempts/{n}.json"


def _text(attempt: Attempt, ended: int | None) -> bytes:
    point = attempt._with_beside(attempt.point)
    record = Record(n=attempt.n, stage=attempt.stage, point=point, progress=attempt.progress, ended=ended)
    return record.model_dump_json().encode()


def _keys(store: Store, run: str) -> dict[int, str]:
    """The number and the key of each attempt, in order."""
    found = ((re.search(r"/(\d+)\.json$", key), key) for key in store.list(f"runs/{run}/attempts/"))
    return dict(sorted((int(number[1]), key) for number, key in found if number))


def _records(store: Store, run: str, before: int) -> Iterator[Record]:
    """Every earlier attempt's record, in order. One that cannot be read counts as one that made progress."""
    for n, key in _keys(store, run).items():
        if n < before and (found := store.get(key)):
            try:
                yield parsed(Record, store, key, found[0])
            except IntegrityViolated as error:
                log.warning("attempt.unreadable", why=error.message)
                yield Record(n=n, stage="", point="", progress=True, ended=IntegrityViolated.code)
