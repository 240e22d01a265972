"""Which file of a folder is talked to."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from job.errors import IntegrityViolated, NotFound
from job.llama_cpp.gguf import read_metadata

PREFERRED = "q4_k_m"
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.I)
_NO_MODELS = {"adapter", "imatrix", "mmproj"}
"""`general.type` of files that are not models by themselves (gguf-py/gguf/constants.py, GGUFType)."""


class Model(NamedTuple):
    """A GGUF: the file, or the first of its parts, with its metadata."""

    path: Path
    metadata: dict[str, Any]

    @property
    def has_template(self) -> bool:
        return bool(self.metadata.get("tokenizer.chat_template"))

    @property
    def trained_context(self) -> int | None:
        """The tokens that the model has been made for, if the file says it."""
        found = self.metadata.get(f"{self.metadata.get('general.architecture')}.context_length")
        return found if isinstance(found, int) else None


def model_at(place: Path, ask: Callable[[Sequence[Path], Path], Path] | None, tell: Callable[[str], None]) -> Model:
    """The file at a path, or one of a folder: the one that `ask` returns for the files and a default, or the default,
    which is the newest Q4_K_M, else the newest. Raises NotFound, IntegrityViolated."""
    if place.is_dir():
        files = models_in(place)
        if not files:
            raise NotFound(f"there is no GGUF file in {place}", hint="Name a folder of published files, or a file.")
        path = _default(files)
        if len(files) > 1:
            path = ask(files, path) if ask else path
            tell(f"{path.name} is taken, of {len(files)} files in {place}")
    elif place.exists():
        path = place
    else:
        raise NotFound(f"there is no {place}", hint="Name a GGUF file, or a folder that holds one.")
    return Model(whole := _first_part(path), _metadata(whole))


def models_in(folder: Path) -> list[Path]:
    """The models of a folder by name; of a model in parts the first. Adapters and matrices are left out."""
    found = []
    for path in sorted(folder.iterdir()):
        part = _PART.search(path.name)
        if path.suffix.lower() != ".gguf" or path.name.startswith(".") or (part and int(part[1]) != 1):
            continue
        try:
            kind = read_metadata(path).get("general.type")
        except (IntegrityViolated, OSError):
            kind = "model"  # what is broken is told if it is chosen
        if kind not in _NO_MODELS:
            found.append(path)
    return found


def _default(files: Sequence[Path]) -> Path:
    return max(files, key=lambda path: (PREFERRED in path.name.lower().replace("-", "_"), path.stat().st_mtime))


def _metadata(path: Path) -> dict[str, Any]:
    found = read_metadata(path)
    if found.get("general.type") in _NO_MODELS:
        raise IntegrityViolated(
            f"{path.name} is not a model, but its {found['general.type']}", hint="Name the GGUF file of a model."
        )
    return found


def _first_part(path: Path) -> Path:
    """The file, or the first of its parts, which llama.cpp opens the others from. Raises NotFound if one is missing."""
    found = _PART.search(path.name)
    if not found:
        return path
    names = [f"{path.name[: found.start()]}-{number:05}-of-{found[2]}.gguf" for number in range(1, int(found[2]) + 1)]
    if missing := [name for name in names if not (path.parent / name).is_file()]:
        raise NotFound(f"there is no {missing[0]} beside {path.name}", hint="Put all parts of the model in one folder.")
    return path.parent / names[0]
