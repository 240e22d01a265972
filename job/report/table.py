"""The table of a run's files, as the card and the terminal show it."""

from collections.abc import Mapping, Sequence

from job.manifest import StageRecord

JUDGED = ("perplexity", "KLD", "same top", "ms/token")


def headings(records: Mapping[str, StageRecord]) -> tuple[str, ...]:
    """Of the columns of `cells`."""
    return ("file", "type", "size", "bits/weight", *(JUDGED if _any_judged(records) else ()))


def cells(files: Sequence[tuple[str, str]], records: Mapping[str, StageRecord]) -> list[tuple[str, ...]]:
    """One row for each published GGUF, given by its name and type. `records` are the manifest's, by stage and type."""
    rows = []
    for name, kind in files:
        record = records[f"quantize/{kind}"]
        size = sum(item.size for item in record.artifacts)
        row = (name, kind.upper(), f"{size / 1e6:,.1f} MB", f"{record.metrics['bits_per_weight']:.2f}")
        rows.append((*row, *_judgement(records.get(f"evaluate/{kind}"))) if _any_judged(records) else row)
    return rows


def _any_judged(records: Mapping[str, StageRecord]) -> bool:
    return any(name.startswith("evaluate/") for name in records)


def _judgement(record: StageRecord | None) -> tuple[str, ...]:
    metrics = record.metrics if record else {}
    distance, base = metrics.get("distance"), metrics.get("unquantized")
    perplexity, kld, same = "", "", ""
    if distance:
        perplexity = f"{distance['perplexity']['value']:.2f} ± {distance['perplexity']['error']:.2f}"
        kld, same = f"{distance['kld']:.4f}", f"{distance['same_top']:.1%}"
    elif base:
        perplexity = f"{base['value']:.2f} ± {base['error']:.2f}"
    fastest = min((speed["generation_ms"] for speed in metrics.get("speeds", ())), default=None)
    return perplexity, kld, same, "" if fastest is None else f"{fastest:.1f}"
