"""Refuses a GGUF that tokenizes differently from the model's tokenizer, or has lost its EOS token or chat template.

Such a model answers nonsense or never stops, and its perplexity on token ids does not show that.
"""

from pathlib import Path
from typing import Any

from job.errors import QualityRejected
from job.llama_cpp.examine import Findings
from job.llama_cpp.gguf import read_metadata
from job.tokens.vocabulary import Vocabulary

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # llama.h, llama_token_type


def ends_of(expected: Vocabulary) -> list[int]:
    """The tokens at which a text must end."""
    return [token for token in (expected.eos, expected.turn_end) if token is not None]


def check(gguf: Path, expected: Vocabulary, found: Findings) -> None:
    """`found`: of this file, asked for `expected.text` and `ends_of(expected)`. Raises QualityRejected with every
    difference of the file."""
    metadata = read_metadata(gguf)
    faults = [*_lost(metadata, expected)]
    ends = zip(ends_of(expected), found.ends, strict=True)
    faults += [f"a text does not end at token {token}" for token, is_end in ends if not is_end]
    ids = found.tokens
    wanted = [int(word) for word in expected.ids.read_text(encoding="utf-8").split()]
    if ids != wanted:
        pairs = enumerate(zip(ids, wanted, strict=False))
        at = next((n for n, (one, other) in pairs if one != other), min(len(ids), len(wanted)))
        faults.append(
            f"llama.cpp reads the sample text as {len(ids)} tokens, the model's tokenizer as {len(wanted)}; "
            f"they differ from token {at} on ({ids[at : at + 5]} and {wanted[at : at + 5]})"
        )
    if faults:
        raise QualityRejected(
            f"{gguf.name} is not published, because it differs from the model's tokenizer:\n  " + "\n  ".join(faults),
            hint="Check that the tokenizer matches the weights; llama.cpp's converter may not support this tokenizer.",
        )


def _lost(metadata: dict[str, Any], expected: Vocabulary) -> list[str]:
    found = []
    eos = metadata.get("tokenizer.ggml.eos_token_id")
    if eos != expected.eos:
        found.append(f"EOS is token {eos} in the file and {expected.eos} in the tokenizer: answers would not stop")
    types = metadata.get("tokenizer.ggml.token_type") or []
    wrong = [token for token in expected.control if token >= len(types) or types[token] not in (CONTROL, UNKNOWN)]
    if wrong:
        found.append(f"control tokens are ordinary text in the file: {wrong[:8]}")
    texts = metadata.get("tokenizer.ggml.tokens") or []
    whole = (CONTROL, UNKNOWN, USER_DEFINED)
    lost = [
        text
        for token, text in expected.written.items()
        if token >= len(types) or types[token] not in whole or texts[token] != text
    ]
    if lost:
        found.append(f"tokens of the chat template are not tokens of the file: {', '.join(lost[:8])}")
    template = metadata.get("tokenizer.chat_template")
    if expected.template is not None and template != expected.template:
        found.append("the chat template is " + ("missing" if template is None else "another one"))
    return found
