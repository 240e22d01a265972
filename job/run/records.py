"""The records of the run store. A record is written last, so work without one does not count.

<store>/
  stages/<stage>/<key>/
    …                          artifacts
    checkpoints/step-000120/   train only
      …
      COMPLETE.json            written last: the checkpoint's files with hashes
    stage.json                 written last, only if absent: StageRecord
  runs/<run id>/
    manifest.json              written last, once, only if absent: Manifest
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError, field_validator

from job.artifacts import Artifact, Frozen, check_name
from job.errors import IntegrityViolated, StorageFailed
from job.logs import Progress, log
from job.redaction import redact_all
from job.spec.places import shown_places
from job.store import Store
from job.store.base import Conflict

Kind = TypeVar("Kind", bound=Frozen)


class Readable(Protocol):
    """The operation of a run store that reading records needs."""

    url: str

    def get(self, key: str) -> tuple[bytes, str] | None:
        """An object, or None."""


class StageRecord(Frozen):
    """One stage's finished work: its files, its measurements, its versions and inputs, and when it was written."""

    stage: str
    key: str
    artifacts: list[Artifact]
    metrics: dict[str, Any] = {}
    versions: dict[str, str] = {}
    inputs: Any = None
    finished: str = ""


def for_people(records: Mapping[str, StageRecord]) -> dict[str, StageRecord]:
    """The records as they are published: measurements quote rows and answers, which may hold a secret. Hashes and the
    names of files stay as they are."""
    return {
        name: one.model_copy(
            update={"metrics": redact_all(one.metrics), "inputs": redact_all(shown_places(one.inputs))}
        )
        for name, one in records.items()
    }


class PublishedFile(Frozen):
    """A file under its published name, with its key in the store."""

    name: str
    key: str
    type: str
    sha256: str
    size: int

    @field_validator("key")
    @classmethod
    def _inside(cls, key: str) -> str:
        return check_name(key)

    @field_validator("name")
    @classmethod
    def _shown(cls, name: str) -> str:
        """No published name is hidden: downloaded into a home folder, `.bashrc` would be run."""
        if any(part.startswith(".") for part in name.split("/")):
            raise IntegrityViolated(f"{name!r} would leave its folder, or be hidden in it")
        return check_name(name)


class Manifest(Frozen):
    """A finished run. `places`: where its files were published, by URL. At a place it also lists the files of `earlier`
    runs that are still there."""

    run: str
    name: str
    finished: str = ""
    spec: dict[str, Any]
    sources: dict[str, Any]
    stages: dict[str, StageRecord]
    files: list[PublishedFile]
    earlier: list[PublishedFile] = []
    places: list[str]
    versions: dict[str, str] = {}
    hub_commit: str | None = None


def read_stage(store: Store, stage: str, key: str) -> StageRecord | None:
    """The record under a key, if every artifact is there with its size."""
    prefix = f"stages/{stage}/{key}"
    found = store.get(f"{prefix}/stage.json")
    if found is None:
        return None
    record = parsed(
        StageRecord, store, f"{prefix}/stage.json", found[0], "Delete it; the next run makes the stage again."
    )
    for item in record.artifacts:
        held = store.head(f"{prefix}/{item.path}")
        if held is None or held.size != item.size:
            log.warning("stage.damaged", stage=stage, key=key, file=item.path)
            store.delete(f"{prefix}/stage.json")
            return None
    return record


def write_stage(store: Store, record: StageRecord) -> StageRecord:
    """Commits a stage record. Returns the existing record if another attempt was first."""
    key = f"stages/{record.stage}/{record.key}/stage.json"
    record = record.model_copy(update={"finished": datetime.now(UTC).isoformat(timespec="seconds")})
    try:
        store.put(key, record.model_dump_json(indent=2).encode(), if_absent=True)
        return record
    except Conflict:
        first = read_stage(store, record.stage, record.key)
        return first or record


def write_manifest(store: Store, manifest: Manifest) -> Manifest:
    """Writes the manifest once. Returns the existing one if there is one."""
    stamped = manifest.model_copy(update={"finished": datetime.now(UTC).isoformat(timespec="seconds")})
    try:
        store.put(f"runs/{manifest.run}/manifest.json", stamped.model_dump_json(indent=2).encode(), if_absent=True)
        return stamped
    except Conflict:
        first = read_manifest(store, manifest.run)
        if first is None:
            raise contradiction(store, f"runs/{manifest.run}/manifest.json") from None
        return first


def contradiction(store: Store, key: str) -> StorageFailed:
    """What a store does that refuses to write an object because it exists, and then does not have it."""
    return StorageFailed(
        f"{store.url}/{key}: the store refuses to write it because it exists, and says that it does not exist",
        hint="Start the job again. If it happens again, conditional writes (If-None-Match) do not work there.",
    )


def read_manifest(store: Readable, run: str) -> Manifest | None:
    """A finished run's manifest, or None. Raises IntegrityViolated if it cannot be read."""
    found = store.get(f"runs/{run}/manifest.json")
    if found is None:
        return None
    hint = "Delete it; the next run publishes again."
    return parsed(Manifest, store, f"runs/{run}/manifest.json", found[0], hint)


def parsed(kind: type[Kind], store: Readable, key: str, data: bytes, hint: str = "Delete it.") -> Kind:
    """A small object of the store. Raises IntegrityViolated with its name if it is damaged."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityViolated(f"{store.url}/{key} is damaged: it is not a {kind.__name__}", hint=hint) from error


def verify_manifest(store: Store, manifest: Manifest) -> None:
    """Reads every published file in the store again. Raises IntegrityViolated if one differs from the manifest."""
    for file in manifest.files:
        found = store.measure(file.key, Progress(f"verifying {file.name}", file.size, "bytes").update)
        if found is None or (found.sha256, found.size) != (file.sha256, file.size):
            raise IntegrityViolated(
                f"{store.url}/{file.key} {'is missing' if found is None else 'does not match its hash'}",
                hint=f"Delete it and runs/{manifest.run}/manifest.json; the next run makes it again.",
            )
