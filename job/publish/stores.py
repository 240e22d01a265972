"""Publishes to a folder or an S3 prefix: file by file, then the card and the manifest."""

import hashlib
from pathlib import Path

from job.artifacts import Artifact
from job.errors import IntegrityViolated
from job.logs import Progress, log
from job.publish.earlier import CARD, MANIFEST, beside, without_replaced
from job.publish.place import Item, OnDisk
from job.run.records import Manifest, PublishedFile
from job.store import open_store


class StorePlace:
    """A folder or an S3 prefix, by its address. `replace`: see `publish.replace` in the spec."""

    def __init__(self, address: str, *, replace: bool = False) -> None:
        self._store, self._replace = open_store(address), replace
        self._manifest: bytes | None = None
        self._tags: dict[str, str | None] = {}
        """Of the files, as this run has put them there."""

    @property
    def url(self) -> str:
        return self._store.url

    def check_write(self) -> None:
        self._store.probe()

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        """Does nothing: a file here is visible at once."""

    def fill(self, items: list[Item], on_disk: OnDisk) -> None:
        self._manifest = self.read(MANIFEST)
        self._unname({item.name: item.artifact.sha256 for item in items})
        for item in items:
            with on_disk(item) as path:
                bar = Progress(f"publishing {item.name}", item.artifact.size, "bytes")
                self._store.put_file(item.name, path, progress=bar.update)
            self._tags[item.name] = self._tag(item.name)

    def finish(self, manifest: Manifest, card: bytes, title: str) -> str | None:
        """Files are deleted before the manifest that lists them is replaced: a next attempt continues. Raises
        IntegrityViolated if somebody has replaced files since `fill`."""
        self._check_unchanged()
        made = beside(self, self.url, manifest, card, replace=self._replace)
        for name in made.gone:
            self._store.delete(name)
        self._unname({CARD: hashlib.sha256(made.documents[CARD]).hexdigest()})
        for name, content in made.documents.items():
            self._store.put(name, content)
        log.info("publish.done", place=self.url, files=len(manifest.files) + 1)
        return None

    def _tag(self, name: str) -> str | None:
        found = self._store.head(name)
        return found.tag if found else None

    def _check_unchanged(self) -> None:
        replaced = [name for name, tag in self._tags.items() if self._tag(name) != tag]
        if replaced:
            raise IntegrityViolated(
                f"{self.url}: {', '.join(replaced[:5])} changed while this run published there, so its manifest would "
                "not be true",
                hint="Another run may publish to the same place: give each its own, or another publish.name. Started "
                "again, this run publishes its files once more.",
            )

    def _unname(self, new: dict[str, str]) -> None:
        """Takes files that are about to be replaced out of the manifest that is there: if this ends in between, it is
        still true."""
        found = self._store.get(MANIFEST)
        kept = without_replaced(found[0], new) if found else None
        if kept is not None:
            self._store.put(MANIFEST, kept)

    def read(self, name: str) -> bytes | None:
        """The manifest is the one from before `fill`."""
        if name == MANIFEST and self._manifest is not None:
            return self._manifest
        found = self._store.get(name)
        return found[0] if found else None

    def has(self, file: PublishedFile) -> bool:
        found = self._store.head(file.name)
        return found is not None and found.size == file.size

    def is_same(self, file: PublishedFile) -> bool:
        found = self._store.measure(file.name, Progress(f"verifying {file.name}", file.size, "bytes").update)
        return found is not None and found.sha256 == file.sha256
