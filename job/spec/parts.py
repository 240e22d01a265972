"""The sections of a spec, side by side."""

from typing import Literal

from job.spec.sections import Chat, Dataset, Evaluation, Export, Model, Publish, Run
from job.spec.training import Load, Lora, Training
from job.spec.types import Section


class Parts(Section):
    """The sections, each checked by itself; job/spec/rules.py checks whether they fit together."""

    recipe: Literal["classic", "modern"] = "classic"
    """The defaults of the fields that the spec leaves out. classic: those of this page, a well-known QLoRA recipe for
    one T4. modern: adapters on all linear layers, without dropout, as today's libraries recommend (docs/recipes.md)."""
    model: Model
    dataset: Dataset | list[Dataset] | None = None
    """One data set, or several with weights. Without training: for evaluation and the importance matrix."""
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
        """The data sets as a list, also if only one is given."""
        if self.dataset is None:
            return []
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]
