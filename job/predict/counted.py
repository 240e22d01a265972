"""The sizes of a model of any family, counted from its tensors: from the headers of its files alone, or from the model
as transformers builds it, without weights.

What the tensors do not say is assumed so that nothing is predicted too small.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from math import ceil, prod
from typing import Any

from job import architectures
from job.errors import SpecInvalid
from job.predict.anatomy import Anatomy, Shape
from job.predict.tally import Tally
from job.safetensors_files import Tensor
from job.spec.precision import FLOAT16_OVERFLOWS, families_of

HEADERS, BUILT = "the headers of its files", "the model without weights"
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_WIDTH = ("hidden_size", "n_embd", "d_model", "dim")
_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "moe_top_k", "top_k_experts")
_GATED = re.compile(r"(^|\.)(gate_proj|up_proj|gate_up_proj)$")
_QUERIES = re.compile(r"(^|\.)(q_proj|q_b_proj)$")
_KEYS = re.compile(r"(^|\.)(k_proj|v_proj)$")
_FUSED = re.compile(r"(^|\.)(qkv_proj|query_key_value|c_attn|Wqkv|qkv)$")
_DROPOUTS = ("attention_dropout", "residual_dropout", "resid_pdrop", "attn_pdrop", "hidden_dropout")
_SCAN_HEADS = ("mamba_n_heads", "mamba_num_heads", "linear_num_value_heads", "n_mamba_heads", "num_heads")
_CHUNK = ("mamba_chunk_size", "chunk_size")
_STATE = ("mamba_d_state", "ssm_state_size", "state_size", "linear_key_head_dim")
ROOM = 1.2
"""What a block of an unknown family may keep beside what is counted: other norms, activations, positions."""
SCANNED = 6
"""Float32 values that a scan computed by torch alone keeps for each one of its states."""
_DTYPES = {"F32": "float32", "BF16": "bfloat16"}


class Counted(Anatomy):
    """`shapes`: the linear layers of a block by their path in it, of each the largest; `having`: how many blocks have
    it; `experts_of_a_token`: see `routed`; `others`: see `outside`, with embeddings of positions; `matrices`:
    parameters of all linear layers, `experts`: of all experts, `active`: of those that one token goes through,
    `embeddings`, `rest`: of all else. `files`: bytes of the weights; `largest`: elements of the largest tensor;
    `inputs`: see `columns`; `whole_norms`: norms of a block; `beside_bytes`: see `beside`.

    A block is the union of all kinds of blocks that the model has.
    """

    shapes: dict[str, Shape]
    having: dict[str, int]
    experts_of_a_token: dict[str, Shape]
    others: tuple[Shape, ...]
    matrices: int
    experts: int
    active: int
    embeddings: int
    rest: int
    files: int
    largest: int
    inputs: int
    whole_norms: int
    has_head_norms: bool
    is_eager: bool
    beside_bytes: int

    @property
    def linear(self) -> dict[str, Shape]:
        return self.shapes

    def copies(self, name: str) -> int:
        return self.having[name]

    @property
    def outside(self) -> tuple[Shape, ...]:
        return self.others

    @property
    def routed(self) -> dict[str, Shape]:
        return self.experts_of_a_token

    @property
    def linear_parameters(self) -> int:
        return self.matrices

    @property
    def expert_parameters(self) -> int:
        return self.experts

    @property
    def active_parameters(self) -> int:
        return self.matrices + self.active

    @property
    def embedding_parameters(self) -> int:
        return self.embeddings

    @property
    def small_parameters(self) -> int:
        return self.rest

    @property
    def parameters(self) -> int:
        return self.matrices + self.experts + self.embeddings + self.rest

    @property
    def stored_bytes(self) -> int:
        return self.files

    @property
    def largest_tensor(self) -> int:
        return self.largest

    @property
    def largest_linear(self) -> int:
        return max(map(prod, self.shapes.values()), default=0)

    @property
    def columns(self) -> int:
        return self.inputs

    @property
    def norms(self) -> int:
        return self.whole_norms

    @property
    def head_norms(self) -> bool:
        return self.has_head_norms

    @property
    def fused(self) -> bool:
        return any(_FUSED.search(name) for name in self.shapes)

    @property
    def softcapped(self) -> bool:
        return self.is_eager

    @property
    def beside(self) -> int:
        return self.beside_bytes

    @property
    def room(self) -> float:
        return ROOM


def counted(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    name: str,
    how: str = HEADERS,
    *,
    files: int | None = None,
    linear: Collection[str] | None = None,
    is_eager: bool | None = None,
) -> Counted:
    """The sizes of a model with these tensors. `files`: bytes of its weights, if these are not its files' tensors;
    `linear`: the names of its linear layers' weights, if known; `is_eager`: whether its attention is not fused.

    Raises SpecInvalid for tensors of which none is in a layer, or no embedding is beside them.
    """
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else config
    tally = Tally()
    for key, one in tensors.items():
        is_layer = key.endswith(".weight") if linear is None else key in linear
        tally.add(key, one.shape, is_layer=is_layer)
    layers = 1 + max((number for numbers in tally.blocks.values() for number in numbers), default=-1)
    if not layers or not tally.embeddings:
        raise SpecInvalid(f"{name}: its tensors have no names that a language model's have")
    vocabulary = max(rows for rows, _ in tally.embeddings)
    width = _number(text, _WIDTH) or max(columns for _, columns in tally.embeddings)
    per_token, experts = _number(text, _PER_TOKEN), sum(sum(kinds.values()) for kinds in tally.experts.values())
    number = 1 + max(tally.numbers, default=0)
    taken = min(per_token or number, number)
    heads, kv_heads, head = _heads(text, tally.shapes, width)
    return Counted(
        model_type=_family(config),
        layers=layers,
        width=width,
        feed_forward=_feed_forward(tally, width, taken),
        heads=heads,
        kv_heads=kv_heads,
        head=head,
        vocabulary=vocabulary,
        tied=len(tally.embeddings) == 1,
        attention_bias=False,
        stored=_DTYPES.get(_most_common(tensors.values()), "float16"),
        how=f"counted from {how}",
        shapes=tally.shapes,
        having={path: len(numbers) for path, numbers in tally.blocks.items()},
        experts_of_a_token={kind: (rows * taken, columns) for kind, (rows, columns) in tally.one_expert.items()},
        others=tuple(shape for shape in tally.embeddings if shape[0] != vocabulary),
        matrices=tally.matrices,
        experts=experts,
        active=ceil(experts * taken / number),
        embeddings=sum(map(prod, tally.embeddings)),
        rest=tally.rest,
        files=sum(one.size for one in tensors.values()) if files is None else files,
        largest=tally.largest,
        inputs=tally.columns + width,
        whole_norms=max((len(norms) for norms in tally.norms.values()), default=0),
        has_head_norms=tally.head_norms,
        is_eager=_drops(text) or (_is_eager(config, text) if is_eager is None else is_eager),
        beside_bytes=_beside(tally, text, width, taken),
    )


def _number(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int) and config[name] > 0), None)


def _heads(text: Mapping[str, Any], shapes: Mapping[str, Shape], width: int) -> tuple[int, int, int]:
    """Heads, those of keys and values, and their width, so that the products are what the layers put out."""
    heads = _number(text, _HEADS) or max(1, width // 64)
    head = _number(text, ("head_dim",)) or ceil(width / heads)
    kv_heads = _number(text, _KV_HEADS) or heads
    queries = max((rows for path, (rows, _) in shapes.items() if _QUERIES.search(path)), default=heads * head)
    head = max(1, ceil(queries / heads))
    keys = max((rows for path, (rows, _) in shapes.items() if _KEYS.search(path)), default=kv_heads * head)
    return heads, ceil(keys / head), head


def _feed_forward(tally: Tally, width: int, taken: int) -> int:
    """The width of what lies between the layers of a block that are not attention's, as if they were gated."""
    most = 0
    for number in {*tally.outputs, *tally.experts}:
        outputs = {path: rows for path, rows in tally.outputs[number].items() if "att" not in path}
        gated = sum(rows for path, rows in outputs.items() if _GATED.search(path))
        is_gated = any(not path.endswith("up_proj") or "gate" in path for path in outputs if _GATED.search(path))
        other = sum(rows for path, rows in outputs.items() if not _GATED.search(path) and rows != width)
        most = max(most, (ceil(gated / 2) if is_gated else gated) + other + tally.expert_width(number, width) * taken)
    return most


def _beside(tally: Tally, text: Mapping[str, Any], width: int, taken: int) -> int:
    """Bytes of a token: what experts are given, and what they compute beside a gate; what is dropped; scans."""
    found = 8 * width * _drops(text) * 2
    if tally.experts:
        widest = max(tally.expert_width(number, width) for number in tally.experts)
        found += 4 * taken * (width + 2 * widest)
    if tally.scans:
        widest = max(sum(outputs.values()) for outputs in tally.outputs.values())
        heads, chunk = _number(text, _SCAN_HEADS), _number(text, _CHUNK)
        found += 4 * SCANNED * (heads * (chunk or 64) if heads else widest * (_number(text, _STATE) or 64)) + 4 * widest
    return found


def _drops(text: Mapping[str, Any]) -> bool:
    return any(isinstance(text.get(name), float) and text[name] > 0 for name in _DROPOUTS)


def _is_eager(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    return bool(text.get("attn_logit_softcapping")) or config.get("model_type") in architectures.table()["eager"]


def _family(config: Mapping[str, Any]) -> str:
    """The `model_type`: of a model for text and pictures, the one that decides on its precision."""
    families = families_of(config)
    return min(families & FLOAT16_OVERFLOWS.keys(), default=str(config.get("model_type")))


def _most_common(tensors: Iterable[Tensor]) -> str:
    sizes: dict[str, int] = defaultdict(int)
    for one in tensors:
        sizes[one.dtype] += one.size
    return max(sizes, key=lambda dtype: sizes[dtype])
