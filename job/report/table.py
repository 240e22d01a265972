"""The table of a run's files, as the card, the page, the terminal and the chat show it.

It begins with the model as training saw it, without and with the adapter, and the unquantized file, so that a loss can
be traced from the base to each type.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from job.report.basis import (
    Measured,
    Records,
    judged_on,
    on_answers,
    on_cases,
    on_device,
    on_rows,
    on_rows_and_text,
    on_text,
)
from job.run.records import Manifest
from job.tasks.scores import BASE, TUNED


class Line(NamedTuple):
    """A file, or a model in transformers (`size` is None). Perplexities and KLD have their standard errors; `ms`:
    per generated token, with half of the spread, on each device (`GPU`, `4 threads`); `gpu_layers` (`20/33`): layers on
    the GPU, `0` without one; `of_base`: the tuned model's perplexity divided by the base model's, on `rows` and
    `text`; `score`: right answers, cases, and the 95% interval of their share."""

    name: str
    type: str
    size: int | None = None
    bits: float | None = None
    perplexity: tuple[float, float] | None = None
    kld: tuple[float, float] | None = None
    same_top: float | None = None
    ms: Mapping[str, tuple[float, float]] = {}
    text: tuple[float, float] | None = None
    gpu_layers: str = ""
    ends: float | None = None
    of_base: Mapping[str, tuple[float, float]] = {}
    score: tuple[int, int, float, float] | None = None


class Column(NamedTuple):
    """A heading, what it means, a cell's text, and the number by which a reader sorts the column; a column of words has
    none. `basis`: what two runs must have in common for their numbers to be comparable; None: nothing."""

    heading: str
    meaning: str
    shown: Callable[[Line], str]
    number: Callable[[Line], float | None] | None
    basis: Measured | None


def _pair(value: tuple[float, float] | None, digits: int = 2) -> str:
    return "" if value is None else f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"


def _first(value: tuple[float, float] | None) -> float | None:
    return value[0] if value else None


def megabytes(size: int | None) -> str:
    """In millions of bytes, or thousands of millions."""
    if size is None:
        return ""
    return f"{size / 1e6:,.1f} MB" if size < 1e10 else f"{size / 1e9:,.2f} GB"


def scored(right: int, cases: int, low: float, high: float) -> str:
    return f"{right / cases:.0%} ({low:.0%} to {high:.0%}) of {cases}"


COLUMNS = (
    Column("file", "the published name", lambda line: line.name, None, None),
    Column(
        "type",
        "llama.cpp's type; in brackets: the precision in which training loaded the model",
        lambda line: line.type,
        None,
        None,
    ),
    Column("size", "millions of bytes", lambda line: megabytes(line.size), lambda line: line.size, None),
    Column(
        "bits",
        "per weight, of the tensors",
        lambda line: "" if line.bits is None else f"{line.bits:.2f}",
        lambda line: line.bits,
        None,
    ),
    Column(
        "perplexity",
        "exp of the mean loss on held-out rows, ± standard error",
        lambda line: _pair(line.perplexity),
        lambda line: _first(line.perplexity),
        on_rows,
    ),
    Column(
        "on text",
        "perplexity on evaluation.text, ± standard error",
        lambda line: _pair(line.text),
        lambda line: _first(line.text),
        on_text,
    ),
    Column(
        "of base",
        "the tuned model's perplexity divided by the base model's, on the held-out rows and on evaluation.text: above "
        "1 it got worse",
        lambda line: ", ".join(f"{what} {_pair(line.of_base[what])}" for what in line.of_base),
        lambda line: _first(line.of_base.get("text")),
        on_rows_and_text,
    ),
    Column(
        "KLD",
        "KL divergence from the unquantized file, nats per token",
        lambda line: "" if line.kld is None else f"{line.kld[0]:.4f}",
        lambda line: _first(line.kld),
        on_rows,
    ),
    Column(
        "same top",
        "share of tokens for which both predict the same one; of the unquantized file: it and the model as trained",
        lambda line: "" if line.same_top is None else f"{line.same_top:.1%}",
        lambda line: line.same_top,
        on_rows,
    ),
    Column(
        "ends",
        "share of held-out answers after which the token that ends one comes first",
        lambda line: "" if line.ends is None else f"{line.ends:.0%}",
        lambda line: line.ends,
        on_answers,
    ),
    Column(
        "score",
        "share of right answers to evaluation.tasks, with its 95% interval (Wilson)",
        lambda line: "" if line.score is None else scored(*line.score),
        lambda line: line.score[0] / line.score[1] if line.score else None,
        on_cases,
    ),
    Column(
        "GPU layers",
        "layers that ran on the GPU, of all",
        lambda line: line.gpu_layers,
        lambda line: int(line.gpu_layers.split("/")[0]) if line.gpu_layers else None,
        None,
    ),
)
"""Of the card, the page, the terminal and the chat: what is added here is in all of them. The speeds' columns stand
before the last one."""


def lines(files: Sequence[tuple[str, str]], records: Records) -> list[Line]:
    """`files`: name and type of each published GGUF."""
    return [line._replace(score=_score(records, who)) for who, line in _lines(files, records)]


def _lines(files: Sequence[tuple[str, str]], records: Records) -> Iterator[tuple[str, Line]]:
    """Each with who answered `evaluation.tasks` for it."""
    yield from zip((BASE, TUNED), _in_transformers(records), strict=False)
    published = {kind for _, kind in files}
    unquantized = [record.metrics for name, record in records.items() if name.startswith("evaluate/")]
    for metrics in unquantized:
        if "size" in metrics and metrics["type"] not in published:
            kind, size, bits = metrics["type"], metrics["size"], metrics["bits_per_weight"]
            yield kind, _line("(not published)", kind, size, bits, metrics)
    for name, kind in files:
        record = records[f"quantize/{kind}"]
        judged = records.get(f"evaluate/{kind}")
        size = sum(item.size for item in record.artifacts)
        yield kind, _line(name, kind, size, record.metrics["bits_per_weight"], judged.metrics if judged else {})


def _score(records: Records, who: str) -> tuple[int, int, float, float] | None:
    scores = records["tasks"].metrics.get("scores", {}) if "tasks" in records else {}
    found = scores.get(who)
    return (found["right"], found["cases"], found["low"], found["high"]) if found else None


def published(manifest: Manifest) -> list[tuple[str, str]]:
    """Name and type of each GGUF that a run has published; only the first part of a split one."""
    found: dict[str, str] = {}
    for file in manifest.files:
        if f"quantize/{file.type}" in manifest.stages:
            found.setdefault(file.type, file.name)
    return [(name, kind) for kind, name in found.items()]


def columns(found: Sequence[Line]) -> list[Column]:
    """The columns in which a line has a value, without `GPU layers` if every file ran without a GPU."""
    speeds = [_speed(device) for device in dict.fromkeys(device for line in found for device in line.ms)]
    every = [*COLUMNS[:-1], *speeds, COLUMNS[-1]]
    return [column for column in every if any(column.shown(line) not in ("", "0") for line in found)]


def _speed(device: str) -> Column:
    """On one device, so that files are compared on the same."""

    def shown(line: Line) -> str:
        if device not in line.ms:
            return ""
        ms, spread = line.ms[device]
        return f"{ms:.1f} ± {spread:.1f}" if spread else f"{ms:.1f}"

    meaning = "generation, milliseconds: the median, ± half of the difference between the slowest and the fastest"
    return Column(
        f"ms/token, {device}",
        meaning,
        shown,
        lambda line: line.ms[device][0] if device in line.ms else None,
        on_device(_device, device),
    )


def _in_transformers(records: Records) -> Iterator[Line]:
    """The base and the tuned model, if they were judged on the same windows as the files."""
    train = records.get("train")
    metrics: Mapping[str, Any] = train.metrics if train else {}
    rows, text = (
        _on_windows(metrics.get(name), windows)
        for name, windows in (("trace", judged_on(records)), ("text_trace", _text_on(records)))
    )
    if not rows and not text and not _score(records, TUNED):
        return
    loaded = (rows or {}).get("loaded", "as loaded")
    for name in ("base", "tuned"):
        yield Line(
            f"({name} model)",
            f"{name} ({loaded})",
            perplexity=_measured(rows and rows[name]),
            text=_measured(text and text[name]),
            ends=_share((rows or {}).get(f"{name}_ends")),
            of_base=_of_base(rows, text) if name == "tuned" else {},
        )


def _on_windows(trace: Mapping[str, Any] | None, windows: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return trace if trace and windows and all(trace[key] == windows[key] for key in ("context", "chunks")) else None


def _text_on(records: Records) -> Mapping[str, Any] | None:
    found = (record.metrics.get("text") for name, record in records.items() if name.startswith("evaluate/"))
    return next((one for one in found if one), None)


def _of_base(rows: Mapping[str, Any] | None, text: Mapping[str, Any] | None) -> dict[str, tuple[float, float]]:
    """Empty without `evaluation.text`: what was learned of the rows then has nothing beside it."""
    return {what: ratio_of(trace) for what, trace in (("rows", rows), ("text", text)) if trace} if text else {}


def ratio_of(trace: Mapping[str, Any]) -> tuple[float, float]:
    """The tuned model's perplexity divided by the base model's, with its standard error."""
    ratio = trace["tuned"]["value"] / trace["base"]["value"]
    return ratio, ratio * trace["ratio_error"]


def _measured(found: Mapping[str, Any] | None) -> tuple[float, float] | None:
    return (found["value"], found["error"]) if found else None


def _share(ends: Mapping[str, int] | None) -> float | None:
    return ends["first"] / ends["answers"] if ends else None


def _line(name: str, kind: str, size: int, bits: float, metrics: Mapping[str, Any]) -> Line:
    distance, speeds = metrics.get("distance") or {}, metrics.get("speeds") or []
    return Line(
        name,
        kind.upper(),
        size,
        bits,
        perplexity=_measured(metrics.get("perplexity")),
        kld=(distance["kld"], distance["kld_error"]) if distance else None,
        same_top=distance.get("same_top", (metrics.get("as_trained") or {}).get("same_top")),
        ms={_device(speed): (speed["generation_ms"], speed.get("generation_spread_ms", 0.0)) for speed in speeds},
        text=_measured((metrics.get("text") or {}).get("perplexity")),
        ends=_share(metrics.get("ends")),
        gpu_layers=(speeds[0] if speeds else metrics).get("gpu_layers", ""),
    )


def _device(speed: Mapping[str, Any]) -> str:
    """`GPU` if layers were there, else the number of threads."""
    if not speed.get("gpu_layers", "0").startswith("0"):
        return "GPU"
    return "1 thread" if speed["threads"] == 1 else f"{speed['threads']} threads"
