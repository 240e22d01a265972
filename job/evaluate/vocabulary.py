"""The publish gate of words: a GGUF must read text as the model's tokenizer does, and know when to stop.

A model whose template, end or ids got lost on the way answers nonsense, or never ends, and its perplexity on ids
says nothing of it.
"""

import json
from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.errors import IntegrityViolated, QualityRejected
from job.llama_cpp import generate, offload
from job.llama_cpp.gguf import read_metadata

UNKNOWN, CONTROL = 2, 3  # llama.h, llama_token_type


class Vocabulary(Frozen):
    """What the model's tokenizer makes of a text, and its special tokens.

    `text`: a file, `ids`: a file of its token ids in decimal, with what the tokenizer itself puts around them.
    `control`: ids that never stand for text.
    """

    text: Path
    ids: Path
    eos: int
    control: list[int]
    template: str | None


def check(gguf: Path, expected: Vocabulary) -> None:
    """Raises QualityRejected with everything that the file has lost."""
    metadata = read_metadata(gguf)
    faults = [*_lost(metadata, expected)]
    faults += [] if generate.stops_at(gguf, expected.eos) else [f"a text does not end at token {expected.eos}"]
    arguments: list[str | Path] = ["-m", gguf, "-f", expected.text, "--no-escape", "--ids", "--log-disable"]
    output = offload.run("llama-tokenize", arguments, gguf=gguf, error=IntegrityViolated, timeout_s=generate.TIMEOUT_S)
    ids: list[int] = json.loads(output.out)
    wanted = [int(word) for word in expected.ids.read_text().split()]
    if ids != wanted:
        pairs = enumerate(zip(ids, wanted, strict=False))
        at = next((n for n, (one, other) in pairs if one != other), min(len(ids), len(wanted)))
        faults.append(
            f"llama.cpp reads the held-out text as {len(ids)} tokens and the model's tokenizer as {len(wanted)}; "
            f"they differ from token {at} on ({ids[at : at + 5]} and {wanted[at : at + 5]})"
        )
    if faults:
        raise QualityRejected(
            f"{gguf.name} is not published, because it has lost something of the model:\n  " + "\n  ".join(faults),
            hint="Does the model's tokenizer match its weights? llama.cpp's converter may not know this tokenizer.",
        )


def _lost(metadata: dict[str, Any], expected: Vocabulary) -> list[str]:
    found = []
    eos = metadata.get("tokenizer.ggml.eos_token_id")
    if eos != expected.eos:
        found.append(f"the end of a text is token {eos} there and {expected.eos} in the tokenizer: it would not stop")
    types = metadata.get("tokenizer.ggml.token_type") or []
    wrong = [token for token in expected.control if token >= len(types) or types[token] not in (CONTROL, UNKNOWN)]
    if wrong:
        found.append(f"control tokens are ordinary text there: {wrong[:8]}")
    template = metadata.get("tokenizer.chat_template")
    if expected.template is not None and template != expected.template:
        found.append("the chat template is " + ("not there" if template is None else "another one"))
    return found
