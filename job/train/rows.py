"""Prepared rows as data sets for the trainers."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from job.errors import DataInvalid
from job.logs import log
from job.spec import JobSpec


def read(path: Path, cache: Path) -> Any:
    """A JSON Lines file as a datasets.Dataset on disk."""
    from datasets import load_dataset

    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))


def marks_assistant(spec: JobSpec, tokenizer: Any, kind: str) -> bool:
    """Whether the loss is on the assistant's turns only: by the spec, else if the template can mark them.

    TRL finds the turns by `{% generation %}` in the template, and knows the templates of common models without it.
    """
    assert spec.training
    if spec.training.trainer != "trl" or kind != "messages":
        return False
    if spec.training.assistant_only_loss is False:
        return False
    if re.search(r"\{%-?\s*generation\b", str(tokenizer.chat_template)) or _known_to_trl(tokenizer):
        return True
    if spec.training.assistant_only_loss:
        raise DataInvalid(
            "training.assistant_only_loss: the chat template does not mark the assistant's turns",
            hint="Put {% generation %}…{% endgeneration %} around them in chat.template, or set it to false.",
        )
    log.info("train.loss_on_all_turns", why="the chat template does not mark the assistant's turns")
    return False


def _known_to_trl(tokenizer: Any) -> bool:
    from trl.chat_template_utils import get_training_chat_template

    try:
        get_training_chat_template(tokenizer)
    except ValueError:
        return False
    return True


def as_text(row: dict[str, Any], tokenizer: Any) -> str:
    """A row as one text, for transformers.Trainer."""
    if "messages" in row:
        return str(tokenizer.apply_chat_template(row["messages"], tokenize=False))
    return str(row["text"] if "text" in row else row["prompt"] + row["completion"])


def tokenized(rows: Any, tokenizer: Any, max_length: int) -> Any:
    """Token ids of each row, cut at `max_length`, for transformers.Trainer. A template writes its own BOS."""

    def tokenize(row: dict[str, Any]) -> dict[str, Any]:
        special = "messages" not in row
        ids = tokenizer(as_text(row, tokenizer), truncation=True, max_length=max_length, add_special_tokens=special)
        return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}

    return rows.map(tokenize, remove_columns=rows.column_names)


def ids_of(path: Path, tokenizer: Any, spec: JobSpec) -> Iterator[list[int]]:
    """Each row's token ids as training saw them, cut at max_length. A chat template writes its own special tokens; to
    text the tokenizer adds its own, and TRL adds EOS."""
    length = spec.training.max_length if spec.training else None
    ends = spec.training is None or spec.training.trainer == "trl"
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            special = "messages" not in row
            ids = tokenizer(as_text(row, tokenizer), add_special_tokens=special)["input_ids"]
            if special and ends and ids[-1:] != [tokenizer.eos_token_id]:
                ids.append(tokenizer.eos_token_id)
            yield ids[:length]


LONGEST_PROMPT = 8_000
"""Characters: a longer row makes a sample too long to read."""


def prompts(path: Path, tokenizer: Any, count: int) -> list[tuple[str, str, bool]]:
    """The first held-out rows that are not too long: a prompt, the row's own continuation, and whether the tokenizer
    adds special tokens (a chat template writes them itself). In plain text the first third is the prompt."""
    with path.open(encoding="utf-8") as file:
        found = (_prompt(json.loads(line), tokenizer) for line in file)
        return list(islice((one for one in found if len(one[0]) <= LONGEST_PROMPT), count))


def _prompt(row: dict[str, Any], tokenizer: Any) -> tuple[str, str, bool]:
    if "messages" in row:
        last = max(n for n, turn in enumerate(row["messages"]) if turn["role"] == "assistant")
        prompt = tokenizer.apply_chat_template(row["messages"][:last], tokenize=False, add_generation_prompt=True)
        return str(prompt), str(row["messages"][last]["content"]), False
    if "prompt" in row:
        return row["prompt"], row["completion"], True
    words = row["text"].split(" ")
    cut = max(1, len(words) // 3)
    return " ".join(words[:cut]), " " + " ".join(words[cut:]), True
