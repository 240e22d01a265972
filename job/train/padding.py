"""Left padding: TRL's collator, which takes labels as they are, pads on the right whatever the tokenizer says
(trl/trainer/sft_trainer.py, `DataCollatorForLanguageModeling.torch_call`)."""

from collections.abc import Callable
from typing import Any

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


def on_the_left(collate: Collator) -> Collator:
    """A collator that pads where `collate`, which pads on the right, does not: rows go in reversed and their batch is
    reversed again."""

    def collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate([{name: ids[::-1] for name, ids in row.items()} for row in rows])
        return {name: tensor.flip(1) for name, tensor in batch.items()}

    return collated
