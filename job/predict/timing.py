"""Estimates the time of each stage, from the spec, the model's config.json and what is known of the rows.

The assumptions are constants here, in job/predict/training_time.py and in job/predict/judging_time.py; a run's report
compares them with what it took.
"""

from collections.abc import Iterable, Mapping
from math import ceil
from typing import NamedTuple

from job.llama_cpp.windows import MOST_CHUNKS
from job.predict import judging_time
from job.predict.anatomy import Anatomy
from job.predict.cases_here import ASSUMED, Cases
from job.predict.disk import Sizes
from job.predict.gpus import Gpu
from job.predict.judging_time import DISK, Llama
from job.predict.row_lengths import RowLengths, longest, steps
from job.predict.training_time import generation_s, training_s
from job.spec import JobSpec
from job.spec.places import is_downloaded
from job.spec.quants import HELPED_BY_IMATRIX

NETWORK = 100e6
"""Bytes per second, from and to the Hub or S3."""
CPUS = 4
START_S = 15.0
"""Seconds to start a child process that imports torch and transformers."""


class Seconds(NamedTuple):
    """`likely`: with the rows as they are; `most`: with rows of `training.max_length`, and as many held-out tokens as
    are judged on. None if unknown."""

    likely: float | None
    most: float | None


class Machine(NamedTuple):
    """What a run has: `gpu` for training, None without one or if it is unknown; `llama_gpu`: whether llama.cpp can use
    it too; `triton`: whether it is installed."""

    gpu: Gpu | None = None
    llama_gpu: bool = True
    cpus: int = CPUS
    triton: bool = False

    @property
    def llama(self) -> Llama:
        return Llama(gpu=self.gpu if self.llama_gpu and self.has_speed else None, cpus=self.cpus)

    @property
    def has_speed(self) -> bool:
        """Whether the speed of its GPU is known, if it has one."""
        return self.gpu is None or self.gpu.has_speed


ANY = Machine()
"""A machine of which nothing is known."""


def by_stage(
    spec: JobSpec, model: Anatomy, size: Sizes, machine: Machine, rows: RowLengths | None, cases: Cases = ASSUMED
) -> dict[str, Seconds]:
    """Seconds of each stage. Training is unknown if its steps are, or no GPU is named; its likely time also if the
    lengths of the rows are. With a GPU of unknown speed, so is all that llama.cpp computes."""
    evaluation = spec.evaluation
    likely, most = _judged_tokens(spec, rows)
    found = {"rehearse": _both(START_S)}
    found["fetch"] = _both(size.base / (NETWORK if is_downloaded(spec.model.id) else DISK))
    found |= dict.fromkeys(("tokens", *(["tasks"] if evaluation.tasks else [])), _both(START_S))
    found["agree"] = _both(START_S + judging_time.agree_s(model, size, machine.cpus))
    if spec.training:
        found["train"] = _train(spec, model, machine, rows)
        if evaluation.tasks:
            found["answer"] = _answer(spec, model, machine, cases)
    found["export"] = _both(START_S + size.unquantized / DISK)
    if spec.export.imatrix == "auto" and (spec.export.fits or HELPED_BY_IMATRIX.intersection(spec.export.presets)):
        tokens = float(MOST_CHUNKS * evaluation.context)
        text = rows.rows * rows.mean if rows and rows.rows else tokens
        found["imatrix"] = Seconds(
            judging_time.matrix_s(model, size, machine.llama, min(tokens, text), evaluation.context),
            judging_time.matrix_s(model, size, machine.llama, tokens, evaluation.context),
        )
    if spec.export.fits:
        found["fit"] = Seconds(
            *(judging_time.search_s(spec, model, size, machine.llama, tokens) for tokens in (likely, most))
        )
    made = judging_time.quantize_s(spec, model, size, machine.cpus)
    found["quantize"] = _both(made)
    if evaluation.judge:
        judged = [judging_time.judging_s(spec, model, size, machine.llama, tokens) for tokens in (likely, most)]
        found["quantize"] = _both(judging_time.waiting_s(made, judged[0], machine.llama))
        found["evaluate"] = Seconds(*map(sum, judged))
    if evaluation.tasks:
        found["score"] = Seconds(
            *(
                judging_time.scoring_s(spec, model, size, machine.llama, cases, share)
                for share in (judging_time.ENDED, 1.0)
            )
        )
    if not machine.has_speed:
        found |= {stage: Seconds(None, None) for stage in ("imatrix", "evaluate", "score") if stage in found}
    found["publish"] = _both(sum(judging_time.likely_bytes(size, kind) for kind in size.files) / NETWORK)
    return found


def _train(spec: JobSpec, model: Anatomy, machine: Machine, rows: RowLengths | None) -> Seconds:
    count = steps(spec, rows or longest(spec, limited(spec)))
    if machine.gpu is None or not machine.has_speed or count is None:
        return Seconds(None, None)
    loading = 2 * START_S + model.stored_bytes / DISK
    likely, most = _held_out_tokens(spec, rows)

    def seconds(known: RowLengths, held_out: float) -> float:
        assert machine.gpu
        trained = training_s(spec, model, machine.gpu, known, count, held_out, triton=machine.triton)
        return loading + trained

    return Seconds(seconds(rows, likely) if rows else None, seconds(longest(spec, None), most))


def _answer(spec: JobSpec, model: Anatomy, machine: Machine, cases: Cases) -> Seconds:
    """Of the base and the tuned model."""
    tasks, training = spec.evaluation.tasks, spec.training
    if machine.gpu is None or not machine.has_speed or not tasks or not training:
        return Seconds(None, None)
    loading = 2 * START_S + model.stored_bytes / DISK
    steps = 2 * ceil(cases.count / training.per_device_eval_batch_size) * tasks.max_new_tokens
    seconds = steps * generation_s(spec, model, machine.gpu)
    return Seconds(loading + judging_time.ENDED * seconds, loading + seconds)


def _held_out_tokens(spec: JobSpec, rows: RowLengths | None) -> tuple[float, float]:
    """How many tokens the held-out rows have: likely, and at most."""
    most = spec.evaluation.max_tokens
    if rows and rows.held_out is not None:
        return rows.held_out, max(most, rows.held_out)
    from job.dataset.held_out import ENOUGH

    automatic = all(one.eval_fraction == "auto" and not one.eval_split for one in spec.datasets)
    return min(most, ENOUGH.tokens) if automatic else most, most


def _judged_tokens(spec: JobSpec, rows: RowLengths | None) -> tuple[float, float]:
    most = spec.evaluation.max_tokens if spec.datasets else 0
    return min(most, _held_out_tokens(spec, rows)[0]), most


def _both(seconds: float) -> Seconds:
    return Seconds(seconds, seconds)


def total(found: Iterable[Seconds]) -> Seconds:
    """Of all stages; None if one is unknown."""
    stages = list(found)
    return Seconds(_sum(one.likely for one in stages), _sum(one.most for one in stages))


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [one for one in found if one is not None]
    return sum(known) if len(known) == len(found) and found else None


def after_training(found: Mapping[str, Seconds]) -> Seconds:
    """Of the stages in which the GPU is held after a training."""
    stages = list(found)
    return total(found[stage] for stage in stages[stages.index("export") :])


def limited(spec: JobSpec) -> int | None:
    """The most rows, if each data set is limited."""
    limits = [one.limit for one in spec.datasets]
    return None if None in limits else sum(limit or 0 for limit in limits)
