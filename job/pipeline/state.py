"""What the stages work with: the attempt, the records so far, and the files on this node's disk."""

from dataclasses import dataclass
from typing import Literal

from job.pipeline.files import Files
from job.pipeline.known import Known
from job.publish.publisher import Publisher
from job.run.active_run import ActiveRun
from job.run.records import Manifest
from job.spec import JobSpec


@dataclass
class State:
    """`manifest`: set when the run is done."""

    run: ActiveRun
    publisher: Publisher
    known: Known
    files: Files
    manifest: Manifest | None = None

    def export_as(self, dtype: Literal["bf16"]) -> None:
        """Decides what `export.dtype: auto` is."""
        export = self.run.spec.export.model_copy(update={"dtype": dtype})
        self.run.spec = self.known.spec = self.run.spec.model_copy(update={"export": export})

    @property
    def spec(self) -> JobSpec:
        return self.run.spec
