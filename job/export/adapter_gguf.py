"""Writes a LoRA adapter as GGUF, for llama.cpp's --lora, through the bundled llama.cpp's own script.

llama.cpp scales every product by alpha / r, with one alpha for the file. PEFT's scale can be another: alpha / sqrt(r)
with rsLoRA, an alpha or a rank of a module's own. If one alpha is right for all modules, the file's is corrected;
otherwise each module's B is scaled.
"""

import logging
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

from job import strict_json
from job.artifacts import written_whole
from job.errors import SpecInvalid
from job.export.peft_adapter import CONFIG, WEIGHTS, PeftAdapter
from job.llama_cpp import bundle


def write_adapter_gguf(adapter: PeftAdapter, model: Path, target: Path, *, tied: bool) -> Path:
    """Writes the adapter to `target`. Raises SpecInvalid for parts that a GGUF adapter cannot hold.

    `model` is the base's folder (config and tokenizer), `tied` whether its output embedding is its input embedding.
    """
    check_representable(adapter, tied=tied)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".adapter-") as folder, written_whole(target) as file:
        corrected = _with_llama_scale(adapter, Path(folder))
        _run_script(["--base", str(model), "--outtype", "f32", "--outfile", str(file), str(corrected)])
    return target


def _run_script(arguments: list[str]) -> None:
    """Runs llama.cpp's script in this process, which has imported what it needs (7 s in a process of its own)."""
    script = bundle.converter_path() / "convert_lora_to_gguf.py"
    root = logging.getLogger()
    argv, path, handlers, level = sys.argv, list(sys.path), list(root.handlers), root.level
    sys.argv = [str(script), *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except (SystemExit, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise SpecInvalid(
            f"export.adapter: llama.cpp cannot convert this adapter: {error}",
            hint="Set export.adapter to false: the merged GGUF files contain all of it.",
        ) from error
    finally:
        sys.argv, sys.path[:], root.handlers[:] = argv, path, handlers
        root.setLevel(level)


def check_representable(adapter: PeftAdapter, *, tied: bool = False) -> None:
    """Raises SpecInvalid with the parts of the adapter that would be lost."""
    parts = {part for module in adapter.parts.values() for part in module}
    heads = [module for module in adapter.parts if module.endswith("lm_head")]
    faults = {
        "DoRA": adapter.has_dora,
        f"saved modules ({', '.join(sorted(adapter.saved)[:4])})": bool(adapter.saved),
        "trained tokens": "trainable_tokens_delta" in parts,
        "biases": "lora_B.bias" in parts,
        "an output embedding that the base shares with its input embedding": tied and bool(heads),
    }
    found = [what for what, present in faults.items() if present]
    if found:
        raise SpecInvalid(
            f"export.adapter: a GGUF adapter cannot hold {' or '.join(found)}",
            hint="Set export.adapter to false: the merged GGUF files contain all of it.",
        )


def _with_llama_scale(adapter: PeftAdapter, folder: Path) -> Path:
    """A copy of the adapter in `folder` whose scale is alpha / r."""
    effective: dict[str, float] = {}
    for module, parts in adapter.parts.items():
        rank = adapter.shapes[parts["lora_A" if "lora_A" in parts else "lora_embedding_A"]][0]
        effective[module] = adapter.scale(module, rank) * rank
    config: dict[str, Any] = dict(adapter.config)
    weights = (adapter.folder / WEIGHTS).resolve()
    if max(effective.values()) - min(effective.values()) < 1e-9 * max(effective.values()):
        config["lora_alpha"] = next(iter(effective.values()))
        (folder / WEIGHTS).symlink_to(weights)
    else:
        _scale_each(adapter, {module: alpha / config["lora_alpha"] for module, alpha in effective.items()}, folder)
    (folder / CONFIG).write_text(strict_json.dumps(config), encoding="utf-8")
    return folder


def _scale_each(adapter: PeftAdapter, factors: dict[str, float], folder: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    owner = {key: module for module, parts in adapter.parts.items() for part, key in parts.items() if part[-1] == "B"}
    with safe_open(adapter.folder / WEIGHTS, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for key, module in owner.items():
        tensors[key] = tensors[key].float() * factors[module]
    save_file(tensors, folder / WEIGHTS)
