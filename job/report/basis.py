"""What a measurement was made on. Two runs' numbers can be compared only if it is the same; None: it is not known."""

from collections.abc import Callable, Mapping
from typing import Any

from job.run.records import StageRecord

Records = Mapping[str, StageRecord]
"""The manifest's: `train`, `quantize/<type>`, `evaluate/<type>`, …"""
Basis = Mapping[str, Any]
"""Its parts by the words for them."""
Measured = Callable[[Records], Basis | None]


def judged_on(records: Records) -> dict[str, Any] | None:
    """`context` and `chunks` of the windows that the files were judged on."""
    return next((_windows(metrics) for metrics in _evaluations(records) if "chunks" in metrics), None)


def on_rows(records: Records) -> Basis | None:
    """The held-out rows as tokens, in the windows on which files are judged."""
    return _on(records, "ids.txt", "held-out tokens", judged_on(records))


def on_text(records: Records) -> Basis | None:
    """The tokens of `evaluation.text`, in their windows."""
    found = next((metrics["text"] for metrics in _evaluations(records) if metrics.get("text")), None)
    return _on(records, "text-ids.txt", "tokens of evaluation.text", _windows(found) if found else None)


def on_rows_and_text(records: Records) -> Basis | None:
    """Both."""
    rows, text = on_rows(records), on_text(records)
    return {**text, **rows, "windows": [rows["windows"], text["windows"]]} if rows and text else None


def on_answers(records: Records) -> Basis | None:
    """The held-out rows as tokens, and where their answers end."""
    rows, ends = on_rows(records), _sha256(records, "ends.txt")
    return {**rows, "ends of answers": ends} if rows and ends else None


def on_cases(records: Records) -> Basis | None:
    """The cases of `evaluation.tasks`, with how long an answer may be."""
    inputs = records["tasks"].inputs if "tasks" in records else None
    return {"cases": inputs["cases"]} if inputs else None


def on_losses(records: Records) -> Basis | None:
    """The held-out rows as ids and labels, of which the loss in training is the mean."""
    tokens = records["tokens"].metrics if "tokens" in records else {}
    rows = tokens.get("eval")
    return {"held-out rows": rows["digest"], "vocabulary": tokens["size"]} if rows else None


def on_device(named: Callable[[Mapping[str, Any]], str], device: str) -> Measured:
    """The processors that are called `device` in the table."""

    def basis(records: Records) -> Basis | None:
        speeds = [one for metrics in _evaluations(records) for one in metrics.get("speeds") or ()]
        found = sorted({str(one["device"]) for one in speeds if named(one) == device})
        return {"processor": found} if found else None

    return basis


def _on(records: Records, file: str, words: str, windows: Basis | None) -> Basis | None:
    sha256 = _sha256(records, file)
    if not sha256 or not windows:
        return None
    return {words: sha256, "vocabulary": records["tokens"].metrics["size"], "windows": windows}


def _sha256(records: Records, file: str) -> str | None:
    artifacts = records["tokens"].artifacts if "tokens" in records else []
    return next((one.sha256 for one in artifacts if one.path == file), None)


def _evaluations(records: Records) -> list[Mapping[str, Any]]:
    return [record.metrics for name, record in records.items() if name.startswith("evaluate/")]


def _windows(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metrics[key] for key in ("context", "chunks")}
