"""The pages that list things list all of them: pages, environment variables, messages, exit codes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT

DOCS = ROOT / "docs"
ENVIRONMENT = (DOCS / "environment.md").read_text()
READ_FROM = ("job", "k8s", "push", "scripts", "helm", "Makefile", "Dockerfile", "action.yml", "entrypoint.sh")


TERMS = {
    "qlora": "QLoRA",
    "nf4": "NF4",
    "adapter": "[Aa]dapters?",
    "gguf": "GGUFs?",
    "importance-matrix": "[Ii]mportance matri(?:x|ces)|imatrix",
    "kl-divergence": "KL divergence|KLD",
    "same-top": "[Ss]ame top",
    "lease": "[Ll]eases?",
    "mig": "MIG",
}
"""Words that a data scientist may not know, by their place in the glossary."""
FOR_USERS = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in (
        "aks", "eks", "evaluation", "first-run", "gke", "image", "launcher", "on-premises", "prediction", "private",
        "quantization", "spot", "store", "sweeps", "training-on-push", "troubleshooting",
    )),
]  # fmt: skip


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


def prose(page: Path) -> str:
    """The page's text without code, headings, generated tables, and links to elsewhere than the glossary."""
    text = re.sub(r"^```.*?^```|<!-- begin.*?<!-- end.*?-->|`[^`\n]*`|^#.*?$", "", page.read_text(), flags=re.M | re.S)
    return re.sub(r"!?\[[^]]*\]\((?!(?:docs/)?glossary\.md#)[^)]*\)", "", text)


@pytest.mark.parametrize("page", FOR_USERS, ids=lambda page: page.name)
def test_an_unusual_word_leads_to_the_glossary_where_it_first_appears(page: Path) -> None:
    text = " ".join(prose(page).split())
    for anchor, word in TERMS.items():
        first = re.search(rf"(\[)?\b(?:{word})\b(?:\]\((\S+?)\))?", re.sub(r"\(\S+#[a-z-]+\)", _only(anchor), text))
        assert first is None or (first[2] or "").endswith(f"glossary.md#{anchor}"), first[0]


def _only(anchor: str) -> Callable[[re.Match[str]], str]:
    """Links to other words of the glossary are as plain text."""
    return lambda link: link[0] if link[0].endswith(f"#{anchor})") else ""


def test_every_unusual_word_has_an_entry_of_at_least_a_sentence() -> None:
    entries = re.findall(r"^### (.*)\n\n(.*(?:\n.+)*)", (DOCS / "glossary.md").read_text(), flags=re.M)
    texts = {name.lower().replace(" ", "-"): text for name, text in entries}
    assert [anchor for anchor in TERMS if not re.search(r"\w{3,}.*\.", texts.get(anchor, ""))] == []
