"""Checkpoints in the store: uploaded while training goes on, brought back to resume."""

import re
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from job.artifacts import Artifact, Frozen, artifacts_below
from job.errors import IntegrityViolated, JobError, NotFound, named
from job.logs import log
from job.run.active_run import ActiveRun
from job.run.supervise import path_within
from job.store import Store

_STEP = re.compile(r"/checkpoints/step-(\d{6,})/COMPLETE\.json$")


class Complete(Frozen):
    """The mark of a complete checkpoint: all its files with their hashes."""

    step: int
    files: list[Artifact]


def put_checkpoint(store: Store, prefix: str, folder: Path, step: int) -> None:
    """Uploads a checkpoint's files, then COMPLETE.json, which makes it count."""
    target = f"{prefix}/checkpoints/step-{step:06d}"
    files = artifacts_below(folder)
    for item in files:
        store.put_file(f"{target}/{item.path}", folder / item.path)
    store.put(f"{target}/COMPLETE.json", Complete(step=step, files=files).model_dump_json(indent=2).encode())


def checkpoints(store: Store, prefix: str) -> Iterator[int]:
    """The steps of the complete checkpoints, newest first."""
    steps = (_STEP.search(key) for key in store.list(f"{prefix}/checkpoints/"))
    yield from sorted((int(found[1]) for found in steps if found), reverse=True)


def get_checkpoint(
    store: Store,
    prefix: str,
    folder: Path,
    check: Callable[[Path], None] = lambda _: None,
    without: Container[int] = (),
) -> int | None:
    """Downloads the newest complete checkpoint that passes verification, and returns its step.

    `check` raises IntegrityViolated for a folder that cannot be resumed from; `without`: steps that are passed over.
    """
    for step in checkpoints(store, prefix):
        if step in without:
            continue
        target = f"{prefix}/checkpoints/step-{step:06d}"
        found = store.get(f"{target}/COMPLETE.json")
        if found is None:
            continue
        try:
            for item in Complete.model_validate_json(found[0]).files:
                store.get_file(f"{target}/{item.path}", folder / f"step-{step}" / item.path, item)
            check(folder / f"step-{step}")
        except (IntegrityViolated, NotFound, ValidationError) as error:
            log.warning("checkpoint.damaged", step=step, why=str(error))
            continue
        return step
    return None


def prune_checkpoints(store: Store, prefix: str, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints. COMPLETE.json is deleted first, so a partial one never counts.

    Credentials may lack the right to delete: old checkpoints then take space, and nothing fails.
    """
    for step in list(checkpoints(store, prefix))[keep:]:
        target = f"{prefix}/checkpoints/step-{step:06d}"
        try:
            store.delete(f"{target}/COMPLETE.json")
            store.delete_prefix(f"{target}/")
        except JobError as error:
            log.warning("checkpoint.not_deleted", step=step, why=error.message)
            return


class CheckpointUploads:
    """Uploads checkpoints while training goes on; if several are waiting, only the newest.

    `folder`: the stage's own. `unusable`: steps that the stage could not resume from.
    """

    def __init__(self, run: ActiveRun, prefix: str, keep: int, folder: Path) -> None:
        self._run, self._prefix, self._keep, self._folder = run, prefix, keep, folder
        self.unusable: set[int] = set()
        self._wake = threading.Condition()
        self._next: tuple[int, Path] | None = None
        self._done = False
        self._fault: JobError | None = None
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def on_event(self, record: dict[str, Any]) -> None:
        if record["event"] == "train.checkpoint":
            path = path_within(self._folder, Path(record["path"]))
            with self._wake:
                self._next = (int(record["step"]), path)
                self._wake.notify()
        elif record["event"] == "train.checkpoint_unusable":
            self.unusable.add(int(record["step"]))
        elif record["event"] == "train.log":
            self._run.attempt.doing("train", f"step {record.get('step')}")

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._next is not None or self._done)
                if self._next is None:
                    return
                (step, folder), self._next = self._next, None
            try:
                put_checkpoint(self._run.store, self._prefix, folder, step)
                prune_checkpoints(self._run.store, self._prefix, self._keep)
                self._run.progressed()
                self._fault = None
                log.info("checkpoint.stored", step=step)
            except Exception as error:  # noqa: BLE001 - training goes on, and the next upload may succeed
                self._fault = named(error)
                log.warning("checkpoint.not_stored", step=step, why=str(self._fault))

    def finish(self) -> JobError | None:
        """Waits for the current upload; returns the error of the newest checkpoint if its upload failed."""
        with self._wake:
            self._done = True
            self._wake.notify()
        self._thread.join()
        return self._fault
