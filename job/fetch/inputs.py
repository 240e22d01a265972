"""Inputs: files that came along with a run from the machine that launched it, named by their content.

<store>/inputs/<sha256>/rows.jsonl          a file; <sha256> is its own
<store>/inputs/<sha256>/model/config.json   a folder; <sha256> is that of the list beside it
<store>/inputs/<sha256>/model.sha256        its files, as `sha256sum` lists them, written last

The store is S3 or a folder on a volume; what came in the Job's ConfigMap is unpacked to the same below the work folder.
Content is read only if it is what its place says.
"""

import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from job.artifacts import check_name, sha256_of
from job.errors import IntegrityViolated, NotFound
from job.logs import Progress
from job.run.folders import work_folder
from job.spec.places import INPUTS, content_digest
from job.store import open_store

PACKED = "FINETUNE_INPUTS"
"""The variable that names the archive of inputs that are small enough for the Job's ConfigMap."""
AGAIN = "It was changed after it was uploaded. Delete it, and launch the run again: that uploads it."


def list_name(name: str) -> str:
    """The name of the list beside a folder."""
    return f"{name}.sha256"


def as_list(hashes: Mapping[str, str]) -> bytes:
    """SHA-256 by name, as `sha256sum` writes them."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()


def hashes_of(place: str) -> dict[str, str]:
    """The SHA-256 of each file of an input, by name; nothing for a place that does not name its content.

    Raises NotFound if it is not there or not whole, IntegrityViolated for a list that is not what the place says.
    """
    digest = content_digest(place)
    if digest is None:
        return {}
    parent, _, name = place.rstrip("/").rpartition("/")
    store = open_store(parent)
    found = store.get(list_name(name))
    if found is None:
        if store.head(name) is None:
            raise NotFound(f"{place} is not there, or not whole", hint="Launch the run again: that uploads it.")
        return {name: digest}
    if hashlib.sha256(found[0]).hexdigest() != digest:
        raise IntegrityViolated(f"the list beside {place} does not have the SHA-256 that its place names", hint=AGAIN)
    lines = (line.split("  ", 1) for line in found[0].decode().splitlines())
    return {check_name(path): sha256 for sha256, path in lines}


def check_there(place: str) -> None:
    """Raises what `hashes_of` does."""
    hashes_of(place)


def check_content(place: str) -> None:
    """Reads an input in a folder of this machine. Raises IntegrityViolated if it is not what its place says."""
    hashes = hashes_of(place)
    if not hashes:
        return
    top = Path(place).expanduser()
    files = {top / name if top.is_dir() else top: sha256 for name, sha256 in hashes.items()}
    for path, sha256 in files.items():
        if not path.is_file():
            raise NotFound(f"{path} is missing", hint="Launch the run again: that uploads it.")
        bar = Progress(f"verifying {path.name}", path.stat().st_size, "bytes")
        if sha256_of(path, bar.update) != sha256:
            raise IntegrityViolated(f"{path} does not have the SHA-256 {sha256} that its place names", hint=AGAIN)


def unpack() -> None:
    """Unpacks the archive that FINETUNE_INPUTS names to `inputs` in the work folder, read-only, unless it is there.

    Raises NotFound, and IntegrityViolated if it is damaged.
    """
    named = os.environ.get(PACKED)
    folder = work_folder() / INPUTS
    if not named or folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".inputs-", dir=folder.parent) as name:
        try:
            with tarfile.open(named) as archive:
                _unpack(archive, Path(name))
            (Path(name) / INPUTS).rename(folder)
        except FileNotFoundError as error:
            raise NotFound(f"{PACKED}: {error.filename} is missing") from error
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise IntegrityViolated(f"{PACKED}: {named} is damaged: {error}", hint="Launch the run again.") from error


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Its files, read-only. Not by `extractall`, whose `filter` Debian 12's Python does not have yet."""
    for member in archive:
        content = archive.extractfile(member) if member.isreg() else None
        if content is None:
            raise IntegrityViolated(f"{PACKED}: {member.name!r} is not a file")
        path = folder / check_name(member.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with content, path.open("xb") as out:
            shutil.copyfileobj(content, out)
        path.chmod(0o444)
