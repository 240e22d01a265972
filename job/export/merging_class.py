"""The converter's class for a model, derived so that it merges the tensors that it reads.

The converter indexes the base's tensors by name and reads them lazily. A subclass of its model class makes this index
return merged tensors; all else is done by the converter.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job.errors import IntegrityViolated
from job.export.merge import apply
from job.export.merge_plan import Plan, Shapes

MakePlan = Callable[[Shapes, dict[str, Any]], Plan]
"""A function from the shapes of the base's tensors and its config to the plan."""


def merging_class(
    model_class: Any,
    lazy: Any,
    make_plan: MakePlan,
    config: dict[str, Any],
    plans: list[Plan],
    keep: Callable[[str], bool] | None,
    fields: dict[str, Any],
) -> Any:
    """A subclass of the model class with these `fields`, whose index returns merged tensors."""

    def index_tensors(self: Any, remote_hf_model_id: str | None = None) -> dict[str, Callable[[], Any]]:
        index: dict[str, Callable[[], Any]] = model_class.index_tensors(self, remote_hf_model_id)
        index = {name: load for name, load in index.items() if keep is None or keep(name)}
        _check_files(self.dir_model)
        plan = make_plan({name: tuple(load().shape) for name, load in index.items()}, config)
        plans.append(plan)
        _adjust(self.hparams, plan)
        return merged_index(index, plan, lazy)

    namespace = {"model_arch": model_class.model_arch, "index_tensors": index_tensors, **fields}
    merging = type(model_class.__name__, (model_class,), namespace)
    return merging


def predicts_ahead(view: Path, config: dict[str, Any]) -> bool:
    """Whether the files have layers after the model's last, which predict further tokens: transformers leaves them out
    when it saves a model, and the converter expects them of some families."""
    from gguf.utility import SafetensorsLocal

    layers = (config.get("text_config") or config).get("num_hidden_layers", math.inf)
    names = [name.split(".") for path in view.glob("*.safetensors") for name in SafetensorsLocal(path).tensors]
    return any("mtp" in parts or (parts[:2] == ["model", "layers"] and int(parts[2]) >= layers) for parts in names)


def _adjust(config: dict[str, Any], plan: Plan) -> None:
    for section in (config, config.get("text_config")):
        if isinstance(section, dict):
            if plan.unties:
                section["tie_word_embeddings"] = False
            if plan.vocab_size and "vocab_size" in section:
                section["vocab_size"] = plan.vocab_size


def merged_index(index: dict[str, Callable[[], Any]], plan: Plan, lazy: Any) -> dict[str, Callable[[], Any]]:
    """The index with each changed tensor lazily merged, and the new tensors last. They are float32: the file's own
    type is the only one they are rounded to. Rounded to a base's bfloat16 first, as PEFT's merge does it, a float16
    file would lose three bits of what was learned."""
    import torch

    def merged(name: str) -> Any:
        base = index[plan.sources.get(name, name)]()
        meta = lazy.meta_with_dtype_and_shape(torch.float32, plan.shapes[name])
        return lazy(meta=meta, args=(base,), func=lambda weight: apply(name, weight, plan.changes[name], torch.float32))

    return index | {name: (lambda name=name: merged(name)) for name in plan.changes}


def _check_files(folder: Path) -> None:
    """Raises IntegrityViolated for a shard shorter than its header says: reading it would kill the process."""
    from gguf.utility import SafetensorsLocal

    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        for name, tensor in SafetensorsLocal(path).tensors.items():
            if tensor.data_range.offset + tensor.data_range.size > size:
                raise IntegrityViolated(f"{path.resolve()} is cut off: {name} is incomplete", hint="Download it again.")
