"""What libraries and llama.cpp warn of, as `library.warning` events: each once, with its source.

Python's `warnings` and the records of `logging` are taken where they are made, so it does not matter which handlers a
library has set up; text that a library prints is never parsed. llama.cpp marks the level of its own lines.
A child's warnings come to the parent as events, so that what two children say is told once.
"""

import logging
import re
import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from job.logs import log

EVENT = "library.warning"
MOST = 100
"""Different warnings of a run that are told: a library that quotes rows must not fill the log."""
LONGEST = 1000
"""Characters of a warning that are told."""


class Noise(NamedTuple):
    """A warning that tells a user nothing. `source`: a logger, package or family of programs; `words`: a pattern."""

    source: str
    words: str
    why: str


KNOWN = (
    Noise(
        "transformers",
        r"`(gradient_checkpointing_enable|is_gradient_checkpointing)` is deprecated",
        "PEFT and the Trainer call it; their versions are pinned",
    ),
    Noise(
        "bitsandbytes",
        r"Failed to load CPU gemm_4bit_forward from kernels-community",
        "that package is hidden on purpose: it downloads native code and runs it",
    ),
    Noise(
        "bitsandbytes",
        r"MatMul8bitLt: inputs will be cast",
        "8-bit computes so whatever the input is",
    ),
    Noise(
        "transformers",
        r"new PAD/BOS/EOS tokens .* Updated tokens: \{'pad_token_id': \d+\}",
        "padding is chosen for training alone; the published files have the base's tokens",
    ),
    Noise(
        "transformers",
        r"Token indices sequence length is longer than the specified maximum",
        "rows are cut to training.max_length, which the spec bounds",
    ),
    Noise(
        "transformers",
        r"mtime may not be reliable on this filesystem, falling back to numerical ordering",
        "checkpoints are then ordered by their steps, which is right",
    ),
    Noise("llama", r"n_ctx is not divisible by n_seq_max", "room for several chunks at once, each of them whole"),
    Noise(
        "llama",
        r"ncols +\d+ not divisible by +\d+ \(required for type",
        "such tensors are counted as fallbacks, and their number is told",
    ),
    Noise(
        "llama", r"completing this quantization will require an imatrix", "only the size of such a file is asked for"
    ),
    Noise("hf-to-gguf", r"Unknown RoPE type: default", "RoPE without scaling, which is what the file then says"),
    Noise("gguf", r"Unknown separator token .* in TemplateProcessing<pair>", "pairs of texts are for classifiers"),
)
"""Seen in ordinary runs. They stay in the log as `library.noise` at level debug."""

_DIGITS = re.compile(r"\d+")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_LLAMA_MARKED = re.compile(r"^[\d.]+ [WE] (.+)")
_LLAMA_SAID = re.compile(r"^(?:\w+: )?(warning: .+)", re.I)
_told: set[tuple[str, str]] = set()
_lock = threading.Lock()


def forward() -> None:
    """Forwards every warning of this process from now on."""
    warnings.showwarning = _shown
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Forwarding):
        logging.setLogRecordFactory(_Forwarding(factory))
        logging.getLogger().addHandler(logging.NullHandler())  # without a handler Python prints warnings to stderr


def tell(source: str, message: str, **fields: Any) -> None:
    """Tells a warning, unless it was told already (numbers apart) or is known to say nothing."""
    message = _COLOR.sub("", message).strip(" *\n")[:LONGEST]
    seen = (source, _DIGITS.sub("0", message))
    with _lock:
        if not message or seen in _told or len(_told) > MOST:
            return
        _told.add(seen)
        is_too_many = len(_told) > MOST
    if is_too_many:
        log.warning(EVENT, source="job", message=f"more than {MOST} different warnings: the others are left out")
    elif noise := _known(source, message):
        log.debug("library.noise", source=source, message=message, why=noise.why, **fields)
    else:
        log.warning(EVENT, source=source, message=message, **fields)


def tell_llama(program: str, lines: list[str]) -> None:
    """Tells what a program of llama.cpp has warned of, in the lines that it wrote."""
    for line in lines:
        if found := _LLAMA_MARKED.match(line) or _LLAMA_SAID.match(line):
            tell(program, found[1])


def _known(source: str, message: str) -> Noise | None:
    below = (one for one in KNOWN if re.fullmatch(rf"{re.escape(one.source)}([.-].*)?", source))
    return next((one for one in below if re.search(one.words, message)), None)


class _Forwarding:
    """A factory of logging's records that tells of those that warn."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def __call__(self, name: str, level: int, *arguments: Any, **options: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._factory(name, level, *arguments, **options)
        if level >= logging.WARNING:
            try:
                message = record.getMessage()
            except (TypeError, ValueError):  # wrong arguments, of which logging itself complains
                message = str(record.msg)
            tell(name, message)
        return record


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """As `warnings.showwarning`."""
    kind = "" if category is UserWarning else f"{category.__name__}: "
    tell(_module(filename), f"{kind}{message}")


def _module(filename: str) -> str:
    """The dotted name of the module in a file of an installed package, else the file's name."""
    _, installed, inside = filename.rpartition("/site-packages/")
    parts = Path(inside if installed else Path(filename).name).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")
