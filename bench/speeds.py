"""Whether a file's speed, as the job measures it, puts the types in the same order twice.

    python -m bench.speeds [--model FOLDER] [--types q8_0 …] [--threads 2] [--repetitions 3] [--work DIR]

A random Mistral of width 768 with 12 layers, or the model in a folder. Every type's speed on the CPU is measured, then
every type's again: what disturbs the machine for a while then meets other types. Types whose errors overlap are a tie;
two types that change places though their errors do not overlap are a contradiction.
"""

import argparse
import tempfile
from itertools import combinations
from pathlib import Path

from bench.imatrix import SPEC
from bench.memory_cases import model_of, shape
from job import logs
from job.export import stage as export_stage
from job.llama_cpp import quantize, speed
from job.llama_cpp.examine import speeds_on_cpu
from job.llama_cpp.speed import Speed

TYPES = ["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]
Round = dict[str, Speed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=speed.REPETITIONS)
    parser.add_argument("--work", type=Path, help="where about 1 GB fit (default: the temporary directory)")
    given = parser.parse_args()
    logs.configure(to_stdout=False)
    speed.REPETITIONS = given.repetitions
    with tempfile.TemporaryDirectory(dir=given.work, prefix="bench-speeds-") as folder:
        files = made(given.model, given.types, Path(folder))
        rounds = [{kind: speeds_on_cpu(file, [given.threads])[0] for kind, file in files.items()} for _ in range(2)]
    print("| type | ms per token | again |\n| --- | ---: | ---: |")
    for kind in given.types:
        cells = [f"{one[kind].generation_ms:.2f} ± {one[kind].generation_spread_ms:.2f}" for one in rounds]
        print(f"| {kind} | {' | '.join(cells)} |")
    for one in rounds:
        print(", ".join(sorted(one, key=lambda kind: one[kind].generation_ms)))
    first, second = (distinct(one) for one in rounds)
    against = sorted(pair for pair in first if pair[::-1] in second)
    pairs = len(given.types) * (len(given.types) - 1) // 2
    print(f"{len(first & second)} of {pairs} pairs have the same order twice, {len(against)} contradict: {against}")


def made(model: Path | None, types: list[str], work: Path) -> dict[str, Path]:
    """A file of each type."""
    sizes = shape(768, 12, 12, 12, 2048, vocab_size=16000, head_dim=64)
    folder = model or model_of("Mistral", sizes, work / "model")
    gguf = export_stage.run(SPEC, export_stage.Inputs(model=folder, name="model"), work / "export").gguf
    (work / "files").mkdir()
    return {kind: quantize.run(SPEC, quantize.Inputs(gguf=gguf, type=kind), work / "files").files[0] for kind in types}


def distinct(one: Round) -> set[tuple[str, str]]:
    """The pairs of types of which the first is faster by more than the errors."""
    ends = {
        kind: (found.generation_ms - found.generation_spread_ms, found.generation_ms + found.generation_spread_ms)
        for kind, found in one.items()
    }
    pairs = [*combinations(one, 2), *combinations(reversed(one), 2)]
    return {(fast, slow) for fast, slow in pairs if ends[fast][1] < ends[slow][0]}


if __name__ == "__main__":
    main()
