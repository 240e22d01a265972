"""Reads a PEFT LoRA adapter: its changes by tensor.

A key of the adapter's safetensors is `base_model.model.<module>.<part>`; the parts are `lora_A.weight`,
`lora_B.weight`, `lora_B.bias`, `lora_embedding_A`, `lora_embedding_B`, `lora_magnitude_vector` (DoRA),
`token_adapter.trainable_tokens_delta`, and whole tensors of saved modules. Tensors are read when they are used.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job import adapter_config
from job.artifacts import json_object
from job.bounds import Exceeded, bounded
from job.errors import DataInvalid, IntegrityViolated, NotFound, SpecInvalid
from job.export.merge import AddVector, Change, LowRank, Replace, Rows

if TYPE_CHECKING:
    from torch import Tensor

INPUT = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""How the names of input embeddings end."""

PATTERN_S, PATTERN_MEMORY = 20, 256 << 20
CONFIG, WEIGHTS = adapter_config.NAME, "adapter_model.safetensors"

_PART = re.compile(
    r"^(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector"
    r"|token_adapter\.trainable_tokens_delta)(\.default)?(\.(?P<leaf>weight|bias))?$"
)
_WRAPPERS = re.compile(r"\.(base_layer|modules_to_save\.default|modules_to_save)(?=\.)")


class PeftAdapter:
    """An adapter's config and, by tensor name, its changes.

    Raises NotFound, SpecInvalid for a kind of adapter that cannot be merged, IntegrityViolated for a broken file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _read_config(folder)
        adapter_config.check_mergeable(self.config)
        self.shapes, self._load = _open(folder)
        self.parts: dict[str, dict[str, str]] = {}
        self.saved: dict[str, str] = {}
        self.base_copies: dict[str, str] = {}
        self._sort_keys()
        self._alphas = self._read_alphas()

    def _read_alphas(self) -> dict[str, float]:
        """Each module's alpha. The patterns are regular expressions of the file's, on names of the file's."""
        patterns, default = self.config.get("alpha_pattern") or {}, self.config["lora_alpha"]
        try:
            with bounded(PATTERN_S, PATTERN_MEMORY):
                return {module: float(_by_pattern(patterns, module, default)) for module in self.parts}
        except (Exceeded, re.error, TypeError, ValueError) as error:
            raise DataInvalid(f"{self.folder / CONFIG}: alpha_pattern cannot be used: {error}") from error

    @property
    def has_dora(self) -> bool:
        return any("lora_magnitude_vector" in parts for parts in self.parts.values())

    @property
    def embedding_rows(self) -> int:
        """Rows of the input embedding, if the adapter brings the whole of it; else 0."""
        return max((self.shapes[key][0] for name, key in self.saved.items() if name.endswith(INPUT)), default=0)

    @property
    def keeps_embeddings_tied(self) -> bool:
        """Whether PEFT trained tied embeddings as one (`ensure_weight_tying`)."""
        return bool(self.config.get("ensure_weight_tying"))

    def _sort_keys(self) -> None:
        """Sorts the keys into parts by module, saved tensors, and copies of base weights that PEFT saves with a
        low-rank change."""
        for key in self.shapes:
            name = key.removeprefix("base_model.model.")
            found = _PART.match(name)
            if found:
                part = found["part"].rpartition(".")[2] + (".bias" if found["leaf"] == "bias" else "")
                self.parts.setdefault(found["module"], {})[part] = key
            elif name.endswith(".base_layer.weight"):
                self.base_copies[_WRAPPERS.sub("", name)] = key
            elif ".original_module." not in name:
                self.saved[_WRAPPERS.sub("", name)] = key

    def scale(self, module: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r) with rsLoRA, with the module's own alpha if it has one."""
        return self._alphas[module] / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def changes(self) -> dict[str, list[Change]]:
        """The changes of the adapter, by the name of the tensor (`<module>.weight`, `<module>.bias`)."""
        changes: dict[str, list[Change]] = {}
        for name, key in (self.saved | self.base_copies).items():
            changes[name] = [Replace(self._loader(key), self.shapes[key])]
        for module, parts in self.parts.items():
            weight = changes.setdefault(f"{module}.weight", [])
            rank = next((self.shapes[parts[p]][0] for p in ("lora_A", "lora_embedding_A") if p in parts), 0)
            if "trainable_tokens_delta" in parts:
                weight.append(Rows(self._token_indices(module), self._loader(parts["trainable_tokens_delta"])))
            if rank:
                weight.append(self._low_rank(module, parts, rank))
            if "lora_B.bias" in parts:
                vector = self._loader(parts["lora_B.bias"])
                changes.setdefault(f"{module}.bias", []).append(AddVector(vector, self.scale(module, rank)))
        return changes

    def _low_rank(self, module: str, parts: Mapping[str, str], rank: int) -> LowRank:
        kind = "lora_embedding_" if "lora_embedding_A" in parts else "lora_"
        if f"{kind}B" not in parts:
            raise IntegrityViolated(f"{self.folder / WEIGHTS}: {module} has {kind}A but no {kind}B")
        a, b = parts[f"{kind}A"], parts[f"{kind}B"]
        if len(self.shapes[a]) != 2 or len(self.shapes[b]) != 2:
            raise SpecInvalid(
                f"the adapter changes {module}, which is neither a linear layer nor an embedding",
                hint="Remove convolutions from lora.target_modules.",
            )
        if self.shapes[b][1] != rank:
            raise IntegrityViolated(
                f"{self.folder / WEIGHTS}: {module} has rank {rank} in {kind}A, not {self.shapes[b][1]}"
            )
        return LowRank(
            self._loader(a),
            self._loader(b),
            self.shapes[a],
            self.shapes[b],
            self.scale(module, rank),
            self._loader(parts["lora_magnitude_vector"]) if "lora_magnitude_vector" in parts else None,
            transposed=kind == "lora_embedding_" or bool(self.config.get("fan_in_fan_out")),
            embedding=kind == "lora_embedding_",
        )

    def _token_indices(self, module: str) -> tuple[int, ...]:
        indices = self.config.get("trainable_token_indices")
        if isinstance(indices, dict):
            indices = next((value for name, value in indices.items() if module.endswith(name)), None)
        if not indices:
            raise IntegrityViolated(f"{self.folder / CONFIG}: trainable_token_indices does not say which of {module}")
        return tuple(indices)

    def _loader(self, key: str) -> "Callable[[], Tensor]":
        return lambda: self._load(key)


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise NotFound(f"{folder} has no {CONFIG}", hint="Name a folder written by PEFT's save_pretrained.")
    text = (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
    return json_object(text, str(folder / CONFIG), IntegrityViolated)


def _open(folder: Path) -> "tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]":
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    if not path.is_file():
        raise IntegrityViolated(
            f"{folder} has no {WEIGHTS}",
            hint="Pickled adapters (adapter_model.bin) are refused: save it with safe_serialization=True.",
        )
    try:
        file: Any = safe_open(path, "pt")
    except SafetensorError as error:
        raise IntegrityViolated(f"{path} is broken: {error}") from error
    shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    return shapes, file.get_tensor


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the end of the module's name, from a dot on."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)
