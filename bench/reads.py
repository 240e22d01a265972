"""What is read from disk for each type: with the unquantized file in the page cache, and with nothing in it.

    python -m bench.reads [--layers 12] [--types q4_k_m q8_0] [--work DIR]

The job's own quantize stage (`job.pipeline.quantize`) on one random model of width 768 (--layers). Twice: as in a pod
whose memory holds the unquantized file (the files stay in the page cache), and as in one whose memory does not (before
each program starts, every GGUF file is dropped from the page cache). Counted are the programs that were started for a
file, and the bytes that the kernel read from the block device for them (`ru_inblock`, 512 bytes each, getrusage(2)).
Needs a work folder on a disk, not in memory.
"""

import argparse
import os
import resource
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from bench.memory_cases import model_of, shape
from bench.overlap import Bench
from job import logs
from job.llama_cpp import process

MB = 1_000_000
MOST = {"f16": 2, "type": 3}
"""Targets: how often the weights are read at most, of the unquantized file beside the types, and of each type."""


class Reads:
    """Programs started for each file, and bytes read for it; `own`: read by the job itself, to store a file while it is
    judged, which thereby is read once for both."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.starts: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}
        self.own = 0

    @contextmanager
    def counted(self, *, dropped: bool) -> Iterator[None]:
        """While the block lasts, every program of the job is counted. `dropped`: nothing is in the page cache when it
        starts."""
        member = process.Group.member

        @contextmanager
        def watched(
            group: process.Group, start: Callable[[], subprocess.Popen[str]]
        ) -> Iterator[subprocess.Popen[str]]:
            if dropped:
                self._drop()
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
            with member(group, start) as running:
                yield running
            read = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before) * 512
            if file := self._input([str(part) for part in running.args]):  # type: ignore[union-attr]
                kind = file.stem.rsplit("-", 1)[-1]
                self.starts[kind] += 1
                self.bytes[kind] += read
                self.sizes[kind] = file.stat().st_size

        began = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
        with mock.patch.object(process.Group, "member", watched):
            yield
        self.own = (resource.getrusage(resource.RUSAGE_SELF).ru_inblock - began) * 512

    def _drop(self) -> None:
        for file in self.root.rglob("*.gguf"):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _input(self, arguments: list[str]) -> Path | None:
        """The first weights that a program names."""
        return next((Path(one) for one in arguments if one.endswith(".gguf") and Path(one).exists()), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--types", nargs="+", default=["q4_k_m", "q8_0"])
    parser.add_argument("--work", type=Path, help="where about 2 GB fit (default: the temporary directory)")
    options = parser.parse_args()
    logs.configure(to_stdout=False)
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-reads-") as folder:
        model = model_of(
            "Mistral",
            shape(768, options.layers, 12, 12, 2048, vocab_size=16000, head_dim=64),
            Path(folder) / "model",
        )
        bench = Bench(model, options.types, 512, Path(folder))
        found = {}
        for dropped in (False, True):
            found[dropped] = Reads(Path(folder))
            with found[dropped].counted(dropped=dropped):
                bench.seconds(beside=False)
    print("\n| file | MB | programs | read, cached, MB | read, nothing cached, MB | of the file | at most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind, size in found[True].sizes.items():
        cached, cold = found[False].bytes[kind], found[True].bytes[kind]
        most = MOST["type"] if kind in options.types else MOST["f16"] + len(options.types)
        print(
            f"| {kind} | {size / MB:.0f} | {found[True].starts[kind]} | {cached / MB:.0f} | {cold / MB:.0f} | "
            f"{cold / size:.2f} | {most} |"
        )
    print(f"| by the job itself | | | {found[False].own / MB:.0f} | {found[True].own / MB:.0f} | | |")


if __name__ == "__main__":
    main()
