"""The plan of a pull request: what its specs would do, need and cost. Read-only, and without a cluster."""

from collections.abc import Callable
from pathlib import Path

from job.errors import SpecInvalid
from job.predict.needs import duration, needs
from job.spec import JobSpec
from push import price
from push.changes import Change, Changed
from push.config import Config
from push.data import Specs, brought, seen_from_here
from push.escape import block, code, one_line
from push.rows import described
from push.specs import specs_of

MOST_CHARACTERS = 60_000
"""Characters. A comment has at most 65,536 (https://docs.github.com/rest/issues/comments)."""
NO_CONFIG = "The protected configuration is not here (a fork's pull request): the push checks limits and price."


def comment(repo: Path, change: Change, config: Config | None) -> tuple[str, str]:
    """The plan as Markdown, and the reason why the check fails, or an empty text."""
    lines = ["### finetune-run: plan", ""]
    try:
        with brought(repo, change.after, specs_of(repo, change, config), config) as (found, folder):
            lines += _plan(found, config, folder)
            lines += _rows(repo, change, found, config, folder)
            wrong = _too_dear(found, config, folder)
    except SpecInvalid as error:
        wrong = str(error)
    if wrong:
        lines += ["**This would be refused:**", "", block(wrong), ""]
    lines += [f"- {code(text)}" for text in change.ignored]
    if config is None:
        lines += ["", NO_CONFIG]
    text = "\n".join(lines)
    if len(text) > MOST_CHARACTERS:
        text = "\n".join(["### finetune-run: plan", "", "The plan is too long for a comment; see the log."])
    return text + "\n", wrong


def _rows(repo: Path, change: Change, found: Specs, config: Config | None, folder: Path) -> list[str]:
    """What the commit brings, a line for each data set."""
    if config is None or change.before is None:
        return []
    said = [line for one, spec in found for line in described(repo, one, spec, change.before, config, folder)]
    return [*(f"- {code(line)}" for line in said), ""] if said else []


def _plan(found: Specs, config: Config | None, folder: Path) -> list[str]:
    if not found:
        return ["No spec in `runs/` has changed: nothing would run.", ""]
    card = config.card if config else None
    lines = ["| spec | model | VRAM | time | price |", "| --- | --- | ---: | ---: | ---: |"]
    for one, spec in found:
        lines.append(row(one, spec, price.estimate(spec, card, config, seen_from_here(spec, folder))))
    lines += ["", _where(config), ""] if config else [""]
    for one, spec in found:
        hourly = config.price_per_hour if config else None
        lines += ["<details><summary>Requirements</summary>", "", code(one.name), ""]
        lines += [
            block("\n".join(needs(spec, card, hourly, seen_from_here(spec, folder)))),
            "",
            "</details>",
            "",
        ]
    return lines


def row(one: Changed, spec: JobSpec, found: price.Estimate) -> str:
    """A line of the table."""
    memory = f"{found.vram / 1e9:.1f} GB" if found.vram else ""
    hours, cost = shown(found.seconds, duration), shown(found.price, "{:.2f}".format)
    return f"| {code(one.name)} | {code(one_line(spec.model.id, 80))} | {memory} | {hours} | {cost} |"


def shown(found: tuple[float | None, float | None], as_text: Callable[[float], str]) -> str:
    """Likely and at most, as far as they are known."""
    likely, most = found
    if most is None:
        return "unknown"
    at_most = f"at most {as_text(most)}"
    return at_most if likely is None else f"{as_text(likely)}, {at_most}"


def _where(config: Config) -> str:
    spot = ", on spot nodes" if config.spot else ""
    return f"GPU: {code(config.gpu)}{spot}. Times and prices are estimates."


def _too_dear(found: Specs, config: Config | None, folder: Path) -> str:
    if config is None:
        return ""
    try:
        price.check(
            {one.name: price.estimate(spec, config.card, config, seen_from_here(spec, folder)) for one, spec in found},
            config,
        )
    except SpecInvalid as error:
        return str(error)
    return ""
