"""The page's table of faults and the tests belong together, row by row, and no test is forgotten."""

import ast
import re

from tests import ROOT
from tests.faults.matrix import TESTS

FOLDER = ROOT / "tests" / "faults"


def rows() -> list[str]:
    lines = (ROOT / "docs" / "faults.md").read_text().splitlines()
    found = [re.match(r"\| (.+?) \| ", line) for line in lines]
    return [one[1] for one in found if one and one[1] not in ("fault", "---")]


def defined() -> set[str]:
    return {
        f"{path.name}::{node.name}"
        for path in FOLDER.glob("test_*.py")
        if path.name != "test_matrix.py"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_has_tests_that_exist() -> None:
    assert list(TESTS) == rows() and len(rows()) == 28
    named = {name for names in TESTS.values() for name in names}
    assert all(TESTS.values()) and named == defined()


def test_every_test_checks_what_must_hold_after_its_end() -> None:
    for path in FOLDER.glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and f"{path.name}::{node.name}" in defined():
                called = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
                assert called & {"completes", "ends", "check_after"} or path.name == "test_soak.py", node.name
