"""The trainer, transformers' or TRL's, with this job's callbacks; and the held-out loss that it measures."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.artifacts import sha256_of
from job.errors import Bug
from job.logs import log
from job.spec import JobSpec

if TYPE_CHECKING:
    from job.train.stage import Inputs


def hash_of(rows: Path | None) -> str | None:
    """The hash of a file of rows, if there is one."""
    return sha256_of(rows) if rows else None


def make_trainer(
    spec: JobSpec, inputs: "Inputs", workdir: Path, model: Any, tokenizer: Any, precision: Any, stop: Any
) -> Any:
    """The trainer of the recipe's first path (`trainer: transformers`) or its second (`trl`), with this job's
    callbacks."""
    from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from job.tokens.files import dataset_of
    from job.train import arguments
    from job.train.callbacks import Events, ResumableCheckpoints
    from job.train.experts import recompute
    from job.train.model import float32_adapters, restore
    from job.train.numerics import compute_loss_in_small_tiles
    from job.train.padding import on_the_left

    assert spec.training
    train = dataset_of(inputs.train, workdir / "rows")
    held_out = dataset_of(inputs.eval, workdir / "rows") if inputs.eval else None
    every = recompute_every(spec, inputs)
    if every != 1:
        recompute(model)
    given = arguments.common(
        spec,
        precision,
        workdir / "checkpoints",
        evaluates=held_out is not None,
        micro_batch=inputs.micro_batch,
        recompute_every=every,
    )
    callbacks: list[Any] = [ResumableCheckpoints(inputs.resume_from, hash_of(inputs.eval))]
    callbacks.append(Events(spec.training.logging_steps, stop))
    if spec.training.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(spec.training.early_stopping_patience))
    if spec.training.trainer == "transformers":
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**given),
            train_dataset=train,
            eval_dataset=held_out,
            data_collator=DataCollatorForLanguageModeling(tokenizer.pad_token_id),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
    else:
        compute_loss_in_small_tiles()
        weights = float32_adapters(model)
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**given, **arguments.for_trl(spec, model.config)),
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        restore(model, weights)
    if spec.training.padding_side == "left" and not spec.training.packing:  # what is packed has no padding
        trainer.data_collator = on_the_left(trainer.data_collator)
    trainer.remove_callback(PrinterCallback)  # its lines are not events
    trainer.evaluate = _restoring_generators(trainer.evaluate)
    return trainer


def recompute_every(spec: JobSpec, inputs: "Inputs") -> int:
    assert spec.training
    if inputs.recompute_every is not None:
        return inputs.recompute_every
    return int(spec.training.gradient_checkpointing is not False)


def _restoring_generators(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """An evaluation draws from the global random generators. With them restored, the held-out rows change nothing of
    the training, unless it stops early or picks a checkpoint by them."""
    from job.train.callbacks import generators, set_generators

    def restored(*arguments: Any, **options: Any) -> Any:
        kept = generators()
        try:
            return evaluate(*arguments, **options)
        finally:
            set_generators(kept)

    return restored


def evaluated(trainer: Any) -> float | None:
    """The current held-out loss."""
    if trainer.eval_dataset is None:
        return None
    trainer.model.eval()
    loop = _restoring_generators(trainer.evaluation_loop)
    output = loop(
        trainer.get_eval_dataloader(), description="held-out", prediction_loss_only=True, metric_key_prefix="eval"
    )
    loss = output.metrics.get("eval_loss")
    if loss is None:
        raise Bug("the evaluation gave no loss")
    log.info("train.held_out", loss=float(loss))
    return float(loss)


def last_evaluation(trainer: Any) -> float | None:
    """The trained model's held-out loss: the Trainer's own, if it has evaluated the step whose adapter it keeps."""
    state = trainer.state
    best = state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    step = int(best.rpartition("-")[2]) if best else state.global_step
    known = [one["eval_loss"] for one in state.log_history if one.get("step") == step and "eval_loss" in one]
    if not known:
        return evaluated(trainer)
    log.info("train.held_out", loss=float(known[-1]))
    return float(known[-1])
