"""Checks what goes along before anything is sent, as the run would: formats, columns, broken rows, a model's files."""

import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from job import logs
from job.check import look_at
from job.errors import DataInvalid, JobError, SpecInvalid
from job.sentences import sentence
from job.spec import JobSpec
from job.spec.places import data_place

NOT_COUNTED = "tokens were not counted here"


def look(specs: Sequence[JobSpec], places: Sequence[str], *, reachable: bool) -> Iterator[str]:
    """What is seen, each line once. `reachable`: whether the model can be read from here. Raises the error that a run
    would end with."""
    heard: list[str] = []
    logs.configure(lambda record: heard.append(_warning(record)), to_stdout=False)
    said: dict[str, None] = {}
    try:
        for spec in specs:
            said |= dict.fromkeys(look_at(spec, places))
        said |= dict.fromkeys(_tokens(specs[0], reachable))
    except ModuleNotFoundError as error:
        said[f"not checked here, but by the run: {error.name} is not installed (pip install '.[job]')"] = None
    finally:
        yield from dict.fromkeys(filter(None, heard))
    yield from said


def _tokens(spec: JobSpec, reachable: bool) -> Iterator[str]:
    """What becomes of the rows as tokens, of the first run of a sweep."""
    if not spec.training or not spec.datasets or any(data_place(one.id) != "path" for one in spec.datasets):
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
