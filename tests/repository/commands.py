"""The commands and specs of the pages, as a reader finds them: shell blocks, commands in running text, named specs."""

import re
import shlex
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

import click
import typer.main

from tests import ROOT
from tests.placeholders import filled

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "bench/README.md", "helm/finetune-run/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ASSIGNED = re.compile(r"([A-Z][A-Z0-9_]*)=")
OURS = re.compile(r"(python -m (?:job|push)|finetune-run|make) ([a-z-].*)")


class Command(NamedTuple):
    """One line of a shell block, up to a pipe or a redirection. `variables` stand before it, or are exported."""

    page: Path
    variables: tuple[str, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def in_blocks(page: Path) -> list[Command]:
    found = []
    for block in blocks(page, "sh"):
        for line in filled(block).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            ends = [number for number, word in enumerate(words) if word in ("|", ">")]
            words = words[: ends[0]] if ends else words
            rest = list(dropwhile(ASSIGNED.match, words))
            sets = words if rest[:1] in (["make"], ["export"]) else words[: len(words) - len(rest)]
            if rest:
                variables = [match[1] for word in sets if (match := ASSIGNED.match(word))]
                found.append(Command(page, tuple(variables), tuple(rest)))
    return found


def in_text(page: Path) -> list[tuple[str, ...]]:
    """Commands of ours in code spans, tables included: `finetune-run status`, `python -m job plan SPEC [--gpu t4]`."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))
    return [tuple(re.sub(r"[][|]", " ", span).split()) for span in spans if OURS.fullmatch(span)]


def specs(page: Path) -> dict[str, str]:
    """YAML blocks that begin with the name of a file: its text by that name."""
    named = ((re.match(r"# (\S+\.yaml)\n", block), block) for block in blocks(page, "yaml"))
    return {match[1]: filled(block) for match, block in named if match}


def parsed(app: click.Command, arguments: tuple[str, ...]) -> None:
    """As the command line reads it, without running it."""
    with app.make_context("it", list(arguments), resilient_parsing=False) as context:
        if isinstance(app, click.Group):
            name, *rest = arguments
            found = app.get_command(context, name)
            assert found, f"there is no command {name}"
            parsed(found, tuple(rest))


def app_of(program: str) -> click.Group:
    """The command line's own parser."""
    from job.__main__ import app as job
    from k8s.launch import app as launcher
    from push.__main__ import app as push

    return typer.main.get_group({"job": job, "finetune-run": launcher, "push": push}[program])
