"""The evaluate stage: judges each file while it is on this disk, and keeps the results for later runs.

The unquantized file comes first: its logits on the held-out rows are computed once, and every type is compared with
them.
"""

from pathlib import Path
from typing import Any

from job.artifacts import digest_of
from job.evaluate import vocabulary
from job.llama_cpp import offload
from job.llama_cpp import perplexity as judging
from job.llama_cpp.ends import ends_of
from job.llama_cpp.examine import Findings, Questions, examine, speeds_on_cpu
from job.llama_cpp.logits import same_top
from job.llama_cpp.perplexity import Judged
from job.llama_cpp.speed import Speed
from job.llama_cpp.windows import halves, windows
from job.logs import log, span
from job.pipeline.state import State
from job.tokens.vocabulary import Stream

FEW = 0.5
"""Of the held-out answers: if fewer end, it is a warning."""


def judge_unquantized(state: State) -> None:
    """Judges the file that the types are made from, published or not."""
    if not can_judge(state):
        return
    depends = _depends(state, digest_of(state.known.exported()))
    kind = state.spec.export.unquantized
    if record := state.run.record("evaluate", digest_of(depends), kind):
        state.known.judged[kind] = record
        return
    with _evaluating(state, kind):
        size = state.files.gguf.stat().st_size
        metrics: dict[str, Any] = {"type": kind, "size": size, "bits_per_weight": 32.0 if kind == "f32" else 16.0}
        if windows_of(state.files.tokens.held_out, state)[1]:
            logits_of(state)
            assert state.files.unquantized
            metrics |= _layers_apart(state.files.unquantized) | _ends(state) | _as_trained(state)
        metrics = _looked_at(state, kind, state.files.gguf) | metrics
    state.known.judged[kind] = state.run.keep("evaluate", digest_of(depends), state.run.work, [], metrics, depends)


def judge(state: State, kind: str, gguf: Path, quantized: str) -> None:
    """Judges one file that is not judged yet, and keeps the result.

    `quantized` is the key of the quantize stage that made `gguf`.
    """
    depends = _depends(state, quantized)
    with _evaluating(state, kind):
        metrics: dict[str, Any] = {"type": kind}
        context, chunks = windows_of(state.files.tokens.held_out, state)
        if chunks:
            found = judging.distance(gguf, logits_of(state), context=context).model_dump()
            metrics |= {name: found.pop(name) for name in ("perplexity", "gpu_layers")} | {"distance": found}
        metrics = _looked_at(state, kind, gguf) | metrics
    state.known.judged[kind] = state.run.keep("evaluate", digest_of(depends), state.run.work, [], metrics, depends)


def is_judged(state: State, kind: str, quantized: str) -> bool:
    """Whether nothing is left to do: the file's result was kept, or there is no text to judge it on."""
    if not can_judge(state) or kind == state.spec.export.unquantized:
        return True
    if record := state.run.record("evaluate", digest_of(_depends(state, quantized)), kind):
        state.known.judged[kind] = record
    return kind in state.known.judged


def can_judge(state: State) -> bool:
    """Whether the spec asks for evaluation and there is a text to judge on."""
    data = state.known.fetched.get("data")
    return state.spec.evaluation.judge and bool(state.spec.evaluation.text or (data and data["eval_rows"]))


def windows_of(stream: Stream | None, state: State) -> tuple[int, int]:
    """The context and the number of windows for a stream of tokens; no window if there are too few."""
    if stream is None:
        return 0, 0
    evaluation = state.spec.evaluation
    context, chunks = windows(stream.count, state.files.tokens.size, evaluation.context, evaluation.max_tokens)
    if state.spec.export.fits and stream is state.files.tokens.held_out:
        chunks, _ = halves(context, chunks)
    return context, chunks


def search_windows(state: State) -> tuple[int, int]:
    """The context and the number of windows, after those that files are judged on, for the search of a mix."""
    stream, evaluation = state.files.tokens.held_out, state.spec.evaluation
    if stream is None:
        return 0, 0
    context, chunks = windows(stream.count, state.files.tokens.size, evaluation.context, evaluation.max_tokens)
    return context, halves(context, chunks)[1]


def _evaluating(state: State, kind: str) -> Any:
    state.run.attempt.doing("evaluate", kind)
    (state.run.work / "evaluate").mkdir(exist_ok=True)
    return span("evaluate", type=kind)


def _depends(state: State, quantized: str) -> dict[str, Any]:
    evaluation = state.spec.evaluation
    settings: list[Any] = [evaluation.context, evaluation.max_tokens, evaluation.threads, evaluation.max_new_tokens]
    settings += ["halved"] if state.spec.export.fits else []
    settings += ["speed_on_cpu"] if evaluation.speed_on_cpu else []
    return {"quantize": quantized, "tokens": state.known.records["tokens"].key, "settings": settings}


def search_logits(state: State) -> Path:
    """The unquantized file's logits on the windows of the search, on this disk."""
    logits = state.run.work / "evaluate" / "search-logits.bin"
    if not state.has_search_logits:
        held_out = state.files.tokens.held_out
        assert held_out
        (context, judged), (_, chunks) = windows_of(held_out, state), search_windows(state)
        ids, unfinished = logits.with_suffix(".ids"), logits.with_suffix(".part")
        tokens = held_out.ids.read_text(encoding="utf-8").split()
        ids.parent.mkdir(exist_ok=True)
        ids.write_text(" ".join(tokens[judged * context : (judged + chunks) * context]), encoding="utf-8")
        judging.perplexity(state.files.gguf, ids, context=context, chunks=chunks, logits=unfinished)
        unfinished.rename(logits)
        state.has_search_logits = True
    return logits


def logits_of(state: State) -> Path:
    """The unquantized file's logits on the held-out rows, on this disk."""
    logits = state.run.work / "evaluate" / "logits.bin"
    if state.files.unquantized is None or not logits.is_file():
        held_out = state.files.tokens.held_out
        assert held_out
        context, chunks = windows_of(held_out, state)
        unfinished = logits.with_suffix(".part")
        state.files.unquantized = judging.perplexity(
            state.files.gguf, held_out.ids, context=context, chunks=chunks, logits=unfinished
        )
        unfinished.rename(logits)
    return logits


def _ends(state: State) -> dict[str, Any]:
    """Whether the unquantized file ends its answers. Warns if it seldom does."""
    rows = state.files.tokens
    context, chunks = windows_of(rows.held_out, state)
    found = ends_of(logits_of(state), rows.end_places(), rows.stop_ids, context, chunks)
    if found and found.share < FEW:
        what = (
            f"after {found.first} of {found.answers} held-out answers a token that ends them comes first: the model "
            "may not stop. Train longer, or check that the rows' answers end."
        )
        log.warning("evaluate.answers_do_not_end", share=round(found.share, 3), answers=found.answers, what=what)
    return {"ends": found.model_dump()} if found else {}


def _as_trained(state: State) -> dict[str, Any]:
    """The unquantized file beside the tuned model as it was loaded for training, on the same windows."""
    train = state.known.records.get("train")
    trace = (train.metrics.get("trace") if train else None) or {}
    context, chunks = windows_of(state.files.tokens.held_out, state)
    if not trace.get("tops") or [trace["context"], trace["chunks"]] != [context, chunks]:
        return {}
    return {"as_trained": {"same_top": same_top(logits_of(state), trace["tops"], context, chunks)}}


def _looked_at(state: State, kind: str, gguf: Path) -> dict[str, Any]:
    """Measurements that need no comparison: the windows, the perplexity on the user's own text, speeds, answers."""
    found: dict[str, Any] = {}
    context, chunks = windows_of(state.files.tokens.held_out, state)
    if chunks:
        found |= {"context": context, "chunks": chunks}
    text = state.files.tokens.text
    context, chunks = windows_of(text, state)
    if text and chunks:
        found |= _layers_apart(judging.perplexity(gguf, text.ids, context=context, chunks=chunks))
        found["text"] = {"context": context, "chunks": chunks, "perplexity": found.pop("perplexity")}
    seen = examined(state, kind, gguf)
    return found | {"speeds": [one.model_dump() for one in _speeds(state, gguf, seen)], "answers": seen.answers}


def examined(state: State, kind: str, gguf: Path) -> Findings:
    """What one load of a file tells. A file that was published as the unquantized one is the same, and not loaded
    again."""
    place = gguf.stat()
    name = (place.st_dev, place.st_ino, place.st_size, place.st_mtime_ns)  # an inode alone is used again
    if name not in state.examined:
        state.examined[name] = examine(gguf, _questions(state), what=kind)
    return state.examined[name]


def _questions(state: State) -> Questions:
    """What a file is asked: to be published, and for the report, if it is judged."""
    rows, evaluation = state.files.tokens, state.spec.evaluation
    text = rows.vocabulary.text.read_bytes().decode()
    ends = vocabulary.ends_of(rows.vocabulary)
    if not can_judge(state):
        return Questions(text=text, ends=ends)
    return Questions(
        text=text,
        ends=ends,
        prompts=[prompt.text for prompt in rows.prompts],
        prompt=max((len(prompt.ids) + 1 for prompt in rows.prompts), default=0),
        answer=evaluation.max_new_tokens,
        threads=evaluation.threads,
    )


def _speeds(state: State, gguf: Path, seen: Findings) -> list[Speed]:
    """On the GPU beside what the CPU makes, which yields to it; on the CPU alone."""
    evaluation = state.spec.evaluation
    if not evaluation.speed_on_cpu or not offload.has_gpu():
        return seen.speeds
    with state.cpu:
        return seen.speeds + speeds_on_cpu(gguf, evaluation.threads)


def _layers_apart(judged: Judged) -> dict[str, Any]:
    return {"perplexity": judged.model_dump(exclude={"gpu_layers"}), "gpu_layers": judged.gpu_layers}
