"""What can be known before any GPU time: the tools, write access to each place, and the disk."""

import shutil
from pathlib import Path

from job import llama
from job.errors import EnvironmentUnfit
from job.logs import log
from job.naming import is_hub_id
from job.quants import UNQUANTIZED
from job.spec import JobSpec
from job.stages.publish import Publisher


def check_access(publisher: Publisher) -> None:
    """Raises EnvironmentUnfit without llama.cpp, and what the places raise when they refuse a write."""
    log.info("preflight.llama", version=llama.version())
    publisher.check_write()


def check_disk(spec: JobSpec, work: Path, model_bytes: int) -> None:
    """Raises EnvironmentUnfit where the files that lie on this disk at one time do not fit.

    `model_bytes` is the size of the base model's weights. First there are the model (where it is
    downloaded) and the unquantized GGUF, then that GGUF, one file being quantized and one being
    uploaded. A quantized file takes at most 0.55 of a 16-bit one (q8_0: 8.5 of 16 bits).
    """
    unquantized = model_bytes * (2 if spec.export.dtype == "f32" else 1)
    largest = max((1.0 if kind in UNQUANTIZED else 0.55) for kind in spec.export.types)
    extra = model_bytes * spec.export.merged
    download = is_hub_id(spec.model.id) or spec.model.id.startswith("s3://")
    needed = int(unquantized + extra + max(model_bytes * download, unquantized * 2 * largest))
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(work).free + there
    log.info("preflight.disk", needed=needed, free=free, folder=str(work))
    if needed > free:
        raise EnvironmentUnfit(
            f"{work} has {free / 1e9:.1f} GB free, and this run needs {needed / 1e9:.1f} GB",
            hint="Give the work directory (FINETUNE_WORK) more disk, or name fewer or smaller export.types.",
        )
