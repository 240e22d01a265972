"""The report: one HTML file with everything about a run."""

from collections.abc import Iterator
from importlib.resources import files
from io import StringIO
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from job.llama_cpp.quant_mix import described
from job.report import plots, table
from job.report.choice import CONTEXT, choices, enough
from job.report.facts import Facts
from job.report.frame import framed
from job.report.times import times


class Answer(NamedTuple):
    """A speaker and the answer."""

    who: str
    text: str


class Sample(NamedTuple):
    """A held-out prompt, its row's continuation, and the answers."""

    prompt: str
    reference: str
    answers: list[Answer]


class Cell(NamedTuple):
    """A cell's text, and the number to sort it by, if it has one."""

    text: str
    number: float | None


def page(facts: Facts) -> str:
    """The HTML."""
    cache = facts.records["export"].metrics.get("cache_bytes_per_token", 0)
    return framed(
        "job.report",
        title=facts.name,
        script=files("job.report").joinpath("page.js").read_text(encoding="utf-8"),
        facts=facts,
        train=facts.train,
        columns=table.columns(facts.lines),
        rows=[_cells(facts, line) for line in facts.lines],
        plots=_plots(facts),
        fits=[(one, plots.svg(plots.fit(one))) for one in facts.fits],
        choices=choices(facts.lines, cache),
        enough=enough(facts.lines),
        context=CONTEXT,
        megabytes=table.megabytes,
        mixes=_mixes(facts),
        samples=list(_samples(facts)),
        times=times(facts.records, facts.usage),
        files=[(name, item.size, item.sha256) for name, _, item in facts.files],
        spec=_yaml(facts.spec.shown()),
        sources=_yaml(facts.sources or {}),
    )


def _cells(facts: Facts, line: table.Line) -> list[Cell]:
    shown = table.columns(facts.lines)
    return [Cell(column.shown(line), column.number(line) if column.number else None) for column in shown]


def _plots(facts: Facts) -> dict[str, str | None]:
    """SVG by subject, or None if there is nothing to show."""
    found: dict[str, str | None] = dict.fromkeys(("lengths", "losses", "sizes", "memory"))
    if facts.rows and facts.rows.bins and facts.spec.training:
        found["lengths"] = plots.svg(plots.lengths(facts.rows.bins, facts.spec.training.max_length))
    if facts.train.get("losses"):
        found["losses"] = plots.svg(plots.losses(facts.train["losses"], facts.train.get("evals", [])))
    if any(line.perplexity for line in facts.lines if line.size):
        found["sizes"] = plots.svg(plots.sizes(facts.lines))
    if any(usage.seconds for usage in facts.usage):
        found["memory"] = plots.svg(plots.memory(facts.usage))
    return found


def _mixes(facts: Facts) -> list[tuple[str, str, int]]:
    """For each type: the types of its tensors, and how many tensors fell back to another type."""
    found = []
    for _, kind in facts.quants:
        metrics = facts.records[f"quantize/{kind}"].metrics
        found.append((kind.upper(), described(metrics.get("tensors", {})), metrics.get("fallbacks", 0)))
    return found


def _samples(facts: Facts) -> Iterator[Sample]:
    tokens = facts.records.get("tokens")
    trained = facts.train.get("samples", [])
    for number, prompt in enumerate(tokens.metrics.get("prompts", []) if tokens else []):
        answers = []
        if number < len(trained):
            answers += [Answer("base", trained[number]["before"]), Answer("tuned", trained[number]["after"])]
        for name, record in facts.records.items():
            said = record.metrics.get("answers", []) if name.startswith("evaluate/") else []
            if number < len(said):
                answers.append(Answer(record.metrics["type"].upper(), said[number]))
        yield Sample(prompt["text"].strip(), prompt["reference"].strip(), answers)


def _yaml(value: Any) -> str:
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(value, text)
    return text.getvalue()
