"""What can be known before any GPU time: the tools, write access to each place, and the disk."""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from job import llama, memory
from job.anatomy import Anatomy, anatomy_of
from job.errors import EnvironmentUnfit, SpecInvalid
from job.logs import log
from job.naming import is_hub_id
from job.node import GpuHere, gpu_here, memory_bytes
from job.quants import UNQUANTIZED
from job.spec import JobSpec
from job.stages.publish import Publisher

DRIVER = 580
"""The major version that wheels built for CUDA 13 need (CUDA Toolkit release notes)."""


def check_access(publisher: Publisher) -> None:
    """Raises EnvironmentUnfit without llama.cpp, and what the places raise when they refuse a write."""
    log.info("preflight.llama", version=llama.version())
    publisher.check_write()


def check_trackers(spec: JobSpec) -> None:
    """Raises EnvironmentUnfit where training is to report to something that is not installed."""
    names = spec.training.report_to if spec.training else []
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentUnfit(
            f"training.report_to: {', '.join(missing)} is not installed here",
            hint="Install it into the image (pip install), or take it out of the list.",
        )


def check_memory(spec: JobSpec, config: Mapping[str, Any]) -> None:
    """Raises EnvironmentUnfit where what is predicted from the model's config.json cannot fit into this machine.

    The sum of the GPU's parts is an estimate: where only that is too much, it is a warning.
    """
    gpu = gpu_here()
    if gpu and int(gpu.driver.split(".")[0]) < DRIVER:
        raise EnvironmentUnfit(
            f"the driver of {gpu.name} is {gpu.driver}, and this torch needs {DRIVER} or newer",
            hint="Choose nodes with a newer driver, or update it there.",
        )
    try:
        model = anatomy_of(config, spec.model.id)
    except SpecInvalid as error:
        log.info("preflight.not_predicted", why=error.message)
        return
    has, by_stage = memory_bytes(), memory.ram_by_stage(spec, model)
    stage, needs = max(by_stage.items(), key=lambda one: one[1])
    log.info("preflight.memory", needed=by_stage, has=has)
    if needs > has:
        raise EnvironmentUnfit(
            f"this node has {has / 1e9:.1f} GB of memory, and {stage} needs {needs / 1e9:.1f} GB",
            hint="Raise the memory limit, or choose a larger node.",
        )
    if gpu and spec.training:
        _check_vram(spec, model, gpu)


def _check_vram(spec: JobSpec, model: Anatomy, gpu: GpuHere) -> None:
    needed = memory.vram(spec, model)
    log.info("preflight.vram", needed=needed.total, has=gpu.memory, gpu=gpu.name, parts=needed.model_dump())
    advice = "Try `python -m job plan SPEC --gpu ...`: it says what would fit."
    if needed.weights + needed.context > gpu.memory:
        raise EnvironmentUnfit(
            f"{gpu.name} has {gpu.memory / 1e9:.1f} GB, and the model's weights alone need "
            f"{needed.weights / 1e9:.1f} GB",
            hint=advice,
        )
    if needed.total > gpu.memory:
        log.warning("preflight.vram_is_short", needed=needed.total, has=gpu.memory, what=advice)


def check_disk(spec: JobSpec, work: Path, model_bytes: int, config: Mapping[str, Any]) -> None:
    """Raises EnvironmentUnfit where the files that lie on this disk at one time do not fit.

    `model_bytes` is the size of the base model's weights. Of a model whose sizes are not known from its config.json a
    quantized file is taken to be at most 0.55 of a 16-bit one (q8_0: 8.5 of 16 bits).
    """
    download = is_hub_id(spec.model.id) or spec.model.id.startswith("s3://")
    try:
        needed = memory.disk(spec, anatomy_of(config, spec.model.id), model_bytes * download)
    except SpecInvalid:
        unquantized = model_bytes * (2 if spec.export.dtype == "f32" else 1)
        largest = max((1.0 if kind in UNQUANTIZED else 0.55) for kind in spec.export.types)
        extra = model_bytes * spec.export.merged
        needed = int(unquantized + extra + max(model_bytes * download, unquantized * 2 * largest))
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(work).free + there
    log.info("preflight.disk", needed=needed, free=free, folder=str(work))
    if needed > free:
        raise EnvironmentUnfit(
            f"{work} has {free / 1e9:.1f} GB free, and this run needs {needed / 1e9:.1f} GB",
            hint="Give the work directory (FINETUNE_WORK) more disk, or name fewer or smaller export.types.",
        )
