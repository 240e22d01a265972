"""Text is read and written as UTF-8: without an encoding, Python takes the locale's, and writes other bytes in it."""

import ast
import subprocess
from collections.abc import Iterator

import pytest

from tests import ROOT

PACKAGES = ("job", "k8s", "push")
BY_MODE = {"open", "fdopen"}
"""They are of text unless a mode says bytes."""


def unsaid(tree: ast.AST) -> Iterator[str]:
    """The calls that read or write text in the locale's encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = getattr(getattr(node.func, "value", None), "id", "")
        given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
        words = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        as_text = any(
            keyword.arg in ("text", "universal_newlines") and getattr(keyword.value, "value", None) is True
            for keyword in node.keywords
        )
        of_text = isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text")
        opened = name in BY_MODE and owner not in ("os", "tarfile") and not any("b" in word for word in words)
        opened = opened or (owner == "os" and name == "fdopen" and not any("b" in word for word in words))
        if as_text or of_text or opened:
            yield f"line {node.lineno}: {ast.unparse(node)[:80]}"


def test_every_text_has_its_encoding() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [name for name in listed.stdout.splitlines() if name.endswith(".py") and (ROOT / name).is_file()]
    found = {name: list(unsaid(ast.parse((ROOT / name).read_bytes()))) for name in files}
    assert len(files) > 200 and {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "text",
    [
        "path.read_text()", "path.write_text(text)", "path.open('w')", "open(path)", "os.fdopen(end, 'w')",
        "subprocess.run(command, text=True, capture_output=True)",
    ],
)  # fmt: skip
def test_such_a_call_would_be_found(text: str) -> None:
    assert list(unsaid(ast.parse(text)))
