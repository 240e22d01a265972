"""The README's picture, tables and length."""

import re

import pytest

from job.pipeline.run import STAGES
from tests import ROOT

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
WORDS = 900

FEATURES = {
    "fit.md": r"\{fit: 6G\}",
    "evaluation.md#scored-answers": "cases",
    "evaluation.md#forgetting": "Forgetting",
    "chat.md": "python -m job chat",
    "comparing.md": "finetune-run compare",
}
"""What other systems of the field have not: the page, and the words of its line."""


def pictures(page: str) -> list[str]:
    return re.findall(r"^```mermaid\n(.*?)^```", page, flags=re.M | re.S)


def stages_of(picture: str) -> list[str]:
    """The boxes that say what a stage does: `fetch["fetch: …"]`. Preflight, which looks alike, is not a stage."""
    return [name for name in re.findall(r'(\w+)\["\1(?: \(\w+\))?: ', picture) if name != "preflight"]


def test_the_readme_s_picture_shows_the_stages() -> None:
    (picture,) = pictures(README)
    assert set(stages_of(picture)) == {name for name, _ in STAGES}
    assert " --> ".join(name for name, _ in STAGES) in picture


def test_the_architecture_s_picture_shows_the_stages_in_order() -> None:
    (picture,) = pictures(ARCHITECTURE)
    assert stages_of(picture) == [name for name, _ in STAGES]


def test_the_readme_is_short() -> None:
    assert sum(bool(re.search(r"\w", word)) for word in README.split()) <= WORDS


def test_the_readme_says_what_each_command_is_for() -> None:
    rows = re.findall(r"^\| `([a-z -]+)` \|.*\| `?pip install", README, flags=re.M)
    assert rows == ["python -m job", "finetune-run", "python -m push"]


@pytest.mark.parametrize("page", FEATURES)
def test_what_only_this_job_does_has_a_line_and_a_page_with_a_picture(page: str) -> None:
    lines = re.findall(rf"^- .*{FEATURES[page]}.*\(docs/{re.escape(page)}\).*", README, flags=re.M)
    assert len(lines) == 1
    name, _, anchor = page.partition("#")
    text = (ROOT / "docs" / name).read_text()
    heads = {
        re.sub(r"\W+", "-", head.lower()): body
        for head, body in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text, re.M)
    }
    (picture, *_) = re.findall(r"!\[.+\]\((.+\.png)\)", heads[anchor] if anchor else text)
    assert (ROOT / "docs" / picture).is_file()
