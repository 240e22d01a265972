"""Measures a trained adapter on the held-out rows, in a process of its own: the losses, the samples, the trace.

A training measures the same at its end. This is for an adapter that is trained already, when the rows or the settings
of the evaluation have changed.
"""

from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.spec import JobSpec
from job.tokens.stage import Prompt
from job.train.trace import Answers, Trace, Traced

NAME = "measure"


class Inputs(Frozen):
    """`adapter`: the one that the training started from; `trained`: the folder of the one that it made; `rows`: some
    rows as tokens, `eval`: the held-out ones; `text`: a file with the ids of `evaluation.text`."""

    model: Path
    adapter: Path | None = None
    trained: Path
    rows: Path
    eval: Path | None = None
    text: Path | None = None
    prompts: list[Prompt] = []
    added: list[str] = []
    answers: Answers = Answers()


class Measured(Frozen):
    """`evals`: held-out losses by step; `loss_before` and `loss_after`: the held-out loss without and with the trained
    adapter. None also for one that is not a number. `trace`: on the held-out rows, `text_trace`: on
    `evaluation.text`."""

    evals: list[dict[str, float | None]] = []
    loss_before: float | None = None
    loss_after: float | None = None
    samples: list[dict[str, str]] = []
    trace: Trace | None = None
    text_trace: Traced | None = None


Result = Measured


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Measured:
    """Raises the errors of a training that concern the model, the rows and the GPU."""
    from job.train import stage
    from job.train.callbacks import StopSignal

    stop = StopSignal()
    stop.trained = True
    given = stage.Inputs(
        model=inputs.model, adapter=inputs.adapter, train=inputs.rows, eval=inputs.eval, added=inputs.added
    )
    with stage.memory_errors_named():
        return _measured(spec, inputs, stage.load(spec, given, workdir, stop))


def _measured(spec: JobSpec, inputs: Inputs, loaded: Any) -> Measured:
    from peft.utils import load_peft_weights, set_peft_model_state_dict

    from job.train.samples import compare
    from job.train.trace import trace, trace_text
    from job.train.trainer import evaluated

    model, tokenizer, precision, trainer = loaded
    before = evaluated(trainer)
    set_peft_model_state_dict(model, load_peft_weights(str(inputs.trained), device=str(model.device)))
    after = evaluated(trainer)
    return Measured(
        loss_before=before,
        loss_after=after,
        samples=compare(spec, model, tokenizer, inputs.prompts),
        trace=trace(spec, model, tokenizer, inputs.eval, precision, inputs.answers),
        text_trace=trace_text(spec, model, tokenizer, inputs.text, precision),
    )
