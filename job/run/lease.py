"""Who works on a run: compare-and-swap on one small file.

The file holds a `Holder`. Nobody's clock is trusted: a contender watches whether
`renewed` still counts up for as long as the lease may go unrenewed. A holder on the same machine whose process
is gone is replaced at once.

`holders` counts who has held the lease, for people who read the file. It is not a fencing number. Neither S3 nor a
folder can make the write of one object depend on another object, so no store refuses a file because its writer has lost
the lease; a check of the lease before each write would leave the moment between the two. So a process that was frozen
for longer than its lease lasts may still write until its next renewal, which is due within a quarter of that time and
ends it. What it writes then cannot pass for another's work: attempts write under their own number, `stage.json` and
`manifest.json` are written only if absent, and a file that is not what its SHA-256 says is refused, never used.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field

from job.artifacts import Frozen
from job.errors import JobError, LeaseHeld, PeerActive
from job.logs import log
from job.run.records import parsed
from job.store import Store
from job.store.base import Conflict

DEFAULT_TTL_S = 60.0


def ttl_s() -> float:
    """How long a lease may go unrenewed, in seconds (FINETUNE_LEASE_TTL_S)."""
    return float(os.environ.get("FINETUNE_LEASE_TTL_S") or DEFAULT_TTL_S)


def host_identity() -> str:
    """This boot of this machine, this process and its start: what tells a dead holder from a live one."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    namespace = Path("/proc/self/ns/pid").readlink()
    return f"{boot} {namespace} {os.getpid()} {_started(os.getpid())}"


def _started(pid: int) -> str | None:
    """The process's start in clock ticks since boot: field 22 of /proc/<pid>/stat (proc(5)); None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _is_gone(identity: str) -> bool:
    place, pid, started = identity.rsplit(" ", 2)
    return host_identity().startswith(place + " ") and _started(int(pid)) != started


class Holder(Frozen):
    """Who holds a lease, as the store has it. A later release may write more fields."""

    model_config = ConfigDict(extra="ignore")

    job: str
    attempt: str
    holders: int = Field(default=0, validation_alias=AliasChoices("holders", "fence"))  # earlier releases: `fence`
    host: str = Field(pattern=r"^.+ \d+ \S+$")
    renewed: int
    free: bool


@dataclass
class Lease:
    """A lease that is held and renewed by a thread until `release`."""

    store: Store
    key: str
    holder: Holder
    tag: str
    on_lost: Callable[[], None]
    _released: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> "Lease":
        threading.Thread(target=self._renew, name="lease", daemon=True).start()
        return self

    def _renew(self) -> None:
        last = time.monotonic()
        ttl = ttl_s()
        while not self._released.wait(ttl / 4):
            try:
                self._write({"renewed": self.holder.renewed + 1})
                last = time.monotonic()
            except Conflict:
                self.on_lost()
                return
            except Exception as error:  # noqa: BLE001 - a thread that ended here would give the run away
                if time.monotonic() - last > ttl:
                    log.error("lease.not_renewed", why=str(error))
                    self.on_lost()
                    return

    def _write(self, change: dict[str, Any]) -> None:
        holder = self.holder.model_copy(update=change)
        self.tag = self.store.put(self.key, holder.model_dump_json().encode(), if_match=self.tag)
        self.holder = holder

    def release(self) -> None:
        """Marks it free, if it is still this one's. Never raises: the next holder can wait it out."""
        self._released.set()
        try:
            self._write({"free": True})
        except Exception as error:  # noqa: BLE001 - it must not hide how the run ended
            log.debug("lease.not_released", why=str(error))


def acquire(store: Store, key: str, *, job: str, attempt: str, on_lost: Callable[[], None]) -> Lease:
    """Takes the lease. Raises PeerActive where a live attempt of the same Job holds it, LeaseHeld where one of
    another Job does, IntegrityViolated if the file is damaged."""
    while True:
        found = store.get(key)
        earlier = 0
        if found:
            holder = _holder(store, key, found[0])
            if not holder.free and not _is_gone(holder.host) and _still_renewed(store, key, found[1], holder):
                raise _refusal(holder, job, store, key)
            earlier = holder.holders
        mine = Holder(job=job, attempt=attempt, holders=earlier + 1, host=host_identity(), renewed=0, free=False)
        text = mine.model_dump_json().encode()
        try:
            tag = store.put(key, text, if_match=found[1]) if found else store.put(key, text, if_absent=True)
        except Conflict:
            continue  # another contender was faster: look again
        return Lease(store, key, mine, tag, on_lost).keep()


def _holder(store: Store, key: str, data: bytes) -> Holder:
    return parsed(Holder, store, key, data, "If no job works on this run, delete it and start again.")


def _still_renewed(store: Store, key: str, tag: str, first: Holder) -> bool:
    """Watches a lease for as long as it may go unrenewed."""
    ttl = ttl_s()
    log.info("lease.waiting", key=key, seconds=ttl, holder=first.attempt)
    end = time.monotonic() + ttl
    while time.monotonic() < end:
        time.sleep(min(1.0, ttl / 10))
        now = store.get(key)
        if now is None or now[1] != tag:
            return now is not None and not _holder(store, key, now[0]).free
    return False


def _refusal(holder: Holder, job: str, store: Store, key: str) -> JobError:
    what = f"{store.url}/{key} is held by attempt {holder.attempt} of Job {holder.job}"
    if holder.job == job:
        return PeerActive(what, hint="It is alive and at work; this attempt has nothing to do.")
    return LeaseHeld(what, hint="It is tried again. If both Jobs go on, cancel one, or name another run.id.")
