"""The whole spec."""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from job.spec.rules import cross_faults
from job.spec.sections import Chat, Dataset, Evaluation, Export, Model, Publish, Run
from job.spec.training import Load, Lora, Training
from job.spec.types import Section


class JobSpec(Section):
    """A whole run. `model` and `dataset` are enough."""

    model: Model
    dataset: Dataset | list[Dataset] | None = None
    """One set, or several with weights. Without training: for judging and the importance matrix."""
    chat: Chat = Chat()
    load: Load = Load()
    lora: Lora = Lora()
    training: Training | None = Training()
    """`null`: merge (with `model.adapter`) and quantize only."""
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
    run: Run = Run()

    @property
    def datasets(self) -> list[Dataset]:
        """The sets as a list, whichever way they were written."""
        if self.dataset is None:
            return []
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        faults = tuple(cross_faults(self))
        if faults:
            text = "; ".join(f"{fault.paths[0]}: {fault.message}" for fault in faults)
            raise PydanticCustomError("parts_do_not_fit", "{text}", {"text": text, "faults": faults})
        return self
