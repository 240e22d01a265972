"""What lies at a model's or an adapter's place: its files' sizes, and the texts of small ones, before anything large is
fetched."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from job import hub
from job.chat.templates import text_of
from job.fetch.objects import objects_at
from job.spec.places import STORES, model_place


@dataclass(frozen=True)
class Listing:
    """The files of a commit on the Hub, of an S3 prefix or of a folder. `commit`: that of a repository on the Hub;
    `name`: what messages call it, if not `place`."""

    place: str
    commit: str = ""
    name: str = ""

    @classmethod
    def of(cls, folder: Path, name: str = "") -> "Listing":
        """Of a folder on this disk."""
        return cls(str(folder.resolve()), name=name)

    @property
    def shown(self) -> str:
        return self.name or self.place

    @property
    def _where(self) -> str:
        return model_place(self.place)

    @cached_property
    def _on_hub(self) -> dict[str, hub.HubFile]:
        return {file.path: file for file in hub.list_files(self.place, self.commit)}

    @cached_property
    def names(self) -> list[str]:
        """Every file, with those of folders in it."""
        if self._where in STORES:
            return objects_at(self.place).names
        if self._where == "hub":
            return list(self._on_hub)
        folder = Path(self.place).expanduser()
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def size(self, name: str) -> int:
        """Bytes of a file that is listed."""
        if self._where in STORES:
            found = objects_at(self.place).store.head(name)
            return found.size if found else 0
        if self._where == "hub":
            return self._on_hub[name].size
        return (Path(self.place).expanduser() / name).stat().st_size

    def start_of(self, name: str, count: int) -> bytes:
        """The first bytes of a file, at most `count`."""
        if self._where in STORES:
            return objects_at(self.place).store.start_of(name, count)
        if self._where == "hub":
            return hub.start_of(self.place, self.commit, name, count)
        with (Path(self.place).expanduser() / name).open("rb") as file:
            return file.read(count)

    def text(self, name: str) -> str | None:
        """The text of a small file; None if there is no such file."""
        if self._where == "path":
            return text_of(Path(self.place).expanduser() / name)
        if name not in self.names:
            return None
        if self._where in STORES:
            found = objects_at(self.place).store.get(name)
            return found[0].decode("utf-8", "replace") if found else None
        with tempfile.TemporaryDirectory() as folder:
            return hub.read_small(self.place, self.commit, self._on_hub[name], Path(folder))
