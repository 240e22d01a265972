"""`python -m job plan`: the resolved spec, what a run of it would do, and what it would need."""

import tempfile
from collections.abc import Iterator
from io import StringIO
from math import inf
from pathlib import Path

from ruamel.yaml import YAML

from job import llama, memory, timing
from job.active_run import run_id, store_url, work_folder
from job.anatomy import Anatomy
from job.config_here import anatomy_here
from job.errors import NotFound, SpecInvalid
from job.gpus import GPUS, Gpu
from job.naming import run_name
from job.spec import JobSpec


def describe(spec: JobSpec, gpu: str | None = None, price: float | None = None) -> str:
    """The plan as YAML with comments. Raises SpecInvalid for an unknown GPU."""
    if gpu is not None and gpu not in GPUS:
        raise SpecInvalid(f"--gpu: {gpu} is not known", hint=f"Known: {', '.join(GPUS)}.")
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(spec.model_dump(mode="json"), text)
    lines = [*_run(spec), "", *_needs(spec, GPUS[gpu] if gpu else None, price)]
    return "\n".join([text.getvalue().rstrip(), "", *(f"# {line}".rstrip() for line in lines)])


def _run(spec: JobSpec) -> Iterator[str]:
    try:
        yield f"run {run_id(spec)}"
    except NotFound as error:
        yield f"{error.message}: a run would end there"
    yield f"store: {store_url(spec, work_folder())}"
    if spec.training:
        batch = spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps
        yield f"trains with {batch} rows a step, a checkpoint every {spec.training.save_steps} steps"
    places = [spec.publish.folder, spec.publish.s3, spec.publish.hub and f"huggingface.co/{spec.publish.hub.repo_id}"]
    yield from [f"publishes to {place}" for place in places if place] or [
        "publishes nowhere: the store keeps the files"
    ]


def _needs(spec: JobSpec, gpu: Gpu | None, price: float | None) -> Iterator[str]:
    model, unknown = anatomy_here(spec)
    if model is None:
        yield unknown
        return
    yield f"parameters                {model.parameters / 1e9:8.3f} billion"
    if spec.training:
        trained = memory.trainable(spec, model)
        yield f"trainable                 {trained / 1e6:8.3f} million ({trained / model.parameters:.3%})"
        yield from _vram(spec, model, gpu)
    yield from _stages(spec, model)
    yield from _time(spec, model, gpu, price)
    yield from _files(spec, model)


def _gb(count: float) -> str:
    return f"{count / memory.GB:8.2f} GB"


def _vram(spec: JobSpec, model: Anatomy, gpu: Gpu | None) -> Iterator[str]:
    needed = memory.vram(spec, model)
    for part, count in needed.model_dump().items():
        yield f"VRAM, {part:<19} {_gb(count)}"
    yield f"VRAM in all               {_gb(needed.total)}"
    if gpu is None:
        return
    if needed.total <= gpu.memory:
        yield f"fits a {gpu.name} ({gpu.memory / memory.GB:.1f} GB)"
        return
    yield f"does NOT fit a {gpu.name} ({gpu.memory / memory.GB:.1f} GB)"
    fitting = [f"{what} ({size / memory.GB:.1f} GB)" for what, size in _smaller(spec, model) if size <= gpu.memory]
    larger = [one.name for one in GPUS.values() if one.memory >= needed.total]
    yield f"would fit: {'; '.join([*fitting, *(f'a {name}' for name in larger[:2])]) or 'nothing that is known'}"


def _smaller(spec: JobSpec, model: Anatomy) -> Iterator[tuple[str, int]]:
    """Changes of the spec that save memory, each by itself, and all of them."""
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
        yield what, _changed(spec, model, change)
    if spec.load.bits != 4:
        bits = spec.model_copy(update={"load": spec.load.model_copy(update={"bits": 4})})
        yield "load.bits: 4", memory.vram(bits, model).total
    everything = {key: value for change in changes.values() for key, value in change.items()}
    yield "all of these", _changed(spec, model, everything)


def _changed(spec: JobSpec, model: Anatomy, change: dict[str, object]) -> int:
    assert spec.training
    return memory.vram(spec.model_copy(update={"training": spec.training.model_copy(update=change)}), model).total


def _time(spec: JobSpec, model: Anatomy, gpu: Gpu | None, price: float | None) -> Iterator[str]:
    """Estimates, and named so."""
    if spec.training:
        count = timing.steps(spec)
        if count is None:
            yield "steps: known when the rows are read (or with dataset.limit or training.max_steps)"
        else:
            yield f"steps                     {count:8d} at most"
    if gpu is None and spec.training:
        return
    found = timing.seconds(spec, model, gpu)
    known = {stage: taken for stage, taken in found.items() if taken != inf}
    where = f"on a {gpu.name}" if gpu else "on 4 CPUs"
    for stage, taken in known.items():
        more = f" {where}, with rows of max_length" if stage == "train" else ""
        yield f"{stage + ', estimated':<26}{taken / 3600:8.2f} h{more}"
    total = sum(known.values()) / 3600
    if len(known) == len(found):
        yield f"all, estimated            {total:8.2f} h"
    if price is not None:
        less = "" if len(known) == len(found) else ", without the training"
        yield f"cost, estimated           {total * price:8.2f} at {price:g} an hour{less}"
    yield f"deadline of the Job       {timing.deadline_s(spec, model, gpu) / 3600:8.0f} h"


def _stages(spec: JobSpec, model: Anatomy) -> Iterator[str]:
    """RAM of each stage but training, and the disk."""
    for stage, count in memory.ram_by_stage(spec, model).items():
        yield f"RAM, {stage:<20} {_gb(count)}"
    yield f"disk, {spec.export.dtype} GGUF           {_gb(memory.export_bytes(model, spec.export.dtype))}"
    yield f"disk in all, at most      {_gb(memory.disk(spec, model))}"


def _files(spec: JobSpec, model: Anatomy) -> Iterator[str]:
    """The size of each file: what llama-quantize itself says of a model of these shapes."""
    if not llama.is_built():
        yield "file sizes: llama.cpp is not built here (make llama)"
        return
    from job.hollow import planned

    with tempfile.TemporaryDirectory() as folder:
        for kind, file in planned(model, spec.export.types, Path(folder)).items():
            yield f"{run_name(spec)}-{kind.upper()}.gguf  {_gb(file.size).strip()}, {file.bits:.2f} bits per weight"
