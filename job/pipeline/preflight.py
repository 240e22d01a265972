"""Checks before any GPU time is spent: the GPU, the tools, write access to each place, memory and disk."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job import driver, gpu_faults, torch_build
from job.errors import Bug, EnvironmentUnfit, IntegrityViolated, SpecInvalid
from job.fetch import sources, template
from job.fetch.identity import run_id
from job.llama_cpp import bundle
from job.logs import log
from job.node import GpuHere, gpu_here, has_triton, is_lost_with_pod, memory_bytes, threads
from job.node_disk import free_bytes, used_bytes
from job.predict import disk
from job.predict.anatomy import Anatomy
from job.predict.config import config_of, sizes_of
from job.predict.gpus import known_gpu
from job.predict.prediction import Prediction, predict
from job.predict.timing import Machine
from job.predict.vram import Vram
from job.publish.publisher import Publisher
from job.rehearsal import here, needs
from job.spec import JobSpec
from job.spec.places import shown_place
from job.store import open_store


def check_gpu(spec: JobSpec) -> GpuHere | None:
    """The GPU of this run, or None if it runs on the CPU.

    Raises EnvironmentUnfit if a GPU is required (FINETUNE_GPU) and missing, or is here and cannot be used for training.
    Code for another GPU ends in an error only when it is called, hours later.
    """
    is_required, found = gpu_faults.is_required(), driver.ask()
    if gpu_faults.is_expected(found) and (fault := gpu_faults.fault(found)):
        if is_required or spec.training:
            raise fault
        log.warning("preflight.gpu_unused", what=str(fault))
    gpu = gpu_here(found)
    fields = gpu._asdict() if gpu else {"name": None, "memory": None, "capability": None, "driver": found.version}
    log.info("preflight.gpu", **{"gpu" if name == "name" else name: value for name, value in fields.items()})
    if gpu and spec.training and (build := torch_build.ask()) and (fault := gpu_faults.torch_fault(gpu, build)):
        raise fault
    return gpu


def check_access(publisher: Publisher, gpu: GpuHere | None) -> None:
    """Raises EnvironmentUnfit without llama.cpp, or without one that can use a required GPU, and the errors of places
    that refuse a write."""
    devices, architectures = bundle.devices(), bundle.architectures()
    log.info("preflight.llama", version=bundle.version(), cuda=architectures, devices=devices)
    if gpu and (fault := gpu_faults.llama_fault(gpu, architectures, devices)):
        if gpu_faults.is_required_for_files():
            raise fault
        log.warning("preflight.llama_without_gpu", gpu=gpu.name, what=str(fault))
    publisher.check_write()


def check_folders(spec: JobSpec) -> None:
    """Warns of folders that are lost with the pod that this is. The launcher and the chart send no such run, but a pod
    may be made by other means."""
    for field, folder in (("publish.folder", spec.publish.folder), ("run.store", spec.run.store)):
        if folder and "://" not in folder and is_lost_with_pod(Path(folder).expanduser()):
            what = "it is lost with this pod: mount a volume there, or name an s3:// address"
            log.warning("preflight.folder_is_lost", field=field, folder=folder, what=what)


def check_trackers(spec: JobSpec) -> None:
    """Raises EnvironmentUnfit if training.report_to names a package that is not installed."""
    names = spec.training.report_to if spec.training else []
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentUnfit(
            f"training.report_to: {', '.join(missing)} is not installed here",
            hint="Install it into the image (pip install), or remove it from the list.",
        )


def check_attention(spec: JobSpec, gpu: GpuHere | None) -> None:
    """Raises EnvironmentUnfit if training.attn_implementation needs a package or a GPU that is not here. The GPU's
    compute capability is known to torch, in the training itself."""
    if not spec.training or spec.training.attention != "flash_attention_2":
        return
    missing = None if importlib.util.find_spec("flash_attn") else "the package flash-attn is not installed here"
    if fault := missing or (None if gpu else "there is no GPU here"):
        raise EnvironmentUnfit(
            f"training.attn_implementation: flash_attention_2: {fault}",
            hint="Set it to auto, which computes the same; or use an image with flash-attn and a GPU.",
        )


def sizes(spec: JobSpec, pinned: sources.Sources) -> Anatomy | None:
    """The model's sizes. A model whose tensors cannot be counted is not an error here: its rehearsal tells more."""
    try:
        found = sizes_of(config_of(spec, pinned.model), spec.model.id, lambda: sources.model_tensors(spec, pinned))
    except (SpecInvalid, IntegrityViolated) as error:
        log.warning("preflight.not_predicted", why=error.message)
        return None
    if found.how:
        log.info("preflight.sizes_counted", type=found.model_type, how=found.how)
    return found


def predicted(spec: JobSpec, model: Anatomy | None, gpu: GpuHere | None, model_bytes: int | None) -> Prediction:
    """The prediction for this machine. `model_bytes`: the size of the base model's weights.

    A llama-quantize that cannot give its forecast is not an error here: the stages themselves will report it.
    """
    options: dict[str, Any] = {"on_gpu": gpu is not None, "base": model_bytes}
    card = known_gpu(gpu.name) if gpu else None
    options["machine"] = Machine(card, llama_gpu=bool(bundle.devices()), cpus=threads(), triton=has_triton())
    options["capability"] = gpu.capability if gpu else None
    try:
        return predict(spec, model, **options)
    except Bug as error:
        log.warning("preflight.sizes_unknown", why=error.message)
        return predict(spec, model, **options, exact=False)


def check_memory(prediction: Prediction, gpu: GpuHere | None) -> None:
    """Raises EnvironmentUnfit if the prediction cannot fit into this machine.

    What training needs depends on the length of the rows, and is an estimate on a GPU: if only that is too much, it is
    a warning.
    """
    if prediction.ram:
        _check_ram(prediction)
    if gpu and prediction.vram:
        _check_vram(prediction.vram, gpu)


def _check_ram(prediction: Prediction) -> None:
    has, held = memory_bytes(), prediction.ram
    log.info("preflight.memory", has=has, stages=held)
    least = held | ({"train": prediction.ram_loaded} if "train" in held else {})
    stage, needed = disk.peak(least)
    if needed > has:
        raise EnvironmentUnfit(
            f"this node has {has / 1e9:.1f} GB of memory, but the stage {stage} needs {needed / 1e9:.1f} GB",
            hint="Raise the memory limit, or choose a larger node.",
        )
    if (most := held.get("train", 0)) > has:
        advice = "Set a smaller training.per_device_train_batch_size or max_length if the rows are long."
        log.warning("preflight.memory_is_short", needed=most, has=has, what=advice)


def _check_vram(needed: Vram, gpu: GpuHere) -> None:
    log.info("preflight.vram", needed=needed.total, has=gpu.memory, gpu=gpu.name, parts=needed.model_dump())
    advice = "`python -m job plan SPEC --gpu ...` shows what would fit."
    if needed.loaded > gpu.memory:
        raise EnvironmentUnfit(
            f"{gpu.name} has {gpu.memory / 1e9:.1f} GB, but the model's weights alone need "
            f"{needed.loaded / 1e9:.1f} GB while they are loaded",
            hint=advice,
        )
    if needed.total > gpu.memory:
        log.warning("preflight.vram_is_short", needed=needed.total, has=gpu.memory, what=advice)


def check_disk(prediction: Prediction, work: Path) -> None:
    """Raises EnvironmentUnfit if the files that are on this disk at the same time do not fit (job/predict/disk.py)."""
    stage, needed = prediction.disk_peak
    # Not by the files' lengths: a rehearsal leaves some there that are as long as the model's, and hollow.
    free = free_bytes(work) + used_bytes(work)
    log.info("preflight.disk", needed=needed, free=free, stage=stage, stages=prediction.disk, folder=str(work))
    if needed > free:
        raise EnvironmentUnfit(
            f"{work} has {free / 1e9:.1f} GB free, but the stage {stage} needs {needed / 1e9:.1f} GB",
            hint="Give the work directory (FINETUNE_WORK; in a pod: --disk or --scratch) more disk space, or name "
            "fewer or smaller export.types.",
        )


def try_access(spec: JobSpec) -> Iterator[str]:
    """Tries to read the sources and to write to each place, and rehearses the model. Yields a line for each; raises the
    error of the first that refuses."""
    pinned = sources.resolve(spec)
    config_of(spec, pinned.model)
    yield f"{spec.model.id}: readable"
    yield from (f"{shown_place(one.id)}: readable" for one in spec.datasets)
    yield from template.described_here(spec, pinned.model)
    if spec.run.store:
        open_store(spec.run.store).probe()
        yield f"{spec.run.store}: writable"
    Publisher(spec, run_id(spec)).check_write()
    yield from (f"{address}: writable" for address in spec.publish.addresses)
    yield _rehearsed(spec, pinned)


def _rehearsed(spec: JobSpec, pinned: sources.Sources) -> str:
    if missing := needs.lacking():
        return f"{spec.model.id}: not rehearsed: {missing}; a run does it before it fetches the weights"
    found = here.rehearse_here(spec, pinned)
    changed = f", {found.changed} of its {found.tensors} tensors changed" if found.changed else ""
    return f"{spec.model.id}: rehearsed without its weights: {found.architecture} is loaded and exported{changed}"
