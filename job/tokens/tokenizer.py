"""The model's tokenizer, as training, judging and samples use it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from job.chat.templates import own_template, text_of
from job.errors import DataInvalid, SpecInvalid
from job.spec import JobSpec
from job.tokens.added import add


def load_tokenizer(spec: JobSpec, folder: Path, added: Sequence[str] = ()) -> Any:
    """The tokenizer with the spec's chat template and padding, and with added tokens. Raises SpecInvalid for an unknown
    pad token, DataInvalid for a tokenizer without EOS."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if spec.chat.template is not None:
        tokenizer.chat_template = spec.chat.template
    elif not tokenizer.chat_template:
        tokenizer.chat_template = own_template(lambda name: text_of(folder / name))
    if tokenizer.eos_token is None:
        raise DataInvalid(
            f"the tokenizer of {spec.model.id} has no EOS token", hint="Set model.id to a causal language model."
        )
    if spec.training is None:
        return tokenizer
    pad = spec.training.pad_token or tokenizer.eos_token
    if pad not in tokenizer.get_vocab():
        raise SpecInvalid(f"training.pad_token: {pad!r} is not in the vocabulary of {spec.model.id}")
    tokenizer.pad_token = pad
    tokenizer.padding_side = spec.training.padding_side
    add(spec, tokenizer, added)
    return tokenizer
