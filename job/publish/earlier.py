"""What lies at a place from before: the owner's README.md, and files of earlier runs that this one does not make.

The card is written whole only if there is none, or if the one that is there was published by a run and nobody has
changed it. Else only the part between the markers is ours. A manifest at a place lists the files of earlier runs that
are still there (`earlier`), so a later run knows them too.
"""

import hashlib
from typing import NamedTuple, Protocol

from pydantic import ValidationError

from job.errors import IntegrityViolated
from job.logs import log
from job.report.card import BEGIN, END, earlier_section
from job.run.records import Manifest, PublishedFile

CARD, MANIFEST = "README.md", "manifest.json"


class There(Protocol):
    """The files at a place, as they are now."""

    def read(self, name: str) -> bytes | None:
        """A small file, or None if there is none."""
        ...

    def has(self, file: PublishedFile) -> bool:
        """Whether a file of this name and size is there."""
        ...

    def is_same(self, file: PublishedFile) -> bool:
        """Whether that file has the SHA-256 that was published."""
        ...


class Beside(NamedTuple):
    """What is written last, and what is deleted first, so that nothing stale lies beside the new files."""

    documents: dict[str, bytes]
    gone: list[str]


def beside(there: There, url: str, manifest: Manifest, card: bytes, *, replace: bool) -> Beside:
    """The card and the manifest as they belong to this place; with `replace`, the earlier files to delete: those whose
    name and SHA-256 are in the manifest that is there."""
    before = _files(there.read(MANIFEST))
    new = {file.name for file in manifest.files} | {MANIFEST, CARD}
    old = [file for name, file in before.items() if name not in new and there.has(file)]
    gone = [file.name for file in old if replace and there.is_same(file)]
    stale = [file for file in old if file.name not in gone]
    _tell(url, [file.name for file in stale], gone, replace)
    text = placed_card(card, there.read(CARD), before.get(CARD), [file.name for file in stale])
    files = [_with_content(file, text) if file.name == CARD else file for file in manifest.files]
    manifest = manifest.model_copy(update={"files": files, "earlier": stale})
    return Beside({CARD: text, MANIFEST: (manifest.model_dump_json(indent=2) + "\n").encode()}, gone)


def without_replaced(manifest: bytes, new: dict[str, str]) -> bytes | None:
    """A place's manifest without the files that get other content, or None if it names none. `new`: the SHA-256 of the
    files to come, by name."""
    before = _files(manifest)
    if not any(_is_replaced(file, new) for file in before.values()):
        return None
    parsed = Manifest.model_validate_json(manifest)
    kept = {
        part: [file for file in files if not _is_replaced(file, new)]
        for part, files in (("files", parsed.files), ("earlier", parsed.earlier))
    }
    return (parsed.model_copy(update=kept).model_dump_json(indent=2) + "\n").encode()


def _is_replaced(file: PublishedFile, new: dict[str, str]) -> bool:
    return new.get(file.name, file.sha256) != file.sha256


def placed_card(card: bytes, there: bytes | None, published: PublishedFile | None, stale: list[str]) -> bytes:
    """The card for a place that has this README.md; `published`: the one that an earlier run put there."""
    if stale:
        head, _, rest = card.rpartition(END)
        card = head + earlier_section(stale).encode() + END + rest
    if not there or not there.strip() or (published and published.sha256 == hashlib.sha256(there).hexdigest()):
        return card
    ours = card[card.index(BEGIN) : card.rindex(END) + len(END)]
    start = there.rfind(BEGIN)
    end = there.find(END, start)
    if start >= 0 and end >= 0:
        return there[:start] + ours + there[end + len(END) :]
    return there.rstrip(b"\n") + b"\n\n" + ours + b"\n"


def _files(manifest: bytes | None) -> dict[str, PublishedFile]:
    """The files that a place's manifest lists, by name. A file of that name that is not a manifest lists none."""
    try:
        found = Manifest.model_validate_json(manifest or b"")
    except (ValidationError, IntegrityViolated):
        return {}
    return {file.name: file for file in (*found.earlier, *found.files)}


def _with_content(file: PublishedFile, content: bytes) -> PublishedFile:
    return file.model_copy(update={"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})


def _tell(url: str, stale: list[str], gone: list[str], replace: bool) -> None:
    if gone:
        log.info("publish.replaced", place=url, files=gone)
    if stale:
        why = (
            "somebody has changed them since: delete them yourself if nobody needs them"
            if replace
            else "publish.replace: true deletes those that nobody has changed"
        )
        what = f"files of an earlier run stay beside the new ones: {', '.join(stale)}; {why}"
        log.warning("publish.earlier_files", place=url, files=stale, what=what)
