"""Copies finished files from the store to where people look, under people's names, and writes the manifest.

Order: the folder, S3, then the one commit on the Hub, then the store's manifest. Each place gets
`manifest.json` last. A place that has a file already, by its hash, does not get it again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.artifacts import Artifact, Frozen, artifact
from job.logs import Progress, log
from job.publish.hub import HubPublisher
from job.report.documents import documents
from job.report.facts import Facts
from job.run.records import Manifest, PublishedFile, StageRecord, write_manifest
from job.run.usage import read_usage
from job.spec import JobSpec
from job.spec.naming import run_name
from job.store import Store, open_store
from job.versions import versions


class Item(Frozen):
    """One file: its published name, where the store has it, its hash, and what it is (a type, `lora`, …)."""

    name: str
    key: str
    artifact: Artifact
    kind: str


class Publisher:
    """The places of one run. Files can be sent ahead to the Hub, where nothing shows before the commit."""

    def __init__(self, spec: JobSpec, run: str) -> None:
        self._spec, self._run = spec, run
        self._places = [open_store(url) for url in (spec.publish.folder, spec.publish.s3) if url]
        self._hub: HubPublisher | None = None
        if hub := spec.publish.hub:
            self._hub = HubPublisher(hub.repo_id, private=hub.private, revision=hub.revision)

    def check_write(self) -> None:
        """Tries each place's credentials and write access, before any GPU time is spent."""
        for place in self._places:
            place.probe()
        if self._hub:
            self._hub.check_write()

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        """Uploads files to the Hub while others are still being made."""
        for item in artifacts if self._hub else []:
            assert self._hub
            self._hub.preupload(folder / item.path, names[item.path])

    def publish(
        self, store: Store, work: Path, items: list[Item], records: dict[str, StageRecord], sources: dict[str, Any]
    ) -> Manifest:
        """Everything to every place. Gives the manifest that is in the store at the end."""
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        items = [*items, *self._documents(store, work, items, records, sources)]
        for place in self._places:
            self._fill(place, store, work, items)
        manifest = self._manifest(items, records, sources)
        if self._hub:
            commit = self._commit(store, work, items, manifest)
            manifest = manifest.model_copy(update={"hub_commit": commit})
        for place in self._places:
            place.put("manifest.json", _text(manifest))
            log.info("publish.done", place=place.url, files=len(items) + 1)
        return write_manifest(store, manifest)

    def _manifest(self, items: list[Item], records: dict[str, StageRecord], sources: dict[str, Any]) -> Manifest:
        hub = self._spec.publish.hub
        places = [place.url for place in self._places] + ([f"hf://{hub.repo_id}"] if hub else [])
        return Manifest(
            run=self._run,
            name=run_name(self._spec),
            spec=self._spec.model_dump(mode="json"),
            sources=sources,
            stages=records,
            files=[
                PublishedFile(name=i.name, key=i.key, type=i.kind, **i.artifact.model_dump(exclude={"path"}))
                for i in items
            ],
            places=places,
            versions=versions(),
        )

    def _documents(
        self, store: Store, work: Path, items: list[Item], records: dict[str, StageRecord], sources: dict[str, Any]
    ) -> list[Item]:
        """The card, the Modelfile and the report: made here, kept in the store beside the run."""
        files = [(item.name, item.kind, item.artifact) for item in items]
        facts = Facts(self._spec, self._run, files, records, read_usage(store, self._run), sources)
        found = []
        for name, content in documents(facts).items():
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_bytes(content)
            key = f"runs/{self._run}/{name}"
            store.put_file(key, work / name)
            found.append(Item(name=name, key=key, artifact=artifact(work, name), kind="document"))
        return found

    def _fill(self, place: Store, store: Store, work: Path, items: list[Item]) -> None:
        for item in items:
            with _on_disk(store, work, item) as path:
                bar = Progress(f"publishing {item.name}", item.artifact.size, "bytes")
                place.put_file(item.name, path, progress=bar.update)

    def _commit(self, store: Store, work: Path, items: list[Item], manifest: Manifest) -> str:
        """The one commit. What was sent ahead is known by its hash and not sent again."""
        assert self._hub
        for item in items:
            if not self._hub.has(item.name):
                with _on_disk(store, work, item) as path:
                    self._hub.preupload(path, item.name)
        (work / "manifest.json").write_bytes(_text(manifest))
        self._hub.preupload(work / "manifest.json", "manifest.json")
        commit: str = self._hub.commit(f"{run_name(self._spec)}: {len(items)} files", run_id=self._run)
        log.info("publish.done", place=f"hf://{self._hub.repo_id}", commit=commit, files=len(items) + 1)
        return commit


def _text(manifest: Manifest) -> bytes:
    return (manifest.model_dump_json(indent=2) + "\n").encode()


@contextmanager
def _on_disk(store: Store, work: Path, item: Item) -> Iterator[Path]:
    """A file of the store on this disk for as long as the block lasts: one at a time, so the disk stays small."""
    path = work / "file"
    store.get_file(item.key, path, item.artifact.model_copy(update={"path": item.key}))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
