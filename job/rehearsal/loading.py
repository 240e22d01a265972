"""The hollow model, loaded onto no device: whether the files have every tensor that the class expects, and a row for
every token."""

from pathlib import Path
from typing import Any

from job.errors import IntegrityViolated, SpecInvalid
from job.logs import log

SHOWN = 4


def load_hollow(folder: Path, where: str) -> Any:
    """The model on torch's meta device, as transformers loads it for training.

    Raises IntegrityViolated for files that do not fit the class, SpecInvalid for a config that it does not take.
    """
    from transformers import AutoModelForCausalLM

    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise SpecInvalid(
            f"model.id: transformers cannot load {where}: {type(error).__name__}: {error}",
            hint="Check that its config.json is that of the published model.",
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise IntegrityViolated(
            f"{where} is not whole: its files lack {_some(missing)}; training would start from random numbers there",
            hint="Name the complete model. A copy without its output layer is whole only if it says that it is tied.",
        )
    if wrong := sorted((name, list(here), list(expected)) for name, here, expected in found["mismatched_keys"]):
        name, here, expected = wrong[0]
        raise IntegrityViolated(
            f"{where}: {name} has shape {here}, and its config.json asks for {expected} ({len(wrong)} such tensors)",
            hint="Its config.json and its weights do not belong together.",
        )
    if extra := sorted(found["unexpected_keys"]):
        log.warning("rehearse.unused_tensors", count=len(extra), what=f"not loaded: {_some(extra)}")
    return model


def check_tokens(folder: Path, rows: int, where: str) -> None:
    """Raises IntegrityViolated if the tokenizer in a folder has ids for which the embedding has no row."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    if beyond:
        tokens = _some([f"{token!r} ({number})" for number, token in beyond])
        raise IntegrityViolated(
            f"{where} has {rows} embedding rows, and its tokenizer has more ids: {tokens}",
            hint="Its tokenizer and its weights do not belong together.",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
