"""The quantize stage with types made while others are judged, against one after the other, side by side in one run.

    python -m bench.overlap [--layers 6] [--types q4_k_m q5_k_m q6_k] [--tokens 512] [--work DIR]

The job's own quantize stage (`job.pipeline.quantize`) on one random model of width 768 (--layers). First everything is
made and judged one after the other, as on a machine without a GPU; the time of each trial and judgement is noted.
Then, as on a machine whose GPU does that work, each trial and judgement is replaced by a wait of the noted time, with
the CPU idle: one after the other, and overlapped. Last, overlapped without a GPU: both on the same CPUs, which the job
does not do, since it gains nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from bench.memory_cases import model_of, shape
from job import logs
from job.export import stage as export_stage
from job.fetch.sources import Sources
from job.pipeline import evaluate, lanes, quantize
from job.pipeline.files import Files
from job.pipeline.known import Known
from job.pipeline.state import State
from job.publish.publisher import Publisher
from job.run import attempts
from job.run.active_run import ActiveRun
from job.run.supervise import Supervisor
from job.spec import JobSpec
from job.store import open_store
from job.tokens import stage as tokens
from tests.tiny_models import training_text

GPU_TARGET = 0.6
Noted = dict[tuple[str, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--types", nargs="+", default=["q4_k_m", "q5_k_m", "q6_k"])
    parser.add_argument("--tokens", type=int, default=512, help="to judge on: how long judging takes beside making")
    parser.add_argument("--work", type=Path, help="where about 2 GB fit (default: the temporary directory)")
    options = parser.parse_args()
    logs.configure(to_stdout=False)
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-overlap-") as folder:
        bench = Bench(
            model_of(
                "Mistral",
                shape(768, options.layers, 12, 12, 2048, vocab_size=16000, head_dim=64),
                Path(folder) / "model",
            ),
            options.types,
            options.tokens,
            Path(folder),
        )
        noted: Noted = {}
        real = bench.seconds(beside=False, around=lambda: noting(noted))
        waited = bench.seconds(beside=False, around=lambda: waiting(noted))
        overlapped = bench.seconds(beside=True, around=lambda: waiting(noted))
        fighting = bench.seconds(beside=True)
    made = real - sum(noted.values())
    print(f"making and storing {made:.1f} s, trying and judging {sum(noted.values()):.1f} s of {real:.1f} s")
    print("\n| | one after the other, s | overlapped, s | ratio |\n| --- | ---: | ---: | ---: |")
    print(f"| judged on a GPU (waits) | {waited:.1f} | {overlapped:.1f} | {overlapped / waited:.2f} |")
    print(f"| judged on the CPU | {real:.1f} | {fighting:.1f} | {fighting / real:.2f} |")
    met = "met" if overlapped / waited <= GPU_TARGET else "MISSED"
    print(f"\nwith a GPU: at most {GPU_TARGET}: {met}")


@contextmanager
def noting(noted: Noted) -> Iterator[None]:
    """Notes how long each file is tried and judged."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(state: State, *given: Any) -> Any:
            began = time.monotonic()
            try:
                return function(state, *given)
            finally:
                noted[name, given[0] if given else "f16"] = time.monotonic() - began

        return run

    with replaced(timed):
        yield


@contextmanager
def waiting(noted: Noted) -> Iterator[None]:
    """Waits as long instead."""

    def waits(name: str, _: Callable[..., Any]) -> Callable[..., Any]:
        def run(state: State, *given: Any) -> Any:
            time.sleep(noted[name, given[0] if given else "f16"])
            if name == "try":
                made = given[1]
                return quantize.quantize.Result(
                    files=[made.file],
                    size=made.file.stat().st_size,
                    bits_per_weight=made.expected.bits_per_weight,
                    fallbacks=0,
                    tensors={},
                    seconds=0.0,
                )
            return None

        return run

    with replaced(waits):
        yield


@contextmanager
def replaced(by: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """The parts that a GPU computes."""
    with ExitStack() as stack:
        for owner, name, attribute in (
            (quantize, "try", "_try"),
            (evaluate, "judge", "judge"),
            (evaluate, "unquantized", "judge_unquantized"),
        ):
            stack.enter_context(mock.patch.object(owner, attribute, by(name, getattr(owner, attribute))))
        yield


class Bench:
    """One model, exported once; each measurement has a store of its own."""

    def __init__(self, model: Path, types: list[str], count: int, root: Path) -> None:
        self.model, self.root, self.number = model, root, 0
        self.spec = JobSpec.model_validate(
            {
                "model": {"id": str(model)},
                "dataset": {"id": "./rows.jsonl"},
                "export": {"types": types, "imatrix": "none"},
                "evaluation": {"samples": 0, "threads": [2], "max_tokens": count},
                "publish": {"folder": str(root / "published"), "name": "bench"},
            }
        )
        lines = [line for line in training_text().split("\n") if len(line) > 60][:200]
        (root / "rows.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
        inputs = export_stage.Inputs(model=model, name="bench")
        self.gguf = export_stage.run(self.spec, inputs, root / "export").gguf

    def seconds(self, *, beside: bool, around: Callable[[], Any] | None = None) -> float:
        """What the quantize stage takes."""
        state = self._state()
        with mock.patch.object(quantize, "_may_overlap", lambda _: beside), ExitStack() as stack:
            stack.enter_context(mock.patch.object(lanes, "NICENESS", 0))  # else other work on this machine comes first
            if around:
                stack.enter_context(around())
            began = time.monotonic()
            quantize.quantize_each(state)
            took = time.monotonic() - began
        print(f"{took:6.1f} s", "overlapped" if beside else "one after the other", flush=True)
        return took

    def _state(self) -> State:
        self.number += 1
        folder = self.root / str(self.number)
        (folder / "tokens").mkdir(parents=True)
        rows = self.root / "rows.jsonl"
        store, nothing = open_store(str(folder / "store")), SimpleNamespace()
        run: Any = ActiveRun(
            self.spec,
            "one",
            folder,
            store,
            attempts.begin(store, "one"),
            Supervisor(),
            nothing,
            nothing,  # type: ignore[arg-type]
        )
        known = Known(self.spec, Sources(model="pinned"))
        metrics = {"model_digest": "m", "adapter_digest": None, "data": {"digest": "d", "kind": "text", "eval_rows": 9}}
        known.records["fetch"] = run.keep("fetch", "key", folder, [], metrics, {})
        state = State(run, Publisher(self.spec, "one"), known, Files(run, known))
        inputs = tokens.Inputs(model=self.model, rows=rows, train=rows)
        state.files.__dict__ |= {
            "model": SimpleNamespace(model=self.model),
            "gguf": self.gguf,
            "tokens": tokens.run(self.spec, inputs, folder / "tokens"),
        }
        known.records["tokens"] = run.keep("tokens", "key", folder / "tokens", None, {}, {})
        return state


if __name__ == "__main__":
    main()
