"""How long the rows are, from the first of them: of files here, and of data sets on the public Hub. For a plan, so it
must be quick and never fail.

A run counts its rows itself, once they are tokens.
"""

import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from job.errors import JobError
from job.predict.row_lengths import RowLengths
from job.spec import JobSpec
from job.spec.places import Where, data_place, model_place
from job.spec.sections import Dataset

MOST_ROWS, MOST_BYTES = 2000, 4 << 20
"""Of a data set, to look at."""
BYTES_PER_TOKEN = 4
"""Of UTF-8, if there is no tokenizer here: about what tokenizers of 32,000 words and more need for English."""
TURN_TOKENS = 5
"""What a chat template writes around a turn."""
WITH_TOKENIZER = "with the model's tokenizer"
BY_BYTES = f"at {BYTES_PER_TOKEN} bytes a token"


class _Looked(NamedTuple):
    """`rows`: of the whole data set to train on; `lengths`: of those looked at; `is_all`: whether these are all."""

    rows: float
    lengths: list[float]
    held_out: float
    is_all: bool


def rows_here(spec: JobSpec, places: Collection[Where] = ("path", "hub")) -> RowLengths | None:
    """None if the rows of a data set cannot be seen from here, or it is not in one of the `places`. The Hub is asked
    only if the model is there, too."""
    if model_place(spec.model.id) != "hub":
        places = {*places} - {"hub"}
    if not spec.training or not spec.datasets or any(data_place(one.id) not in places for one in spec.datasets):
        return None
    count, how = token_counter(spec)
    try:
        found = [_looked_at(one, spec, count) for one in spec.datasets]
    except (JobError, OSError, ImportError, ValueError, LookupError, TypeError):  # `check` and the run name the fault
        return None
    if not all(one.lengths for one in found):
        return None
    lengths = [(tokens, max(1, round(1000 * one.rows / len(one.lengths)))) for one in found for tokens in one.lengths]
    looked = f"{sum(len(one.lengths) for one in found):,}"
    return RowLengths(
        rows=round(sum(one.rows for one in found)),
        lengths=lengths,
        held_out=sum(one.held_out for one in found),
        how=f"by {'all' if all(one.is_all for one in found) else 'the first'} {looked} rows, {how}",
    )


def _looked_at(dataset: Dataset, spec: JobSpec, count: Callable[[str], float]) -> _Looked:
    if data_place(dataset.id) == "path":
        return _look(dataset, spec, count, Path(dataset.id).expanduser(), None)
    from job.predict.viewer import first_rows

    with tempfile.TemporaryDirectory() as name:
        rows = first_rows(dataset, Path(name))
        given = dataset.model_copy(update={"config": None, "split": "train"})
        return _look(given, spec, count, Path(name), rows)


def _look(dataset: Dataset, spec: JobSpec, count: Callable[[str], float], path: Path, known: int | None) -> _Looked:
    """The data set's first rows in `path`. `known`: how many it has."""
    from job.dataset import find_source
    from job.dataset.held_out import ENOUGH, share_of
    from job.dataset.normalize import normalizer
    from job.dataset.reading import rows_of
    from job.dataset.rows import Broken

    source = find_source(dataset.model_copy(update={"eval_split": None}), path)
    normalize = normalizer(source.layout, source.layout.kind, spec.chat.system)
    assert spec.training
    most, lengths, read, is_all = spec.training.max_length, list[float](), 0, True
    with closing(rows_of(source.files, None)) as rows:
        for _, _, row in islice(rows, dataset.limit):
            if isinstance(row, Broken):
                continue
            read += len(json.dumps(row, default=str, ensure_ascii=False, allow_nan=True).encode(errors="replace"))
            with suppress(Broken):
                lengths.append(min(most, _tokens(normalize(source.written(row)), count, most)))
            if len(lengths) == MOST_ROWS or read > MOST_BYTES:
                is_all = next(rows, None) is None
                break
    if known is None:
        total = len(lengths) if is_all else _all_rows(source.files, len(lengths), read)
    else:
        total, is_all = known, known <= len(lengths)
    total = min(total, dataset.limit or total)
    mean = sum(lengths) / max(1, len(lengths))
    share = 0.0 if dataset.eval_split else dataset.eval_fraction
    if share == "auto":
        share = share_of(ENOUGH.tokens, round(total * mean))
    held_out = ENOUGH.tokens if dataset.eval_split else share * total * mean
    return _Looked(total * (1 - share) * dataset.weight, lengths, held_out, is_all)


def _all_rows(files: list[Path], looked_at: int, read: int) -> float:
    """About how many rows the files have, of which so many were looked at with so many bytes."""
    if all(file.suffix == ".parquet" for file in files):
        from pyarrow import parquet

        return float(sum(parquet.read_metadata(file).num_rows for file in files))
    size = sum(file.stat().st_size * (4 if file.suffix == ".gz" else 1) for file in files)
    return looked_at * max(1.0, size / read)


def _tokens(row: dict[str, Any], count: Callable[[str], float], most: int) -> float:
    texts = list(texts_of(row))
    turns = TURN_TOKENS * len(row.get("messages", ())) or 1
    return turns + sum(count(text[: 16 * most]) for text in texts)  # a longer row is cut anyway


def texts_of(value: Any) -> Iterator[str]:
    """All texts of a row but the roles' names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name != "role":
                yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)


def token_counter(spec: JobSpec) -> tuple[Callable[[str], float], str]:
    """Counts a text's tokens, and how."""
    path = Path(spec.model.id).expanduser() / "tokenizer.json"
    if model_place(spec.model.id) == "path" and path.is_file():
        try:
            from tokenizers import Tokenizer

            known = Tokenizer.from_file(str(path))
            return (lambda text: len(known.encode(text, add_special_tokens=False).ids)), WITH_TOKENIZER
        except Exception:  # noqa: BLE001 - it raises nothing else; the run names the fault
            pass
    return (lambda text: len(text.encode(errors="replace")) / BYTES_PER_TOKEN), BY_BYTES
