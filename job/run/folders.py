"""The work directory of a run, and the address of its store."""

import os
from pathlib import Path

from job.spec import JobSpec


def work_folder() -> Path:
    """FINETUNE_WORK, else build/work below the current folder."""
    return Path(os.environ.get("FINETUNE_WORK") or "build/work").absolute()


def store_url(spec: JobSpec, work: Path) -> str:
    """run.store, else a folder in the work directory, which is lost with it."""
    return spec.run.store or str(work / "store")
