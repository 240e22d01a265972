"""Copies finished files from the store to each place, under readable names, and writes the manifest.

Order: the folder, S3, then the one commit on the Hub, then the store's manifest. Each place gets
`manifest.json` last. A file that is at a place already, by its hash, is not sent again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.artifacts import Artifact, artifact
from job.logs import Progress
from job.publish.earlier import CARD
from job.publish.hub import HubPublisher
from job.publish.place import Item, Place
from job.publish.stores import StorePlace
from job.redaction import redact_all
from job.report.documents import documents
from job.report.facts import Facts
from job.run.records import Manifest, PublishedFile, StageRecord, for_people, write_manifest
from job.run.usage import read_usage
from job.spec import JobSpec
from job.spec.naming import run_name
from job.store import Store
from job.versions import versions


class Publisher:
    """The places of one run."""

    def __init__(self, spec: JobSpec, run: str) -> None:
        self._spec, self._run = spec, run
        publish = spec.publish
        addresses = [address for address in (publish.folder, publish.s3) if address]
        self._places: list[Place] = [StorePlace(address, replace=publish.replace) for address in addresses]
        if publish.hub:
            self._places.append(HubPublisher(publish.hub, run, replace=publish.replace))

    def check_write(self) -> None:
        """Checks each place's credentials and write access, before any GPU time is spent."""
        for place in self._places:
            place.check_write()

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        """Uploads files while others are still being made, to places where they are not visible yet."""
        for place in self._places:
            place.send_ahead(folder, artifacts, names)

    def publish(
        self, store: Store, work: Path, items: list[Item], records: dict[str, StageRecord], sources: dict[str, Any]
    ) -> Manifest:
        """Publishes everything to every place. Returns the manifest that is in the store at the end."""
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        items = [*items, *self._documents(store, work, items, records, sources)]
        card = (work / CARD).read_bytes()
        for place in self._places:
            place.fill([item for item in items if item.name != CARD], lambda item: _on_disk(store, work, item))
        manifest = self._manifest(items, records, sources)
        title = f"{run_name(self._spec)}: {len(items)} files"
        for place in reversed(self._places):  # a commit comes first: the other places' manifest names it
            if commit := place.finish(manifest, card, title):
                manifest = manifest.model_copy(update={"hub_commit": commit})
        return write_manifest(store, manifest)

    def _manifest(self, items: list[Item], records: dict[str, StageRecord], sources: dict[str, Any]) -> Manifest:
        return Manifest(
            run=self._run,
            name=run_name(self._spec),
            spec=redact_all(self._spec.shown()),
            sources=redact_all(sources),
            stages=for_people(records),
            files=[
                PublishedFile(name=i.name, key=i.key, type=i.kind, **i.artifact.model_dump(exclude={"path"}))
                for i in items
            ],
            places=[place.url for place in self._places],
            versions=versions(),
        )

    def _documents(
        self, store: Store, work: Path, items: list[Item], records: dict[str, StageRecord], sources: dict[str, Any]
    ) -> list[Item]:
        """The card, the Modelfile and the report, kept in the store with the run."""
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


@contextmanager
def _on_disk(store: Store, work: Path, item: Item) -> Iterator[Path]:
    """Downloads a file of the store for as long as the block lasts: one at a time, to need little disk."""
    path = work / "file"
    bar = Progress(f"fetching {item.name}", item.artifact.size, "bytes")
    store.get_file(item.key, path, item.artifact.model_copy(update={"path": item.key}), progress=bar.update)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
