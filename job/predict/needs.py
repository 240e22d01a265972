"""The prediction as text: parameters, VRAM, file sizes; memory, disk and time of each stage."""

from collections.abc import Collection, Iterator

from job.errors import JobError
from job.predict import ram
from job.predict.anatomy import Anatomy
from job.predict.cases_here import cases_here
from job.predict.config import seen_here
from job.predict.file_sizes import Planned
from job.predict.gpus import GPUS, Gpu
from job.predict.prediction import Prediction, predict
from job.predict.refused import check_seen
from job.predict.rows_here import rows_here
from job.predict.timing import Machine
from job.predict.vram import GB, Vram, vram
from job.spec import JobSpec
from job.spec.naming import run_name
from job.spec.places import Where
from job.spec.precision import BF16_CAPABILITY, precision_of


def needs(
    spec: JobSpec, gpu: Gpu | None, price: float | None, places: Collection[Where] = ("path", "hub")
) -> Iterator[str]:
    """The lines, from the spec, the model's config.json, and rows in one of the `places`. `price`: of the GPU, per
    hour."""
    seen = seen_here(spec)
    model = seen.model
    try:
        check_seen(spec, seen)
    except JobError as error:
        yield f"a run would fail: {error.message}"
    if seen.why:
        yield seen.why
    if model is None:
        return
    found = predict(spec, model, Machine(gpu), rows=rows_here(spec, places), cases=cases_here(spec, places))
    yield f"parameters                {model.parameters / 1e9:8.3f} billion"
    if found.vram:
        share = found.trainable / model.parameters
        yield f"trainable                 {found.trainable / 1e6:8.3f} million ({share:.3%})"
        yield from _precision(spec, model, gpu)
        yield from _vram(spec, model, found.vram, gpu)
    yield ""
    yield from _files(spec, model, found.files)
    yield ""
    yield from _stages(spec, found, gpu, price)
    if found.vram:
        without = ram.train(spec, model, on_gpu=False) + ram.PARENT
        yield f"RAM, train without a GPU  {_gb(without)}"


def _files(spec: JobSpec, model: Anatomy, files: dict[str, Planned]) -> Iterator[str]:
    if not files:
        why = "the files are not those of a known family" if model.how else "llama.cpp is not built here (make llama)"
        yield f"file sizes: unknown, {why}; below, a share of 16 bits is assumed"
    for kind, file in files.items():
        yield f"{run_name(spec)}-{kind.upper()}.gguf  {_gb(file.size).strip()}, {file.bits:.2f} bits per weight"
    for fit in spec.export.fits:
        counted = f" with {fit.context:,} tokens of context" if fit.context else ""
        what = f"the best that {fit.judgings} judgings find"
        yield f"{run_name(spec)}-{fit.label.upper()}.gguf  at most {fit.fit}{counted}: {what}"


def _stages(spec: JobSpec, found: Prediction, gpu: Gpu | None, price: float | None) -> Iterator[str]:
    """A table: each stage's largest need, and its time."""
    yield f"{'stage':<12}{'RAM':>11}{'disk':>13}{'time, likely':>15}{'at most':>12}"
    for stage, time in found.seconds.items():
        held, lying = ("" if stage not in part else _gb(part[stage]) for part in (found.ram, found.disk))
        yield f"{stage:<12}{held:>11}{lying:>13}{duration(time.likely):>15}{duration(time.most):>12}"
    total, after = found.total, found.after_training
    peaks = f"{_gb(found.ram_peak.size):>11}{_gb(found.disk_peak.size):>13}"
    yield f"{'in all':<12}{peaks}{duration(total.likely):>15}{duration(total.most):>12}"
    if spec.training:
        yield f"{'after train':<36}{duration(after.likely):>15}{duration(after.most):>12}"
    yield "disk: without rows and data sets"
    yield from _basis(spec, found, gpu)
    if price is not None and total.most is not None:
        likely = f"{total.likely / 3600 * price:.2f}, " if total.likely is not None else ""
        yield f"estimated cost            {likely}at most {total.most / 3600 * price:.2f}, at {price:g} an hour"
    yield f"the Job's deadline        {duration(found.deadline_s)}"


def _basis(spec: JobSpec, found: Prediction, gpu: Gpu | None) -> Iterator[str]:
    """What the times are based on."""
    if spec.evaluation.tasks:
        cases = found.cases
        yield f"evaluation.tasks: {cases.count:,} cases of {cases.tokens:.0f} tokens on average ({cases.how})"
    if not spec.training:
        return
    rows = found.rows
    if rows:
        number = f"{rows.rows:,} rows to train on" if rows.rows is not None else "rows"
        yield f"likely: {number}, of {rows.mean:.0f} tokens on average ({rows.how})"
    else:
        yield "likely: unknown until the rows are read; at most: each of training.max_length"
    yield (
        f"steps                     {found.steps:8d} at most"
        if found.steps is not None
        else "steps: unknown until the rows are read (unless dataset.limit or training.max_steps is set)"
    )
    yield f"time on a {gpu.name}, llama.cpp with CUDA" if gpu else "time of training: name a GPU (--gpu)"


def duration(seconds: float | None) -> str:
    """`36 min`."""
    if seconds is None:
        return "unknown"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(1, round(seconds))} s"


def _gb(count: float) -> str:
    return f"{count / GB:8.2f} GB"


def _precision(spec: JobSpec, model: Anatomy, gpu: Gpu | None) -> Iterator[str]:
    found = precision_of(spec, [model.model_type], gpu.capability if gpu else BF16_CAPABILITY)
    where = "" if gpu else ", on a GPU of compute capability 8.0 or higher"
    mixed = f" (autocast: {'float16' if found.fp16 else 'bfloat16'})" if found.fp16 or found.bf16 else ""
    yield f"computes in {found.compute}{mixed}, with embeddings and norms in {found.frozen}{where}"
    if found.overflows:
        yield found.told


def _vram(spec: JobSpec, model: Anatomy, needed: Vram, gpu: Gpu | None) -> Iterator[str]:
    for part, count in needed.model_dump().items():
        yield f"VRAM, {part:<19} {_gb(count)}"
    yield f"VRAM in all               {_gb(needed.total)}   (loading, block and loss peak at different times)"
    if gpu is None:
        return
    if needed.total <= gpu.memory:
        yield f"fits a {gpu.name} ({gpu.memory / GB:.1f} GB)"
        return
    yield f"does NOT fit a {gpu.name} ({gpu.memory / GB:.1f} GB)"
    fitting = [f"{what} ({size / GB:.1f} GB)" for what, size in _smaller(spec, model, gpu) if size <= gpu.memory]
    larger = [one.name for one in GPUS.values() if one.memory >= vram(spec, model, capability=one.capability).total]
    yield f"would fit: {'; '.join([*fitting, *(f'a {name}' for name in larger[:2])]) or 'no known GPU'}"


def _smaller(spec: JobSpec, model: Anatomy, gpu: Gpu) -> Iterator[tuple[str, int]]:
    """Changes of the spec that save memory, each by itself, and all together."""
    training = spec.training
    assert training
    changes: dict[str, dict[str, object]] = {
        "gradient_checkpointing: true": {"gradient_checkpointing": True},
        "per_device_train_batch_size: 1 with gradient_accumulation_steps "
        f"{training.per_device_train_batch_size * training.gradient_accumulation_steps}": {
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        },
        "max_length: 512": {"max_length": min(512, training.max_length)},
        "optim: paged_adamw_8bit": {"optim": "paged_adamw_8bit"},
    }
    for what, change in changes.items():
        yield what, _changed(spec, model, gpu, change)
    if spec.load.bits != 4:
        bits = spec.model_copy(update={"load": spec.load.model_copy(update={"bits": 4})})
        yield "load.bits: 4", vram(bits, model, capability=gpu.capability).total
    everything = {key: value for change in changes.values() for key, value in change.items()}
    yield "all of these", _changed(spec, model, gpu, everything)


def _changed(spec: JobSpec, model: Anatomy, gpu: Gpu, change: dict[str, object]) -> int:
    assert spec.training
    changed = spec.model_copy(update={"training": spec.training.model_copy(update=change)})
    return vram(changed, model, capability=gpu.capability).total
