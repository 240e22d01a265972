"""What users do today, as the reference for exports: PEFT's merge, save_pretrained, llama.cpp's own converter."""

import runpy
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from job.chat.portable import portable_template
from job.export import stage as export_stage
from job.llama_cpp import bundle
from job.spec import JobSpec
from tests.gguf_file import read_gguf

torch.set_num_threads(1)


def load(folder: Path, **settings: Any) -> Any:
    """The model in its own dtype, as transformers reads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, **({"dtype": "auto"} | settings)).eval()


def make_adapter(
    base: Path, folder: Path, *, seed: int = 1, change: Callable[[Any], None] | None = None, **config: Any
) -> Path:
    """An adapter with random factors, random DoRA magnitudes and changed saved modules, as PEFT saves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    settings = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "init_lora_weights": False} | config
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.02)
            elif parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    if change is not None:
        change(model)
    model.save_pretrained(folder)
    return folder


def with_adapter(base: Path, adapter: Path, **settings: Any) -> Any:
    """The base with the adapter beside it, not merged: what training saw."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load(base, **settings), str(adapter)).eval()


def merged_by_peft(base: Path, adapter: Path, folder: Path, **settings: Any) -> Path:
    """merge_and_unload, save_pretrained, and the base's tokenizer."""
    with_adapter(base, adapter, **settings).merge_and_unload().save_pretrained(folder)
    for path in base.glob("tokenizer*"):
        shutil.copyfile(path, folder / path.name)
    return folder


def converted(model: Path, gguf: Path, dtype: str = "f16") -> Path:
    """llama.cpp's convert_hf_to_gguf.py, run as it is, in this process to spare its imports."""
    script = bundle.converter_path() / "convert_hf_to_gguf.py"
    arguments = [str(script), str(model), "--outfile", str(gguf), "--outtype", dtype]
    path = [str(bundle.converter_path()), *sys.path]
    with mock.patch.object(sys, "argv", arguments), mock.patch.object(sys, "path", path):
        runpy.run_path(str(script), run_name="__main__")
    return gguf


def tensors(gguf: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Name -> type, shape, bytes."""
    return read_gguf(gguf).tensors


def metadata(gguf: Path) -> dict[str, Any]:
    return read_gguf(gguf).metadata


def job_metadata(reference: Path, name: str = "tiny") -> dict[str, Any]:
    """What the job writes where the converter itself wrote `reference`: another name, a portable chat template."""
    found = metadata(reference)
    template = portable_template(found["tokenizer.chat_template"])
    return found | {"general.name": name, "tokenizer.chat_template": template}


def llama_cpp(program: str, *arguments: str | Path) -> str:
    """stdout of one of the bundled programs."""
    command = [str(bundle.program(program)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode(errors="replace")


def logits_of(gguf: Path, prompt: str, folder: Path, *extra: str | Path) -> tuple[list[int], "np.ndarray[Any, Any]"]:
    """Token ids and the last token's logits, by llama-debug with a float32 key-value cache."""
    folder.mkdir(exist_ok=True)
    precise = ["-t", "1", "-c", "512", "-fa", "off", "-ctk", "f32", "-ctv", "f32", "--no-warmup"]
    arguments = ["--save-logits", "--logits-output-dir", folder, *precise, *extra]
    llama_cpp("llama-debug", "-m", gguf, "-p", prompt, *arguments)
    stem = folder / f"llamacpp-{gguf.stem}"
    raw = stem.with_name(stem.name + "-tokens.bin").read_bytes()
    ids = list(struct.unpack(f"<{len(raw) // 4}i", raw))
    return ids, np.fromfile(stem.with_name(stem.name + ".bin"), dtype=np.float32)


def logits_by_transformers(model: Any, ids: list[int]) -> "np.ndarray[Any, Any]":
    with torch.no_grad():
        return np.asarray(model(torch.tensor([ids])).logits[0, -1].float().numpy())


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "me/base"}, "dataset": {"id": "me/data"}} | sections)


def exported(base: Path, adapter: Path | None, folder: Path, **sections: Any) -> export_stage.Result:
    """The stage, with these sections of the spec."""
    return export_stage.run(spec(**sections), export_stage.Inputs(model=base, adapter=adapter, name="tiny"), folder)
