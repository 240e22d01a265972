"""The adapter that training would make, without its weights."""

from pathlib import Path
from typing import Any

from job.errors import SpecInvalid
from job.logs import log
from job.rehearsal.hollow import write_hollow_tensors
from job.spec import JobSpec
from job.train.model import with_adapter
from job.train.targets import tell_without_adapters, trainable_names


def write_adapter(spec: JobSpec, model: Any, folder: Path) -> Path | None:
    """Puts a new adapter on a hollow model, as training does, and writes it hollow. None, with a warning, if that needs
    the weights themselves: then training has the first word.

    Raises SpecInvalid for targets that the model does not have, or that PEFT does not take.
    """
    import torch
    from peft.utils import get_peft_model_state_dict

    try:
        with torch.device("meta"):
            adapted = with_adapter(spec, model, None)
    except RuntimeError as error:  # an operation that tensors without data do not have
        log.warning("rehearse.no_adapter", why=str(error), what="the adapter cannot be tried without the weights")
        return None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise SpecInvalid(
            f"lora: PEFT cannot put these adapters on {spec.model.id}: {error}",
            hint=f"Name some of these in lora.target_modules: {', '.join(trainable_names(model))}.",
        ) from error
    if spec.lora.target_modules == "all-linear":
        tell_without_adapters(adapted)
    folder.mkdir(parents=True, exist_ok=True)
    adapted.peft_config["default"].save_pretrained(folder)
    shapes = {name: tuple(weight.shape) for name, weight in get_peft_model_state_dict(adapted).items()}
    write_hollow_tensors(folder / "adapter_model.safetensors", shapes)
    return folder
