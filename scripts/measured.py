#!/usr/bin/env python3
"""Writes the figures of runs on a GPU into docs/measured.md, from bench/gpu/results.

    scripts/measured.py            writes them
    scripts/measured.py --check    exits 1 if they are not what would be written

A result is the results.jsonl of one run of `python -m bench.gpu`, named for its day and its card.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.gpu.figures import figures  # noqa: E402
from bench.gpu.record import read  # noqa: E402

PAGE = ROOT / "docs" / "measured.md"
RESULTS = ROOT / "bench" / "gpu" / "results"
BEGIN, END = "<!-- begin: scripts/measured.py -->\n", "<!-- end: scripts/measured.py -->\n"


def main() -> int:
    runs = sorted(RESULTS.glob("*.jsonl"), reverse=True)  # the newest first
    written = "\n".join(f"### {run.stem}\n\n{figures(read(run))}" for run in runs)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page = before + BEGIN + written + END + after
    if sys.argv[1:] == ["--check"]:
        return int(page != text)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
