"""docs/extending.md names files that are there, and no change needs more than four of them."""

import re

import pytest

from tests import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
CHANGES = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
KINDS = [
    "A quantization type", "A GPU", "A cloud, or another way to label nodes", "A field of the spec", "A row layout",
    "A file format", "A store", "A place to publish to", "An exit code", "A check before GPU time",
    "A figure in the report",
]  # fmt: skip


def test_the_page_has_each_kind_of_change() -> None:
    assert list(CHANGES) == KINDS


def steps(kind: str) -> list[str]:
    return re.findall(r"^\d\. (.*(?:\n   .*)*)", CHANGES[kind], flags=re.M)


def files(text: str) -> list[str]:
    return re.findall(r"`([\w.-]+/[\w./-]+)`", text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_touches_at_most_four_files(kind: str) -> None:
    assert 2 <= len(steps(kind)) <= 4
    assert len(re.findall(r"^\d\. ", CHANGES[kind], flags=re.M)) == len(steps(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_that_a_change_names_are_there(kind: str) -> None:
    named = files(CHANGES[kind])
    assert named and [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_in_a_step_are_names_in_its_files(kind: str) -> None:
    for step in steps(kind):
        text = "".join((ROOT / path).read_text() for path in files(step))
        names = [name for name in re.findall(r"`(_?[A-Za-z][\w.]+)`", step) if text]
        assert [name for name in names if name.split(".")[-1] not in text] == []
