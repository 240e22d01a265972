"""The train stage in the parent: resume, checkpoints to the store, and retries."""

import shutil
from pathlib import Path
from typing import Any

from job.artifacts import digest_of
from job.errors import CudaOutOfMemory, DiedSilently, IntegrityViolated, StoppedSaved, StoppedUnsaved
from job.logs import log
from job.node import gpu_here, has_triton
from job.pipeline.answer import answer_in_transformers
from job.pipeline.known import Known
from job.pipeline.measure import keep_measured, measure
from job.pipeline.state import State
from job.predict.checkpointing import Checkpointing, choose
from job.run import checkpoints
from job.run.active_run import ActiveRun, leased
from job.run.checkpoints import CheckpointUploads
from job.run.supervise import ChildKilled, Terminated
from job.spec.canonical import canonical
from job.train import stage as training
from job.train.measure import Measured
from job.train.resume import check_complete
from job.train.trace import Answers
from job.versions import TRAINING, versions

# These change only what is shown or kept, not what is trained; job/spec/canonical.py has what changes no result.
_WITHOUT_EFFECT = {"logging_steps", "report_to", "save_total_limit", "per_device_eval_batch_size"}


def depends_on(known: Known) -> dict[str, Any]:
    """Everything that the adapter depends on, and nothing else. The held-out rows are a part of it only if they decide
    when the training stops or which checkpoint it keeps."""
    spec, fetched = known.spec, known.fetched
    assert spec.training
    decide = spec.training.load_best_model_at_end or spec.training.early_stopping_patience
    return {
        "model": fetched["model_digest"],
        "adapter": fetched["adapter_digest"],
        "rows": known.tokens["train"]["digest"],
        "held_out": known.tokens["eval"]["digest"] if decide and known.tokens["eval"] else None,
        "chat": canonical(spec.chat, {"template", "system"}),  # these two are in the tokens
        "load": canonical(spec.load),
        "lora": canonical(spec.lora),
        "training": canonical(spec.training, _WITHOUT_EFFECT),
        "seed": spec.run.seed,
        "versions": {name: versions().get(name) for name in TRAINING},
    }


def train(state: State) -> None:
    """Trains, or uses what an earlier attempt or another run has trained from the same inputs."""
    run, spec = state.run, state.spec
    if spec.training is None:
        return
    depends = depends_on(state.known)
    key = digest_of(depends)
    record = run.record("train", key)
    measured = None
    if record is None:
        with leased(run.store, f"stages/train/{key}/lease.json", run.id, run.supervisor):
            result = _train(state, key)
            folder = _gathered(result, run.work / "trained")
            metrics = result.model_dump(mode="json", exclude={"adapter", "logs", *Measured.model_fields})
            record = run.keep("train", key, folder, None, metrics, depends)
            measured = keep_measured(state, key, result)
            checkpoints.prune_checkpoints(run.store, f"stages/train/{key}", 0)
            state.files.trained = folder
    state.known.records["train"] = record
    measured = measured or measure(state, key)
    state.known.records["train"] = record.model_copy(update={"metrics": record.metrics | measured})
    answer_in_transformers(state)


def _train(state: State, key: str) -> training.Result:
    """One training, retried once with all activations recomputed if `auto` kept some, once with a smaller micro-batch,
    once after its process was killed, and from an older checkpoint if it cannot load one."""
    assert state.spec.training
    chosen = _choose_checkpointing(state)
    every = chosen.every
    micro_batch: int | None = None
    killed: ChildKilled | None = None
    unusable: set[int] = set()
    while True:
        known = len(unusable)
        try:
            return _train_once(state, key, every, micro_batch, unusable)
        except IntegrityViolated:
            if len(unusable) == known:
                raise
        except CudaOutOfMemory:
            size = state.spec.training.micro_batch
            if every != 1 and state.spec.training.gradient_checkpointing == "auto":
                every = 1
                log.warning("train.retry_with_checkpointing", predicted=chosen.needed)
            elif micro_batch is not None or size == 1:
                raise
            else:
                micro_batch = half(size)
                log.warning("train.retry_with_half_the_micro_batch", micro_batch=micro_batch)
        except ChildKilled as error:
            if killed is not None:
                raise DiedSilently(
                    f"{error}; it is the second time",
                    hint="Give the pod more memory, or set a smaller batch or max_length."
                    if error.for_memory
                    else "A crash of a library or the driver looks like this: the log's last lines before it may tell.",
                ) from error
            killed = error
            log.warning("train.retry_after_kill", why=str(error))


def half(size: int) -> int:
    """At most half of a micro-batch, and a divisor: otherwise no accumulation would give the same effective batch."""
    return next(number for number in range(size // 2, 0, -1) if size % number == 0)


def _choose_checkpointing(state: State) -> Checkpointing:
    """What `training.gradient_checkpointing` is on this GPU, with these rows."""
    rows, gpu = state.files.tokens.train, gpu_here()
    chosen = choose(
        state.spec,
        state.prediction.model if state.prediction else None,
        gpu.memory if gpu else None,
        rows.longest if rows else None,
        capability=gpu.capability if gpu else None,
        triton=has_triton(),
    )
    log.info("train.checkpointing", gpu=gpu.name if gpu else None, **chosen.model_dump())
    return chosen


def _train_once(state: State, key: str, every: int, micro_batch: int | None, unusable: set[int]) -> training.Result:
    """`every`: see `Checkpointing`. `unusable`: steps whose checkpoints cannot be loaded, to which those are added that
    turn out to be."""
    run, spec = state.run, state.spec
    assert spec.training
    prefix, folder = f"stages/train/{key}", run.work / "train"
    resume = _checkpoint(run, prefix, run.work / "resume", unusable)
    rows = state.files.tokens
    inputs = training.Inputs(
        model=state.files.model.model,
        adapter=state.files.model.adapter,
        train=state.files.train_rows,
        eval=rows.eval.path if rows.eval else None,
        text=rows.text.ids if rows.text else None,
        prompts=rows.prompts,
        added=rows.added,
        answers=Answers(ends=rows.end_places(), stops=rows.stop_ids),
        resume_from=resume,
        micro_batch=micro_batch,
        recompute_every=every,
    )
    uploads = CheckpointUploads(run, prefix, spec.training.save_total_limit, folder)
    try:
        result: training.Result = run.supervisor.run_stage(training, spec, inputs, folder, on_event=uploads.on_event)
        uploads.finish()
        return result
    except StoppedSaved as error:
        fault = uploads.finish()
        if fault:
            raise StoppedUnsaved(
                f"{error.message}, but the checkpoint did not reach the store: {fault.message}"
            ) from fault
        raise
    except Terminated:
        raise  # an upload that is not finished does not count and is not waited for
    except BaseException:
        uploads.finish()
        unusable |= uploads.unusable
        raise


def _checkpoint(run: ActiveRun, prefix: str, folder: Path, unusable: set[int]) -> Path | None:
    """Downloads the newest complete checkpoint of the store that can be resumed from."""
    shutil.rmtree(folder, ignore_errors=True)
    step = checkpoints.get_checkpoint(run.store, prefix, folder, check_complete, unusable)
    if step is None:
        return None
    log.info("train.resume", step=step)
    return folder / f"step-{step}"


def _gathered(result: training.Result, folder: Path) -> Path:
    """The files to keep, in one folder: adapter/ and logs/."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, path in (("adapter", result.adapter), ("logs", result.logs)):
        shutil.move(path, folder / name)
    return folder
