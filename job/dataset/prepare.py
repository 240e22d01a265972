"""Makes train.jsonl and eval.jsonl from the local files of one or several data sets.

    <out>/train.jsonl   one data set of weight 1 in its own order; several shuffled by the seed
    <out>/eval.jsonl    only if rows are held out; never weighted

Rows are streamed: memory depends on the number of rows (see `spool`), not on their length. The same
files, spec and seed give the same bytes.
"""

import json
import random
from array import array
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from job.artifacts import Frozen, digest_of, sha256_of, written_whole
from job.dataset.held_out import ENOUGH, Part, Wanted, count_seen, hold_out
from job.dataset.layouts import Kind
from job.dataset.normalize import normalizer
from job.dataset.reading import Source, common_kind, find_source, rows_of
from job.dataset.rows import MAX_ROW, Broken, listed
from job.dataset.spool import Spool
from job.dataset.tally import Tally
from job.errors import StorageFailed
from job.logs import log
from job.spec.sections import Dataset

_SET_BITS = 48
"""A row of a mix is one 64-bit number: the set above these bits, its offset in the spool below."""

_ENCODER = json.JSONEncoder(ensure_ascii=False)


class Prepared(Frozen):
    """The files that training reads. `digest` is over both files; `broken` is the number of broken rows in all data
    sets, `left_out` the columns of each that are not trained, with the number of rows that have something there.

    `duplicates`: rows that are equal to an earlier one of their data set; `dropped`: those of them that
    `dataset.duplicates` leaves out; `eval_seen`: held-out rows that stand among the rows to train on too."""

    train: Path
    eval: Path | None
    kind: Kind
    rows: int
    eval_rows: int
    broken: int
    digest: str
    left_out: dict[str, dict[str, int]] = {}
    duplicates: int = 0
    dropped: int = 0
    eval_seen: int = 0


def prepare(
    sets: list[tuple[Dataset, Path]],
    *,
    seed: int,
    system: str | None,
    out: Path,
    has_template: bool = False,
    wanted: Wanted = ENOUGH,
) -> Prepared:
    """Reads every set (a local file, or a folder such as a snapshot of a Hub repository) and writes the rows.

    `has_template`: whether the model has a chat template, which makes prompts and completions conversations.
    `wanted`: what to hold out of the sets whose `eval_fraction` is auto.

    Raises DataInvalid for rows that cannot be used, NotFound for a split or configuration that does not
    exist, StorageFailed if the disk is full or refuses a write.
    """
    sources = [find_source(dataset, path) for dataset, path in sets]
    kind = common_kind(sources, has_template=has_template)
    for one in sources:
        log.info("data.format", dataset=one.name, format=one.layout.format, kind=kind, columns=one.layout.columns)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".rows-", dir=out) as spools:
            parts = [
                _read(s, index, kind, system, seed, Path(spools), wanted.longest) for index, s in enumerate(sources)
            ]
            repeats = [part.rows.repeats() for part in parts]
            dropped = [
                found if part.dataset.duplicates == "drop" else [] for part, found in zip(parts, repeats, strict=True)
            ]
            hold_out(parts, dropped, wanted.tokens)
            rows = _write_train(parts, [dataset.weight for dataset, _ in sets], seed, out / "train.jsonl")
            eval_rows = _write_eval(parts, out / "eval.jsonl")
            seen = count_seen(parts)
    except OSError as error:
        raise StorageFailed(f"cannot write to {out}: {error.strerror or error}", hint="Free space there.") from error
    files = [out / "train.jsonl", *([out / "eval.jsonl"] if eval_rows else [])]
    return Prepared(
        train=files[0],
        eval=files[1] if eval_rows else None,
        kind=kind,
        rows=rows,
        eval_rows=eval_rows,
        broken=sum(part.broken for part in parts),
        digest=digest_of([kind, *(sha256_of(file) for file in files)]),
        duplicates=sum(map(len, repeats)),
        dropped=sum(map(len, dropped)),
        eval_seen=seen,
        left_out={source.name: part.left_out for source, part in zip(sources, parts, strict=True) if part.left_out},
    )


def _read(
    source: Source, index: int, kind: Kind, system: str | None, seed: int, folder: Path, longest: int | None
) -> Part:
    """Reads a data set into spools. Raises DataInvalid if too many of its rows are broken."""
    dataset = source.dataset
    read = [(source.files, Spool(folder / f"{index}.jsonl", seed=seed, index=index, longest=longest))]
    if source.eval_files:
        read.append((source.eval_files, Spool(folder / f"{index}-eval.jsonl", seed=seed, index=index)))
    tallies = []
    for files, spool in read:
        tallies.append(tally := Tally(dataset))
        with spool, closing(lines_of(files, source, normalizer(source.layout, kind, system), tally)) as lines:
            for number, line in lines:
                spool.add(number, line)
        tally.judge()
    left_out = columns_left_out(source, tallies[0])
    if left_out:
        log.warning("data.left_out", dataset=source.name, columns=left_out, what=described_left_out(source, left_out))
    named = read[1][1] if source.eval_files else None
    return Part(
        dataset=dataset,
        rows=read[0][1],
        named=named,
        broken=sum(tally.broken for tally in tallies),
        left_out=left_out,
    )


def columns_left_out(source: Source, tally: Tally) -> dict[str, int]:
    """The columns that are not trained, each with its rows; a column that is not even decoded counts in all rows."""
    columns = dict.fromkeys([*source.left_out(source.first), *tally.left_out])
    return {column: tally.left_out[column] or tally.good for column in columns}


def described_left_out(source: Source, columns: dict[str, int]) -> str:
    """The same in one line."""
    told = listed(
        f"{listed([column]) or '(no name)'} ({rows:,} {'row' if rows == 1 else 'rows'})"
        for column, rows in columns.items()
    )
    return f"{source.name}: not trained, as rows are read as {source.layout.format}: {told}"


def lines_of(
    files: list[Path], source: Source, normalize: Callable[[dict[str, Any]], dict[str, Any]], tally: Tally
) -> Generator[tuple[int, bytes], None, None]:
    """The good rows, each with its number among all rows, up to `limit`; broken ones are counted in the tally."""
    too_long = {} if source.dataset.too_long == "cut" else {"too_long": source.dataset.too_long}
    with closing(rows_of(files, source.reads)) as rows:
        for number, (file, line, row) in enumerate(rows):
            try:
                if isinstance(row, Broken):
                    raise row
                left_out = source.left_out(row)
                text = _line(normalize(source.written(row)) | {"source": f"{file}:{line}"} | too_long)
            except Broken as broken:
                tally.add_broken(file, line, broken)
                continue
            tally.add_good(left_out)
            yield number, text
            if tally.good == source.dataset.limit:
                return


def _line(row: dict[str, Any]) -> bytes:
    """A row as one JSON line. Unicode's line separators are escaped, for readers that split lines there."""
    text = _ENCODER.encode(row)
    for mark in ("\x85", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    line = text.encode() + b"\n"
    if len(line) > MAX_ROW:
        raise Broken(f"the row is longer than {MAX_ROW >> 20} MiB")
    return line


def _write_train(parts: list[Part], weights: list[float], seed: int, path: Path) -> int:
    """Writes the rows to train on; returns how many. Raises DataInvalid if none is left."""
    with written_whole(path) as temporary, temporary.open("wb") as file, ExitStack() as stack:
        if weights == [1.0]:
            rows = 0
            for line in parts[0].rows.lines(held_out=False):
                file.write(line)
                rows += 1
            return rows
        order = array("Q")
        for index, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            order.extend(index << _SET_BITS | offset for offset in part.rows.drawn(weight))
        random.Random(f"order/{seed}").shuffle(order)
        spools = [stack.enter_context(part.rows.path.open("rb")) for part in parts]
        for entry in order:
            spool = spools[entry >> _SET_BITS]
            spool.seek(entry & ((1 << _SET_BITS) - 1))
            file.write(spool.readline())
        return len(order)


def _write_eval(parts: list[Part], path: Path) -> int:
    """Writes the held-out rows of every data set; returns how many. Without any, no file is written."""
    rows = 0
    with written_whole(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            spool, held_out = (part.named, False) if part.named else (part.rows, True)
            for line in spool.lines(held_out=held_out):
                file.write(line)
                rows += 1
    if rows == 0:
        path.unlink()
    return rows
