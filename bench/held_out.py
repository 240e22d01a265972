#!/usr/bin/env python3
"""Seconds of what a training measures around its steps, and of a step on packed rows: as the job does it, against one
at a time.

    python -m bench.held_out [--model FOLDER] [--windows 8] [--rounds 2]

The trace (windows in batches, with the logits that are scored, against one window and all logits), the samples (one
left-padded batch of prompts, against one prompt), the held-out loss that is not computed again after the last step, and
packed rows (one row in each of four forward passes, against TRL's four rows joined into one). All in one process,
alternating; the ratio of the medians is what counts. Without --model, the demo's SmolLM2-135M from the cache.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench.train import demo_model, write_rows
from job.spec import JobSpec
from job.tokens import stage as tokens_stage
from job.train import samples, trace
from job.train import stage as train_stage
from job.train.trainer import evaluated

BATCH, LENGTH, CONTEXT = 4, 256, 256
Work = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        works = cases(options.model or demo_model(), options.windows, Path(folder))
        print("| | before, s | now, s | now / before |\n| --- | ---: | ---: | ---: |")
        for what, (before, now) in works.items():
            found = [(seconds(before), seconds(now)) for _ in range(options.rounds)]
            old, new = (statistics.median(one) for one in zip(*found, strict=True))
            print(f"| {what} | {old:.1f} | {new:.1f} | {new / old if old else 0:.2f} |", flush=True)


def seconds(work: Work) -> float:
    """Of this process's CPU time, which other work on the machine does not change; on a GPU, of the clock."""
    clock = time.monotonic if torch.cuda.is_available() else time.process_time
    started = clock()
    work()
    return clock() - started


def cases(model: Path, windows: int, folder: Path) -> dict[str, tuple[Work, Work]]:
    rows = folder / "rows.jsonl"
    write_rows(rows, 8 * BATCH)
    found: dict[str, tuple[Work, Work]] = {}
    made = {size: loaded(model, rows, folder / str(size), windows, size) for size in (1, BATCH)}

    def traced(size: int) -> Work:
        spec, inputs, one = made[size]
        return lambda: trace.trace(spec, one.model, one.tokenizer, inputs.eval, one.precision)

    def sampled(size: int) -> Work:
        spec, inputs, one = made[size]
        return lambda: samples.compare(spec, one.model, one.tokenizer, inputs.prompts)

    def all_logits() -> None:
        base = made[1][2].model.get_base_model()
        whole = type(base).forward
        with mock.patch.object(base, "forward", lambda input_ids, **_: whole(base, input_ids=input_ids)):
            traced(1)()

    found[f"trace, {windows} windows of {CONTEXT} tokens, twice"] = (all_logits, traced(BATCH))
    found["samples, 3 prompts, 32 tokens each, twice"] = (sampled(1), sampled(BATCH))
    trainer = made[BATCH][2].trainer
    found["held-out loss after a last step that was evaluated"] = (
        lambda: evaluated(trainer),
        lambda: None,
    )
    found[f"a step on {BATCH} packed rows of {LENGTH} tokens"] = (
        packed(model, rows, folder / "joined", BATCH),
        packed(model, rows, folder / "alone", None),
    )
    return found


def spec_of(model: Path, windows: int, size: int, **training: Any) -> JobSpec:
    training |= {"max_length": LENGTH, "per_device_train_batch_size": BATCH, "per_device_eval_batch_size": size}
    evaluation = {"context": CONTEXT, "max_tokens": windows * CONTEXT, "max_new_tokens": 32}
    sections = {"training": training, "evaluation": evaluation}
    return JobSpec.model_validate({"model": {"id": str(model)}, "dataset": {"id": "./rows.jsonl"}, **sections})


def loaded(model: Path, rows: Path, folder: Path, windows: int, size: int) -> tuple[JobSpec, Any, train_stage.Loaded]:
    spec = spec_of(model, windows, size)
    inputs = inputs_of(spec, model, rows, folder)
    return spec, inputs, train_stage.load(spec, inputs, folder, Stop())


def inputs_of(spec: JobSpec, model: Path, rows: Path, folder: Path) -> train_stage.Inputs:
    folder.mkdir(parents=True)
    made = tokens_stage.run(spec, tokens_stage.Inputs(model=model, train=rows, rows=rows), folder)
    assert made.train and made.eval
    return train_stage.Inputs(model=model, train=made.train.path, eval=made.eval.path, prompts=made.prompts)


def packed(model: Path, rows: Path, folder: Path, micro_batch: int | None) -> Work:
    """One optimizer step; the first, which warms up, is made here."""
    spec = spec_of(model, 1, 1, packing=True, max_steps=1)
    inputs = inputs_of(spec, model, rows, folder).model_copy(update={"micro_batch": micro_batch, "eval": None})
    one = train_stage.load(spec, inputs, folder, Stop())
    one.trainer.train()
    return lambda: one.trainer.train()


class Stop:
    asked = training = False


if __name__ == "__main__":
    main()
