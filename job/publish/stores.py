"""Publishes to a folder or an S3 prefix: file by file, then the manifest."""

from pathlib import Path

from job.artifacts import Artifact
from job.logs import Progress, log
from job.publish.place import Item, OnDisk
from job.store import open_store


class StorePlace:
    """A folder or an S3 prefix, by its address."""

    def __init__(self, address: str) -> None:
        self._store = open_store(address)

    @property
    def url(self) -> str:
        return self._store.url

    def check_write(self) -> None:
        self._store.probe()

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        """Does nothing: a file here is visible at once."""

    def fill(self, items: list[Item], on_disk: OnDisk) -> None:
        for item in items:
            with on_disk(item) as path:
                bar = Progress(f"publishing {item.name}", item.artifact.size, "bytes")
                self._store.put_file(item.name, path, progress=bar.update)

    def finish(self, manifest: bytes, count: int, title: str) -> str | None:
        self._store.put("manifest.json", manifest)
        log.info("publish.done", place=self.url, files=count)
        return None
