"""`python -m job check --rows N`: rows as the model will see them, and what becomes of all of them.

The rows and the model's small files are fetched, without weights, and every row becomes tokens as in a run.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from job import console, logs
from job.dataset import Prepared
from job.errors import UsageInvalid
from job.escape import harmless
from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.fetch.model import bring
from job.rehearsal.hollow import write_hollow
from job.run.folders import work_folder
from job.run.supervise import Supervisor
from job.sentences import sentence
from job.spec import JobSpec
from job.tokens import stage as tokens_stage
from job.tokens.lengths import Counts
from job.tokens.look import LookedAt, Piece

TRAINED, BETWEEN = ("⟦", "⟧"), "│"
"""Around what is trained, and between tokens."""
Say = Callable[[str], None]


def show_rows(spec: JobSpec, count: int, say: Say) -> None:
    """Shows `count` rows and a summary: in colors on a terminal, else line by line with `say`.

    Raises UsageInvalid without rows to train on, and what fetching and tokenizing raise in a run.
    """
    if not (spec.datasets and spec.training):
        lacking = "no training" if spec.datasets else "no data set"
        raise UsageInvalid(f"--rows: the spec has {lacking}, so no rows are trained on", hint="Leave --rows out.")
    screen = console.ConsoleSink() if console.wanted() else None
    logs.configure(screen or _warnings_to(say), to_stdout=False)
    with closing(screen) if screen else nullcontext():
        data, made = _tokenized(spec, count, work_folder())
    colored = Console(highlight=False) if screen else None
    for number, row in enumerate(made.looked_at, 1):
        title = f"\nrow {number} of {len(made.looked_at)}: {described(row)}"
        if colored:
            colored.print(console.words(title, "bold"), in_colors(row), soft_wrap=True, sep="\n")
        else:
            say(f"{title}\n{marked(row)}")
    say("\n" + "\n".join(summary(spec, data, made)))


def counted(spec: JobSpec, work: Path) -> Iterator[str]:
    """The summary alone. `work`: where a folder is made for what is fetched meanwhile. Raises what a run would."""
    yield from summary(spec, *_tokenized(spec, 1, work))


def _warnings_to(say: Say) -> Callable[[logs.Record], None]:
    def sink(record: logs.Record) -> None:
        if record.get("level") == "warning":
            say(f"warning: {sentence(record)}")

    return sink


def _tokenized(spec: JobSpec, count: int, work: Path) -> tuple[Prepared, tokens_stage.Result]:
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="check-", dir=work) as name:
        folder, supervisor = Path(name), Supervisor()
        pinned = sources.resolve(spec)
        fetch = fetch_stage.Inputs(sources=pinned, want_model=False)
        fetched: fetch_stage.Result = supervisor.run_stage(fetch_stage, spec, fetch, folder / "fetch")
        data = fetched.data
        assert data
        inputs = tokens_stage.Inputs(
            model=bring(spec, pinned, folder / "model", write_hollow).model,
            rows=data.eval,
            train=data.train,
            kind=data.kind,
            look_at=count,
        )
        made: tokens_stage.Result = supervisor.run_stage(tokens_stage, spec, inputs, folder / "tokens")
        return data, made


def described(row: LookedAt) -> str:
    """Where a row is from, and how much of it is trained."""
    tokens = f"{len(row.pieces):,} tokens"
    if row.length > len(row.pieces):
        tokens = f"cut to {len(row.pieces):,} of {row.length:,} tokens"
    left_out = f"; not shown by the chat template: {', '.join(row.left_out)}" if row.left_out else ""
    return f"{row.source}, {tokens}, {row.trained:,} of them trained{left_out}"


def marked(row: LookedAt) -> str:
    """The text, and the same token by token, with marks around what is trained."""
    return f"{_with_marks(row, '')}\ntokens: {_with_marks(row, BETWEEN, _one_line)}"


def _with_marks(row: LookedAt, between: str, shown: Callable[[str], str] = str) -> str:
    parts = []
    for trained, pieces in groupby(row.pieces, lambda piece: piece.trained):
        text = between.join(shown(piece.text) for piece in pieces)
        parts.append(f"{TRAINED[0]}{text}{TRAINED[1]}" if trained else text)
    return between.join(parts)


def in_colors(row: LookedAt) -> Text:
    """The same in colors."""
    text = Text()
    for piece in row.pieces:
        text.append(harmless(piece.text), _style(piece))
    text.append("\ntokens: ")
    for number, piece in enumerate(row.pieces):
        text.append(BETWEEN if number else "", "dim")
        text.append(harmless(_one_line(piece.text)), _style(piece))
    return text


def _style(piece: Piece) -> str:
    return "bold green" if piece.trained else "dim"


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")


def summary(spec: JobSpec, data: Prepared, made: tokens_stage.Result) -> Iterator[str]:
    """What becomes of all rows."""
    assert spec.training and made.train
    used, tokens = made.train.rows, made.train.tokens
    yield f"rows: {used:,} to train on, {data.eval_rows:,} held out, {data.broken:,} broken"
    if data.duplicates:
        kept = data.duplicates - data.dropped
        yield f"duplicates: {data.duplicates:,}, of which {kept:,} are trained again"
    if data.eval_seen:
        yield f"held-out rows that are trained too: {data.eval_seen:,}"
    for name, rows in made.left_out.items():
        yield f"not shown by the chat template: {name}, in {rows:,} rows"
    for name, columns in data.left_out.items():
        yield f"columns of {name} that are not trained: {', '.join(columns)}"
    yield from _lengths(made.counts["train"], spec.training.max_length)
    yield f"trained tokens: {made.train.trained:,} of {tokens:,} ({made.train.trained / tokens:.0%})"


def _lengths(counts: Counts, most: int) -> Iterator[str]:
    found = counts.lengths
    if found is None:
        return
    yield f"tokens in a row: p50 {found.p50:,}, p95 {found.p95:,}, p99 {found.p99:,}, longest {found.longest:,}"
    cut = counts.too_long - counts.dropped
    yield f"training.max_length {most:,}: {cut:,} rows cut, {counts.dropped:,} left out; {found.p99:,} would hold 99%"
    if counts.unlearned:
        yield f"rows with nothing to learn within it, which are left out: {counts.unlearned:,}"
