"""The pages that list things list all of them: pages, environment variables, messages, exit codes."""

import re
from pathlib import Path

import pytest

from tests import ROOT

DOCS = ROOT / "docs"
ENVIRONMENT = (DOCS / "environment.md").read_text()
READ_FROM = ("job", "k8s", "push", "scripts", "helm", "Makefile", "Dockerfile", "action.yml", "entrypoint.sh")


def files(*names: str) -> list[Path]:
    """The text files of these folders, and these files."""
    found = [path for name in names for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    return [path for path in found if path.suffix not in (".pyc", ".tgz", ".png")]


def variables(text: str) -> set[str]:
    """FINETUNE_… names, without FINETUNE__… ones, which are fields of the spec."""
    return set(re.findall(r"\bFINETUNE_[A-Z0-9][A-Z0-9_]*", text))


def test_every_page_is_in_the_index() -> None:
    listed = re.findall(r"^\| \[([^]]+)\]\(\1\) \| \S", (DOCS / "index.md").read_text(), flags=re.M)
    assert len(listed) == len(set(listed))
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} == {name for name in listed if "/" not in name}


def test_every_variable_that_is_read_is_on_the_page_and_every_one_of_the_page_is_read() -> None:
    read = set().union(*(variables(path.read_text(errors="replace")) for path in files(*READ_FROM)))
    assert len(read) > 10 and read == variables(ENVIRONMENT)


def test_every_variable_of_the_page_is_named_in_the_files_that_the_page_says_read_it() -> None:
    for row in re.findall(r"^\| (`.*)\|$", ENVIRONMENT, flags=re.M):
        cells = [cell.strip() for cell in row.split(" | ")]
        for file in re.findall(r"`([\w./]+\.(?:py|sh)|Makefile)`", cells[3]):
            text = (ROOT / file).read_text()
            for name in re.findall(r"`([A-Z0-9_]+)`", cells[0]):
                assert name in text or "proxy" in cells[1], (name, file)


def test_every_message_of_the_troubleshooting_page_is_one_of_the_code() -> None:
    source = "".join(path.read_text() for path in files("job", "k8s", "push") if path.suffix == ".py")
    source = re.sub(r'"\s*\n\s*(?:rf|fr|f|r)?"', "", source)  # texts over several lines are one
    rows = re.findall(r"^\| (`[^|]*`) \| [^|]+ \| [^|]+ \|$", (DOCS / "troubleshooting.md").read_text(), flags=re.M)
    messages = [part for row in rows for part in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 20
    assert [message for message in messages if message not in source] == []


@pytest.mark.parametrize(
    "page", sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), ROOT / "bench" / "README.md"]), ids=str
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.M)
            assert anchor in {re.sub(r"[^\w -]", "", one).strip().lower().replace(" ", "-") for one in headings}, anchor
