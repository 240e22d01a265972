"""The run's id."""

import os

from job.artifacts import digest_of
from job.fetch.sources import local_state
from job.spec import JobSpec
from job.spec.canonical import canonical


def run_id(spec: JobSpec) -> str:
    """run.id, else the Job's name (FINETUNE_JOB_NAME), else a hash of the spec's values that differ from the defaults
    and of the state of the folders and files that it names. Raises NotFound if one of these is missing."""
    given = spec.run.id or os.environ.get("FINETUNE_JOB_NAME")
    return given or digest_of([canonical(spec), local_state(spec)])[:16]
