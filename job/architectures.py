"""Whether a model's config.json is of an architecture that this job can train and export, known before any weights are
fetched, without torch.

architectures.json is written by scripts/architectures.py from the locked transformers and the bundled llama.cpp.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from job.errors import DataInvalid, IntegrityViolated, SpecInvalid
from job.nearest import nearest

OTHERWISE = {"PhiMoEForCausalLM": "it weighs a token's experts by a softmax of both, transformers by SparseMixer"}
"""Architectures that the converter knows, and what llama.cpp computes otherwise than transformers with every model of
them (`src/models/phi3.cpp`, `build_moe_ffn`)."""
_COMMON = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM")


@cache
def table() -> dict[str, Any]:
    """`loads`: classes of transformers by `model_type`; `wraps`: classes for text and pictures, which have a language
    model inside; `converts`: architectures that llama.cpp's converter knows; of types that both know, if their defaults
    make a model, `linear`: its linear layers' names; `eager`: those whose attention is not fused."""
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found


def loads(config: dict[str, Any]) -> bool:
    """Whether transformers has a language model of its own for the config's `model_type`, or one inside a class for
    text and pictures: it then needs no code that a repository brings."""
    return config.get("model_type") in table()["loads"] or config.get("model_type") in table()["wraps"]


def auto_class(folder: Path) -> Any:
    """The class of transformers that loads the model in a folder."""
    return auto_class_of(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))


def auto_class_of(model_type: str | None) -> Any:
    """The class of transformers that loads models of a type."""
    import transformers

    wrapped = model_type in table()["wraps"]
    return transformers.AutoModelForImageTextToText if wrapped else transformers.AutoModelForCausalLM


def check_config(config: dict[str, Any], where: str, *, trained: bool) -> None:
    """Refuses a model that needs Python code of its own, is quantized already, or is of an architecture that is not
    known. Raises IntegrityViolated, DataInvalid and SpecInvalid.

    Code that comes with what transformers knows natively is never downloaded nor run: it is no reason to refuse.
    """
    if "auto_map" in config and not loads(config):
        kind = config.get("model_type")
        raise needs_code("config.json", f"an architecture that transformers knows, not {kind!r}", where)
    quantization = config.get("quantization_config")
    if method := quantization.get("quant_method") if isinstance(quantization, dict) else None:
        raise DataInvalid(
            f"{where} is quantized already ({method}); an adapter would be merged into rounded weights",
            hint="Name the original 16-bit model.",
        )
    check_known(config, where, trained=trained)


def needs_code(name: str, instead: str, where: str) -> IntegrityViolated:
    """The error for a file that names code."""
    return IntegrityViolated(
        f"{where}: {name} has auto_map, which runs Python code of the model: this job never does",
        hint=f"Use a version of the model with {instead}.",
    )


def check_known(config: dict[str, Any], where: str, *, trained: bool) -> None:
    """Raises SpecInvalid for an architecture that llama.cpp's converter cannot convert, or, to be trained, that
    transformers cannot load as a language model."""
    kind, architecture = config.get("model_type"), _architecture(config)
    if trained and not loads(config):
        of = f" ({architecture})" if architecture else ""
        raise SpecInvalid(
            f"model.id: {where} is of the type {kind!r}{of}, which transformers {table()['transformers']} does not "
            "know as a language model",
            hint=_similar(str(kind), table()["loads"], "It knows") + " A newer image may know it too.",
        )
    if architecture is None:
        raise SpecInvalid(
            f"model.id: the config.json of {where} names no architecture",
            hint=f"Its `architectures` should be [{table()['loads'].get(kind, 'the name of its class')}].",
        )
    if architecture not in table()["converts"]:
        raise SpecInvalid(
            f"model.id: llama.cpp's converter does not know the architecture {architecture} of {where}",
            hint=_similar(architecture, table()["converts"], "It knows")
            + " Use a model of another family, or an image with a newer llama.cpp.",
        )
    if architecture in OTHERWISE:
        raise SpecInvalid(
            f"model.id: llama.cpp computes something else with {where} ({architecture}) than transformers: "
            f"{OTHERWISE[architecture]}",
            hint="Its file would not be the model that was trained. Use a model of another family.",
        )
    if unlike := _unlike_gemma_3n(config):
        raise SpecInvalid(
            f"model.id: llama.cpp goes by the numbers of gemma-3n-E2B and E4B for each Gemma 3n, and {where} has "
            f"{', '.join(unlike)}",
            hint="Its file would not be the model that was trained. Use one of these two.",
        )


def _unlike_gemma_3n(config: dict[str, Any]) -> list[str]:
    """Fields of a Gemma 3n that have other values than llama.cpp takes for granted (`src/models/gemma3n.cpp`,
    `n_layer_kv_from_start`, `n_layer_sparsity`, `i_altup_act`, the pattern of layers), which its files do not say."""
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    if text.get("model_type") != "gemma3n_text":
        return []
    layers, shared = text.get("num_hidden_layers", 35), text.get("num_kv_shared_layers", 15)
    taken = {
        "num_kv_shared_layers": layers - 20,
        "altup_active_idx": 0,
        "activation_sparsity_pattern": [0.95] * 10 + [0.0] * (layers - 10),
        "layer_types": [
            "full_attention" if number % 5 == 0 else "sliding_attention" for number in range(1, layers + 1)
        ],
    }
    has = text | {"num_kv_shared_layers": shared}
    return [f"another {name}" for name, value in taken.items() if has.get(name) not in (None, value)]


def _architecture(config: dict[str, Any]) -> str | None:
    """The name that the converter goes by: the first of `architectures`, of the text part if it has its own."""
    text = config.get("text_config")
    for section in (text if isinstance(text, dict) else {}, config):
        names = section.get("architectures")
        if isinstance(names, list) and names and isinstance(names[0], str):
            return str(names[0])
    return None


def _similar(word: str, known: Any, start: str) -> str:
    near = nearest(word, known) or [one for one in _COMMON if one in known]
    return f"{start} {len(known)}, among them {', '.join(near)}." if near else f"{start} {len(known)}."
