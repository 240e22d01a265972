"""How many rows and tokens a run was trained on, and what of its rows was not."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from job.report.basis import Records


class Rows(NamedTuple):
    """`trained`, `held_out`: rows as they were used. `tokens` of the trained ones, `learned` of those. `told`: what was
    not used as it was given, in words, each with its number of rows. `bins`: the largest length of each, and its
    rows."""

    trained: int
    held_out: int
    tokens: int
    learned: int
    told: list[tuple[str, int]]
    bins: list[tuple[int, int]]
    percentiles: dict[str, int]

    @property
    def share(self) -> float:
        """The share of the tokens that have a loss."""
        return self.learned / self.tokens if self.tokens else 0.0


def rows_of(records: Records) -> Rows | None:
    """None if nothing was trained, or by a release that did not count."""
    tokens = records["tokens"].metrics if "tokens" in records else {}
    train, counts = tokens.get("train"), (tokens.get("counts") or {}).get("train")
    if not train or not counts:
        return None
    data = records["fetch"].metrics.get("data") or {}
    lengths = counts["lengths"] or {}
    return Rows(
        trained=train["rows"],
        held_out=(tokens.get("eval") or {}).get("rows", 0),
        tokens=train["tokens"],
        learned=train["trained"],
        told=[(words, rows) for words, rows in _told(data, tokens, counts) if rows],
        bins=[(length, rows) for length, rows in lengths.get("bins", [])],
        percentiles={name: lengths[name] for name in ("p50", "p95", "p99", "longest") if name in lengths},
    )


def _told(data: Mapping[str, Any], tokens: Mapping[str, Any], counts: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    repeated, dropped = data.get("duplicates", 0), data.get("dropped", 0)
    yield "broken, left out", data.get("broken", 0)
    yield "equal to an earlier row, left out", dropped
    yield "equal to an earlier row, trained again", repeated - dropped
    yield "held out and among the trained rows too", data.get("eval_seen", 0)
    yield "too long, cut", counts["too_long"] - counts["dropped"]
    yield "too long, left out", counts["dropped"]
    yield "without a token to learn, left out", counts["unlearned"]
    for columns in data.get("left_out", {}).values():
        for column, rows in columns.items():
            yield f"column {column}, not trained", rows
    for name, rows in tokens.get("left_out", {}).items():
        yield f"{name}, not shown by the chat template", rows
