"""Checks what goes along before anything is sent, as the run would: formats, columns, broken rows, a model's files."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from job import logs, strict_json
from job.check import look_at
from job.errors import DataInvalid, JobError, SpecInvalid
from job.sentences import sentence
from job.spec import JobSpec
from job.spec.canonical import DECIDE_TOKENS
from job.spec.places import data_place

NOT_COUNTED = "tokens were not counted here"
MOST_SHOWN = 40
"""Characters of a value: its end, which tells paths apart."""


def look(specs: Sequence[JobSpec], places: Sequence[str], *, reachable: Sequence[bool]) -> Iterator[str]:
    """What is seen, each line once. `reachable`: whether each run's model can be read from here. Raises the error that
    a run would end with."""
    heard: list[str] = []
    logs.configure(lambda record: heard.append(_warning(record)), to_stdout=False)
    said: dict[str, None] = {}
    try:
        for spec in specs:
            said |= dict.fromkeys(look_at(spec, places))
        said |= dict.fromkeys(_tokens_of_all(specs, reachable))
    except ModuleNotFoundError as error:
        said[f"not checked here, but by the run: {error.name} is not installed (pip install '.[job]')"] = None
    finally:
        yield from dict.fromkeys(filter(None, heard))
    yield from said


def _tokens_of_all(specs: Sequence[JobSpec], reachable: Sequence[bool]) -> Iterator[str]:
    """What becomes of the rows as tokens; of a sweep's runs whose tokens differ by nothing, once."""
    alike: dict[str, list[int]] = {}
    decided = [_decided_by(one) for one in specs]
    for number, values in enumerate(decided):
        alike.setdefault(strict_json.dumps(values), []).append(number)
    for numbers in alike.values():
        first = numbers[0]
        lines = _tokens(specs[first], reachable[first])
        yield from lines if len(alike) == 1 else (f"{_named(numbers, decided)}: {line}" for line in lines)


def _named(numbers: Sequence[int], decided: Sequence[Mapping[str, str]]) -> str:
    """Runs of a sweep by their numbers, and what tells them from the others."""
    own = decided[numbers[0]]
    differs = [path for path in own if len({one.get(path) for one in decided}) > 1]
    which = f"run{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return f"{which} ({', '.join(f'{path} {_end(own[path])}' for path in differs)})"


def _end(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"…{text[-MOST_SHOWN:]}"


def _decided_by(spec: JobSpec) -> dict[str, str]:
    """All that decides what becomes of a run's rows, as JSON by path."""
    training = {name: getattr(spec.training, name) for name in DECIDE_TOKENS} if spec.training else {}
    sections = {"model": spec.model, "chat": spec.chat, "evaluation": spec.evaluation}
    parts = {name: section.model_dump(mode="json") for name, section in sections.items()}
    for number, one in enumerate(spec.datasets):
        parts[f"dataset.{number}" if len(spec.datasets) > 1 else "dataset"] = one.model_dump(mode="json")
    parts |= {"training": training, "lora": {"modules_to_save": spec.lora.modules_to_save}}
    parts |= {"run": {"seed": spec.run.seed}}
    return {
        f"{name}.{field}": strict_json.dumps(value) for name, part in parts.items() for field, value in part.items()
    }


def _tokens(spec: JobSpec, reachable: bool) -> Iterator[str]:
    """What becomes of one run's rows as tokens."""
    if not spec.training or not spec.datasets:
        return
    if elsewhere := [one.id for one in spec.datasets if data_place(one.id) != "path"]:
        yield f"{NOT_COUNTED}: {', '.join(elsewhere)} is read by the run"
        return
    if not find_spec("transformers"):
        yield f"{NOT_COUNTED}: the job's extra is not installed (pip install '.[job]')"
        return
    if not reachable:
        yield f"{NOT_COUNTED}: the tokenizer of {spec.model.id} cannot be read"
        return
    from job.check_rows import counted

    try:
        yield from counted(spec, Path(tempfile.gettempdir()))
    except (DataInvalid, SpecInvalid):
        raise
    except JobError as error:
        yield f"{NOT_COUNTED}: {error.message.splitlines()[0]}"


def _warning(record: logs.Record) -> str:
    return f"warning: {sentence(record)}" if record.get("level") == "warning" else ""
