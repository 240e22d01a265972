"""The adapter that training would make, without its weights."""

from pathlib import Path
from typing import Any

from job.errors import SpecInvalid
from job.logs import log
from job.rehearsal.hollow import write_hollow_tensors
from job.spec import JobSpec
from job.train.model import with_adapter


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
    except ValueError as error:
        raise SpecInvalid(
            f"lora: PEFT cannot put these adapters on {spec.model.id}: {error}",
            hint="Name linear layers of its attention in lora.target_modules, and try lora.dropout: 0.",
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    adapted.peft_config["default"].save_pretrained(folder)
    shapes = {name: tuple(weight.shape) for name, weight in get_peft_model_state_dict(adapted).items()}
    write_hollow_tensors(folder / "adapter_model.safetensors", shapes)
    return folder
