"""The image's Python is Debian 12's 3.11.2. mypy and ruff know what came with 3.12, not what a later 3.11 brought."""

import ast
from collections.abc import Iterator

import pytest

from tests import ROOT

LATER_NAMES = {
    "data_filter", "tar_filter", "fully_trusted_filter", "extraction_filter",  # tarfile, 3.11.4
    "SetReparseDeferralEnabled", "GetReparseDeferralEnabled",  # xml, 3.11.9
}  # fmt: skip
LATER_KEYWORDS = {
    "filter": {"extract", "extractall", "unpack_archive"},  # 3.11.4
    "strict": {"getaddresses", "parseaddr"},  # email.utils, 3.11.10
}
"""Keywords, by the functions that had not got them in 3.11.2: `versionadded` and `versionchanged` of the documentation
(https://docs.python.org/3.11/whatsnew/3.11.html#notable-changes-in-3-11-4 and below)."""
IN_THE_IMAGE = sorted(path for path in (ROOT / "job").rglob("*.py"))


def later(tree: ast.AST) -> Iterator[str]:
    """What a module uses that 3.11.2 does not have, or has otherwise."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in LATER_NAMES:
            yield f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            for keyword in node.keywords:
                if name in LATER_KEYWORDS.get(keyword.arg or "", ()):
                    yield f"line {node.lineno}: {name}({keyword.arg}=…)"


def test_the_job_uses_nothing_that_the_images_python_does_not_have() -> None:
    found = {path.name: list(later(ast.parse(path.read_text()))) for path in IN_THE_IMAGE}
    assert len(found) > 100 and {name: uses for name, uses in found.items() if uses} == {}


@pytest.mark.parametrize("text", ["archive.extractall(path, filter='data')", "tarfile.data_filter"])
def test_such_a_use_would_be_found(text: str) -> None:
    assert list(later(ast.parse(text)))
