"""What published files are called: `<name>-Q4_K_M.gguf`, as on the Hub."""

import re

from job.artifacts import Artifact
from job.spec.spec import JobSpec

IMATRIX = "imatrix.gguf"
_PART = re.compile(r"-(\d{5}-of-\d{5})\.gguf$")


def run_name(spec: JobSpec) -> str:
    """publish.name, else the Hub repository's name without -gguf, else the model's name, with -tuned if it was
    fine-tuned."""
    if spec.publish.name:
        return spec.publish.name
    if spec.publish.hub:
        return re.sub(r"-gguf$", "", spec.publish.hub.repo_id.split("/")[-1], flags=re.I)
    base = re.sub(r"[^\w.-]+", "-", spec.model.id.rstrip("/").split("/")[-1]).strip("-.") or "model"
    tuned = spec.training is not None or spec.model.adapter is not None
    return f"{base}-tuned" if tuned else base


def file_names(spec: JobSpec, kind: str, artifacts: list[Artifact]) -> dict[str, str]:
    """The published name of each file of one type, by its name in the store."""
    names = {}
    for item in artifacts:
        part = _PART.search(item.path)
        names[item.path] = f"{run_name(spec)}-{kind.upper()}{'-' + part[1] if part else ''}.gguf"
    return names


def lora_name(spec: JobSpec) -> str:
    """The published name of the adapter as GGUF."""
    return f"{run_name(spec)}-lora.gguf"


def extra_name(spec: JobSpec, path: str) -> str | None:
    """The published name of a file made beside the quantized ones, or None if it stays in the store.

    `adapter/…` (PEFT's files) becomes `<name>-lora/…`, `merged/…` (safetensors) `<name>-merged/…`, and the importance
    matrix `<name>-imatrix.gguf`.
    """
    name = run_name(spec)
    if path == lora_name(spec):
        return path
    if path == IMATRIX:
        return f"{name}-{IMATRIX}"
    for folder, title in (("adapter/", "lora"), ("merged/", "merged")):
        if path.startswith(folder):
            return f"{name}-{title}/{path.removeprefix(folder)}"
    return None
