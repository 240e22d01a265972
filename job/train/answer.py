"""Answers of the base and the tuned model to the cases of `evaluation.tasks`, in a process of its own.

The model is loaded as for the training, so that what is scored is what was trained; see `job/train/trace.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.logs import Progress
from job.spec import JobSpec
from job.tasks.scores import BASE
from job.tasks.stage import read_asked

NAME = "answer"


class Inputs(Frozen):
    """`adapter`: the one that the training started from; `trained`: the folder of the one that it made; `rows`: some
    rows as tokens; `asked`: the cases; `stops`: ids of the tokens that end an answer; `who`: of base and tuned, those
    that are to answer."""

    model: Path
    adapter: Path | None = None
    trained: Path
    rows: Path
    asked: Path
    added: list[str] = []
    stops: list[int] = []
    who: list[str]


class Result(Frozen):
    """`answers`: by who gave them."""

    answers: dict[str, list[str]]


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises the errors of a training that concern the model and the GPU."""
    from job.train import stage
    from job.train.callbacks import StopSignal

    stop = StopSignal()
    stop.trained = True
    given = stage.Inputs(model=inputs.model, adapter=inputs.adapter, train=inputs.rows, added=inputs.added)
    with stage.memory_errors_named():
        return _answered(spec, inputs, stage.load(spec, given, workdir, stop))


def _answered(spec: JobSpec, inputs: Inputs, loaded: Any) -> Result:
    from peft.utils import load_peft_weights, set_peft_model_state_dict

    model, tokenizer, *_ = loaded
    set_peft_model_state_dict(model, load_peft_weights(str(inputs.trained), device=str(model.device)))
    model.eval()
    model.config.use_cache = True
    prompts = [one.ids for one in read_asked(inputs.asked)]
    found = {}
    for who in inputs.who:
        bar = Progress(f"scoring the {who} model", len(prompts), "cases")
        if who == BASE:
            with model.disable_adapter():
                found[who] = _answers(spec, model, tokenizer, prompts, inputs.stops, bar)
        else:
            found[who] = _answers(spec, model, tokenizer, prompts, inputs.stops, bar)
    return Result(answers=found)


def _answers(
    spec: JobSpec, model: Any, tokenizer: Any, prompts: Sequence[list[int]], stops: list[int], bar: Progress
) -> list[str]:
    """The likeliest continuation of each prompt. Those of a batch are about equally long."""
    from job.train.samples import continuations

    assert spec.training and spec.evaluation.tasks
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    said = continuations(
        model,
        tokenizer,
        [prompts[number] for number in order],
        size=spec.training.per_device_eval_batch_size,
        most=spec.evaluation.tasks.max_new_tokens,
        stops=stops,
        progress=bar.update,
    )
    by_number = dict(zip(order, said, strict=True))
    return [by_number[number] for number in range(len(prompts))]
