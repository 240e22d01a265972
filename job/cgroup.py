"""The memory that the kernel grants to this process and to those beside it: control groups, version 2 and 1.

    ROOT/<path>/memory.max, memory.stat, memory.events, memory.swap.*          version 2
    ROOT/memory/<path>/memory.limit_in_bytes, memory.stat, memory.oom_control  version 1

OWN names the path. In a container it often is not there: the container's own group is mounted at the top then. A limit
of a group above counts as well. https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
"""

from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
UNLIMITED = 1 << 60
"""Version 1 writes the largest number of pages for no limit."""


class Memory(NamedTuple):
    """Bytes. `used`: what the kernel cannot take back without swap: anonymous memory and shared memory; `swap`: what it
    may still move there. Files that are mapped or cached are in neither."""

    used: int
    limit: int
    swap: int = 0

    @property
    def share(self) -> float:
        """Of what may be used. At 1 the kernel kills."""
        return self.used / max(self.limit + self.swap, 1)


def memory() -> Memory | None:
    """The group with the least left, of this process's and those above it; None if nothing limits them."""
    found = [one for group in _groups() if (one := _memory(group))]
    return min(found, key=lambda one: one.limit + one.swap - one.used, default=None)


def memory_limit() -> int | None:
    """Bytes; the lowest limit of this process's group and of those above it."""
    return min((limit for group in _groups() if (limit := _limit(group)) is not None), default=None)


def memory_kills() -> int:
    """How often the kernel has killed a process of this group for memory."""
    for group in _groups()[:1]:
        return _fields(group / "memory.events").get("oom_kill") or _fields(group / "memory.oom_control").get(
            "oom_kill", 0
        )
    return 0


def _groups() -> list[Path]:
    """Their folders, this process's own first."""
    try:
        lines = [line.split(":", 2) for line in OWN.read_text(encoding="utf-8").splitlines()]
    except OSError:
        lines = []
    first = next((path for _, names, path in lines if "memory" in names.split(",")), "/")
    second = next((path for _, names, path in lines if not names), "/")
    for top, path, file in ((ROOT / "memory", first, "memory.limit_in_bytes"), (ROOT, second, "memory.max")):
        own = top if ".." in Path(path).parts else top / path.lstrip("/")
        folders = [own, *(one for one in own.parents if one.is_relative_to(top))]
        if found := [one for one in folders if (one / file).is_file()]:
            return found
    return []


def _memory(group: Path) -> Memory | None:
    limit, stat = _limit(group), _fields(group / "memory.stat")
    if limit is None or not stat:
        return None
    if "anon" in stat:
        most = _number(group / "memory.swap.max", UNLIMITED) - _number(group / "memory.swap.current", 0)
        return Memory(stat["anon"] + stat.get("shmem", 0), limit, _swap(most))
    most = _number(group / "memory.memsw.limit_in_bytes", UNLIMITED) - limit - stat.get("total_swap", 0)
    return Memory(stat.get("total_rss", 0) + stat.get("total_shmem", 0), limit, _swap(most))


def _swap(most: int) -> int:
    return max(min(_fields(MEMINFO).get("SwapFree:", 0) * 1024, most), 0)


def _limit(group: Path) -> int | None:
    limit = _number(group / "memory.max", _number(group / "memory.limit_in_bytes", UNLIMITED))
    return limit if limit < UNLIMITED else None


def _number(file: Path, otherwise: int) -> int:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return otherwise
    return int(text) if text.isdigit() else otherwise


def _fields(file: Path) -> dict[str, int]:
    """Lines of a name and a number, as numbers; nothing of a file that is not there."""
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
