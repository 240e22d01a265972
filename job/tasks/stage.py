"""Renders the cases of `evaluation.tasks` as the model reads them, in a process of its own.

<workdir>/asked.jsonl    a case a line, with its token ids
"""

import json
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from job.artifacts import Frozen, written_whole
from job.errors import DataInvalid
from job.logs import log
from job.spec import JobSpec
from job.tasks.cases import Case, read_cases
from job.tasks.compare import Compare
from job.tokens.encoder import Encoder, Unfit
from job.tokens.renderer import Refused
from job.tokens.tokenizer import load_tokenizer

NAME = "tasks"
ASKED = "asked.jsonl"


class Inputs(Frozen):
    """`model`: a folder with the tokenizer; `cases`: a file of them; `kind`: what the rows of the training are;
    `added`: tokens that the training adds."""

    model: Path
    cases: Path
    kind: str = "messages"
    added: list[str] = []


class Asked(Frozen):
    """A case as the model reads it: `text`, and its tokens."""

    source: str
    text: str
    ids: list[int]
    expected: JsonValue
    compare: Compare
    tolerance: float


class Result(Frozen):
    """`longest`: tokens of the longest case; `tokens`: of all."""

    asked: Path
    cases: int
    longest: int
    tokens: int


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises DataInvalid for a case that the chat template refuses, or that is too long for the model."""
    assert spec.evaluation.tasks
    tokenizer = load_tokenizer(spec, inputs.model, inputs.added)
    encoder = Encoder(spec.model_copy(update={"training": None}), tokenizer, "text")
    asked = [_asked(spec, encoder, case, inputs.kind) for case in read_cases(inputs.cases)]
    longest = max(asked, key=lambda one: len(one.ids))
    _check_length(spec, longest, inputs.model)
    with written_whole(workdir / ASKED) as temporary, temporary.open("w", encoding="utf-8") as file:
        for one in asked:
            file.write(one.model_dump_json() + "\n")
    tokens = sum(len(one.ids) for one in asked)
    log.info("tasks.read", cases=len(asked), longest=len(longest.ids), tokens=tokens)
    return Result(asked=workdir / ASKED, cases=len(asked), longest=len(longest.ids), tokens=tokens)


def read_asked(path: Path) -> list[Asked]:
    with path.open(encoding="utf-8") as file:
        return [Asked.model_validate_json(line) for line in file]


def _asked(spec: JobSpec, encoder: Encoder, case: Case, kind: str) -> Asked:
    """A prompt is a user's turn if the model was trained on conversations, as the rows were."""
    talks = encoder.renderer.has_template and (case.messages or kind == "messages")
    turns: list[dict[str, Any]] = [*case.messages] or [{"role": "user", "content": case.prompt or ""}]
    if spec.chat.system and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": spec.chat.system}, *turns]
    try:
        if case.messages and not talks:
            raise Refused("the model has no chat template; write `prompt`, or set chat.template")
        text = encoder.renderer.render(turns, asks=True).text if talks else case.prompt or ""
        ids, _ = encoder.ids_of(text, special=not talks)
    except (Refused, Unfit) as error:
        raise DataInvalid(f"evaluation.tasks: {case.source}: {error}", hint="Change the case.") from error
    if not ids:
        raise DataInvalid(f"evaluation.tasks: {case.source}: it has no tokens", hint="Change the case.")
    return Asked(
        source=case.source,
        text=text,
        ids=ids,
        expected=case.expected,
        compare=case.compare,
        tolerance=case.tolerance,
    )


def _check_length(spec: JobSpec, longest: Asked, model: Path) -> None:
    assert spec.evaluation.tasks
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    found = config.get("max_position_embeddings")
    needed = len(longest.ids) + spec.evaluation.tasks.max_new_tokens
    if isinstance(found, int) and needed > found:
        raise DataInvalid(
            f"evaluation.tasks: {longest.source}: {len(longest.ids)} tokens and an answer of "
            f"{spec.evaluation.tasks.max_new_tokens} are more than the {found} that the model can read",
            hint="Shorten the case, or set a smaller evaluation.tasks.max_new_tokens.",
        )
