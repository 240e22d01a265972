"""The evaluate stage: each file is judged while it is on this disk, and what was found is kept for later runs."""

from pathlib import Path
from typing import Any

from job import judging
from job.artifacts import digest_of
from job.logs import log, span
from job.quants import UNQUANTIZED
from job.stages import tokens
from job.state import State

LOGITS_LIMIT = 4 << 30  # bytes
SHORTEST = 32  # tokens of context, below which a perplexity says nothing


def judge(state: State, kind: str, gguf: Path, quantized: str) -> None:
    """Judges one file that `is_judged` knows nothing of, and keeps the judgement.

    `quantized` is the key of the quantize stage that made `gguf`.
    """
    depends = _depends(state, quantized)
    state.run.attempt.doing("evaluate", kind)
    with span("evaluate", type=kind):
        metrics = {"type": kind, **_measured(state, kind, gguf)}
    state.judged[kind] = state.run.keep("evaluate", digest_of(depends), state.run.work, [], metrics, depends)


def is_judged(state: State, kind: str, quantized: str) -> bool:
    """Whether there is nothing left to find out: the judgement was kept, or there is nothing to judge the file on."""
    if not can_judge(state):
        return True
    if record := state.run.record("evaluate", digest_of(_depends(state, quantized))):
        state.judged[kind] = record
    return kind in state.judged


def can_judge(state: State) -> bool:
    """Whether the spec asks for it and there are held-out rows."""
    data = state.records["fetch"].metrics.get("data")
    return bool(state.spec.evaluation.judge and data and data["eval_rows"])


def _depends(state: State, quantized: str) -> dict[str, Any]:
    evaluation, chat = state.spec.evaluation, state.spec.chat
    return {
        "quantize": quantized,
        "data": state.records["fetch"].metrics["data"]["digest"],
        "template": chat.template,
        "max_length": state.spec.training.max_length if state.spec.training else None,
        "settings": [evaluation.context, evaluation.max_tokens, evaluation.threads],
    }


def _measured(state: State, kind: str, gguf: Path) -> dict[str, Any]:
    """Compares a quantized file with the unquantized one, whose logits are computed once for all types."""
    evaluation, work = state.spec.evaluation, state.run.work / "evaluate"
    work.mkdir(exist_ok=True)
    held_out = state.held_out
    context, chunks = windows(held_out, evaluation.context, evaluation.max_tokens)
    if not chunks:
        log.warning("evaluate.too_little_text", tokens=held_out.count, what="no perplexity can be computed")
        return {"speeds": [one.model_dump() for one in judging.speeds(gguf, evaluation.threads)]}
    logits = work / "logits.bin"
    if state.unquantized is None or not logits.is_file():
        unfinished = work / "logits.part"
        state.unquantized = judging.perplexity(
            state.gguf, held_out.ids, context=context, chunks=chunks, logits=unfinished
        )
        unfinished.rename(logits)
    found: dict[str, Any] = {"context": context, "chunks": chunks, "unquantized": state.unquantized.model_dump()}
    if kind not in UNQUANTIZED:
        found["distance"] = judging.distance(gguf, logits, context=context).model_dump()
    found["speeds"] = [one.model_dump() for one in judging.speeds(gguf, evaluation.threads)]
    return found


def windows(held_out: tokens.Result, context: int, max_tokens: int) -> tuple[int, int]:
    """The context and the number of windows: llama-perplexity wants two windows of text at least, and the logits of
    the unquantized file must fit on the disk beside everything else (LOGITS_LIMIT)."""
    context = min(context, held_out.count // 2)
    if context < SHORTEST:
        return context, 0
    per_chunk = judging.logits_bytes(held_out.size, context, 1)
    return context, max(1, min(held_out.count, max_tokens, LOGITS_LIMIT // per_chunk * context) // context)
