"""What the converter's errors mean for the user."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from job.errors import IntegrityViolated, JobError, SpecInvalid


@contextlib.contextmanager
def sentencepiece_named(view: Path) -> Iterator[None]:
    """Says what is wrong if a SentencePiece tokenizer is there as tokenizer.json alone: the converter, which reads
    tokenizer.model for some families, takes it for a BPE tokenizer of no known family."""
    try:
        yield
    except SpecInvalid as error:
        if (view / "tokenizer.model").exists() or not _falls_back_to_bytes(view / "tokenizer.json"):
            raise
        raise SpecInvalid(
            "model.id: the model has a SentencePiece tokenizer as tokenizer.json alone, and the converter of llama.cpp "
            "needs its tokenizer.model",
            hint="Put the tokenizer.model of its base model beside it.",
        ) from error


def _falls_back_to_bytes(path: Path) -> bool:
    """Whether a tokenizer.json was made from SentencePiece: its model says so."""
    if not path.exists():
        return False
    model = json.loads(path.read_text(encoding="utf-8")).get("model") or {}
    return bool(model.get("byte_fallback"))


@contextlib.contextmanager
def translated(view: Path) -> Iterator[None]:
    """Translates the converter's errors into the job's."""
    try:
        yield
    except JobError:
        raise
    except RuntimeError as error:
        if not type(error).__name__.startswith("NotImplemented"):  # raised for what the converter does not support
            raise
        if "pre-tokenizer" in str(error):
            raise SpecInvalid(
                "model.id: llama.cpp's converter does not know this BPE tokenizer (it knows them by a hash)",
                hint="Use a model with the tokenizer of a known family, unchanged except for added tokens.",
            ) from error
        raise SpecInvalid(f"model.id: llama.cpp's converter cannot convert this model: {error}") from error
    except FileNotFoundError as error:
        missing = Path(error.filename or str(error)).name
        if missing.endswith(".safetensors"):
            raise IntegrityViolated(
                f"the model's files are incomplete: no {missing}", hint="Download it again."
            ) from error
        raise SpecInvalid(f"model.id: the model has no {missing}") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        if "Missing or incomplete model files" in str(error) or "safetensors" in str(error):
            raise IntegrityViolated(
                f"the model's files are incomplete: {error}", hint="Download them again."
            ) from error
        raise not_converted(error) from error


def not_converted(error: Exception) -> SpecInvalid:
    return SpecInvalid(
        f"model.id: llama.cpp's converter cannot convert this model: {type(error).__name__}: {error}",
        hint="Check that its config, tokenizer and weights belong together, as in the published model.",
    )
