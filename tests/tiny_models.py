"""Hugging Face folders of tiny random models, with a real SentencePiece tokenizer trained on Python's own help texts.

The tokenizer is trained once a machine (it is deterministic) into a folder below the temporary directory.
llama.cpp's converter takes a SentencePiece tokenizer as it is, while it knows a BPE one only by a hash over the
ids that it gives to a fixed text; so every family here that can read `tokenizer.model` gets this one.
"""

import getpass
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Dtype = Literal["bfloat16", "float16", "float32"]

VOCAB_SIZE = 1536
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
BOS, EOS = "<s>", "</s>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Role tags are tokens of their own; `generation` marks what assistant_only_loss trains."""


def training_text() -> str:
    """The help texts that come with Python: about 700 kB of English with code in it."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def tokenizer_folder() -> Path:
    """tokenizer.model, tokenizer.json and tokenizer_config.json, trained once a machine and user."""
    import sentencepiece
    import transformers

    version = f"{sentencepiece.__version__}-{transformers.__version__}-2"
    root = Path(tempfile.gettempdir()) / f"pytest-of-{getpass.getuser()}"
    folder = root / f"tiny-tokenizer-{VOCAB_SIZE}-{version}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=root))
    _train_tokenizer(making)
    try:
        making.rename(folder)
    except OSError:  # another test process was first
        shutil.rmtree(making)
    return folder


def _train_tokenizer(folder: Path) -> None:
    """tokenizer.json is written as Llama 2 and Mistral publish it: a space is put before each text, as SentencePiece
    and llama.cpp do. The class LlamaTokenizer of transformers 5 puts none before a text that starts with one."""
    import sentencepiece
    from transformers import LlamaTokenizer

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text().split("\n")),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=VOCAB_SIZE,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        control_symbols=list(ROLES),
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    write_json(folder / "tokenizer_config.json", config)
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(ROLES)})
    fast = json.loads(tokenizer.backend_tokenizer.to_str())
    fast["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ],
    }
    fast["pre_tokenizer"] = None
    write_json(folder / "tokenizer.json", fast)
    write_json(folder / "tokenizer_config.json", config | {"tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "tokenizer.vocab").unlink()


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def copy_tokenizer(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, **settings: Any) -> None:
    """Puts the tokenizer into a model's folder. `settings` go into tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    source = tokenizer_folder()
    for name in ("tokenizer.model", "tokenizer.json"):
        shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "tokenizer_config.json").read_text()) | settings
    if chat_template is not None:
        config["chat_template"] = chat_template
    write_json(folder / "tokenizer_config.json", config)


def save(
    folder: Path,
    config: Any,
    *,
    seed: int = 0,
    dtype: Dtype = "bfloat16",
    shards: int = 1,
    chat_template: bool = True,
    prepare: Callable[[Any], None] | None = None,
    tokenizer: Callable[..., None] = copy_tokenizer,
) -> Path:
    """Writes a random model of this config, its tokenizer and generation config. `prepare` may change the model."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("norm.weight") or name.endswith(".bias"):
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    if prepare is not None:
        prepare(model)
    model.to(getattr(torch, dtype))
    model.config.dtype = getattr(torch, dtype)
    model.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id)
    bytes_ = sum(p.numel() * p.element_size() for p in model.parameters())
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="50GB" if shards == 1 else int(bytes_ / shards * 1.02) + 1)
    tokenizer(folder, chat_template=CHAT_TEMPLATE if chat_template else None)
    return folder


def _sizes(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": 2048,
        "initializer_range": 0.05,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }


def make_llama(
    folder: Path,
    *,
    hidden: int = 256,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    intermediate: int = 512,
    seed: int = 0,
    tied: bool = False,
    dtype: Dtype = "bfloat16",
    shards: int = 1,
    chat_template: bool = True,
    prepare: Callable[[Any], None] | None = None,
    **config: Any,
) -> Path:
    """A Llama of about 2 million parameters. `config` goes into LlamaConfig."""
    from transformers import LlamaConfig

    sizes = _sizes(hidden, layers, heads, kv_heads, intermediate)
    llama = LlamaConfig(**(sizes | {"tie_word_embeddings": tied, "rms_norm_eps": 1e-5} | config))
    return save(folder, llama, seed=seed, dtype=dtype, shards=shards, chat_template=chat_template, prepare=prepare)


def write_quotes(path: Path) -> Path:
    """Sixty rows of text, in the field `quote`."""
    words = ["time", "life", "love", "truth", "hope", "work", "courage", "silence", "reason", "art"]
    pairs = [(a, b) for a in words for b in words if a != b]
    rows = [{"quote": f"Of {a} and {b}, {a} is the greater, said number {n}."} for n, (a, b) in enumerate(pairs)]
    path.write_text("\n".join(json.dumps(row) for row in rows[:60]) + "\n")
    return path
