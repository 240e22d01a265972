"""A model's tensors, from its config.json alone: the basis of the predictions of memory, disk and file sizes.
job/predict/counted.py has those of families that are not known here.

For decoders built like Llama: attention of `heads` queries over `kv_heads` keys and values, a gated feed-forward.
Source: the modeling files of transformers for each model_type in KNOWN.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

from job.artifacts import Frozen
from job.errors import SpecInvalid

KNOWN = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3")
_FOUR_NORMS = ("gemma2", "gemma3_text")
_HEAD_NORMS = ("qwen3", "gemma3_text")
_TIED = ("gemma", "gemma2", "gemma3_text")

Shape = tuple[int, int]
"""Rows (outputs) and columns (inputs)."""


class Anatomy(Frozen):
    """The sizes of a model. `head` is the width of one attention head."""

    model_type: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool
    attention_bias: bool
    stored: str = "float16"
    """The weights' dtype in the model's files."""
    how: str = ""
    """How the sizes are known, if not by the family's own formulas."""

    @property
    def norms(self) -> int:
        """Norms of the whole width in one block."""
        return 4 if self.model_type in _FOUR_NORMS else 2

    @property
    def head_norms(self) -> bool:
        """Whether queries and keys are normalized too."""
        return self.model_type in _HEAD_NORMS

    @property
    def fused(self) -> bool:
        """Whether queries, keys and values are one layer."""
        return self.model_type == "phi3"

    @property
    def softcapped(self) -> bool:
        """Whether attention scores are capped, which no fused attention of transformers supports."""
        return self.model_type == "gemma2"

    @property
    def linear(self) -> dict[str, Shape]:
        """The linear layers of one block, by the names that LoRA's target_modules use."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        if self.fused:
            found = {"qkv_proj": (queries + 2 * keys, self.width), "gate_up_proj": (2 * self.feed_forward, self.width)}
        else:
            found = dict.fromkeys(("k_proj", "v_proj"), (keys, self.width))
            found |= {"q_proj": (queries, self.width)}
            found |= dict.fromkeys(("gate_proj", "up_proj"), (self.feed_forward, self.width))
        return found | {"o_proj": (self.width, queries), "down_proj": (self.width, self.feed_forward)}

    @property
    def inputs_of_layers(self) -> set[int]:
        """The columns that matrices of a block have."""
        return {columns for _, columns in (*self.linear.values(), *self.routed.values())}

    def copies(self, name: str) -> int:
        """How many blocks have a linear layer."""
        return self.layers

    @property
    def outside(self) -> tuple[Shape, ...]:
        """Linear layers that are in no block."""
        return ()

    @property
    def routed(self) -> dict[str, Shape]:
        """What a token goes through of a block's experts, as linear layers."""
        return {}

    @property
    def beside(self) -> int:
        """Bytes that a block keeps of a token beside what Llama's keep."""
        return 0

    @property
    def room(self) -> float:
        """The factor on what a block keeps."""
        return 1.0

    @property
    def linear_parameters(self) -> int:
        """Parameters of all linear layers except the head: those that 4-bit loading quantizes."""
        return self.layers * sum(map(prod, self.linear.values()))

    @property
    def expert_parameters(self) -> int:
        """Parameters of all experts."""
        return 0

    @property
    def active_parameters(self) -> int:
        """Parameters of the blocks that a token is multiplied with."""
        return self.linear_parameters

    @property
    def columns(self) -> int:
        """Columns of all matrices but the embedding's."""
        return self.layers * sum(columns for _, columns in self.linear.values()) + self.width

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the input embedding, and of the output embedding if it is separate."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def small_parameters(self) -> int:
        """Parameters of norms and biases."""
        block = self.width * self.norms
        if self.head_norms:
            block += 2 * self.head
        if self.attention_bias:
            block += (self.heads + 2 * self.kv_heads) * self.head
        return self.layers * block + self.width

    @property
    def stored_bytes(self) -> int:
        """Bytes of the model's own files."""
        return self.parameters * (4 if self.stored == "float32" else 2)

    @property
    def largest_tensor(self) -> int:
        """Elements of the largest tensor, the embedding included."""
        return max(self.largest_linear, self.vocabulary * self.width)

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return self.linear_parameters + self.embedding_parameters + self.small_parameters

    @property
    def largest_linear(self) -> int:
        """Elements of the largest linear layer of a block."""
        return max(map(prod, self.linear.values()))


def anatomy_of(config: Mapping[str, Any], name: str) -> Anatomy:
    """Reads a config.json. Raises SpecInvalid for a model type that is not in KNOWN, or sizes that are missing."""
    kind = str(config.get("model_type"))
    if kind not in KNOWN:
        raise SpecInvalid(f"{name}: there is no prediction for model_type {kind}", hint=f"Known: {', '.join(KNOWN)}.")
    try:
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        tied = config.get("tie_word_embeddings")
        return Anatomy(
            model_type=kind,
            layers=config["num_hidden_layers"],
            width=width,
            feed_forward=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head=config.get("head_dim") or width // heads,
            vocabulary=config["vocab_size"],
            tied=kind in _TIED if tied is None else bool(tied),
            attention_bias=kind == "qwen2" or bool(config.get("attention_bias")),
            stored=str(config.get("dtype") or config.get("torch_dtype") or "float16"),
        )
    except KeyError as error:
        raise SpecInvalid(f"{name}: its config.json has no {error.args[0]}") from error
