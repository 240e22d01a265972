"""The versions of packages that a result depends on."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from job import __version__

TRAINING = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets")
TOKENIZING = ("transformers", "tokenizers", "jinja2")


@cache
def versions() -> dict[str, str]:
    """Version by package, without those that are not installed."""
    found = {"finetune-run": __version__}
    for name in (*TRAINING, *TOKENIZING, "huggingface-hub"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
