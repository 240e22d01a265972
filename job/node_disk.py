"""How much of its node's disk this container may use: the kubelet evicts a pod that takes more, with a second of grace.

The Job hands in the container's limit of `ephemeral-storage`, and the folders that it counts: emptyDir volumes on that
disk, together. Volumes of their own are not among them, nor is memory. A file system's free space says nothing of it.
"""

import os
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

from job.errors import EnvironmentUnfit

LIMIT, FOLDERS = "FINETUNE_DISK_LIMIT", "FINETUNE_DISK_FOLDERS"
USABLE = 0.97
"""Of the limit. The rest is for the container's log, which the kubelet counts too, and for what is written between two
looks."""


class NodeDisk(NamedTuple):
    """`limit`: bytes, in all `folders` together."""

    limit: int
    folders: tuple[Path, ...]

    def used(self) -> dict[Path, int]:
        """Bytes on disk below each folder, as `du -x` counts them."""
        seen: set[int] = set()
        return {folder: _used(folder, seen) for folder in self.folders}

    @property
    def usable(self) -> int:
        return int(self.limit * USABLE)


def node_disk() -> NodeDisk | None:
    """As the Job hands it in; None without a limit. Raises EnvironmentUnfit for a limit that is not a number."""
    text = os.environ.get(LIMIT, "").strip()
    if not text:
        return None
    if not text.isdigit():
        raise EnvironmentUnfit(f"{LIMIT}: {text!r} is not a number of bytes", hint="Leave it out, or correct it.")
    return NodeDisk(int(text), tuple(Path(one) for one in os.environ.get(FOLDERS, "").split(":") if one))


def used_bytes(folder: Path) -> int:
    """Bytes on disk below a folder, as `du -x` counts them: the hole of a sparse file is none."""
    return _used(folder, set())


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to a folder: its file system's, and no more than the pod's limit leaves."""
    free, pod = disk_usage(folder).free, node_disk()
    if pod is None or not any(folder.absolute().is_relative_to(one) for one in pod.folders):
        return free
    return max(min(free, pod.usable - sum(pod.used().values())), 0)


def _used(folder: Path, seen: set[int]) -> int:
    total, waiting = 0, [folder]
    with suppress(OSError):
        disk = folder.stat().st_dev
    while waiting:
        with suppress(OSError):  # what goes while it is counted
            for entry in os.scandir(waiting.pop()):
                with suppress(OSError):
                    stat = entry.stat(follow_symlinks=False)
                    if stat.st_dev != disk or (stat.st_nlink > 1 and stat.st_ino in seen):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        seen.add(stat.st_ino)
                    total += stat.st_blocks * 512
    return total
