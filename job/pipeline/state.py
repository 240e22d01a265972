"""What the stages work with: the attempt, the records so far, and the files on this node's disk."""

import threading
from dataclasses import dataclass, field
from typing import Literal

from job.llama_cpp.examine import Findings
from job.pipeline.files import Files
from job.pipeline.known import Known
from job.predict.prediction import Prediction
from job.publish.publisher import Publisher
from job.run.active_run import ActiveRun
from job.run.records import Manifest
from job.spec import JobSpec


@dataclass
class State:
    """`prediction`: of what the run needs, before anything was known of the rows; `manifest`: set when it is done;
    `cpu`: held by what needs all CPUs for itself, to make a file or to measure a speed.

    `examined`: what was found of files, by device, inode, size and time; `has_search_logits`: whether this attempt has
    the logits that a mix is searched on.
    """

    run: ActiveRun
    publisher: Publisher
    known: Known
    files: Files
    prediction: Prediction | None = None
    manifest: Manifest | None = None
    cpu: threading.Lock = field(default_factory=threading.Lock)
    has_search_logits: bool = False
    examined: dict[tuple[int, ...], Findings] = field(default_factory=dict)

    def export_as(self, dtype: Literal["bf16"]) -> None:
        """Decides what `export.dtype: auto` is."""
        export = self.run.spec.export.model_copy(update={"dtype": dtype})
        self.run.spec = self.known.spec = self.run.spec.model_copy(update={"export": export})

    @property
    def spec(self) -> JobSpec:
        return self.run.spec
