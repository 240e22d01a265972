"""Computes the loss in transformers on the same windows of tokens on which llama.cpp judges the files.

So a loss can be traced from the base to the adapter, to the unquantized file, and to each type.
"""

import contextlib
import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from job.artifacts import Frozen
from job.llama_cpp.ends import Ends, scored_ends
from job.llama_cpp.logits import MOST_TOPS, packed
from job.llama_cpp.perplexity import Perplexity
from job.llama_cpp.windows import halves, windows
from job.logs import Progress, log
from job.spec import JobSpec
from job.tokens import files
from job.train.precision import Precision, torch_dtype


class Traced(Frozen):
    """Perplexity of the model as it was loaded for training, without and with the adapter, on `chunks` windows of
    `context` tokens."""

    context: int
    chunks: int
    base: Perplexity
    tuned: Perplexity
    ratio_error: float
    """The relative standard error of tuned / base, which are measured on the same tokens."""


class Trace(Traced):
    """On the held-out rows. `loaded`: the 4-bit type, or the bits of a weight."""

    loaded: str
    tops: str | None = None
    """The likeliest token of the tuned model at the first scored ones (`job.llama_cpp.logits.packed`)."""
    base_ends: Ends | None = None
    tuned_ends: Ends | None = None


class Answers(Frozen):
    """Where answers end in the stream of held-out tokens, and the ids of the tokens that end one."""

    ends: list[int] = []
    stops: list[int] = []


NONE = Answers()


def trace(
    spec: JobSpec, model: Any, tokenizer: Any, held_out: Path | None, precision: Precision, answers: Answers = NONE
) -> Trace | None:
    """None if there is no text to judge on, the spec does not ask for evaluation, or a loss is not a number."""
    if held_out is None or not spec.evaluation.judge:
        return None
    stream = _windows(spec, tokenizer, [token for row in files.ids_of(held_out) for token in row])
    if spec.export.fits and stream:
        stream = stream[: halves(len(stream[0]), len(stream))[0]]
    if not stream:
        return None
    found = _judged(spec, model, tokenizer, stream, precision, answers)
    if found is None:
        log.warning("train.not_traced", what="a held-out token's loss is not a number, or infinite")
        return None
    traced, count = found.traced, found.answers
    log.info(
        "train.traced",
        base=round(traced.base.value, 4),
        tuned=round(traced.tuned.value, 4),
        windows=traced.chunks,
        context=traced.context,
    )
    return Trace(
        **dict(traced),
        loaded=spec.load.quant_type if spec.load.bits == 4 else f"{spec.load.bits} bits",
        tops=packed(found.tops[:MOST_TOPS]),
        base_ends=Ends(first=found.first[0], answers=count) if count else None,
        tuned_ends=Ends(first=found.first[1], answers=count) if count else None,
    )


def trace_text(spec: JobSpec, model: Any, tokenizer: Any, text: Path | None, precision: Precision) -> Traced | None:
    """The same on `evaluation.text`, whose ids are in a file in decimal: what the model has forgotten of it."""
    if text is None or not spec.evaluation.judge:
        return None
    stream = _windows(spec, tokenizer, list(map(int, text.read_text(encoding="utf-8").split())))
    found = _judged(spec, model, tokenizer, stream, precision, NONE) if stream else None
    if found is None:
        if stream:
            log.warning("train.not_traced", what="the loss of a token of evaluation.text is not a number, or infinite")
        return None
    base, tuned = found.traced.base.value, found.traced.tuned.value
    log.info("train.traced_text", base=round(base, 4), tuned=round(tuned, 4), windows=len(stream))
    return found.traced


def _windows(spec: JobSpec, tokenizer: Any, ids: list[int]) -> list[list[int]]:
    context, chunks = windows(len(ids), len(tokenizer), spec.evaluation.context, spec.evaluation.max_tokens)
    return [ids[n * context : (n + 1) * context] for n in range(chunks)]


class _Found(NamedTuple):
    """`first`: after how many of the `answers` the base and the tuned model put first a token that ends one."""

    traced: Traced
    tops: list[int]
    first: tuple[int, int]
    answers: int


def _judged(
    spec: JobSpec, model: Any, tokenizer: Any, stream: list[list[int]], precision: Precision, answers: Answers
) -> _Found | None:
    """None if a loss is not a number."""
    assert spec.training
    context, chunks, size = len(stream[0]), len(stream), spec.training.per_device_eval_batch_size
    starts = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    bos = tokenizer.bos_token_id if starts else None
    bar = Progress("judging in transformers", 2 * chunks, "windows")
    ends: dict[int, list[int]] = {}
    for window, row in scored_ends(answers.ends, context, chunks):
        ends.setdefault(window, []).append(row)
    model.eval()
    with model.disable_adapter():
        before, base_first, _ = _losses(model, stream, size, bos, precision, bar, 0, ends, answers.stops)
    after, tuned_first, tops = _losses(model, stream, size, bos, precision, bar, chunks, ends, answers.stops)
    if not all(map(math.isfinite, before + after)):
        return None
    (base, _), (tuned, _) = _perplexity(before), _perplexity(after)
    _, error = _perplexity([later - earlier for earlier, later in zip(before, after, strict=True)])
    traced = Traced(context=context, chunks=chunks, base=base, tuned=tuned, ratio_error=error)
    return _Found(traced, tops, (base_first, tuned_first), sum(map(len, ends.values())))


def _losses(
    model: Any,
    stream: list[list[int]],
    size: int,
    bos: int | None,
    precision: Precision,
    bar: Progress,
    done: int,
    ends: Mapping[int, list[int]],
    stops: list[int],
) -> tuple[list[float], int, list[int]]:
    """Losses in nats per token, as llama-perplexity computes them: the second half of each window is scored, and BOS
    comes first. Also, after how many of the answers that end in scored rows one of `stops` is the likeliest, and the
    likeliest token of each. `size`: windows in a forward pass; they are equally long, so none is padded."""
    import torch

    losses: list[float] = []
    tops: list[int] = []
    first = 0
    half = len(stream[0]) // 2
    counted = len(stream[0]) - half
    takes = inspect.signature(model.get_base_model().forward).parameters
    keep = {"logits_to_keep": counted} if "logits_to_keep" in takes else {}  # else all are computed, with their memory
    for start in range(0, len(stream), size):
        batch = stream[start : start + size]
        ids = torch.tensor([window if bos is None else [bos, *window[1:]] for window in batch], device=model.device)
        with torch.no_grad(), _autocast(precision):
            scored = model(input_ids=ids, **keep).logits[:, -counted:-1]
        for number, logits in enumerate(scored, start):
            logits = logits.float()
            losses += torch.nn.functional.cross_entropy(
                logits, ids[number - start, half + 1 :], reduction="none"
            ).tolist()
            likeliest = logits.argmax(-1).tolist()
            tops += likeliest
            first += sum(likeliest[row] in stops for row in ends.get(number, []))
        bar.update(done + start + len(batch))
    return losses, first, tops


def _perplexity(losses: list[float]) -> tuple[Perplexity, float]:
    """The perplexity, and its relative standard error."""
    mean = math.fsum(losses) / len(losses)
    variance = math.fsum((loss - mean) ** 2 for loss in losses) / max(1, len(losses) - 1)
    value, error = math.exp(mean), math.sqrt(variance / len(losses))
    return Perplexity(value=value, error=value * error), error


def _autocast(precision: Precision) -> Any:
    import torch

    if not (precision.fp16 or precision.bf16):
        return contextlib.nullcontext()
    dtype = torch_dtype("float16" if precision.fp16 else "bfloat16")
    return torch.autocast("cuda" if precision.cuda else "cpu", dtype=dtype)
