"""The answers to `evaluation.tasks` in the parent: of the base and the tuned model and of each file, compared here.

Each answerer has a record of its own, with the answers, so that whatever is interrupted or changed answers the rest.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from job.artifacts import digest_of
from job.bounds import Exceeded
from job.llama_cpp.answers import answers
from job.logs import log, span
from job.pipeline.state import State
from job.run.records import StageRecord
from job.spec.canonical import canonical
from job.tasks.compare import is_right
from job.tasks.scores import BASE, TUNED, Given, summary
from job.tasks.stage import ASKED, read_asked
from job.train import answer as answering
from job.versions import TRAINING, versions

PARALLEL = 4
"""Slots of llama-server."""
FORMAT = 1
"""Another way to answer or to compare has another number."""
_ANSWERS = "answers.jsonl"


def answer_in_transformers(state: State) -> None:
    """The base and the tuned model, as they were loaded for the training."""
    if not state.spec.evaluation.tasks or not state.spec.training:
        return
    train, rows, asked = state.known.records["train"], state.files.tokens, _asked_on(state)
    common = asked | {"stops": rows.stop_ids, "versions": {name: versions().get(name) for name in TRAINING}}
    base = {"model": state.known.fetched["model_digest"], "load": canonical(state.spec.load), "added": rows.added}
    depends = {BASE: common | base, TUNED: common | {"train": train.key}}
    left = [who for who in depends if not _is_kept(state, who, depends[who])]
    if not left:
        return
    assert state.files.trained
    state.run.attempt.doing("answer", "answer")
    inputs = answering.Inputs(
        model=state.files.model.model,
        adapter=state.files.model.adapter,
        trained=state.files.trained / "adapter",
        rows=rows.eval.path if rows.eval else state.files.train_rows,
        asked=state.files.asked,
        added=rows.added,
        stops=rows.stop_ids,
        who=left,
    )
    found: answering.Result = state.run.child(answering, inputs, "answer")
    for who in left:
        _keep(state, who, found.answers[who], depends[who])


def is_scored(state: State, kind: str, made: str) -> bool:
    """Whether a file's answers are known, or none are asked for. `made`: the key of what made the file."""
    return not state.spec.evaluation.tasks or _is_kept(state, kind, _depends(state, made))


def score(state: State, kind: str, gguf: Path, made: str) -> None:
    """Has a file answer every case, and keeps what it says."""
    tasks = state.spec.evaluation.tasks
    assert tasks
    state.run.attempt.doing("score", kind)
    with span("score", type=kind):
        said = answers(
            gguf,
            [one.ids for one in read_asked(state.files.asked)],
            most=tasks.max_new_tokens,
            parallel=PARALLEL,
            seed=state.spec.run.seed,
            what=kind,
        )
        _keep(state, kind, said, _depends(state, made))


def score_unquantized(state: State, made: str) -> None:
    kind = state.spec.export.unquantized
    if not is_scored(state, kind, made):
        score(state, kind, state.files.gguf, made)


def summarized(state: State) -> dict[str, StageRecord]:
    """A record for the manifest, the report and the gate, in place of that of the cases."""
    if not state.known.answered:
        return {}
    asked = [one.model_dump(mode="json") for one in read_asked(state.files.asked)]
    every = [BASE, TUNED, state.spec.export.unquantized, *state.known.quants]
    given = {who: _given(state, who) for who in dict.fromkeys(every) if who in state.known.answered}
    record = state.known.records["tasks"]
    metrics = record.metrics | summary(asked, given, state.spec.export.unquantized)
    return {"tasks": record.model_copy(update={"metrics": metrics})}


def _asked_on(state: State) -> dict[str, Any]:
    tasks = state.spec.evaluation.tasks
    assert tasks
    return {"asked": state.known.made("tasks", ASKED), "most": tasks.max_new_tokens, "format": FORMAT}


def _depends(state: State, made: str) -> dict[str, Any]:
    return _asked_on(state) | {"quantize": made, "seed": state.spec.run.seed}


def _is_kept(state: State, who: str, depends: dict[str, Any]) -> bool:
    if who not in state.known.answered and (record := state.run.record("answer", digest_of(depends), who)):
        state.known.answered[who] = record
    return who in state.known.answered


def _keep(state: State, who: str, said: Sequence[str], depends: dict[str, Any]) -> None:
    given = _compared(state, who, said)
    folder = state.run.work / "answers" / who
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _ANSWERS).write_text("".join(one.model_dump_json() + "\n" for one in given), encoding="utf-8")
    metrics = {"type": who, "right": sum(one.right for one in given), "cases": len(given)}
    log.info("tasks.scored", who=who, right=metrics["right"], cases=metrics["cases"])
    key = digest_of(depends)
    state.known.answered[who] = state.run.keep("answer", key, folder, [_ANSWERS], metrics, depends)


def _compared(state: State, who: str, said: Sequence[str]) -> list[Given]:
    """Without the spaces around an answer: whether the first word has one depends on who decodes its tokens."""
    found, untold = [], []
    for case, answer in zip(read_asked(state.files.asked), map(str.strip, said), strict=True):
        try:
            right = is_right(case.compare, case.expected, case.tolerance, answer)
        except Exceeded as error:
            right = False
            untold.append(f"{case.source}: {error}")
        found.append(Given(answer=answer, right=right))
    if untold:
        what = f"{len(untold)} answers of {who} could not be compared and count as wrong; the first: {untold[0]}"
        log.warning("tasks.not_compared", who=who, cases=len(untold), what=what)
    return found


def _given(state: State, who: str) -> list[Given]:
    folder = state.run.work / "answers" / who
    state.run.bring(state.known.answered[who], folder)
    with (folder / _ANSWERS).open(encoding="utf-8") as file:
        return [Given.model_validate_json(line) for line in file]
