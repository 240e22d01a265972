"""Models of real shapes with random weights, written shard by shard, and rows of text to train them on.

Speed and memory depend on shapes alone. The tokenizer is that of the project's tests: ids below 1,536 of a larger
vocabulary.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from bench.gpu.parts import SEVEN_B, SHORT, WIDE
from bench.gpu.record import Bench
from tests.tiny_models import copy_tokenizer

Shape = dict[str, int]
SHARD = 2_000_000_000
"""Bytes, about; of a shard that is written while nothing else of the model is in memory."""


def shape(layers: int, hidden: int, feed_forward: int, heads: int, kv_heads: int, vocabulary: int) -> Shape:
    return {
        "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": feed_forward,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
    }  # fmt: skip


SHAPES = {
    SEVEN_B: shape(32, 4096, 11_008, 32, 32, 32_000),
    SHORT: shape(8, 4096, 11_008, 32, 32, 32_000),
    WIDE: shape(4, 4096, 14_336, 32, 8, 128_256),
}
TINY = {
    SEVEN_B: shape(2, 256, 512, 4, 4, 2_048),
    SHORT: shape(2, 256, 512, 4, 4, 2_048),
    WIDE: shape(1, 256, 512, 4, 2, 12_000),
}


def folder_of(bench: Bench, name: str) -> Path:
    return bench.work / name


def run(bench: Bench, name: str) -> None:
    with bench.case(name) as fields:
        folder = folder_of(bench, name)
        fields["is_new"] = not (folder / "config.json").is_file()
        if fields["is_new"]:
            write(folder, (TINY if bench.tiny else SHAPES)[name])
        fields["bytes"] = sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def write(folder: Path, sizes: Shape) -> None:
    """A Llama in float16 in Hugging Face's format; config.json, written last, makes it count."""
    config = LlamaConfig(
        **sizes, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=None,
        tie_word_embeddings=False, dtype="float16", architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    with torch.device("meta"):
        hollow = AutoModelForCausalLM.from_config(config)
    copy_tokenizer(folder)
    torch.manual_seed(0)
    index: dict[str, str] = {}
    for number, shapes in enumerate(shards((name, weight.shape) for name, weight in hollow.named_parameters()), 1):
        file = f"model-{number:05}.safetensors"
        save_file({name: random(of) for name, of in shapes.items()}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(shapes, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config.save_pretrained(folder)


def shards(weights: Iterable[tuple[str, torch.Size]]) -> Iterator[dict[str, torch.Size]]:
    shard: dict[str, torch.Size] = {}
    size = 0
    for name, of in weights:
        shard[name] = of
        size += 2 * of.numel()
        if size >= SHARD:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard


def random(of: torch.Size) -> torch.Tensor:
    """Norms are ones, matrices as a Llama begins its training."""
    if len(of) == 1:
        return torch.ones(of, dtype=torch.float16)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.empty(of, device=device).normal_(0, 0.02).half().cpu()


def write_rows(path: Path, count: int, words: int) -> Path:
    """Rows of so many words, each from another place of Python's help texts."""
    text = " ".join(topics.values()).split()
    starts = (number * 37 % (len(text) - words) for number in range(count))
    path.write_text("".join(json.dumps({"text": " ".join(text[start : start + words])}) + "\n" for start in starts))
    return path
