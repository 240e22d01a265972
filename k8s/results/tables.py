"""The comparison of runs as tables of words, for the terminal and for the page: a column for each run.

A number that is not comparable with the first run's has a mark, and the notes say why. All words by others (names,
specs, errors) are redacted and on one line.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from job.escape import one_line
from job.redaction import redact, redact_all
from job.report import table
from job.report.basis import Basis, Measured
from job.spec.places import public_name
from k8s.results.compare import Entry, groups, held_out_loss
from k8s.results.differences import differences, shortened


class Table(NamedTuple):
    """`notes`: a line each."""

    title: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]


class Measure(NamedTuple):
    """One measurement: each run's text and number, and the basis on which it was measured (None: any)."""

    name: str
    of: str
    texts: list[str]
    numbers: list[float | None]
    basis: Callable[[Entry], Basis | None] | None


def letter(number: int) -> str:
    """A, B, …, Z, AA, AB: how a run is called in the tables."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def plain(text: Any) -> str:
    """Words by others, harmless on a line."""
    return one_line(redact(str(text)))


def tables(runs: Sequence[Entry]) -> list[Table]:
    """What there is to compare."""
    letters = [letter(number) for number in range(len(runs))]
    found = [_runs(runs), _differences(runs, letters)]
    for title, measures in (("Training", training(runs)), ("Files", files(runs))):
        if measures:
            found.append(_table(title, measures, runs, letters))
    return found


def _runs(runs: Sequence[Entry]) -> Table:
    rows = []
    for number, one in enumerate(runs):
        manifest = one.manifest
        base = ((one.spec or {}).get("model") or {}).get("id")
        state = f"finished {manifest.finished[:16]}" if manifest else "not finished" if one.spec else "not begun"
        words = [one.id, manifest.name if manifest else "", public_name(str(base)) if base else "", state]
        rows.append([letter(number), *map(plain, words)])
    return Table("Runs", ["", "run", "name", "base", "state"], rows, [])


def _differences(runs: Sequence[Entry], letters: list[str]) -> Table:
    found = differences(runs)
    rows = [[plain(one.path), *(plain(shortened(redact(value))) for value in one.values)] for one in found]
    notes = [] if rows else ["Specs, pinned sources and versions are the same."]
    return Table("What differs", ["field", *letters], rows, notes)


def training(runs: Sequence[Entry]) -> list[Measure]:
    """What the training says of itself, and the rows that it had."""

    def measure(name: str, values: Sequence[Any], form: str, basis: Any = None) -> Measure:
        return Measure(name, "", ["" if one is None else form.format(one) for one in values], list(values), basis)

    def metrics(name: str) -> list[Any]:
        return [getattr(one.training, name) for one in runs]

    found = [
        measure("held-out loss before", metrics("loss_before"), "{:.4f}", held_out_loss),
        measure("held-out loss after", metrics("loss_after"), "{:.4f}", held_out_loss),
        measure("rows trained", [one.rows and one.rows.trained for one in runs], "{:,}"),
        measure("rows held out", [one.rows and one.rows.held_out for one in runs], "{:,}"),
        measure("tokens of the rows", [one.rows and one.rows.tokens for one in runs], "{:,}"),
        measure("steps", metrics("steps"), "{:,}"),
        measure("trainable parameters", metrics("trainable"), "{:,}"),
        measure("tokens per second", metrics("tokens_per_second"), "{:,.0f}"),
        measure("hours of the run", [one and one / 3600 for one in metrics("seconds")], "{:.2f}"),
        measure("cost", metrics("cost"), "{:.2f}"),
    ]
    return [one for one in found if any(one.texts)]


def files(runs: Sequence[Entry]) -> list[Measure]:
    """Each measurement of the files, by type, and of the base and the tuned model."""
    lines = [{_key(line): line for line in one.lines} for one in runs]
    keys = list(dict.fromkeys(key for one in lines for key in one))
    found = []
    for column in table.columns([line for one in runs for line in one.lines]):
        if column.heading in ("file", "type"):
            continue
        for key in keys:
            held = [one.get(key) for one in lines]
            texts = [column.shown(line) if line else "" for line in held]
            numbers = [column.number(line) if line and column.number else None for line in held]
            basis = _of_records(column.basis) if column.basis else None
            if any(texts):
                found.append(Measure(column.heading, key, texts, numbers, basis))
    return found


def _of_records(basis: Measured) -> Callable[[Entry], Basis | None]:
    return lambda one: basis(one.records)


def _key(line: table.Line) -> str:
    """The type; of a model in transformers its name, since in brackets is how training loaded it."""
    return line.type if line.size else line.name.strip("()")


def _table(title: str, measures: Sequence[Measure], runs: Sequence[Entry], letters: list[str]) -> Table:
    rows, notes, last = [], dict[str, list[str]](), ""
    for measure in measures:
        marks, why = marks_of(measure, runs, letters)
        cells = [f"{plain(text)} {mark}".rstrip() for text, mark in zip(measure.texts, marks, strict=True)]
        rows.append([measure.name if measure.name != last else "", plain(measure.of), *cells])
        last = measure.name
        for line in why:
            names = notes.setdefault(line, [])
            names += [measure.name] if measure.name not in names else []
    return Table(title, ["", "", *letters], rows, [f"{', '.join(names)}: {line}" for line, names in notes.items()])


def marks_of(measure: Measure, runs: Sequence[Entry], letters: Sequence[str]) -> tuple[list[str], list[str]]:
    """A mark for each run whose number is not comparable with the first one's, and for each mark what it means."""
    marks = [""] * len(runs)
    there = [number for number, text in enumerate(measure.texts) if text]
    if measure.basis is None or len(there) < 2:
        return marks, []
    found = groups((runs[number] for number in there), measure.basis)
    most = max(found)
    first, why = there[0], []
    for group in range(1, most + 1):
        mark = f"†{group}" if most > 1 else "†"
        members = [number for number, of in zip(there, found, strict=True) if of == group]
        for number in members:
            marks[number] = mark
        reason = _reason(measure.basis(runs[first]), measure.basis(runs[members[0]]))
        who = ", ".join(letters[number] for number in members)
        why.append(f"{mark} {who} cannot be compared with {letters[first]}: {reason}")
    return marks, why


def _reason(first: Basis | None, other: Basis | None) -> str:
    if first is None or other is None:
        return "it is not recorded on what they were measured"
    different = [name for name in first | other if first.get(name) != other.get(name)]  # type: ignore[operator]
    return "measured on " + ", ".join(f"other {name}" for name in different)


def values(runs: Sequence[Entry]) -> dict[str, Any]:
    """The same for programs. In `measures`, runs with the same number in `comparable` can be compared."""
    letters = [letter(number) for number in range(len(runs))]

    def shown(measure: Measure) -> dict[str, Any]:
        there = [number for number, text in enumerate(measure.texts) if text]
        of = groups((runs[number] for number in there), measure.basis) if measure.basis else [0] * len(there)
        numbers = zip(measure.numbers, measure.texts, strict=True)
        every = [text if number is None else number for number, text in numbers]
        return {
            "name": measure.name,
            "of": measure.of,
            "values": {letters[number]: every[number] for number in there},
            "comparable": {letters[number]: group for number, group in zip(there, of, strict=True)},
        }

    found = {
        "runs": {letters[number]: one.id for number, one in enumerate(runs)},
        "differences": {one.path: dict(zip(letters, one.values, strict=True)) for one in differences(runs)},
        "measures": [shown(one) for one in [*training(runs), *files(runs)]],
    }
    return dict(redact_all(found))
