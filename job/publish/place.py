"""What publishing to one place takes. A new kind of place is a class with this Protocol, and a line in `publisher`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from job.artifacts import Artifact, Frozen


class Item(Frozen):
    """One file: its published name, where the store has it, its hash, and what it is (a type, `lora`, …)."""

    name: str
    key: str
    artifact: Artifact
    kind: str


OnDisk = Callable[[Item], AbstractContextManager[Path]]
"""Brings an item from the store onto this disk for as long as the block lasts."""


class Place(Protocol):
    """Where finished files go. Each method raises what the place says: CredentialsRejected, RemoteUnavailable, …"""

    @property
    def url(self) -> str:
        """How people and the manifest name it."""
        ...

    def check_write(self) -> None:
        """Tries the credentials and write access, before any GPU time is spent."""
        ...

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        """May upload files while others are still being made, if nothing shows before `finish`. `names`: by path."""
        ...

    def fill(self, items: list[Item], on_disk: OnDisk) -> None:
        """Brings every file there. What is there already, by its hash, is not sent again."""
        ...

    def finish(self, manifest: bytes, count: int, title: str) -> str | None:
        """Writes `manifest.json`, last, and makes `count` files visible; gives the commit's id, where there is one."""
        ...
