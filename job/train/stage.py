"""QLoRA supervised fine-tuning of one model on rows of tokens, in a process of its own.

<workdir>/adapter/       adapter_config.json, adapter_model.safetensors
          checkpoints/   checkpoint-<step>/, as transformers.Trainer writes them
          logs/          TensorBoard's event files
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from job.artifacts import Frozen
from job.errors import CudaOutOfMemory, IntegrityViolated, StoppedSaved
from job.logs import log
from job.spec import JobSpec
from job.spec.places import public_name
from job.spec.precision import families_of
from job.strict_json import finite
from job.tokens.stage import Prompt
from job.train.measure import Measured
from job.train.trace import Answers
from job.train.trainer import evaluated, hash_of, last_evaluation, make_trainer

NAME = "train"


class Inputs(Frozen):
    """`train` and `eval`: rows as tokens (job/tokens/files.py); `text`: a file with the ids of `evaluation.text`;
    `added`: tokens whose rows of the embeddings are trained. `resume_from`: a checkpoint's folder; `micro_batch`:
    replaces the batch size after the GPU ran out of memory; `recompute_every`: each n-th block of the model recomputes
    its activations, 0: none does (None: as the spec says, and all of them for auto)."""

    model: Path
    adapter: Path | None = None
    train: Path
    eval: Path | None = None
    text: Path | None = None
    prompts: list[Prompt] = []
    added: list[str] = []
    answers: Answers = Answers()
    resume_from: Path | None = None
    micro_batch: int | None = None
    recompute_every: int | None = None


class Adapted(Frozen):
    """The adapter's settings as they are trained: those of one to start from, and the layers that `auto` has found."""

    r: int
    alpha: float
    dropout: float
    targets: list[str]

    @classmethod
    def of(cls, config: Any) -> "Adapted":
        """`config`: a LoraConfig."""
        targets = config.target_modules
        named = [targets] if isinstance(targets, str) else sorted(targets)
        return cls(r=config.r, alpha=config.lora_alpha, dropout=config.lora_dropout, targets=named)


class Result(Measured):
    """`losses`: each step's loss, learning rate and gradient norm, which is None if it overflowed."""

    adapter: Path
    logs: Path
    steps: int
    losses: list[dict[str, float | None]]
    lora: Adapted
    trainable: int
    total: int
    tokens: int
    tokens_per_second: float | None
    memory: dict[str, int]


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Trains. Raises StoppedSaved or StoppedUnsaved after SIGTERM, QualityRejected for a loss that is not a number,
    CudaOutOfMemory, SpecInvalid, DataInvalid and EnvironmentUnfit; a stopped training never returns a Result."""
    from job.train.callbacks import StopSignal

    stop = StopSignal()  # before the slow imports, so that a signal is never lost
    with memory_errors_named():
        return _run(spec, inputs, workdir, stop)


@contextmanager
def memory_errors_named() -> Iterator[None]:
    """Raises CudaOutOfMemory for torch's own error."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CudaOutOfMemory(
            f"the GPU's memory is too small: {str(error).splitlines()[0]}",
            hint="Set a smaller training.per_device_train_batch_size or max_length, or use a larger GPU.",
        ) from error


class Loaded(NamedTuple):
    """The model with its adapter, and what trains and evaluates it."""

    model: Any
    tokenizer: Any
    precision: Any
    trainer: Any


def load(spec: JobSpec, inputs: Inputs, workdir: Path, stop: Any) -> Loaded:
    """Everything as it is before the first step."""
    from transformers import set_seed

    from job.tokens.tokenizer import load_tokenizer
    from job.train.model import load_base, with_adapter
    from job.train.precision import choose

    config = json.loads((inputs.model / "config.json").read_text(encoding="utf-8"))
    precision = choose(spec, families_of(config))
    set_seed(spec.run.seed)
    tokenizer = load_tokenizer(spec, inputs.model, inputs.added)
    log.info("train.loading_model", model=public_name(spec.model.id), bits=spec.load.bits)
    base = load_base(spec, inputs.model, precision, tokenizer, inputs.added)
    model = with_adapter(spec, base, inputs.adapter, tokenizer.convert_tokens_to_ids(inputs.added))
    trainer = make_trainer(spec, inputs, workdir, model, tokenizer, precision, stop)
    return Loaded(model, tokenizer, precision, trainer)


def _run(spec: JobSpec, inputs: Inputs, workdir: Path, stop: Any) -> Result:
    from job.train import resume
    from job.train.callbacks import Events, peak_memory
    from job.train.model import count_parameters, save_adapter
    from job.train.samples import compare
    from job.train.trace import trace, trace_text

    _fresh(workdir)
    if inputs.resume_from:
        _check_checkpoint(inputs.resume_from)
        resume.restore_best(inputs.resume_from, workdir / "checkpoints")
        resume.drop_other_losses(inputs.resume_from, hash_of(inputs.eval))
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(workdir / "logs")
    model, tokenizer, precision, trainer = load(spec, inputs, workdir, stop)
    before = evaluated(trainer)
    stop.training = True
    resume.train(trainer, inputs.resume_from)
    stop.training, stop.trained = False, True
    if stop.asked:
        step = trainer.state.global_step
        raise StoppedSaved(f"stopped by a signal after step {step}; its checkpoint is saved")
    after = last_evaluation(trainer)
    save_adapter(spec, model, workdir / "adapter")
    if inputs.added:
        tokenizer.save_pretrained(workdir / "adapter")
    history = trainer.state.log_history
    losses = [_numbers(entry, "step", "loss", "learning_rate", "grad_norm") for entry in history if "loss" in entry]
    events = next(one for one in trainer.callback_handler.callbacks if isinstance(one, Events))
    trainable, total = count_parameters(model)
    (workdir / "logs").mkdir(exist_ok=True)
    return Result(
        adapter=workdir / "adapter",
        logs=workdir / "logs",
        steps=trainer.state.global_step,
        losses=losses,
        evals=[_numbers(entry, "step", "eval_loss") for entry in history if "eval_loss" in entry],
        loss_before=before,
        loss_after=after,
        lora=Adapted.of(model.peft_config["default"]),
        trainable=trainable,
        total=total,
        samples=compare(spec, model, tokenizer, inputs.prompts),
        trace=trace(spec, model, tokenizer, inputs.eval, precision, inputs.answers),
        text_trace=trace_text(spec, model, tokenizer, inputs.text, precision),
        tokens=int(trainer.state.num_input_tokens_seen),
        tokens_per_second=events.tokens_per_second,
        memory=peak_memory(),
    )


def _check_checkpoint(checkpoint: Path) -> None:
    """Raises IntegrityViolated for one that cannot be resumed from, after telling the parent, which has older ones."""
    from job.train import resume

    try:
        resume.check_complete(checkpoint)
        resume.check_loads(checkpoint)
    except IntegrityViolated as error:
        step = checkpoint.name.rpartition("-")[2]
        log.warning("train.checkpoint_unusable", step=int(step), why=error.message)
        raise


def _fresh(workdir: Path) -> None:
    for name in ("adapter", "checkpoints", "logs", "rows"):
        shutil.rmtree(workdir / name, ignore_errors=True)


def _numbers(entry: dict[str, Any], *names: str) -> dict[str, float | None]:
    """None for a number that is not finite: fp16's scaler skips a step whose gradient overflows."""
    found: dict[str, float | None] = finite({name: float(entry[name]) for name in names if entry.get(name) is not None})
    return found
