"""Rows of the embeddings for tokens that are trained: new ones are made, and PEFT is told to train them.

Imports torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from job.errors import SpecInvalid
from job.spec import JobSpec


def pieces_of(folder: Path, tokens: Sequence[str]) -> dict[str, list[int]]:
    """What the model's own tokenizer reads each token as: ids of tokens that the model knows."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return {one: tokenizer(one, add_special_tokens=False)["input_ids"] for one in tokens}


def prepare_rows(model: Any, tokenizer: Any, pieces: Mapping[str, Sequence[int]]) -> None:
    """Makes the rows of tokens that have none, or were never trained (all zero), in the input and output embedding: the
    mean of the rows of what the model read before."""
    import torch

    known = model.get_input_embeddings().weight.shape[0]
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in pieces}
    if max(ids.values(), default=0) >= known:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    with torch.no_grad():
        for weight in dict.fromkeys(layer.weight for layer in layers if layer is not None):
            before = weight[:known]
            for token, read in pieces.items():
                is_new = ids[token] >= known or not bool(weight[ids[token]].any())
                others = [one for one in read if one < known and one != ids[token]]
                if is_new:
                    weight[ids[token]] = (before[others] if others else before).float().mean(0).to(weight.dtype)


def trainable_rows(spec: JobSpec, model: Any, ids: Sequence[int]) -> dict[str, list[int]] | None:
    """PEFT's `trainable_token_indices`: by layer. One that `lora.modules_to_save` trains whole needs none, and a tied
    output embedding follows the input. Raises SpecInvalid for an output layer with a bias."""
    if not ids:
        return None
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    layers = [embedding] if head is None or head.weight is embedding.weight else [embedding, head]
    names = {id(module): name.rpartition(".")[2] for name, module in model.named_modules()}
    whole = {name.rpartition(".")[2] for name in spec.lora.modules_to_save}
    found = [names[id(layer)] for layer in layers if names[id(layer)] not in whole]
    if len(layers) > 1 and names[id(head)] in found and getattr(head, "bias", None) is not None:
        raise SpecInvalid(
            f"the output layer of {spec.model.id} has a bias, which PEFT's trained tokens would lose",
            hint=f"Train it whole: lora.modules_to_save: [{names[id(head)]}]",
        )
    return {name: sorted(ids) for name in found} or None


def show_no_bias(model: Any) -> None:
    """Gives a wrapped output layer the `bias` that TRL's loss asks it for."""
    from peft.utils.other import TrainableTokensWrapper

    head = model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        head.bias = None
