"""Checks the GPU path on one GPU, against what is promised of it: speed, predicted memory, llama.cpp with CUDA.

    python -m bench.gpu                        # all parts, less than 9 minutes on an H100 with 16 CPUs
    python -m bench.gpu job-fp16 plain-fp16    # some parts, with what they need
    python -m bench.gpu --tiny                 # the same code on the CPU, with tiny models
    python -m bench.gpu --table FILE           # only the figures of a results.jsonl, as docs/measured.md has them

A model of Llama-2-7B's shape is made at random; nothing is fetched. Each part is a process with a time limit of its
own, and adds a line for each case to OUT/results.jsonl. The table at the end compares them with bench/gpu/checks.py;
the exit code is 1 if one does not hold. On a machine without a network: bench/gpu/pack.sh here, bench/gpu/run.sh there.
"""

import argparse
import os
import signal
import tempfile
from pathlib import Path

from bench.gpu.build import architecture_here
from bench.gpu.checks import checks, table
from bench.gpu.figures import figures
from bench.gpu.parts import PARTS, chosen
from bench.gpu.record import ROOT, Bench, read
from bench.gpu.runner import child, run


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--tiny", action="store_true", help="tiny models, on a CPU too")
    out, work = os.environ.get("OUT", ROOT / "build" / "bench-gpu"), Path(tempfile.gettempdir()) / "bench-gpu"
    parser.add_argument("--out", type=Path, default=out, help=f"results.jsonl and log.txt (default: $OUT, or {out})")
    parser.add_argument("--work", type=Path, default=work, help=f"models, 40 GB; they are kept (default: {work})")
    parser.add_argument("--table", type=Path, metavar="FILE", help="runs nothing: the figures of this results.jsonl")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(figures(read(options.table)), end="")
        return 0
    bench = Bench(options.work.absolute(), options.out.absolute(), options.tiny)
    if options.child:
        child(options.child, bench)
        return 0
    if unknown := sorted(set(options.parts) - set(names)):
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(names)}")
    if not options.tiny and not architecture_here():
        parser.error("nvidia-smi names no GPU here; `--tiny` runs the same code on the CPU")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs ends too, and what there is is shown
    parts = chosen(options.parts)
    found = checks(run(parts, bench), parts)
    print(table(found))
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
