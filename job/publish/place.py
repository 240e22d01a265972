"""The Protocol of a place to publish to. A new kind of place is a class with it, and a line in `publisher`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from job.artifacts import Artifact, Frozen
from job.run.records import Manifest


class Item(Frozen):
    """One file: its published name, its key in the store, its hash, and what it is (a type, `lora`, …)."""

    name: str
    key: str
    artifact: Artifact
    kind: str


OnDisk = Callable[[Item], AbstractContextManager[Path]]
"""Downloads an item from the store for as long as the block lasts."""


class Place(Protocol):
    """A place for finished files. Each method raises the errors of the place: CredentialsRejected, RemoteUnavailable,
    …"""

    @property
    def url(self) -> str:
        """The address that messages and the manifest show."""
        ...

    def check_write(self) -> None:
        """Checks the credentials and write access, before any GPU time is spent."""
        ...

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        """May upload files while others are still being made, if nothing is visible before `finish`. `names`: by
        path."""
        ...

    def fill(self, items: list[Item], on_disk: OnDisk) -> None:
        """Uploads every file but the card. A file that is there already, by its hash, is not sent again."""
        ...

    def finish(self, manifest: Manifest, card: bytes, title: str) -> str | None:
        """Writes `README.md` and, last, `manifest.json`, as they belong there (`job.publish.earlier`), and makes all
        files visible; returns the commit's id, if there is one."""
        ...
