"""What a rehearsal needs, which the launcher alone does not have."""

import importlib.util

from job.llama_cpp import bundle

MODULES = ("torch", "transformers", "peft")


def lacking() -> str:
    """What is not here that a rehearsal needs; empty if nothing is."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed here (pip install '.[job]')"
    return "" if bundle.is_built() else "llama.cpp is not built here (make llama)"
