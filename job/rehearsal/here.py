"""A spec's model rehearsed outside a run: by `check --access`, and by the launcher where the job's extra is there."""

import tempfile
from pathlib import Path

from job.errors import DiedSilently
from job.fetch.sources import Sources, resolve_model
from job.rehearsal import stage as rehearsal
from job.run.supervise import ChildKilled, Supervisor
from job.spec import JobSpec


def rehearse_here(spec: JobSpec, pinned: Sources | None = None) -> rehearsal.Result:
    """Runs the stage in a temporary folder. `pinned`: what the names stand for, if that was asked already. Raises what
    pinning and the stage raise in a run."""
    pinned = pinned or resolve_model(spec)
    with tempfile.TemporaryDirectory(prefix="rehearse-") as name:
        try:
            found: rehearsal.Result = Supervisor().run_stage(
                rehearsal, spec, rehearsal.Inputs(sources=pinned), Path(name)
            )
        except ChildKilled as error:
            raise DiedSilently(str(error), hint="Try it where there is more memory.") from error
    return found
