"""One attempt of a run: its store, its lease, its attempt record, its events, and the work it keeps.

A stage's work is kept under `stages/<stage>/<key>/`. The key is the hash of everything that the output depends on, so
every run with the same store finds it there.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from job import console, library_warnings, logs, strict_json
from job.artifacts import Artifact, Frozen, artifact, names_below
from job.errors import Bug, PeerActive, SpecInvalid, StoppedSaved, StoppedUnsaved, StorageFailed, named
from job.logs import Progress, log
from job.run import attempts, lease, limits
from job.run.events import EventLog
from job.run.folders import store_url, work_folder
from job.run.heartbeat import Heartbeat
from job.run.records import StageRecord, contradiction, parsed, read_stage, write_stage
from job.run.supervise import Supervisor, Terminated
from job.run.usage import UsageLog
from job.spec import JobSpec
from job.spec.canonical import canonical
from job.spec.places import data_place, is_of_address
from job.store import Store, open_store
from job.store.base import Conflict
from job.versions import versions


@dataclass
class ActiveRun:
    """The running attempt, for the pipeline. `saved`: whether this attempt has put something new into the store."""

    spec: JobSpec
    id: str
    work: Path
    store: Store
    attempt: attempts.Attempt
    supervisor: Supervisor
    events: EventLog
    usage: UsageLog
    saved: bool = field(default=False)

    def record(self, stage: str, key: str, kind: str | None = None) -> StageRecord | None:
        """The record under this key, if its work is complete. `kind`: of which type, if the stage works by type."""
        found = read_stage(self.store, stage, key)
        of = {"type": kind} if kind else {}
        if found:
            log.info("stage.skipped", stage=stage, key=key, made=found.finished or None, **of)
        else:
            log.info("stage.needed", stage=stage, key=key, **of)
        return found

    def keep(
        self, stage: str, key: str, folder: Path, names: list[str] | None, metrics: dict[str, Any], depends: Any
    ) -> StageRecord:
        """Stores files of `folder` (all, where `names` is None) and then the record that makes them count."""
        artifacts = artifacts_of(folder, names)
        prefix = f"stages/{stage}/{key}"
        for item in artifacts:
            self.upload(f"{prefix}/{item.path}", folder / item.path, item)
        record = StageRecord(
            stage=stage, key=key, artifacts=artifacts, metrics=metrics, versions=versions(), inputs=depends
        )
        written = write_stage(self.store, record)
        self.progressed()
        return written

    def child(self, module: ModuleType, inputs: Frozen, folder: str) -> Any:
        """Runs a stage in a child process, in a folder of the work directory, and returns its Result."""
        self.attempt.doing(self.attempt.stage, folder)
        return self.supervisor.run_stage(module, self.spec, inputs, self.work / folder)

    def progressed(self) -> None:
        """Records that something new is in the store: a later attempt continues from there."""
        self.saved = True
        self.attempt.saved()

    def upload(self, key: str, path: Path, item: Artifact) -> None:
        bar = Progress(f"uploading {path.name}", item.size, "bytes")
        self.store.put_file(key, path, progress=bar.update)

    def bring(self, record: StageRecord, folder: Path, below: str = "", without: str | None = None) -> None:
        """Downloads a record's files (those below a name, but not the one `without`) into a folder, unless they are
        there and complete."""
        for item in record.artifacts:
            if item.path.startswith(below) and item.path != without:
                bar = Progress(f"fetching {item.path}", item.size, "bytes")
                key = f"stages/{record.stage}/{record.key}/{item.path}"
                self.store.get_file(key, folder / item.path, item, progress=bar.update)

    def pin(self, sources: dict[str, Any]) -> dict[str, Any]:
        """Writes runs/<id>/spec.json once: the resolved spec and the revisions that its names were pinned to.

        A later attempt uses the revisions of the first one, so that a moving branch does not change the run. Raises
        SpecInvalid if the run id belongs to another spec.
        """
        key = f"runs/{self.id}/spec.json"
        text = _json({"spec": self.spec.shown(), "sources": sources})
        try:
            self.store.put(key, text, if_absent=True)
            return sources
        except Conflict:
            first = self.pinned()
        if first is None:
            raise contradiction(self.store, key)
        return first

    def pinned(self) -> dict[str, Any] | None:
        """What the names were pinned to by the first attempt, if there was one. Raises SpecInvalid if the run id
        belongs to another spec."""
        key = f"runs/{self.id}/spec.json"
        found = self.store.get(key)
        if found is None:
            return None
        first = parsed(_Pinned, self.store, key, found[0], "Delete it; the next run pins its names anew.")
        if not _is_same(first, self.spec):
            raise SpecInvalid(
                f"run.id: {self.id!r} is taken: {self.store.url}/{key} has another spec",
                hint="Choose another run.id, or leave it out: then the id is the spec's hash.",
            )
        return first.sources


def artifacts_of(folder: Path, names: list[str] | None) -> list[Artifact]:
    """Hashes files of a folder (all, where `names` is None)."""
    paths = {name: (folder / name).stat().st_size for name in (names_below(folder) if names is None else names)}
    bar, done, found = Progress("hashing", sum(paths.values()), "bytes"), 0, []
    for name, size in paths.items():
        found.append(artifact(folder, name, lambda count, start=done: bar.update(start + count)))  # type: ignore[misc]
        done += size
    return found


class _Pinned(Frozen):
    """runs/<id>/spec.json."""

    spec: dict[str, Any]
    sources: dict[str, Any]


def _is_same(first: _Pinned, spec: JobSpec) -> bool:
    """Whether only defaults differ, as they do where another release pinned it, with fewer fields or with more. A spec
    that this release does not understand is another one. Addresses are kept without their queries, which are compared
    by the hashes in `sources`."""
    try:
        kept = JobSpec.model_validate(first.spec)
    except ValidationError:
        return False
    if canonical(JobSpec.model_validate(kept.shown())) != canonical(JobSpec.model_validate(spec.shown())):
        return False
    judged = [(name, one.id) for name in ("text", "tasks") if (one := getattr(spec.evaluation, name))]
    pinned = [(place, first.sources.get(name)) for name, place in judged]
    pinned += zip((one.id for one in spec.datasets), first.sources.get("datasets", []), strict=False)
    return all(is_of_address(pin, place) for place, pin in pinned if pin and data_place(place) == "https")


def _json(value: Any) -> bytes:
    return (strict_json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


@contextmanager
def opened(spec: JobSpec, identity: str, supervisor: Supervisor) -> Iterator[ActiveRun]:
    """Takes the lease, writes the attempt record, and closes both at the end, however it ends. `identity`: the
    run's id."""
    work = work_folder()
    work.mkdir(parents=True, exist_ok=True)
    screen = console.ConsoleSink() if console.wanted() else None
    heartbeat = Heartbeat()
    sinks = [heartbeat, screen] if screen else [heartbeat]
    logs.configure(*sinks, to_stdout=screen is None)
    library_warnings.forward()
    with heartbeat.beating(), closing(screen) if screen else nullcontext():
        if spec.run.store is None:
            log.warning("run.store_is_local", folder=store_url(spec, work), what="lost with this folder")
        store = open_store(store_url(spec, work))
        if not store.probe():
            log.warning("store.single_writer", store=store.url, why="it does not honour conditional writes")
        with leased(store, f"runs/{identity}/lease.json", identity, supervisor):
            attempt = attempts.begin(store, identity)
            events = EventLog(store, identity, attempt.n)
            logs.configure(events, *sinks, to_stdout=screen is None)
            usage = UsageLog(store, identity, attempt.n, lambda: attempt.stage)
            run = ActiveRun(spec, identity, work / identity, store, attempt, supervisor, events, usage)
            run.work.mkdir(exist_ok=True)
            with _ends_on_record(run):
                log.info("run.start", store=store.url, work=str(run.work), attempt_number=attempt.n)
                with limits.watched(lambda: attempt.at_work, supervisor.end, usage.look_now):
                    yield run


@contextmanager
def leased(store: Store, key: str, run: str, supervisor: Supervisor) -> Iterator[None]:
    """Holds a lease while the block lasts. Raises PeerActive and LeaseHeld; one that is lost ends the process."""
    held = lease.acquire(
        store,
        key,
        job=os.environ.get("FINETUNE_JOB_NAME") or run,
        attempt=f"{socket.gethostname()}-{os.getpid()}",
        on_lost=lambda: _give_way(supervisor),
    )
    try:
        yield
    finally:
        held.release()


@contextmanager
def _ends_on_record(run: ActiveRun) -> Iterator[None]:
    code = Bug.code
    try:
        with terminated_as_fault(run):
            yield
        code = 0
    except Exception as error:  # a bug too: its traceback belongs in the store
        fault = named(error)
        if isinstance(fault, StorageFailed) and fault is not error and str(run.work.parent) not in fault.message:
            fault = StorageFailed(f"{fault.message}, at work in {run.work}", hint=fault.hint)
        code, unforeseen = fault.code, isinstance(fault, Bug) and fault is not error
        told = {"code": code, "error": type(fault).__name__, "message": fault.message, "hint": fault.hint}
        log.error("run.failed", **told, exc_info=unforeseen)
        if fault is not error:
            raise fault from error
        raise
    finally:
        _record_end(run, code)


def _record_end(run: ActiveRun, code: int) -> None:
    """Records how the run ended. What cannot be recorded is a warning: the run has ended the way it has, and the error
    that ended it must not be hidden by another."""
    for what, record in (
        ("the memory over time", run.usage.close),
        ("the exit code", lambda: run.attempt.end(code)),
        ("the events", run.events.close),
    ):
        try:
            record()
        except Exception as error:  # noqa: BLE001 - whatever it is, the end stays the end
            log.warning("run.end_not_recorded", what=what, why=named(error).message)


@contextmanager
def terminated_as_fault(run: ActiveRun) -> Iterator[None]:
    """Turns the end that somebody asked for into the error that the run ends with."""
    try:
        yield
    except Terminated:
        if run.supervisor.fault:
            raise run.supervisor.fault from None
        stopped = StoppedSaved if run.saved else StoppedUnsaved
        saved = "the finished work is in the store" if run.saved else "there was nothing new to save"
        raise stopped(f"stopped by a signal; {saved}", hint="Start it again to continue.") from None


def _give_way(supervisor: Supervisor) -> None:
    """Another attempt has the lease: stop at once, write nothing more."""
    supervisor.kill_child()
    log.error("lease.lost", message="another attempt has taken the lease; this one ends")
    os._exit(PeerActive.code)
