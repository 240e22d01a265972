"""What the parts share: where they work, and the file that each case adds a line to.

<out>/results.jsonl   one JSON object a case: part, case, seconds, and what was measured, or `error`
      log.txt         what the parts themselves print
<place>/full, tiny/   models and GGUF files, 40 GB or some MB; what is there is not made again
"""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Line = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """`tiny`: the same code, with models and rows that a CPU takes in seconds. `part`: the one that runs here."""

    place: Path
    out: Path
    tiny: bool = False
    part: str = ""

    @property
    def work(self) -> Path:
        return self.place / ("tiny" if self.tiny else "full")

    @property
    def results(self) -> Path:
        return self.out / "results.jsonl"

    @property
    def llama(self) -> Path:
        """llama.cpp as the part `build` has built it."""
        return self.work / "llama.cpp"

    @property
    def log(self) -> Path:
        return self.out / "log.txt"

    def record(self, part: str, case: str, **fields: Any) -> None:
        """Appends a line. Raises ValueError for a number that JSON does not have."""
        line = json.dumps({"part": part, "case": case, **fields}, allow_nan=False)
        with self.results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @contextmanager
    def case(self, name: str) -> Iterator[Line]:
        """Times a case of this part. Its line holds what the block puts into the dictionary, or why it failed: the
        cases after it run all the same."""
        fields: Line = {}
        started = time.monotonic()
        try:
            yield fields
        except Exception as error:  # noqa: BLE001 - told in the line
            traceback.print_exc()
            fields["error"] = f"{type(error).__name__}: {error}"[:1000]
        self.record(self.part, name, seconds=round(time.monotonic() - started, 1), **fields)

    def lines(self) -> list[Line]:
        """All lines so far."""
        return read(self.results) if self.results.is_file() else []


def read(results: Path) -> list[Line]:
    """The lines of a results.jsonl."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
